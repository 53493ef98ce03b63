"""Read blocks of hosts and of a manifest's rows into memory: what pairs are rendered of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from lensflow.schema import Variable
from lensflow.store.create import LAYOUTS, group_bands
from lensflow.store.objects import has_array
from lensflow.store.read import open_array, read_all, store_group
from lensflow.store.regions import Region
from lensflow.store.unpack import unpack

# Hosts between two wanted ones that are read too, rather than starting another read.
_GAP = 64


def read_tables(
    url: str, store: str, group: zarr.Group, rows: slice = slice(None), head: bool = True, also: Sequence[Variable] = ()
) -> dict[str, Any]:
    """Named variables of a store's tables, of what was written at its creation (``head``), and others (``also``)."""
    layout = LAYOUTS[store]
    bands, packed = group_bands(group), layout.tables or {}
    of_head = layout.head if head else ()
    # All at once: on an object store one after another would wait for each.
    found = read_all(url, group, [*(v.name for v in (*of_head, *also)), *packed], rows)
    out: dict[str, Any] = {v.name: (v.dims, v.decode(found[v.name]), v.attrs) for v in of_head}
    for name, (variables, _) in packed.items():
        columns: Any = open_array(url, group, name).attrs["columns"]
        out.update(unpack(found[name], store, columns, variables, bands))
    return out | {v.name: (v.dims, v.decode(found[v.name]), v.attrs) for v in also}


def read_manifest_block(url: str, region: Region) -> xr.Dataset:
    """Rows of a manifest, in memory, with the manifest's attrs."""
    group = store_group(url, "manifest")
    data = read_tables(url, "manifest", group, region.slice)
    return xr.Dataset(data, coords={"band": group_bands(group)}, attrs=dict(group.attrs))


def read_host_block(url: str, first: int, stop: int) -> xr.Dataset:
    """Pixels and measurements of hosts ``first:stop`` of a cutouts store, in memory, with coordinate ``host_index``.

    Catalogue columns are left out except ``sigma_v_km_s``, which a flag of pairs uses.
    """
    group = store_group(url, "cutouts")
    head = [v for v in LAYOUTS["cutouts"].head if v.name == "sigma_v_km_s" and has_array(group, v.name)]
    pixels = LAYOUTS["cutouts"].pixels_in(group)
    data = read_tables(url, "cutouts", group, slice(first, stop), head=False, also=[*pixels, *head])
    coords = {"band": group_bands(group), "host_index": ("host", np.arange(first, stop))}
    return xr.Dataset(data, coords=coords, attrs={"pixel_scale_arcsec": group.attrs["pixel_scale_arcsec"]})


def read_hosts(url: str, host_index: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray]:
    """Pixels of the given hosts, in the given order, from one contiguous read per variable.

    Parameters
    ----------
    url : str
        A cutouts store.
    host_index : ndarray of int64, shape (n,)
        May repeat; a manifest is sorted by host, so a region needs one narrow slice.
    names : sequence of str
    """
    group = store_group(url, "cutouts")
    if len(host_index) == 0:
        return {n: np.empty((0, *open_array(url, group, n).shape[1:]), open_array(url, group, n).dtype) for n in names}
    # Rows of a larger plan follow those of a smaller one: where hosts start over begins another slice.
    falls = np.flatnonzero(np.diff(host_index) < 0) + 1
    read: dict[str, list[NDArray]] = {n: [] for n in names}
    for part in np.split(host_index, falls) if len(falls) <= 1 else [host_index]:
        first, last = int(part.min()), int(part.max())
        each = np.array_equal(part, np.arange(first, last + 1))
        for n, values in read_all(url, group, names, slice(first, last + 1)).items():
            read[n].append(values if each else values[part - first])
    return {n: parts[0] if len(parts) == 1 else np.concatenate(parts) for n, parts in read.items()}


def hosts_of(url: str, host_index: NDArray[np.int64]) -> xr.Dataset:
    """Hosts of some rows, in the order of their numbers: in one slice, or a few where they lie apart.

    A plan's rows are sorted by host: one slice; two where the rows of a larger plan follow those of a smaller one.
    Rows picked from anywhere have hosts anywhere.

    Parameters
    ----------
    url : str
        A cutouts store.
    host_index : ndarray of int64, shape (n,)
        May repeat.

    Returns
    -------
    Dataset
        As :func:`read_host_block`.
    """
    hosts = np.unique(host_index)
    parts = np.split(hosts, np.flatnonzero(np.diff(hosts) > _GAP) + 1)
    blocks = [read_host_block(url, int(part[0]), int(part[-1]) + 1) for part in parts]
    return blocks[0] if len(blocks) == 1 else xr.concat(blocks, "host", combine_attrs="override")


def hosts_among(hosts: xr.Dataset, host_index: NDArray[np.int64]) -> xr.Dataset:
    """Narrow hosts in memory to those of some rows, and what lies between them; nothing is copied."""
    low, high = np.searchsorted(hosts["host_index"].values, [host_index.min(), host_index.max()])
    return hosts.isel(host=slice(int(low), int(high) + 1))
