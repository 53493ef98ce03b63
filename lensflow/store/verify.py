"""Read a region back and compare it with its receipt: objects there and of the right length, values unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
import zarr

from lensflow.store import paths, s3
from lensflow.store.create import LAYOUTS, SHARD_ROWS, checksum, object_key
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region


@dataclass(frozen=True)
class Damage:
    """Something of a region that is not as its receipt says.

    Attributes
    ----------
    store : str
        Name of the store ("cutouts", "pairs").
    region : int
    array : str
        Array, or "" where the receipt itself is at fault.
    object : str
        URL of the object.
    what : str
        What is wrong with it.
    """

    store: str
    region: int
    array: str
    object: str
    what: str

    def __str__(self) -> str:
        array = f", {self.array}" if self.array else ""
        return f"{self.store}, region {self.region}{array}: {self.what} ({self.object})"


def check_region(url: str, store: str, region: Region, receipt: Receipt) -> list[Damage]:
    """Compare what is stored of a region with its receipt.

    Parameters
    ----------
    url, store : str
        The zarr store and its name.
    region : Region
    receipt : Receipt

    Returns
    -------
    list of Damage
        Empty if every value is as it was written. A change of an object that no reader can notice is none.
    """
    group = paths.open_group(url)
    found = []
    for name, expected in receipt.checksums.items():
        array = group.get(name)
        place = paths.join(url, name)
        if not isinstance(array, zarr.Array):
            what = "the array is missing"
        else:
            place = paths.join(url, key := object_key(array, region))
            what = _fault(url, array, region, expected, paths.size(place), receipt.objects.get(key))
        if what:
            found.append(Damage(store, region.index, name, place, what))
    return found


def check_table(url: str, store: str) -> list[Damage]:
    """Compare a store of tables with the checksums of its columns, a shard's rows at a time.

    Parameters
    ----------
    url, store : str
        The zarr store and its name.

    Returns
    -------
    list of Damage
        One for each array that is not as it was written.
    """
    group = paths.open_group(url)
    written: Any = group.attrs.get("checksums", {})
    found = []
    layout = LAYOUTS[store]
    # Text is of variable length in the store; its checksum is that of the column's own width.
    widths = {v.name: None if v.categories else np.dtype(v.dtype) for v in layout.head}
    for name in (*widths, *(layout.tables or {})):
        what = _table_fault(url, group, name, widths.get(name), written.get(name))
        if what:
            found.append(Damage(store, 0, name, paths.join(url, name), what))
    return found


def _table_fault(url: str, group: zarr.Group, name: str, dtype: np.dtype[Any] | None, expected: str | None) -> str:
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        return "the array is missing"
    digest = xxhash.xxh3_128()
    try:
        for start in range(0, array.shape[0], SHARD_ROWS):
            values = np.asarray(array[start : start + SHARD_ROWS])
            digest.update(np.ascontiguousarray(values if dtype is None else values.astype(dtype)).data)
    except Exception as error:  # codecs raise whatever they like on damaged bytes
        _raise_if_unreachable(url, error)
        return f"cannot be read ({type(error).__name__}: {error})"
    return "" if digest.hexdigest() == expected else "the values differ from what was written"


def _fault(url: str, array: zarr.Array, region: Region, expected: str, size: int | None, written: int | None) -> str:
    """Say what is wrong with one array of a region; empty if nothing is."""
    if written is not None and size is None:
        return "the object is missing"
    if written is not None and size is not None and size < written:
        return f"the object is truncated: {size} of {written} bytes"
    try:
        values = np.asarray(array[region.slice])
    except Exception as error:  # codecs raise whatever they like on damaged bytes
        _raise_if_unreachable(url, error)
        return f"the object cannot be decoded ({type(error).__name__}: {error})"
    if checksum(values) != expected:
        return "the values differ from what was written"
    return ""


def _raise_if_unreachable(url: str, error: Exception) -> None:
    """A server that does not answer says nothing about the bytes that it holds."""
    if explained := s3.explained(url, error):
        raise explained from error
