"""Covariates of a run's hosts and of real lenses, measured alike, arcs and all: one task a region."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from lensflow.config import RunConfig
from lensflow.injection.inject import rows_of_hosts
from lensflow.measure.realism.host_light import catalogue_covariates, measured_covariates
from lensflow.measure.realism.road import RoadCheck, same_road, some_rows
from lensflow.run.completeness.negatives import control_images
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.blocks import hosts_of
from lensflow.store.open import open_cutouts, read_head, read_host_block, read_pixels, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder

Matching = Literal["measured", "catalogue"]
# Hosts below which the arcs' part of a covariate is not told.
FEWEST = 10


def host_covariates(
    url: str, progress: Progress = silent, *, matching: Matching = "measured", rounded_as: RunConfig | None = None
) -> xr.Dataset:
    """Covariates of all hosts of a cutouts store.

    Parameters
    ----------
    url : str
        ``cutouts.zarr`` or ``real.zarr``.
    progress : callable, optional
    matching : {"measured", "catalogue"}
        From the pixels (:func:`lensflow.measure.realism.host_light.measured_covariates`), alike for both sides,
        or the catalogue's values.
    rounded_as : RunConfig, optional
        Round the pixels first as this run's pairs are (``store.quantize``).

    Returns
    -------
    Dataset with dim host
        In the store's order, with ``host_id``.
    """
    head = read_head(url, "cutouts")
    if matching == "catalogue":
        found = catalogue_covariates(open_cutouts(url).drop_dims(["y", "x"]))
    else:
        regions = stored_regions(url, "cutouts")
        kept: KeptRows = reduce_tasks(
            _Task(url, regions, rounded_as), range(len(regions)), KeptRows.concat, "host covariates", progress
        )
        found = kept.rows
    return found.assign(host_id=("host", head["host_id"].values.astype(str)))


def stamp_covariates(config: RunConfig, rows: NDArray[np.int64], progress: Progress = silent) -> xr.Dataset:
    """Covariates of hosts, measured on stamps of a run's pairs: with an arc, as those of real lenses are.

    Parameters
    ----------
    config : RunConfig
    rows : ndarray of int, shape (n,)
        Rows of the pairs, in any order, none twice.
    progress : callable, optional

    Returns
    -------
    Dataset with dim host
        In the order of ``rows``.
    """
    run = RunFolder.of(config)
    regions, order = stored_regions(run.pairs, "pairs"), np.argsort(rows, kind="stable")
    wanted = rows[order]
    touched = np.unique(wanted // regions.rows).tolist()
    task = _StampTask(run, regions, wanted)
    kept: KeptRows = reduce_tasks(task, touched, KeptRows.concat, "stamp covariates", progress)
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    return kept.rows.isel(host=place)


def reliability(bare: xr.Dataset, with_arc: xr.Dataset) -> dict[str, float]:
    """Share of a covariate's variance, in ranks, that is the host's own and not its arc's, by name.

    Parameters
    ----------
    bare, with_arc : Dataset, dim host
        Covariates of the same hosts without an arc and with one.

    Returns
    -------
    dict
        The squared rank correlation of the two; 1 where both are the same, NaN with fewer than 10 hosts.
    """
    found = {}
    for name in (str(n) for n, v in with_arc.data_vars.items() if n in bare and v.dtype.kind == "f"):
        one, other = (side[name].values.astype(np.float64) for side in (bare, with_arc))
        both = np.isfinite(one) & np.isfinite(other)
        if np.array_equal(one[both], other[both]):
            found[name] = 1.0
        else:
            ranks = [rankdata(v[both]) for v in (one, other)]
            found[name] = max(float(np.corrcoef(*ranks)[0, 1]), 0.0) ** 2 if both.sum() >= FEWEST else float("nan")
    return found


class _Task:
    """Measure one region of hosts."""

    def __init__(self, url: str, regions: Regions, rounded_as: RunConfig | None):
        self.url, self.regions, self.rounded_as = url, regions, rounded_as

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        hosts = read_host_block(self.url, region.start, region.stop)
        if self.rounded_as is not None:
            names = read_head(self.url, "cutouts", region.slice, ("host_id",))["host_id"].values
            hosts = hosts.assign(image=(hosts["image"].dims, control_images(hosts, names, self.rounded_as)))
        return KeptRows(measured_covariates(hosts), ("host",))


class _StampTask:
    """Measure the wanted stamps of one region of pairs."""

    def __init__(self, run: RunFolder, regions: Regions, wanted: NDArray[np.int64]):
        self.run, self.regions, self.wanted = run, regions, wanted

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        first, stop = np.searchsorted(self.wanted, [region.start, region.stop])
        rows = self.wanted[first:stop]
        of_region = read_head(self.run.manifest, "manifest", region.slice, ("host_index",))["host_index"].values
        host_index = of_region[rows - region.start]
        hosts = hosts_of(self.run.cutouts, host_index)
        hosts = hosts.isel(host=rows_of_hosts(hosts, host_index)).drop_vars("host_index", errors="ignore")
        stamps = read_pixels(self.run.pairs, "pairs", rows, ("stamp",))["stamp"]
        return KeptRows(measured_covariates(hosts.assign(image=(hosts["image"].dims, stamps))), ("host",))


def road_check(real_url: str, run_url: str, max_sd: float) -> RoadCheck:
    """Compare the stamps of real lenses with the run's cutouts: see :func:`lensflow.measure.realism.road.same_road`."""
    sides = []
    for url in (real_url, run_url):
        cutouts = open_cutouts(url)
        rows = some_rows(cutouts["host_id"].values, cutouts["status"].values)
        sides.append(cutouts[["image", "invvar", "status", "host_id"]].isel(host=np.asarray(rows)))
    return same_road(sides[0], sides[1], max_sd)
