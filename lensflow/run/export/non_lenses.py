"""Negatives from a table of real non-lenses: the stamps of it that came the same road as the run's hosts.

``lensflow realism RUN --real TABLE`` cuts a table's objects by the run's own road into ``real.zarr``; those that the
table says are no lenses can be negatives.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import ExportError, RealismError
from lensflow.injection.quality import pair_flags
from lensflow.run.export.hosts import OF_HOSTS
from lensflow.run.realism.hosts import road_check
from lensflow.run.realism.stamps import RealFolder, open_real
from lensflow.run.sources import stamp_diagonal_arcsec
from lensflow.schema import Status
from lensflow.sky import nearest
from lensflow.store import resume
from lensflow.store.open import read_attrs, read_head
from lensflow.store.run_folder import RunFolder
from lensflow.targets.lenses.columns import FALSE

# Why an object of the table is no negative of a split.
A_LENS, NO_STAMP, NOT_CLEAN, OTHER_SPLIT, NEAR = (
    "not said to be no lens", "without a stamp", "not as clean as hosts of positives are", "of another split",
    "sharing pixels with a host of another split",
)  # fmt: skip
_MAKE = "`lensflow realism {run} --real TABLE` cuts the objects of a table by the run's road"


def non_lenses(config: RunConfig, split: str) -> tuple[xr.Dataset, dict[str, int]]:
    """Real non-lenses of a split, as rows that samples are chosen from.

    Parameters
    ----------
    config : RunConfig
        Of a run whose ``real.zarr`` was cut or imported.
    split : str

    Returns
    -------
    rows : Dataset, dim sample
        With the columns of :func:`lensflow.run.export.hosts.rows_of_all`. They are no hosts of the run: ``host_index``
        is -1 - place in ``real.zarr``, and so is ``sample``, which is below 0 and below that of every host.
    left_out : dict
        Why objects of the table are none of them -> their number.

    Raises
    ------
    ExportError
        If there is no such table, its stamps came another road, or none is left.
    """
    run, real_folder = RunFolder.of(config), RealFolder.of(config)
    try:
        real = open_real(config)
    except RealismError as error:
        raise ExportError(f"export.negatives.table: {error} {_MAKE.format(run=run.root)}.") from error
    road = road_check(real_folder.cutouts, run.cutouts, config.realism.max_road_sd)
    if not road.is_same:
        raise ExportError(
            f"export.negatives.table: the stamps in {real_folder.cutouts} are not cut as the run's hosts are, and a "
            f"network would tell them by that: {road.reason}. {_MAKE.format(run=run.root)}; or set "
            "export.negatives.table to 0."
        )
    tables = real[[n for n in real.data_vars if not {"y", "x"} & set(real[n].dims)]].load()
    why = _reasons(config, tables, split)
    some = np.flatnonzero(why == "")
    left_out = dict(sorted(Counter(str(w) for w in why if w).items()))
    if not some.size:
        counts = ", ".join(f"{n:,} {r}" for r, n in left_out.items())
        raise ExportError(
            f"export.negatives.table: none of {len(why):,} objects in {real_folder.cutouts} is a non-lens of the "
            f"{split} split ({counts}). Give a table with more (is_lens: false), or set it to 0."
        )
    return _rows(config, tables.isel(host=some), some), left_out


def table_content(config: RunConfig) -> str:
    """Fingerprint of the stamps that negatives of a table come from; empty where ``export.negatives.table`` is 0."""
    if config.export.negatives.table == 0 or config.export.view != "single":
        return ""
    folder = RealFolder.of(config)
    return resume.finished_content(folder.receipts("real"), folder.cutouts, "cutouts", "lensflow realism RUN --real T")


def _reasons(config: RunConfig, real: xr.Dataset, split: str) -> NDArray[np.object_]:
    """Why each object is no negative of the split; empty for those that are."""
    n, bands = real.sizes["host"], len(config.bands)
    nothing: dict[str, NDArray[Any]] = {
        "snr_peak": np.zeros((n, bands)), "nodata_flux_fraction": np.zeros((n, bands)), "render_err": np.zeros(n),
        "stamp_flux_fraction": np.ones(n),
    }  # fmt: skip
    clean = pair_flags(nothing, real, np.arange(n), np.ones(n, bool), config.injection)["is_clean"]
    why = np.full(n, "", object)
    why[_shares_pixels(config, real)] = NEAR
    why[real["split"].values != schema.SPLITS.index(split)] = OTHER_SPLIT
    why[~np.asarray(clean, bool)] = NOT_CLEAN
    why[real["status"].values == Status.FAILED] = NO_STAMP
    why[real["is_lens"].values != FALSE] = A_LENS
    return why


def _shares_pixels(config: RunConfig, real: xr.Dataset) -> NDArray[np.bool_]:
    """Objects whose stamp can overlap that of a host of another split; the guard band is in none."""
    url = RunFolder.of(config).cutouts
    hosts = read_head(url, "cutouts", names=("ra_deg", "dec_deg", "split"))
    scale = float(read_attrs(url, "cutouts")["pixel_scale_arcsec"])
    diagonal = stamp_diagonal_arcsec(config, scale) / 3600
    out = np.zeros(real.sizes["host"], bool)
    for code in range(len(schema.SPLITS)):
        of = hosts["split"].values == code
        mine = np.flatnonzero(real["split"].values != code)
        if of.any() and mine.size:
            ra, dec = (real[n].values[mine] for n in ("ra_deg", "dec_deg"))
            _, far = nearest(ra, dec, hosts["ra_deg"].values[of], hosts["dec_deg"].values[of])
            out[mine] |= far < diagonal
    return out


def _rows(config: RunConfig, real: xr.Dataset, at: NDArray[np.int64]) -> xr.Dataset:
    n, bands = len(at), len(config.bands)
    names = real["host_id"].values.astype(str)
    columns: dict[str, Any] = {
        "row_id": ("sample", rng.mix_ids(rng.hash_ids(names), np.full(n, 2, np.uint64))),
        "host_index": ("sample", -1 - at.astype(np.int64)),
        "host_id": ("sample", names),
        "is_control": ("sample", np.ones(n, bool)),
        "lens_model": ("sample", np.full(n, "CONTROL")),
        "split": ("sample", real["split"].values),
        "is_clean": ("sample", np.ones(n, bool)),
        "snr_matched": (("sample", "band"), np.full((n, bands), np.nan)),
        "theta_e_arcsec": ("sample", np.full(n, np.nan)),
        **{k: ("sample", real[k].values) for k in ("x_center", "y_center")},
        **{k: (("sample", *real[k].dims[1:]), real[k].values) for k in OF_HOSTS},
    }
    # Numbers of the table's objects follow those of the hosts.
    n_hosts = read_head(RunFolder.of(config).cutouts, "cutouts", names=("split",)).sizes["host"]
    return xr.Dataset(columns, coords={"sample": -1 - n_hosts - at})
