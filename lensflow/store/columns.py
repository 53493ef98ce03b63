"""Read single columns of a store: of packed tables block by block, so that a million rows are never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import zarr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import StoreError, did_you_mean
from lensflow.schema import Variable
from lensflow.store import paths
from lensflow.store.create import LAYOUTS, group_bands, packed_of
from lensflow.store.direct import Direct
from lensflow.store.read import REQUESTS, open_array, read_array, store_group


@dataclass(frozen=True)
class StoredColumn:
    """One column of a store.

    Attributes
    ----------
    name : str
        That of its variable, and its band, bit or knot: ``snr_matched_r``.
    variable : Variable
    array : str
        Array that holds it.
    place : int or None
        Column of that array; None where it is the array.
    """

    name: str
    variable: Variable
    array: str
    place: int | None


def stored_columns(url: str, store: str, unfinished: bool = False) -> dict[str, StoredColumn]:
    """List the columns of a store; only its metadata are read.

    Parameters
    ----------
    url : str
    store : {"cutouts", "manifest", "pairs"}
    unfinished : bool
        As in :func:`lensflow.store.read.store_group`.

    Returns
    -------
    dict
        Name -> column; no pixels.
    """
    group, layout = store_group(url, store, unfinished), LAYOUTS[store]
    bands, out = group_bands(group), {}
    for v in layout.head:
        names = schema.packed_columns([v], bands)
        for k, name in enumerate(names):
            out[name] = StoredColumn(name, v, v.name, k if len(v.dims) > 1 else None)
    for table, (variables, _) in (layout.tables or {}).items():
        columns = [str(c) for c in open_array(url, group, table).attrs["columns"]]  # type: ignore[union-attr]
        if store == "manifest":
            variables = packed_of(schema.variables_of_columns(columns, bands))
        place = {c: k for k, c in enumerate(columns)}
        for v in variables:
            for name in schema.packed_columns([v], bands):
                if name not in place:
                    raise StoreError(f"{url}: {table} has no column {name!r}: the store has another schema version")
                # A host's fluxes are also among its catalogue's columns.
                out.setdefault(name, StoredColumn(name, v, table, place[name]))
    return out


def read_columns(
    url: str, store: str, names: Sequence[str], unfinished: bool = False, rows: slice | None = None
) -> dict[str, NDArray]:
    """Read columns of all rows, or of a slice, each with the dtype of its variable.

    Parameters
    ----------
    url : str
    store : {"cutouts", "manifest", "pairs"}
    names : sequence of str
        Of :func:`stored_columns`.
    unfinished : bool
        Read a store that is not finished: rows of regions without a receipt are undefined.
    rows : slice, optional
        All by default.

    Returns
    -------
    dict
        Name -> values, shape (n,).

    Raises
    ------
    StoreError
        If there is no such column; DamagedStoreError if a chunk is not what was written.
    """
    known, group = stored_columns(url, store, unfinished), store_group(url, store, unfinished)
    for name in names:
        if name not in known:
            raise StoreError(f"{url}: no column {name!r}.{did_you_mean(name, known)}")
    by_array: dict[str, list[StoredColumn]] = {}
    for name in dict.fromkeys(names):
        by_array.setdefault(known[name].array, []).append(known[name])
    out: dict[str, NDArray] = {}
    for array_name, columns in by_array.items():
        places = [c.place for c in columns]
        if places == [None]:
            values = read_array(url, group, array_name, rows or slice(None))
            out[columns[0].name] = columns[0].variable.decode(values)
            continue
        at = [int(p or 0) for p in places]
        if rows is None:
            taken = _take(url, open_array(url, group, array_name), at)
        else:
            taken = list(read_array(url, group, array_name, rows)[:, at].T)
        for k, column in enumerate(columns):
            out[column.name] = column.variable.decode(taken[k].astype(column.variable.stored_dtype))
    return out


def _take(url: str, array: zarr.Array, places: Sequence[int]) -> list[NDArray]:
    """Some columns of a table, each contiguous."""
    out = [np.empty(array.shape[0], array.dtype) for _ in places]
    for first, block in _blocks(url, array):
        for values, place in zip(out, places, strict=True):
            values[first : first + len(block)] = block[:, place]
    return out


def _blocks(url: str, array: zarr.Array) -> Iterator[tuple[int, NDArray]]:
    direct = Direct.of(url, array)
    if direct is not None:
        with paths.explain_errors(url):
            yield from direct.blocks(slice(None))
        return
    step = int(array.shards[0] if array.shards else array.chunks[0])
    starts = range(0, array.shape[0], step)
    read = partial(_rows, url, array, step)
    if len(starts) < 2 or paths.is_local(url):
        yield from ((start, read(start)) for start in starts)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        yield from zip(starts, pool.map(read, starts), strict=True)


def _rows(url: str, array: zarr.Array, step: int, start: int) -> NDArray:
    with paths.explain_errors(url):
        return np.asarray(array[start : start + step])
