"""Covariates of a run's hosts and of real lenses, measured alike: one task a region."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from lensflow.measure.realism.host_light import catalogue_covariates, measured_covariates
from lensflow.measure.realism.road import RoadCheck, same_road, some_rows
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.open import open_cutouts, read_head, read_host_block, stored_regions
from lensflow.store.regions import Regions

Matching = Literal["measured", "catalogue"]


def host_covariates(url: str, progress: Progress = silent, *, matching: Matching = "measured") -> xr.Dataset:
    """Covariates of all hosts of a cutouts store.

    Parameters
    ----------
    url : str
        ``cutouts.zarr`` or ``real.zarr``.
    progress : callable, optional
    matching : {"measured", "catalogue"}
        From the pixels (:func:`lensflow.measure.realism.host_light.measured_covariates`), alike for both sides,
        or the catalogue's values.

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
            _Task(url, regions), range(len(regions)), KeptRows.concat, "host covariates", progress
        )
        found = kept.rows
    return found.assign(host_id=("host", head["host_id"].values.astype(str)))


class _Task:
    """Measure one region of hosts."""

    def __init__(self, url: str, regions: Regions):
        self.url, self.regions = url, regions

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        return KeptRows(measured_covariates(read_host_block(self.url, region.start, region.stop)), ("host",))


def road_check(real_url: str, run_url: str, max_sd: float) -> RoadCheck:
    """Compare the stamps of real lenses with the run's cutouts: see :func:`lensflow.measure.realism.road.same_road`."""
    sides = []
    for url in (real_url, run_url):
        cutouts = open_cutouts(url)
        rows = some_rows(cutouts["host_id"].values, cutouts["status"].values)
        sides.append(cutouts[["image", "invvar", "status", "host_id"]].isel(host=np.asarray(rows)))
    return same_road(sides[0], sides[1], max_sd)
