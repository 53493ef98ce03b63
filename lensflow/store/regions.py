"""Regions and slices: one region is one zarr shard along the first dimension, and the unit of writing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from lensflow.errors import StoreError

MIN_REGIONS, MIN_ROWS = 64, 64
# Most rows rendered, measured and compressed together: 75 MB of arcs and stamps with three bands of 64 x 64 pixels.
ROWS_AT_ONCE = 768


@dataclass(frozen=True)
class Region:
    """Rows ``start:stop`` of a store: shard number ``index``."""

    index: int
    start: int
    stop: int

    @property
    def slice(self) -> slice:
        """The region's rows as a slice."""
        return slice(self.start, self.stop)

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    def parts(self, chunk: int = 1) -> Iterator[Region]:
        """Divide it into parts of like size, about ``ROWS_AT_ONCE`` rows or fewer: whole chunks, except at its end."""
        chunks = -(-self.size // chunk)
        n_parts = max(1, min(-(-self.size // ROWS_AT_ONCE), chunks))
        edges = [min(self.start + chunk * (k * chunks // n_parts), self.stop) for k in range(n_parts + 1)]
        for start, stop in itertools.pairwise(edges):
            yield Region(self.index, start, stop)


@dataclass(frozen=True)
class Regions:
    """All regions of a store of ``n_rows`` rows, with ``rows`` rows each; every row is in exactly one."""

    n_rows: int
    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise StoreError(f"a region needs at least one row, not {self.rows}")

    def __len__(self) -> int:
        return -(-self.n_rows // self.rows)

    def __getitem__(self, index: int) -> Region:
        """Region number ``index``; one that does not exist is a StoreError."""
        if not 0 <= index < len(self):
            raise StoreError(f"no region {index} in {self.n_rows} rows of {self.rows} a region")
        start = index * self.rows
        return Region(index, start, min(start + self.rows, self.n_rows))

    def __iter__(self) -> Iterator[Region]:
        return (self[i] for i in range(len(self)))


def rows_per_region(n_rows: int, row_bytes: int, shard_mb: float, inner_chunk: int) -> int:
    """Default number of rows of a region.

    As many whole chunks as fit into ``shard_mb``; fewer if there would be less than ``MIN_REGIONS`` regions, so that a
    small run also keeps many workers busy, but at least ``MIN_ROWS``.

    Parameters
    ----------
    n_rows : int
        Of the store.
    row_bytes : int
        Uncompressed bytes of a row of the largest array.
    shard_mb : float
        Target, MB (10^6 bytes) of one shard.
    inner_chunk : int
        Rows of a compressed chunk.
    """
    fit = int(shard_mb * 1e6 / row_bytes)
    few = max(-(-n_rows // MIN_REGIONS), MIN_ROWS)
    return inner_chunk * max(1, min(fit // inner_chunk, -(-few // inner_chunk)))


def check_aligned(region: Region, n_rows: int, rows_per_shard: int) -> None:
    """Refuse a region that does not cover exactly one shard.

    Two tasks that write parts of one shard would read and rewrite it, and silently lose each other's rows.

    Raises
    ------
    StoreError
    """
    if region != Regions(n_rows, rows_per_shard)[region.index]:
        raise StoreError(
            f"region {region.index} is rows {region.start}:{region.stop}, which is not shard {region.index} of "
            f"{n_rows} rows in shards of {rows_per_shard}: writing it could lose other rows of a shared shard."
        )
