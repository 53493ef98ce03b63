"""Small real datasets for tests: cutouts, configs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
import zarr

from lensflow import import_stamps, schema
from lensflow.config import RunConfig, load_config
from lensflow.survey.photometry import with_measurements
from lensflow.targets.splits import assign_splits, sky_cells

BANDS = ("g", "r", "z")
SIGMA = {"g": 0.0019, "r": 0.0024, "z": 0.0082}


def make_config(out: str = "unused", **changes: Any) -> RunConfig:
    base: dict[str, Any] = {
        "out": str(out),
        "seed": 5,
        "survey": {"root": "unused", "targets": "unused"},
        "store": {"samples_per_region": 16, "hosts_per_region": 8, "inner_chunk": 4},
        "cluster": {"kind": "threads", "dashboard": None},
    }
    # Bright arcs, whose parameters are independent: most tests are of what is done with them, not of the population.
    changes["plan"] = {"preset": "historic", **changes.get("plan", {})}
    return load_config({**base, **changes})


def make_cutouts(n: int = 6, size: int = 64, seed: int = 0, absent: tuple[tuple[int, int], ...] = ()) -> xr.Dataset:
    """Cutouts of ``n`` round galaxies in noise; (host, band) pairs in ``absent`` have no exposure."""
    return _cutouts(int(n), int(size), int(seed), tuple(absent)).copy(deep=True)


@lru_cache(maxsize=64)
def _cutouts(n: int, size: int, seed: int, absent: tuple[tuple[int, int], ...]) -> xr.Dataset:
    """Measuring them takes longer than all else; whoever gets a copy may change it."""
    rng = np.random.default_rng(seed)
    sigma = np.array([SIGMA[b] for b in BANDS])
    x = (size - 1) / 2 + rng.uniform(-0.5, 0.5, n)
    y = (size - 1) / 2 + rng.uniform(-0.5, 0.5, n)
    yy, xx = np.mgrid[:size, :size]
    r2 = (xx - x[:, None, None]) ** 2 + (yy - y[:, None, None]) ** 2
    light = np.exp(-0.5 * r2 / 9) / (2 * np.pi * 9)
    flux = np.array([2.0, 8.0, 16.0])
    image = flux[:, None, None] * light[:, None] + sigma[:, None, None] * rng.normal(size=(n, 3, size, size))
    invvar = np.broadcast_to((1 / sigma**2)[:, None, None], image.shape).copy()
    covered = np.ones((n, 3), bool)
    for i, k in absent:
        covered[i, k], image[i, k], invvar[i, k] = False, 0, 0
    reasons = np.where(covered, 0, int(schema.Reason.NO_COVERAGE))
    host_id = np.array([f"host-{i:03d}" for i in range(n)])
    ra, dec = 150 + 0.1 * np.arange(n), np.full(n, 2.0)
    cells = sky_cells(ra, dec, host_id, 1024)
    arrays = {
        "host_id": host_id,
        "ra_deg": ra,
        "dec_deg": dec,
        "brickname": np.full(n, "1500p020"),
        "flux_nmgy": np.where(covered, flux, np.nan),
        "image": image,
        "invvar": invvar,
        "maskbits": np.zeros((n, size, size)),
        "nexp": covered * 3,
        "psfsize_arcsec": np.where(covered, [1.5, 1.3, 1.25], np.nan),
        "psf_source": np.where(covered, schema.PsfSource.MAP, schema.PsfSource.NONE),
        "covered": covered,
        "coverage_frac": covered * 1.0,
        "x_center": x,
        "y_center": y,
        "east_phi_rad": np.full(n, np.pi),
        "north_phi_rad": np.full(n, np.pi / 2),
        "status": np.where(covered.all(axis=1), schema.Status.OK, schema.Status.PARTIAL),
        "reasons": np.bitwise_or.reduce(reasons, axis=1),
        "band_reasons": reasons,
        "bad_pixel_frac": np.zeros(n),
        "wise_brightmask_frac": np.zeros(n),
        "mask_bit_frac": np.zeros((n, 17)),
        "sigma_v_km_s": np.full(n, np.nan),
        "z_lens": np.full(n, np.nan),
        "cell": cells,
        "split": assign_splits(cells, make_config().splits, 1),
    }
    out = schema.dataset("cutouts", arrays, {"band": list(BANDS)})
    stored = [v for v in schema.CATALOGUE if v in schema.STORES["cutouts"]]
    out = out.assign({v.name: schema.without_values(v, {"host": n, "band": len(BANDS)}) for v in stored})
    out.attrs["pixel_scale_arcsec"] = 0.262
    return with_measurements(out)


def imported_galaxies(n: int) -> xr.Dataset:
    """Cutouts of bare stamps: the same galaxy n times, with noise of its own in each."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:71, :71]
    galaxy = 0.2 * np.exp(-np.hypot(x - 35, y - 35) / 4)
    images = {b: galaxy + s * draw.normal(size=(n, 71, 71)) for b, s in {"g": 0.002, "r": 0.003, "z": 0.008}.items()}
    return import_stamps(images, pixel_scale_arcsec=0.263, psfsize_arcsec={"g": 1.4, "r": 1.3, "z": 1.2})


def put(group: zarr.Group, row: int, name: str, value: float) -> None:
    """Change one value of a packed table, or of a plain array."""
    for _, array in group.arrays():
        columns = [str(c) for c in array.attrs.get("columns", [])]
        if name in columns:
            values = array[row]
            values[columns.index(name)] = value
            array[row] = values
            return
    raise AssertionError(f"no column {name}")
