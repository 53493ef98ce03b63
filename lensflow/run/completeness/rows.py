"""Rows of a split with what is known of their hosts, without their pixels; and the scores brought to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.counts import match_scores
from lensflow.store.open import host_tables, open_all_pairs, read_attrs
from lensflow.store.run_folder import RunFolder

# Of hosts, brought to the rows.
OF_HOSTS = ("psf_source", "psfsize_arcsec", "psfdepth_mag", "flux_nmgy", "bad_pixel_frac", "wise_brightmask_frac",
            "brickname")  # fmt: skip


def rows_of(config: RunConfig, split: str) -> xr.Dataset:
    """Read the tables of a split's rows, sorted by host, with what is known of their hosts; no pixel is read.

    Parameters
    ----------
    config : RunConfig
    split : str
        A sealed one is opened by whoever calls this, first.

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
    return rows.assign(more).assign_attrs(pixel_scale_arcsec=scale)


def with_scores(rows: xr.Dataset, scores: xr.Dataset) -> xr.Dataset:
    """Bring scores to the injections among rows.

    Parameters
    ----------
    rows : Dataset
        As :func:`rows_of` gives.
    scores : Dataset
        ``row_id`` and ``stamp`` over ``sample``.

    Returns
    -------
    Dataset
        The rows with ``score``, NaN for controls.

    Raises
    ------
    CompletenessError
        If a row was not scored.
    """
    injected = ~rows["is_control"].values
    ids = rows["row_id"].values[injected]
    found, scored = match_scores(ids, scores["row_id"].values, scores["stamp"].values)
    if not scored.all():
        raise CompletenessError(
            f"completeness: row_id {ids[~scored][0]} was not scored ({(~scored).sum():,} such rows)"
        )
    score = np.full(len(injected), np.nan)
    score[injected] = found
    return rows.assign(score=("sample", score))
