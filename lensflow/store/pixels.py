"""Read pixel arrays, stored or rendered (``store.pixels``): rows at once, a few at a time, or as a lazy array."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from lensflow.errors import StoreError
from lensflow.store import objects, paths
from lensflow.store.direct import Direct
from lensflow.store.objects import CheckedStore
from lensflow.store.read import Rows, open_array, read_all, read_array, store_group
from lensflow.store.regions import ROWS_AT_ONCE
from lensflow.store.run_folder import Places


def read_pixel_arrays(
    places: Places,
    group: zarr.Group,
    names: Sequence[str],
    rows: Rows = slice(None),
    manifest: xr.Dataset | None = None,
    hosts: xr.Dataset | None = None,
    keep_others: bool = False,
) -> dict[str, NDArray[Any]]:
    """Read rows of pixel arrays; what is not stored is rendered, all of it at once.

    Parameters
    ----------
    places : Places
        ``pairs`` is the store that is read, pairs or not; the others matter where something is rendered.
    group : zarr.Group
        That store, opened.
    names : sequence of str
    rows : slice without a step, or ndarray of int64
    manifest, hosts : Dataset, optional
        The rows of the manifest and their hosts, if they are in memory already and ``rows`` is a slice.
    keep_others : bool
        As for :func:`lensflow.store.rendered.render_rows`.

    Returns
    -------
    dict of ndarray

    Raises
    ------
    RenderedPixelsError
        If pixels cannot be rendered here to the bits that they had.
    """
    virtual = objects.created_of(group).rendered
    found = read_all(places.pairs, group, [n for n in names if n not in virtual], rows)
    if len(found) < len(names):
        made = [n for n in names if n in virtual]
        found |= _with_rendered(places, group, made, rows, manifest, hosts, keep_others)
    return {n: found[n] for n in names}


def read_pixels(url: str, store: str, rows: Rows, names: Sequence[str]) -> dict[str, NDArray]:
    """Pixel arrays of some rows of a store (cutouts or pairs), a slice or numbers; nothing else is read."""
    return read_pixel_arrays(Places.beside(url), store_group(url, store), names, rows)


def _with_rendered(
    places: Places,
    group: zarr.Group,
    names: Sequence[str],
    rows: Rows,
    manifest: xr.Dataset | None,
    hosts: xr.Dataset | None,
    keep_others: bool,
) -> dict[str, NDArray[Any]]:
    """Rows of arrays of which some regions are rendered, region by region."""
    from lensflow.store.rendered import render_rows  # compiled: only where something is rendered

    assert isinstance(group.store, CheckedStore)
    arrays = {n: open_array(places.pairs, group, n) for n in names}
    one = next(iter(arrays.values()))
    assert one.shards is not None
    every = np.arange(one.shape[0])[rows]
    wanted, place = np.unique(every, return_inverse=True)
    out = {n: np.empty((len(wanted), *a.shape[1:]), a.dtype) for n, a in arrays.items()}
    region = wanted // one.shards[0]
    edges = [0, *(np.flatnonzero(np.diff(region)) + 1).tolist(), len(wanted)]
    for low, high in itertools.pairwise(edges):
        if low == high:
            continue
        numbers, index = wanted[low:high], int(region[low])
        vouched = group.store.region(index)
        if vouched is None:
            raise StoreError(
                f"{places.pairs}: region {index} is not finished, and its pixels are not stored: none can be read"
            )
        whole = high - low == len(wanted)
        for name in names:
            if name not in vouched.rendered:
                some = slice(int(numbers[0]), int(numbers[-1]) + 1)
                out[name][low:high] = read_array(places.pairs, group, name, some)[numbers - numbers[0]]
        made = {n: out[n][low:high] for n in names if n in vouched.rendered}
        if made:
            given = manifest.isel(sample=slice(low, high)) if manifest is not None and not whole else manifest
            render_rows(places, group, numbers, made, given, hosts, keep_others)
    return out if np.array_equal(wanted, every) else {n: v[place] for n, v in out.items()}


def pixel_blocks(
    url: str, store: str, rows: slice, name: str, only: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Read a pixel array of some rows of a store a few rows at a time where zarr is not needed; else all at once.

    Parameters
    ----------
    url, store : str
    rows : slice
    name : str
    only : ndarray of int64, optional
        Rows that are wanted, rising: where they are rendered, no other is.

    Yields
    ------
    numbers : ndarray of int64, shape (row,)
        Numbers of the rows, rising.
    values : ndarray, shape (row, ...)
        The next block may be written over them.
    """
    group = store_group(url, store)
    array = open_array(url, group, name)
    start, stop, _ = rows.indices(array.shape[0])
    if name in objects.created_of(group).rendered:
        every = np.arange(start, stop) if only is None else only
        for k in range(0, len(every), ROWS_AT_ONCE):
            some = every[k : k + ROWS_AT_ONCE]
            yield some, read_pixel_arrays(Places.beside(url), group, [name], some)[name]
        return
    direct = Direct.of(url, array)
    if direct is None:
        yield np.arange(start, stop), read_array(url, group, name, rows)
        return
    with paths.explain_errors(url):
        for first, values in direct.blocks(rows):
            yield np.arange(first, first + len(values)), values


@dataclass(frozen=True)
class LazyPixels:
    """A pixel array of pairs of which some regions are rendered: what Dask slices and reads, on any worker.

    Attributes
    ----------
    places : Places
    name : str
    shape : tuple of int
    dtype : dtype
    unfinished : bool
        Whether the pairs may be.
    """

    places: Places
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unfinished: bool = False

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        of_rows, *rest = _every_axis(key, self.ndim)
        rows = np.arange(self.shape[0])[of_rows]
        group = store_group(self.places.pairs, "pairs", self.unfinished)
        wanted = np.atleast_1d(rows)
        in_turn = len(wanted) > 0 and np.array_equal(wanted, np.arange(wanted[0], wanted[0] + len(wanted)))
        asked: Rows = slice(int(wanted[0]), int(wanted[-1]) + 1) if in_turn else wanted
        values = read_pixel_arrays(self.places, group, [self.name], asked, keep_others=True)[self.name]
        return values[(slice(None) if rows.ndim else 0, *rest)]


def _every_axis(key: Any, ndim: int) -> tuple[Any, ...]:
    """Key with an index for every axis, the rows' first.

    Raises
    ------
    IndexError
        For new axes, masks of several axes and numbers of more than one, which nothing here asks for.
    """
    parts = key if isinstance(key, tuple) else (key,)
    gaps = [k for k, part in enumerate(parts) if part is Ellipsis]
    at, left = gaps[0] if gaps else len(parts), ndim - len(parts) + len(gaps)
    parts = (*parts[:at], *[slice(None)] * left, *parts[at + len(gaps) :])
    dims = [1 if isinstance(part, slice) else np.ndim(part) for part in parts]
    picked = sum(not isinstance(part, slice) and dim == 1 for part, dim in zip(parts, dims, strict=True))
    if left < 0 or len(gaps) > 1 or any(part is None for part in parts) or max(dims) > 1 or picked > 1:
        raise IndexError(f"pixels are read by slices and numbers, of one axis at most several numbers; not {key!r}")
    return parts
