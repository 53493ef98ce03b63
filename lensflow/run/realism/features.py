"""Readable features of a run's pairs, of its hosts and of real lenses: one task a region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.config import RunConfig
from lensflow.errors import RealismError
from lensflow.measure.lens_light import Light
from lensflow.measure.realism.features import Variable, cutouts_features, pairs_features
from lensflow.run.completeness.negatives import control_images
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.blocks import hosts_of
from lensflow.store.open import read_head, read_host_block, read_pairs_block, stored_regions
from lensflow.store.regions import Region, Regions
from lensflow.store.run_folder import RunFolder

STAGE = "features"
# Of variables that are features of the same rows with brighter arcs.
_BRIGHTER = "brighter "


def features_of_pairs(
    config: RunConfig,
    rows: ArrayLike | None = None,
    progress: Progress = silent,
    *,
    light: Light = "radial",
    variable: Variable = "stamp",
) -> xr.Dataset:
    """Features of rows of a run's pairs.

    Parameters
    ----------
    config : RunConfig
    rows : array_like of int, shape (n,), optional
        Rows of the pairs, in any order, repeated or not; all of them without.
    progress : callable, optional
    light : {"radial", "smooth"}
        Model of the lens's light.
    variable : {"stamp", "ctrl"}

    Returns
    -------
    Dataset, dim sample
        As :func:`lensflow.measure.realism.features.pairs_features`, and ``row``; in the order of ``rows``.

    Raises
    ------
    RealismError
        If there is no such row.
    StoreError
        If the pairs are not complete.
    """
    run = RunFolder.of(config)
    of_region = _OfPairs(run.pairs, run.manifest, run.cutouts, variable, light)
    return _of_regions(of_region, rows, "row", progress)


def features_and_brighter(
    config: RunConfig, rows: ArrayLike, brighter_mag: float, progress: Progress = silent
) -> tuple[xr.Dataset, xr.Dataset]:
    """Features of stamps as they are and with brighter arcs, from one reading of their pixels.

    Parameters
    ----------
    config : RunConfig
    rows : array_like of int, shape (n,)
        As for :func:`features_of_pairs`.
    brighter_mag : float
        Brightens the arcs, without more noise: a positive control.
    progress : callable, optional

    Returns
    -------
    Dataset, Dataset
        Each as :func:`features_of_pairs` gives it.
    """
    run = RunFolder.of(config)
    of_region = _OfPairs(run.pairs, run.manifest, run.cutouts, "stamp", "radial", brighter_mag)
    found = _of_regions(of_region, rows, "row", progress)
    more = [n for n in found.data_vars if str(n).startswith(_BRIGHTER)]
    plain = found.drop_vars(more)
    return plain, plain.assign({str(n).removeprefix(_BRIGHTER): found[n] for n in more})


def features_of_cutouts(
    url: str,
    rows: ArrayLike | None = None,
    progress: Progress = silent,
    *,
    light: Light = "radial",
    rounded_as: RunConfig | None = None,
) -> xr.Dataset:
    """Features of hosts of a cutouts store: a run's, or real lenses that were cut like them.

    Parameters
    ----------
    url : str
    rows : array_like of int, shape (n,), optional
        Hosts of the store, in any order; all of them without.
    progress, light
        As for :func:`features_of_pairs`.
    rounded_as : RunConfig, optional
        Round the pixels first as this run's pairs are (``store.quantize``): what is compared with pairs needs it.

    Returns
    -------
    Dataset, dim sample
        As :func:`lensflow.measure.realism.features.cutouts_features`, in the order of ``rows``.

    Raises
    ------
    RealismError
        If there is no such host.
    StoreError
        If the cutouts are not complete.
    """
    return _of_regions(_OfHosts(url, light, rounded_as), rows, "host_row", progress)


@dataclass(frozen=True)
class _OfPairs:
    """Reads one region of pairs."""

    url: str
    manifest: str
    cutouts: str
    variable: Variable
    light: Light
    brighter_mag: float = 0.0

    @property
    def regions(self) -> Regions:
        return stored_regions(self.url, "pairs")

    def __call__(self, region: Region, some: NDArray[np.int64]) -> KeptRows:
        index = read_head(self.manifest, "manifest", region.slice, ("host_index",))["host_index"].values
        hosts = hosts_of(self.cutouts, index)
        pairs = read_pairs_block(self.url, self.manifest, self.cutouts, region, hosts)
        taken = pairs[["row_id", "host_index", "is_control", self.variable]].isel(sample=some - region.start)
        plain = pairs_features(taken.assign(row=("sample", some)), hosts, self.variable, self.light)
        if not self.brighter_mag:
            return plain
        more = (10 ** (0.4 * self.brighter_mag) - 1) * pairs["arc"].isel(sample=some - region.start)
        lit = taken.assign({self.variable: taken[self.variable] + np.nan_to_num(more.values).astype(np.float32)})
        brighter = pairs_features(lit, hosts, self.variable, self.light).rows
        values = {f"{_BRIGHTER}{n}": v for n, v in brighter.data_vars.items() if n not in lit}
        return replace(plain, rows=plain.rows.assign(values))


@dataclass(frozen=True)
class _OfHosts:
    """Reads one region of cutouts."""

    url: str
    light: Light
    rounded_as: RunConfig | None = None

    @property
    def regions(self) -> Regions:
        return stored_regions(self.url, "cutouts")

    def __call__(self, region: Region, some: NDArray[np.int64]) -> KeptRows:
        hosts = read_host_block(self.url, region.start, region.stop).isel(host=some - region.start)
        if self.rounded_as is not None:
            names = read_head(self.url, "cutouts", region.slice, ("host_id",))["host_id"].values[some - region.start]
            hosts = hosts.assign(image=(hosts["image"].dims, control_images(hosts, names, self.rounded_as)))
        return cutouts_features(hosts, self.light)


def _of_regions(of_region: _OfPairs | _OfHosts, rows: ArrayLike | None, name: str, progress: Progress) -> xr.Dataset:
    """Measure the wanted rows of the regions that hold any, and put them in the order of ``rows``."""
    url, regions = of_region.url, of_region.regions
    wanted = np.arange(regions.n_rows) if rows is None else np.asarray(rows, dtype=np.int64).ravel()
    odd = (wanted < 0) | (wanted >= regions.n_rows)
    if odd.any():
        raise RealismError(f"{url}: no row {wanted[np.argmax(odd)]}; it has {regions.n_rows}")
    once, place = np.unique(wanted, return_inverse=True)
    # Of any region, if no row is wanted: its columns, and none of its rows.
    touched = np.unique(once // regions.rows).tolist() or [0]
    kept: KeptRows = reduce_tasks(_Task(of_region, regions, once), touched, KeptRows.concat, STAGE, progress)
    found: Any = kept.rows
    if not np.array_equal(found[name].values, once):
        raise RealismError(f"{url}: rows went missing between the regions: {len(once)} wanted, {found.sizes} measured")
    return found.isel(sample=place)


class _Task:
    """Measure the wanted rows of one region."""

    def __init__(self, of_region: _OfPairs | _OfHosts, regions: Regions, wanted: NDArray[np.int64]):
        self.of_region, self.regions, self.wanted = of_region, regions, wanted

    def __call__(self, index: int) -> KeptRows:
        region = self.regions[index]
        first, stop = np.searchsorted(self.wanted, [region.start, region.stop])
        return self.of_region(region, self.wanted[first:stop])
