"""Strips of sky: the hosts that one task of cutting reads, brick by brick, so that a brick's files are opened once.

Hosts are stored by split, then brick: a brick's hosts stand in several regions. A strip is some neighbouring bricks
with all of their hosts. Regions that are whole within a strip are written by its task; of the others it makes parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lensflow.cluster.local import BASE_BYTES
from lensflow.run.sources import bricks_along_sky
from lensflow.store.regions import Region, Regions

# Hosts of a strip: those of STRIP_REGIONS regions, fewer where that would make fewer strips than MIN_STRIPS.
STRIP_REGIONS, MIN_STRIPS = 8, 32
# Hosts of regions that are not whole yet, which a task holds in memory: those of this many regions, fewer where memory
# is short.
OPEN_REGIONS, FEWEST_OPEN = 4.0, 0.25
# Arrays of a region's size that a task takes while it measures and writes one, and that each open region takes: image,
# weights and mask.
FINISH_COPIES, OPEN_COPIES = 5.2, 2.4


@dataclass(frozen=True)
class Strips:
    """Which hosts each task reads.

    Attributes
    ----------
    regions : Regions
        Of the store.
    runs : tuple of ndarray, shape (run, 2)
        Of each strip, first row and the row after the last of runs of hosts; sorted, none of them in two regions.
    """

    regions: Regions
    runs: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.runs)

    def regions_of(self, strip: int) -> list[int]:
        """Regions that have hosts in a strip."""
        return np.unique(self.runs[strip][:, 0] // self.regions.rows).tolist()

    def rows_of(self, strip: int, region: int) -> NDArray[np.int64]:
        """Rows of a region that are in a strip, counted from the region's first."""
        runs, first = self.runs[strip], self.regions[region].start
        mine = runs[runs[:, 0] // self.regions.rows == region] - first
        return np.concatenate([np.arange(a, b) for a, b in mine.tolist()])

    def strips_of(self, region: int) -> list[int]:
        """Strips that have hosts of a region, in the order of the sky."""
        return self._strips[region]

    @cached_property
    def _strips(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for strip in range(len(self)):
            for region in self.regions_of(strip):
                found.setdefault(region, []).append(strip)
        return found


def open_regions(memory_bytes: float, region_bytes: float) -> float:
    """Regions' worth of hosts that a task may hold in memory.

    Parameters
    ----------
    memory_bytes : float
        What one task may take, the process with its libraries included.
    region_bytes : float
        Uncompressed bytes of one pixel array in one region.
    """
    free = memory_bytes - BASE_BYTES - FINISH_COPIES * region_bytes
    return float(np.clip(free / (OPEN_COPIES * region_bytes), FEWEST_OPEN, OPEN_REGIONS))


def plan_strips(
    brickname: NDArray[np.str_],
    cell: NDArray[np.int64],
    regions: Regions,
    todo: Iterable[Region],
    most_open: float = OPEN_REGIONS,
) -> Strips:
    """Divide the hosts of regions that are to be cut into strips.

    A brick is in one strip, unless it has more hosts than ``STRIP_REGIONS`` regions: then several tasks share it.

    Parameters
    ----------
    brickname : ndarray of str, shape (host,)
    cell : ndarray of int64, shape (host,)
        Sky cells, by which bricks are ordered.
    regions : Regions
        Of the store.
    todo : iterable of Region
    most_open : float
        As :func:`open_regions`; a strip is at least a brick.
    """
    rows = np.concatenate([np.arange(r.start, r.stop) for r in todo] or [np.zeros(0, np.int64)])
    rank = bricks_along_sky(brickname[rows], cell[rows])
    order = np.argsort(rank, kind="stable")
    rows, rank = rows[order], rank[order]
    most = STRIP_REGIONS * regions.rows
    usual = min(most, max(regions.rows, len(rows) // MIN_STRIPS))
    strips: list[list[NDArray[np.int64]]] = []
    held = _Held(regions, most_open)
    for of_brick in np.split(rows, np.flatnonzero(np.diff(rank)) + 1) if len(rows) else []:
        for some in np.split(of_brick, np.arange(most, len(of_brick), most)):
            if not strips or not held.takes(some, usual):
                strips.append([])
                held = _Held(regions, most_open)
            strips[-1].append(some)
            held.add(some)
    return Strips(regions, tuple(_runs(np.sort(np.concatenate(strip)), regions.rows) for strip in strips))


class _Held:
    """Hosts of a strip so far, and those of them that are in regions of which others are missing."""

    def __init__(self, regions: Regions, most_open: float):
        self._regions, self._n_rows, self._most_open = regions, 0, most_open * regions.rows
        self._read: dict[int, int] = {}

    def takes(self, rows: NDArray[np.int64], usual: int) -> bool:
        """Whether a strip with some hosts more is neither too long nor holds too many."""
        waiting = sum(n for r, n in self._read.items() if n < self._regions[r].size)
        return self._n_rows + len(rows) <= usual and waiting + len(rows) <= self._most_open

    def add(self, rows: NDArray[np.int64]) -> None:
        """Add the hosts of a brick."""
        self._n_rows += len(rows)
        for region, n in zip(*np.unique(rows // self._regions.rows, return_counts=True), strict=True):
            self._read[int(region)] = self._read.get(int(region), 0) + int(n)


def _runs(rows: NDArray[np.int64], rows_per_region: int) -> NDArray[np.int64]:
    """Runs of consecutive rows, divided where a region ends."""
    new = np.flatnonzero((np.diff(rows) > 1) | (np.diff(rows // rows_per_region) > 0)) + 1
    starts, stops = np.r_[0, new], np.r_[new, len(rows)]
    return np.stack([rows[starts], rows[stops - 1] + 1], axis=1)
