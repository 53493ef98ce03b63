"""Write regions into stores: the only place that writes arrays of regions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from lensflow.errors import StoreError
from lensflow.schema import Variable
from lensflow.store import objects, paths, receipts
from lensflow.store.create import LAYOUTS, checksum, object_key, pack
from lensflow.store.objects import Guard, unguarded
from lensflow.store.pieces import pieces_of_parts
from lensflow.store.read import open_array
from lensflow.store.receipts import ROW_CHECKS
from lensflow.store.regions import Region, check_aligned
from lensflow.store.row_checks import row_checks
from lensflow.store.shards import encode_shard

# Objects of a region written to an object store at a time.
WRITES = 4


def write_region(block: xr.Dataset, url: str, store: str, region: Region, guard: Guard = unguarded) -> dict[str, Any]:
    """Write every regional array of a store for one region, as whole shards.

    A region with a receipt is never changed. On a local disk all objects are first written under temporary names, and
    renamed one after another once the guard allows it; elsewhere they are written only then.

    Parameters
    ----------
    block : Dataset
        The region's rows, with the layout's pixel and table variables.
    url, store : str
    region : Region
    guard : callable, optional
        Raises once the folder is another run's.

    Returns
    -------
    dict
        ``checksums`` (array -> xxh3-128 of the values that a reader gets back), ``bytes`` (uncompressed), ``objects``
        (key of every object in the store -> its pieces; an array of nothing but zeros has none) and ``rendered``
        (arrays that are not stored).

    Raises
    ------
    StoreError
        If the region is not one shard, the block has another length, a value does not fit its dtype, or the region is
        finished already with other values.
    """
    group = objects.open_group(url)
    with paths.explain_errors(url):
        arrays = _regional_arrays(block, group, url, store, region)
    created = objects.created_of(group)
    if ROW_CHECKS in created.arrays:
        arrays[ROW_CHECKS] = row_checks(url, group, arrays)
    checksums = {name: checksum(values) for name, values in arrays.items()}
    arrays = {name: values for name, values in arrays.items() if name not in created.rendered}
    n_bytes = sum(values.nbytes for values in arrays.values())
    may_write = permission(url, region, str(group.attrs.get("fingerprint")), checksums, guard)
    with paths.explain_errors(url):
        written = write_objects(url, encode_arrays(arrays, group, region), may_write)
    return {"checksums": checksums, "bytes": n_bytes, "objects": written, "rendered": created.rendered}


def permission(url: str, region: Region, stamp: str, checksums: Mapping[str, str], guard: Guard) -> Callable[[], bool]:
    """Return what says whether a region may be written: not if it is done already, to the same values.

    Parameters
    ----------
    url : str
        Of the store.
    region : Region
    stamp : str
        The store's fingerprint.
    checksums : mapping
        Of the region's arrays.
    guard : callable
    """

    folder = objects.folder_of(url)

    def first_receipt() -> receipts.Receipt | None:
        if paths.is_local(url):
            guard()
            return receipts.read_receipt(folder, region.index)
        with ThreadPoolExecutor(1) as pool:  # both ask the object store
            found = pool.submit(receipts.read_receipt, folder, region.index)
            guard()
            return found.result()

    def may_write() -> bool:
        first = first_receipt()
        if first is None or first.fingerprint != stamp:
            return True
        receipts.require_same(receipts.receipt_url(folder, region.index), first, stamp, checksums)
        return False

    return may_write


class Encoded(NamedTuple):
    """An object to be written: its key, its bytes in consecutive parts (None: no object), and their pieces."""

    key: str
    data: list[bytes] | None
    pieces: str


def regional_arrays(block: xr.Dataset, url: str, store: str, region: Region) -> dict[str, NDArray[Any]]:
    """Arrays of a region as :func:`write_region` stores them, by name; nothing is written."""
    with paths.explain_errors(url):
        return _regional_arrays(block, objects.open_group(url), url, store, region)


def encode_region(
    block: xr.Dataset, url: str, store: str, region: Region, but: Sequence[str] = ()
) -> Iterator[Encoded]:
    """Encode the objects of a region, one at a time, ``but`` those of some arrays; nothing is written."""
    group = objects.open_group(url)
    arrays = _regional_arrays(block, group, url, store, region)
    if ROW_CHECKS in objects.created_of(group).arrays:
        arrays[ROW_CHECKS] = row_checks(url, group, arrays)
    yield from encode_arrays({n: v for n, v in arrays.items() if n not in but}, group, region)


def _regional_arrays(
    block: xr.Dataset, group: zarr.Group, url: str, store: str, region: Region
) -> dict[str, NDArray[Any]]:
    layout = LAYOUTS[store]
    if block.sizes[layout.dim] != region.size:
        raise StoreError(f"{url}: a block of {block.sizes[layout.dim]} rows for region {region}")
    arrays = {v.name: pixels_of(block, v) for v in layout.pixels_in(group)}
    for name, (variables, dtype) in (layout.tables or {}).items():
        arrays[name] = pack(block, variables, dtype)
    for name in arrays:
        sharded(group, url, name, region)
    return arrays


def pixels_of(block: xr.Dataset, variable: Variable) -> NDArray[Any]:
    """Values of a pixel array of a block, as they are stored."""
    return np.ascontiguousarray(block.variables[variable.name].values, dtype=variable.dtype)


def sharded(group: zarr.Group, url: str, name: str, region: Region) -> zarr.Array:
    """Array of a group of which a region is one shard.

    Raises
    ------
    StoreError
        If it is not.
    """
    array = open_array(url, group, name)
    if array.shards is None:
        raise StoreError(f"{url}: {name} is not a sharded array; the store was not made by lensflow")
    check_aligned(region, array.shape[0], array.shards[0])
    return array


def encode_arrays(arrays: Mapping[str, NDArray[Any]], group: zarr.Group, region: Region) -> Iterator[Encoded]:
    """Encode arrays of a region, one at a time; nothing is written."""
    for name, values in arrays.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        data = encode_shard(array, values)
        pieces = "" if data is None else pieces_of_parts(data)
        yield Encoded(object_key(array, region), data, pieces)


def write_objects(url: str, encoded: Iterable[Encoded], may_write: Callable[[], bool]) -> dict[str, str]:
    """Write objects of a store, if they may be written once they are ready.

    Returns
    -------
    dict
        Key -> pieces of every object, written or not.
    """
    pieces: dict[str, str] = {}
    if paths.is_local(url):
        with paths.staging(objects.run_of(url)) as stage:
            staged = []
            for one in encoded:
                staged.append((one.key, None if one.data is None else stage(one.data)))
                pieces.update({one.key: one.pieces} if one.pieces else {})
            if may_write():
                publish(url, staged)
        return pieces
    allowed: bool | None = None
    # An object is on its way while the next one is encoded.
    with ThreadPoolExecutor(WRITES) as pool:
        writes = []
        for one in encoded:
            pieces.update({one.key: one.pieces} if one.pieces else {})
            allowed = may_write() if allowed is None else allowed
            if allowed:
                writes.append(pool.submit(_put, url, one))
        for write in writes:
            write.result()
    return pieces


def publish(url: str, staged: Iterable[tuple[str, Path | None]]) -> None:
    """Move staged objects of a local store into place, one after another; None: nothing is to be in that place."""
    for key, temporary in staged:
        # A run that takes the folder over deletes staged files: then this fails, even long after the guard's
        # permission.
        paths.publish(temporary, paths.join(url, key))


def _put(url: str, one: Encoded) -> None:
    """Write an object to an object store, or remove what is in the place of zeros."""
    if one.data is None:
        paths.remove(paths.join(url, one.key))
    else:
        paths.put_object(url, one.key, b"".join(one.data))
