"""Rows of a split with what is known of their hosts, without their pixels; and the scores brought to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.completeness import band_of, default_axes, default_strata
from lensflow.measure.completeness.counts import match_scores
from lensflow.run.completeness.noise import median_invvar
from lensflow.run.execute import Progress, silent
from lensflow.store.open import host_tables, open_all_pairs, read_attrs
from lensflow.store.run_folder import RunFolder

# Of hosts, brought to the rows.
OF_HOSTS = ("psf_source", "psfsize_arcsec", "psfdepth_mag", "flux_nmgy", "aperture_flux_nmgy", "bad_pixel_frac",
            "wise_brightmask_frac", "brickname")  # fmt: skip


def rows_of(config: RunConfig, split: str, progress: Progress = silent) -> xr.Dataset:
    """Read the tables of a split's rows, sorted by host, with what is known of their hosts.

    No pixel is read, but the weights of hosts without a depth where bins are made of it.

    Parameters
    ----------
    config : RunConfig
    split : str
        A sealed one is opened by whoever calls this, first.
    progress : callable, optional

    Returns
    -------
    Dataset with dims sample and band, in memory; controls are among the rows
    """
    folder = RunFolder.of(config)
    every = open_all_pairs(folder.pairs, folder.manifest, folder.cutouts)
    tables = every.drop_vars([v for v in every.data_vars if "y" in every[v].dims])
    some = np.flatnonzero(tables["split"].values == schema.SPLITS.index(split))
    rows = tables.isel(sample=some).load()
    read, n_hosts = host_tables(folder.cutouts)
    hosts = read(0, n_hosts)
    index = rows["host_index"].values
    more: dict[str, Any] = {
        name: (("sample", *hosts[name].dims[1:]), hosts[name].values[index], hosts[name].attrs) for name in OF_HOSTS
    }
    scale = float(read_attrs(folder.cutouts, "cutouts")["pixel_scale_arcsec"])
    rows = rows.assign(more).assign_attrs(pixel_scale_arcsec=scale)
    if (bands := _bands_of_depth(config)) and rows.sizes["sample"]:
        lacking = ~np.isfinite(rows["psfdepth_mag"].sel(band=bands).values).all(axis=1)
        some, place = np.unique(index[lacking], return_inverse=True)
        noise = np.full(rows["psfdepth_mag"].shape, np.nan)
        noise[lacking] = median_invvar(config, some.astype(np.int64), progress)[place]
        rows["median_invvar"] = (("sample", "band"), noise)
    return rows


def _bands_of_depth(config: RunConfig) -> list[str]:
    """Bands whose depth a bin is made of."""
    of, band = config.completeness, config.bands[config.reference_band]
    names = {*of.variables, *(a.variable for a in of.axes or default_axes(band)), *(of.strata or default_strata(band))}
    return sorted({str(band_of(n)) for n in names if n.startswith("psfdepth_")})


def with_scores(rows: xr.Dataset, row_id: ArrayLike, score: ArrayLike, known: ArrayLike | None = None) -> xr.Dataset:
    """Bring scores to the injections among rows.

    Parameters
    ----------
    rows : Dataset
        As :func:`rows_of` gives.
    row_id, score : array_like, shape (m,)
    known : array_like of uint64, optional
        Every row of the run, wanted or not; without, the wanted ones are all.

    Returns
    -------
    Dataset
        The rows with ``score`` and ``has_score``; NaN and False for controls.

    Raises
    ------
    CompletenessError
        If a row is scored twice, is not of the run, or more than 1 % of the injections have no score.
    """
    injected = ~rows["is_control"].values.astype(bool)
    found, scored = match_scores(rows["row_id"].values[injected], row_id, score, known)
    values, has = np.full(len(injected), np.nan), np.zeros(len(injected), bool)
    values[injected], has[injected] = found, scored
    return rows.assign(score=("sample", values), has_score=("sample", has))
