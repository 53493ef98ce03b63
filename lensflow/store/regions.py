"""Region <-> slice: one region is one zarr shard along the first dimension, and the only unit that is written."""

from __future__ import annotations

from dataclasses import dataclass

from lensflow.errors import StoreError


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


def region_at(index: int, n_rows: int, rows_per_region: int) -> Region:
    """Region number ``index`` of a store of ``n_rows`` rows.

    Raises
    ------
    StoreError
        If there is no such region.
    """
    start = index * rows_per_region
    if not (0 <= start < n_rows):
        raise StoreError(f"no region {index} in {n_rows} rows of {rows_per_region} a region")
    return Region(index, start, min(start + rows_per_region, n_rows))


def plan_regions(n_rows: int, rows_per_region: int) -> list[Region]:
    """All regions of a store, in order; together they hold every row exactly once."""
    if rows_per_region < 1:
        raise StoreError(f"a region needs at least one row, not {rows_per_region}")
    return [region_at(i, n_rows, rows_per_region) for i in range(-(-n_rows // rows_per_region))]


def check_aligned(region: Region, n_rows: int, rows_per_shard: int) -> None:
    """Refuse a region that does not cover exactly one shard.

    Two tasks that write parts of one shard read, change and rewrite it, and lose each other's rows silently.

    Raises
    ------
    StoreError
    """
    if region != region_at(region.index, n_rows, rows_per_shard):
        raise StoreError(
            f"region {region.index} is rows {region.start}:{region.stop}, which is not shard {region.index} of "
            f"{n_rows} rows in shards of {rows_per_shard}: writing it could lose other rows of a shared shard."
        )
