"""Tables of rows and hosts that samples are chosen from: no pixel is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.injection.quality import pair_flags
from lensflow.run.completeness.negatives import usable_hosts
from lensflow.run.sources import stamp_diagonal_arcsec
from lensflow.run.twins import rows_of_splits
from lensflow.store.open import host_tables, open_all_pairs, read_attrs, read_head
from lensflow.store.run_folder import RunFolder
from lensflow.targets.splits import check_splits

OF_HOSTS = ("ra_deg", "dec_deg", "psfsize_arcsec", "bad_pixel_frac", "aperture_flux_nmgy")
_OF_ROWS = (
    "row_id", "host_index", "is_control", "lens_model", "split", "is_clean", "snr_matched", "theta_e_arcsec",
    "x_center", "y_center",
)  # fmt: skip


def rows_of_all(config: RunConfig) -> xr.Dataset:
    """Rows of all splits with what a sample says of them and their hosts; coordinate ``sample`` is the row's number.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    Dataset, dim sample
        In memory; for the choice of samples, which shows no sealed row.
    """
    folder = RunFolder.of(config)
    every = open_all_pairs(folder.pairs, folder.manifest, folder.cutouts)
    rows = every.reset_coords(["row_id", "host_id"])[list(_OF_ROWS)].load()
    head = read_head(folder.cutouts, "cutouts", names=("host_id",))
    read, n_hosts = host_tables(folder.cutouts)
    hosts, index = read(0, n_hosts), rows["host_index"].values
    more: dict[str, Any] = {n: (("sample", *hosts[n].dims[1:]), hosts[n].values[index]) for n in OF_HOSTS}
    more["host_id"] = ("sample", head["host_id"].values.astype(str)[index])
    return rows.assign(more).assign_coords(sample=np.arange(rows.sizes["sample"]))


def refuse_crossed_splits(config: RunConfig) -> None:
    """Refuse a run with a host, a sky cell, a source or an arc in two splits.

    Raises
    ------
    SplitError
        Naming it.
    """
    folder = RunFolder.of(config)
    hosts = read_head(folder.cutouts, "cutouts", names=("host_id", "ra_deg", "dec_deg", "cell", "split"))
    rows, same_image = rows_of_splits(config)
    scale = float(read_attrs(folder.cutouts, "cutouts")["pixel_scale_arcsec"])
    apart = max(config.splits.guard_arcsec or 0.0, stamp_diagonal_arcsec(config, scale))
    check_splits(hosts, rows, apart, same_image)


def other_hosts(config: RunConfig, split: str, injected: NDArray[np.int64]) -> xr.Dataset:
    """Hosts of a split that carry no injection and are as clean as those of positives.

    Parameters
    ----------
    config : RunConfig
    split : str
    injected : ndarray of int64
        Hosts with an injection, clean or not, in any split.

    Returns
    -------
    Dataset, dim sample
        One row a host with the columns of :func:`rows_of_all`; ``row_id`` is the key of the host's first control, and
        ``sample`` is -1 - host_index: there is no row in the manifest.
    """
    folder = RunFolder.of(config)
    of_split = config.model_copy(update={"completeness": config.completeness.model_copy(update={"split": split})})
    some = np.setdiff1d(usable_hosts(of_split), injected)
    read, n_hosts = host_tables(folder.cutouts)
    hosts = read(0, n_hosts).isel(host=some)
    n, bands = len(some), len(config.bands)
    nothing: dict[str, NDArray[Any]] = {
        "snr_peak": np.zeros((n, bands)), "nodata_flux_fraction": np.zeros((n, bands)), "render_err": np.zeros(n),
        "stamp_flux_fraction": np.ones(n),
    }  # fmt: skip
    # A host with a band missing, or with many bad pixels, would tell a negative: no positive has it.
    flags = pair_flags(nothing, hosts, np.arange(n), np.ones(n, bool), config.injection)
    clean = np.flatnonzero(flags["is_clean"])
    hosts, some = hosts.isel(host=clean), some[clean]
    names = read_head(folder.cutouts, "cutouts", names=("host_id",))["host_id"].values.astype(str)[some]
    n = len(some)
    unknown = np.full(n, np.nan)
    columns: dict[str, Any] = {
        "row_id": ("sample", rng.mix_ids(rng.hash_ids(names), np.ones(n, np.uint64))),
        "host_index": ("sample", some.astype(np.int64)),
        "host_id": ("sample", names),
        "is_control": ("sample", np.ones(n, bool)),
        "lens_model": ("sample", np.full(n, "CONTROL")),
        "split": ("sample", np.full(n, schema.SPLITS.index(split), np.uint8)),
        "is_clean": ("sample", np.ones(n, bool)),
        "snr_matched": (("sample", "band"), np.full((n, bands), np.nan)),
        "theta_e_arcsec": ("sample", unknown),
        **{k: ("sample", hosts[k].values) for k in ("x_center", "y_center")},
        **{k: (("sample", *hosts[k].dims[1:]), hosts[k].values) for k in OF_HOSTS},
    }
    return xr.Dataset(columns, coords={"sample": -1 - some})
