"""What the check ``splits`` looks at besides names and places: pixels of hosts, images of sources, arcs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.pixels import Origin
from lensflow.run.lazy import cutouts_of
from lensflow.stats.kept_rows import KeptRows
from lensflow.store.open import open_manifest, read_attrs, read_head
from lensflow.store.pixels import read_pixels
from lensflow.store.run_folder import RunFolder
from lensflow.survey.portraits import Images, portraits
from lensflow.survey.twins import Positions, Twins, find_twins
from lensflow.targets.splits import ARC, arc_keys

_ROWS_AT_ONCE = 500_000
# Hosts in between that are read along: one chunk holds more.
_READ_ACROSS = 8


def portraits_of(origin: Origin, pairs: xr.Dataset) -> KeptRows:
    """Portraits of the hosts of a block's rows."""
    hosts = origin.hosts
    assert hosts is not None
    own = np.isin(hosts["host_index"].values, pairs["host_index"].values)
    number, image, invvar = (hosts.variables[k].values for k in ("host_index", "image", "invvar"))
    if not own.all():
        number, image, invvar = number[own], image[own], invvar[own]
    return portraits(number, image, invvar > 0)


def twins_of(config: RunConfig, rows: xr.Dataset) -> Twins:
    """Find the hosts of a run that show the same pixels; only those that look alike are read again."""
    url = RunFolder.of(config).cutouts
    head = read_head(url, "cutouts", names=("ra_deg", "dec_deg"))
    ra, dec = (head[k].values[rows["host"].values] for k in ("ra_deg", "dec_deg"))
    positions = Positions(ra, dec, float(read_attrs(url, "cutouts")["pixel_scale_arcsec"]))

    def read(hosts: NDArray[np.int64]) -> tuple[Images, NDArray[np.bool_]]:
        image, good = [], []
        for part in np.split(hosts, np.flatnonzero(np.diff(hosts) > _READ_ACROSS) + 1):
            block = read_pixels(url, "cutouts", slice(int(part[0]), int(part[-1]) + 1), ("image", "invvar"))
            own = part - part[0]
            image.append(block["image"][own])
            good.append(block["invvar"][own] > 0)
        return np.concatenate(image), np.concatenate(good)

    return find_twins(rows, read, config.survey.stamp_size, positions)


def portraits_of_pairs(block: xr.Dataset) -> KeptRows:
    """Portraits of the controls of a block of pairs, in memory or lazy, one a host."""
    host, first = np.unique(block["host_index"].values, return_index=True)
    some = block[["ctrl", *(["has_data"] if "has_data" in block else [])]].isel(sample=first).compute()
    good = some["has_data"].values if "has_data" in some else None
    return portraits(host, some["ctrl"].values, good)


@dataclass(frozen=True, eq=False)
class Controls:
    """Where the controls of pairs are read, one a host.

    Attributes
    ----------
    host, first : ndarray of int, shape (h,)
        Hosts, sorted, and the first row of each.
    ctrl : DataArray
    cutouts : Dataset or None
        Hosts of untouched lazy pairs: else whole chunks would be rendered for a few of their controls.
    """

    host: NDArray[np.int64]
    first: NDArray[np.int64]
    ctrl: xr.DataArray
    cutouts: xr.Dataset | None

    @classmethod
    def of(cls, pairs: xr.Dataset) -> Controls:
        """Those of pairs, opened or lazy."""
        host, first = np.unique(pairs["host_index"].values, return_index=True)
        cutouts = cutouts_of(pairs)
        ctrl = pairs["ctrl"].reset_coords(drop=True)
        return cls(host, first, ctrl, None if cutouts is None else cutouts[["image", "invvar"]])

    def twins(self, rows: xr.Dataset) -> Twins:
        """Find the hosts whose controls show the same pixels."""
        return find_twins(rows, self._read, self.ctrl.sizes["x"])

    def _read(self, hosts: NDArray[np.int64]) -> tuple[Images, NDArray[np.bool_]]:
        # In this thread: where this runs in a task, another scheduler would wait for the worker that it runs on.
        if self.cutouts is not None:
            some = self.cutouts.isel(host=hosts).compute(scheduler="synchronous")
            return some["image"].values, some["invvar"].values > 0
        image = self.ctrl.isel(sample=self.first[np.searchsorted(self.host, hosts)])
        values = image.compute(scheduler="synchronous").values
        return values, np.isfinite(values)


def rows_of_splits(config: RunConfig) -> tuple[xr.Dataset, dict[str, str]]:
    """What ``splits`` compares of every row of the manifest; and names of sources that are the image of another name.

    Arcs are compared by lens and source unless the plan repeats them (``design: grid``).
    """
    folder = RunFolder.of(config)
    images = ("src_id",) if config.plan.sources else ()
    names = ("row_id", "host_index", "split", "is_control", *images)
    rows = read_head(folder.manifest, "manifest", names=names)
    if config.plan.design != "grid":
        opened = open_manifest(folder.manifest)
        columns = [*ARC, "is_control", *(("src_id",) if "src_id" in opened else ())]
        keys = [
            arc_keys(opened[columns].isel(sample=slice(start, start + _ROWS_AT_ONCE)).load())
            for start in range(0, opened.sizes["sample"], _ROWS_AT_ONCE)
        ]
        rows["arc_key"] = ("sample", np.concatenate(keys))
    bank = bank_of(config)
    same = {} if bank is None else bank.same_images(np.unique(rows["src_id"].values.astype(str)).tolist())
    return rows, same
