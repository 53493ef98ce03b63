"""A synthetic sky with lenses of its own: bricks in whose images the arcs of another prior are planted.

For tests and tutorials, where no real lens can be had: the lenses' arcs are in the survey's files, and everything
from there on (cutting, matching, measuring) is what real lenses go through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import SyntheticConfig, load_config
from lensflow.errors import SurveyError
from lensflow.manifest.build import build_manifest
from lensflow.run.cut import cut_step
from lensflow.run.lazy import inject
from lensflow.survey.synthetic.bricks import (
    PlantedLight,
    SyntheticBrick,
    brick_header,
    brick_targets,
    plan_bricks,
    write_brick,
)

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class SyntheticSky:
    """Files of a synthetic sky.

    Attributes
    ----------
    root : str
        The survey, for ``survey.root``.
    targets : str
        Hosts that are no lenses, for ``survey.targets``.
    lenses : str
        Table of the lenses (tier A), for ``realism.table``.
    n_lenses : int
    """

    root: str
    targets: str
    lenses: str
    n_lenses: int


def synthetic_sky(
    folder: str | Path,
    n_lenses: int,
    *,
    survey: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    injection: Mapping[str, Any] | None = None,
    bands: tuple[str, ...] = ("g", "r", "z"),
    seed: int = 1,
    change: Callable[[NDArray[np.float64], xr.Dataset], NDArray[np.float64]] | None = None,
) -> SyntheticSky:
    """Write a synthetic survey some of whose galaxies are lenses.

    Parameters
    ----------
    folder : str or path
        Local; gets ``survey``, ``targets.fits`` and ``lenses.csv``.
    n_lenses : int
        Galaxies that become lenses, chosen by hash; fewer where one cannot carry an arc.
    survey : mapping, optional
        Settings of ``survey.synthetic``.
    plan, injection : mapping, optional
        Settings of these sections: the prior of the lenses, and how their arcs are drawn.
    bands : tuple of str
    seed : int
    change : callable, optional
        Gets the arcs with their noise (n, band, y, x), nMgy/pixel, and the manifest's rows; returns what is planted.

    Returns
    -------
    SyntheticSky

    Raises
    ------
    SurveyError
        If the survey has no more hosts than lenses.
    """
    here, root, config = Path(folder), str(Path(folder) / "survey"), SyntheticConfig.model_validate(dict(survey or {}))
    bricks = plan_bricks(config)
    table = vstack([brick_targets(b, config, seed) for b in bricks], metadata_conflicts="silent")
    if not 0 < n_lenses < len(table):
        raise SurveyError(f"synthetic sky: {n_lenses} lenses of {len(table)} hosts; some must be left for injections")
    table.remove_columns([c for c in table.colnames if c.startswith("flux_") and c.split("_")[1] not in bands])
    order = np.argsort(rng.uniform(seed, rng.hash_ids(table["host_id"]), "synthetic sky lenses")[:, 0])
    is_lens = np.isin(np.arange(len(table)), order[:n_lenses])
    here.mkdir(parents=True, exist_ok=True)
    hosts = here / "lens-hosts.fits"
    _write(table[is_lens], hosts)
    _write(table[~is_lens], here / "targets.fits")
    # The arcs are drawn on the survey without them: their PSF and shot noise are those of the place.
    for brick in bricks:
        write_brick(root, brick, config, bands, seed)
    drawn = load_config({
        "out": str(here / "lenses"), "seed": seed, "bands": list(bands),
        "survey": {"root": root, "targets": str(hosts), "failure_budget": 1.0},
        "plan": {"psf_beta": 3.5, "injections_per_host": 1, "controls_per_host": 0, **(plan or {})},
        "injection": dict(injection or {}), "cluster": {"kind": "threads", "dashboard": None},
    })  # fmt: skip
    cutouts = cut_step(drawn)
    manifest = build_manifest(cutouts, drawn)
    planted, lenses = _planted(cutouts, manifest, drawn.injection, bricks, config, bands, change)
    for brick in bricks:
        write_brick(root, brick, config, bands, seed, planted[brick.name])
    lenses.write(here / "lenses.csv", overwrite=True)
    return SyntheticSky(root, str(here / "targets.fits"), str(here / "lenses.csv"), len(lenses))


def _planted(
    cutouts: xr.Dataset,
    manifest: xr.Dataset,
    injection: Any,
    bricks: list[SyntheticBrick],
    config: SyntheticConfig,
    bands: tuple[str, ...],
    change: Callable[[NDArray[np.float64], xr.Dataset], NDArray[np.float64]] | None,
) -> tuple[dict[str, list[PlantedLight]], Table]:
    """Light for each brick, and the table of lenses."""
    wcs = {b.name: WCS(brick_header(b, config.brick_size_pix)) for b in bricks}
    light: dict[str, list[PlantedLight]] = {b.name: [] for b in bricks}
    lines: dict[str, list[Any]] = {k: [] for k in ("lens_id", "ra_deg", "dec_deg", "theta_e_arcsec", "z_lens",
                                                   "z_source", "kind", "tier", "reference")}  # fmt: skip
    hosts = cutouts[["host_id", "ra_deg", "dec_deg", "brickname", "x_center", "y_center", "status"]].load()
    for first in range(0, manifest.sizes["sample"], ROWS_AT_ONCE):
        rows = manifest.isel(sample=slice(first, first + ROWS_AT_ONCE))
        pairs = inject(cutouts, rows, injection)
        found = (pairs["stamp"] - pairs["ctrl"]).values.astype(np.float64)
        has = pairs["arc"].values
        found = np.where(np.isfinite(found) & np.isfinite(has), found, 0.0)
        if change is not None:
            found = change(found, rows)
        for k, at in enumerate(rows["host_index"].values.tolist()):
            host = hosts.isel(host=at)
            if int(host["status"]) != schema.Status.OK or not found[k].any():
                continue
            name = str(host["brickname"].item())
            x, y = wcs[name].world_to_pixel_values(float(host["ra_deg"]), float(host["dec_deg"]))
            corner = [int(np.rint(v - float(host[c]))) for v, c in ((x, "x_center"), (y, "y_center"))]
            light[name].append(PlantedLight(corner[0], corner[1], {b: found[k, j] for j, b in enumerate(bands)}))
            row = rows.isel(sample=k)
            values = (str(host["host_id"].item()), float(host["ra_deg"]), float(host["dec_deg"]),
                      float(row["theta_e_arcsec"]), float(row["lens_z"]), float(row["src_z"]), "galaxy", "A",
                      "synthetic")  # fmt: skip
            for column, value in zip(lines.values(), values, strict=True):
                column.append(value)
    return light, Table(lines)


def _write(table: Table, path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(table)]).writeto(path, overwrite=True)
