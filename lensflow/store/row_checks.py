"""A checksum of each row of the arrays of pairs that are rendered when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
import zarr
from numpy.typing import NDArray

from lensflow.store.read import open_array
from lensflow.store.receipts import ROW_CHECKS


def row_checks(url: str, group: zarr.Group, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """Checksums of the rows of the arrays that are rendered when they are read, shape (row, array)."""
    return np.stack([checksums_of_rows(arrays[name]) for name in columns_of_checks(url, group)], axis=1)


def columns_of_checks(url: str, group: zarr.Group) -> list[str]:
    """Arrays whose rows have checksums, in the order of their columns."""
    columns: Any = open_array(url, group, ROW_CHECKS).attrs["columns"]
    return list(columns)


def checksums_of_rows(values: NDArray[Any]) -> NDArray[np.uint64]:
    """64-bit xxh3 of the bytes of each row, in C order."""
    rows = np.ascontiguousarray(values)
    return np.fromiter((xxhash.xxh3_64_intdigest(row) for row in rows), np.uint64, len(rows))
