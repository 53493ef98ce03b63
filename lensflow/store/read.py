"""Read arrays of a store, checked: rows of one or of many, at once or a few at a time; nothing here needs Dask."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.store import paths
from lensflow.store.create import LAYOUTS, group_bands
from lensflow.store.direct import Direct
from lensflow.store.objects import CheckedStore, checked_group, open_group, opened_groups
from lensflow.store.regions import Regions

# Columns read concurrently from an object store.
REQUESTS = 16

_arrays: dict[tuple[str, str, str, str, bool], zarr.Array] = {}
_ARRAYS_KEPT = 1000
Rows = slice | NDArray[np.int64]


def open_array(url: str, group: zarr.Group, name: str) -> zarr.Array:
    """Open an array of a group; its metadata is read once per process, fingerprint and layout, to save S3 requests."""
    unfinished = isinstance(group.store, CheckedStore) and group.store.unfinished
    fingerprint, layout = (str(group.attrs.get(k, "")) for k in ("fingerprint", "layout"))
    key = (url, fingerprint, layout, name, unfinished)
    known = _arrays.get(key) if key[1] else None
    if known is not None:
        return known
    with paths.explain_errors(url):
        array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{url}: has no array {name}")
    if len(_arrays) >= _ARRAYS_KEPT:
        _arrays.clear()
    _arrays[key] = array
    return array


@contextlib.contextmanager
def opened_together(*urls: str) -> Iterator[None]:
    """Open the groups of several stores on an object store at once; within the block they are not opened again.

    For a task, which reads and writes some stores: asked one after another, each takes the time of a request. Nothing
    is done for stores on a local disk.

    Parameters
    ----------
    *urls : str

    Raises
    ------
    StoreError
        If there is no such store, or it is damaged.
    """
    if all(paths.is_local(url) for url in urls):
        yield
        return
    with ThreadPoolExecutor(len(urls)) as pool:
        groups = dict(zip(urls, pool.map(checked_group, urls), strict=True))
    token = opened_groups.set({**opened_groups.get({}), **groups})
    try:
        yield
    finally:
        opened_groups.reset(token)


def store_group(url: str, store: str, unfinished: bool = False) -> zarr.Group:
    """Open the group of a store whose every read is checked; ``unfinished`` as in :func:`open_group`.

    Raises
    ------
    StoreError
        If it is a store of another kind or schema, or its writing did not end.
    """
    group = open_group(url, unfinished)
    found = group.attrs.get("lensflow_store")
    if found != store:
        raise StoreError(f"{url}: expected a {store} store of lensflow, found {found or 'something else'}")
    version = group.attrs.get("schema_version")
    if version != schema.SCHEMA_VERSION:
        raise StoreError(
            f"{url}: written with schema version {version}, this lensflow reads {schema.SCHEMA_VERSION}. Read it with "
            f"the lensflow that wrote it, or create it again in another out."
        )
    if group.attrs.get("finished") is False:
        raise StoreError(f"{url}: the step that writes this {store} did not finish. Run it again.")
    return group


def read_attrs(url: str, store: str) -> dict[str, Any]:
    """Attributes of a store, checked."""
    return dict(store_group(url, store).attrs)


def stored_regions(url: str, store: str) -> Regions:
    """Regions of a store, from its metadata: no table is read."""
    group = store_group(url, store)
    try:
        n_rows, rows = (int(str(group.attrs[k])) for k in ("n_rows", "rows_per_region"))
    except KeyError as error:
        raise StoreError(f"{url}: does not say its {error}: made by an older version; choose another out") from error
    return Regions(n_rows, rows)


def read_array(url: str, group: zarr.Group, name: str, rows: Rows = slice(None)) -> NDArray:
    """Read rows of an array; without zarr's pipeline where its layout is known."""
    array = open_array(url, group, name)
    if isinstance(rows, slice) and rows.step not in (None, 1):
        rows = np.arange(array.shape[0])[rows]
    with paths.explain_errors(url):
        if isinstance(rows, slice):
            direct = Direct.of(url, array)
            values = np.asarray(array[rows]) if direct is None else direct.rows(rows)
        else:
            values = np.asarray(array.oindex[rows])
    # Text is returned with a variable-width dtype, which Dask and older code do not support.
    return values.astype(object).astype(str) if values.dtype.kind in "OT" else values


def read_all(url: str, group: zarr.Group, names: Iterable[str], rows: Rows = slice(None)) -> dict[str, NDArray]:
    """Read many arrays: one after another from disk, concurrently over a network, where requests have latency."""
    names = list(names)
    if paths.is_local(url):
        return {n: read_array(url, group, n, rows) for n in names}
    with ThreadPoolExecutor(REQUESTS) as pool:
        return dict(zip(names, pool.map(lambda n: read_array(url, group, n, rows), names), strict=True))


def read_head(url: str, store: str, rows: slice = slice(None), names: Sequence[str] | None = None) -> xr.Dataset:
    """Read what was written when the store was created (for cutouts: names, positions, splits), in memory.

    ``names`` selects variables: a manifest of ten million rows is 3 GB, three of its columns are 200 MB.
    """
    group = store_group(url, store)
    wanted = [v for v in LAYOUTS[store].head if names is None or v.name in names]
    found = read_all(url, group, [v.name for v in wanted], rows)
    data = {v.name: (v.dims, v.decode(found[v.name]), v.attrs) for v in wanted}
    return xr.Dataset(data, coords={"band": group_bands(group)})
