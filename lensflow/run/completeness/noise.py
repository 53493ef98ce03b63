"""Noise of hosts whose depth the catalogue does not give: the median weight of their own good pixels."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.open import read_host_block, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder
from lensflow.survey.masks import masked_pixels


def median_invvar(config: RunConfig, hosts: NDArray[np.int64], progress: Progress = silent) -> NDArray[np.float64]:
    """Median inverse variance of the good pixels of some hosts, region by region.

    Parameters
    ----------
    config : RunConfig
        Of a run whose cutouts are finished; ``survey.mask_bits`` says which pixels are bad.
    hosts : ndarray of int64, shape (n,)
        Rising.
    progress : callable, optional

    Returns
    -------
    ndarray of float64, shape (n, band)
        nMgy^-2; NaN where a host has no good pixel in a band.
    """
    if not hosts.size:
        return np.empty((0, len(config.bands)))
    regions = stored_regions(RunFolder.of(config).cutouts, "cutouts")
    task = _NoiseTask(config, regions, hosts)
    kept: KeptRows = reduce_tasks(task, np.unique(hosts // regions.rows).tolist(), KeptRows.concat, "noise", progress)
    order = np.argsort(kept.rows["host"].values, kind="stable")
    return np.asarray(kept.rows["median_invvar"].values[order])


class _NoiseTask:
    """Read the weights and masks of one region of cutouts."""

    def __init__(self, config: RunConfig, regions: Regions, hosts: NDArray[np.int64]):
        self.config, self.regions, self.hosts = config, regions, hosts

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        wanted = self.hosts[(self.hosts >= region.start) & (self.hosts < region.stop)]
        first, stop = int(wanted[0]), int(wanted[-1]) + 1
        block = read_host_block(RunFolder.of(self.config).cutouts, first, stop).isel(host=wanted - first)
        bad = masked_pixels(block["maskbits"].values, self.config.survey.mask_bits, self.config.bands)
        found = median_of_good(block["invvar"].values, bad)
        return KeptRows(xr.Dataset({"host": ("sample", wanted), "median_invvar": (("sample", "band"), found)}))


def median_of_good(invvar: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Median weight of pixels that have data and are not bad.

    Parameters
    ----------
    invvar : ndarray, shape (n, band, y, x)
    bad : ndarray of bool, shape (n, y, x)

    Returns
    -------
    ndarray of float64, shape (n, band)
        NaN where there is no such pixel.
    """
    good = (invvar > 0) & ~bad[:, None]
    out = np.full(invvar.shape[:2], np.nan)
    for k in np.ndindex(out.shape):
        if good[k].any():
            out[k] = np.median(invvar[k][good[k]].astype(np.float64))
    return out
