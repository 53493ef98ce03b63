"""Create stores from the schema and write regions into them: the only place that writes zarr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import xxhash
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.schema import Variable
from lensflow.store import paths
from lensflow.store.regions import Region, check_aligned

# Bit-shuffled lz4 costs about 64 us for a pair of 98 kB and does as well as slower codecs on noisy floats.
_CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
# Rows of a table that one process writes in one go; small enough for one object to stay below 100 MB.
_TABLE_ROWS = 1_000_000


@dataclass(frozen=True)
class Layout:
    """How a store's variables are laid out as zarr arrays.

    Attributes
    ----------
    dim : str
        The sharded dimension.
    head : tuple of Variable
        Written once, by the process that creates the store.
    pixels : tuple of Variable
        One sharded array each.
    tables : dict
        Name of a packed array -> its variables and dtype: one object a region instead of one per variable.
    """

    dim: str
    head: tuple[Variable, ...] = ()
    pixels: tuple[Variable, ...] = ()
    tables: Mapping[str, tuple[tuple[Variable, ...], str]] | None = None


def _layouts() -> dict[str, Layout]:
    known_first = {"host_id", "ra_deg", "dec_deg", "brickname", "flux_nmgy", "cell", "split"}
    cut = schema.STORES["cutouts"]
    pixels = tuple(v for v in cut if "y" in v.dims)
    rest = tuple(v for v in cut if "y" not in v.dims and v.name not in known_first)
    return {
        "cutouts": Layout(
            "host",
            head=tuple(v for v in cut if v.name in known_first),
            pixels=pixels,
            tables={"host_table": (rest, "f8")},
        ),
        "manifest": Layout("sample", head=schema.MANIFEST),
        "pairs": Layout(
            "sample",
            pixels=schema.PAIRS,
            tables={"metrics": (schema.METRICS, "f4"), "flags": (schema.FLAGS, "u1")},
        ),
    }


LAYOUTS = _layouts()


def create_store(
    url: str,
    store: str,
    n_rows: int,
    bands: Sequence[str],
    *,
    head: xr.Dataset | None = None,
    stamp_size: int = 0,
    rows_per_region: int = _TABLE_ROWS,
    inner_chunk: int = 0,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Write a store's metadata and its head variables; regions come later, through :func:`write_region`.

    Parameters
    ----------
    url : str
        Where; an existing store there is replaced.
    store : {"cutouts", "manifest", "pairs"}
    n_rows : int
        Length of the host or sample dimension.
    bands : sequence of str
    head : Dataset, optional
        The head variables of the layout.
    stamp_size, rows_per_region, inner_chunk : int
        Pixels of a stamp's side; rows in a shard; rows in a compressed chunk.
    attrs : mapping, optional
        JSON-like attributes of the group.
    """
    layout = LAYOUTS[store]
    with paths.explain_write_errors(url):
        group = zarr.open_group(paths.zarr_store(url, read_only=False), mode="w", zarr_format=3)
        group.attrs.update(
            {"lensflow_store": store, "schema_version": schema.SCHEMA_VERSION, "bands": list(bands), **(attrs or {})}
        )
        for v in layout.head:
            if head is None or v.name not in head:
                raise StoreError(f"{url}: {v.name} is needed to create a {store} store")
            _write_whole(group, v, np.asarray(head[v.name].values))
        sizes = {layout.dim: n_rows, "band": len(bands), "y": stamp_size, "x": stamp_size}
        for v in layout.pixels:
            shape = tuple(sizes[d] for d in v.dims)
            _create_sharded(group, v.name, shape, v.dtype, v.dims, rows_per_region, inner_chunk, v.attrs)
        for name, (variables, dtype) in (layout.tables or {}).items():
            columns = schema.packed_columns(variables, bands)
            described = {"columns": columns}
            shape = (n_rows, len(columns))
            dims = (layout.dim, f"{name}_column")
            _create_sharded(group, name, shape, dtype, dims, rows_per_region, rows_per_region, described)


def _create_sharded(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    dims: Iterable[str],
    rows: int,
    inner: int,
    attrs: Mapping[str, Any],
) -> None:
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        shards=(rows, *shape[1:]),
        chunks=(inner or rows, *shape[1:]),
        compressors=_CODEC,
        fill_value=0,
        dimension_names=list(dims),
        attributes=dict[str, Any](attrs),
    )


def _write_whole(group: zarr.Group, v: Variable, values: NDArray) -> None:
    if v.dtype.startswith("U"):
        # Variable length: zarr v3 has no specification for fixed-width text, other readers could not open it.
        dtype: Any = str
    else:
        dtype = np.dtype(v.dtype)
    values = values.astype(dtype)
    chunk = (min(max(1, len(values)), _TABLE_ROWS), *values.shape[1:])
    array = group.create_array(
        v.name,
        shape=values.shape,
        dtype=dtype,
        chunks=chunk,
        compressors=_CODEC,
        dimension_names=list(v.dims),
        attributes=dict[str, Any](v.attrs),
    )
    array[...] = values


def write_attrs(url: str, attrs: Mapping[str, Any]) -> None:
    """Add JSON-like attributes to a store's group; its arrays stay as they are."""
    with paths.explain_write_errors(url):
        paths.open_group(url, mode="r+").attrs.update(attrs)


def write_region(block: xr.Dataset, url: str, store: str, region: Region) -> dict[str, Any]:
    """Write every regional array of a store for one region, as whole shards.

    Parameters
    ----------
    block : Dataset
        The region's rows, with the layout's pixel and table variables.
    url, store : str
    region : Region

    Returns
    -------
    dict
        ``checksums`` (array -> xxh3-128 of the bytes that a reader gets back) and ``bytes`` (uncompressed).

    Raises
    ------
    StoreError
        If the region is not one shard, the block has another length, or a value does not fit its dtype.
    """
    layout = LAYOUTS[store]
    group = paths.open_group(url, mode="r+")
    if block.sizes[layout.dim] != region.size:
        raise StoreError(f"{url}: a block of {block.sizes[layout.dim]} rows for region {region}")
    bands = group_bands(group)
    arrays = {v.name: np.ascontiguousarray(block[v.name].values, dtype=v.dtype) for v in layout.pixels}
    for name, (variables, dtype) in (layout.tables or {}).items():
        arrays[name] = pack(block, variables, bands, dtype)
    checksums, n_bytes = {}, 0
    with paths.explain_write_errors(url):
        for name, values in arrays.items():
            array = group[name]
            if not isinstance(array, zarr.Array) or array.shards is None:
                raise StoreError(f"{url}: {name} is not a sharded array; the store was not made by lensflow")
            check_aligned(region, array.shape[0], array.shards[0])
            array[region.slice] = values
            checksums[name] = checksum(values)
            n_bytes += values.nbytes
    return {"checksums": checksums, "bytes": n_bytes}


def group_bands(group: zarr.Group) -> list[str]:
    """Bands of a store, in the order of its arrays."""
    return [str(b) for b in group.attrs["bands"]]  # type: ignore[union-attr]


def pack(block: xr.Dataset, variables: Iterable[Variable], bands: Sequence[str], dtype: str) -> NDArray:
    """Pack named variables into one table (row, column), columns as :func:`schema.packed_columns` says."""
    columns = []
    for v in variables:
        values = np.asarray(block[v.name].values)
        columns += [values[:, k] for k in range(len(bands))] if "band" in v.dims else [values]
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(dtype))


def checksum(values: NDArray) -> str:
    """128-bit xxh3 of an array's bytes in C order, as hex."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).data)
