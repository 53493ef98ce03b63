"""Create stores from the schema; regions are written by :mod:`lensflow.store.writing`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from lensflow.store import objects, paths
from lensflow.store.objects import Guard, RecordingStore, unguarded
from lensflow.store.receipts import ROW_CHECKS
from lensflow.store.regions import Region

# Measured by benchmarks/store.py: lz4 compresses noisy floats as well as codecs of three times its cost; rounded pixels
# benefit from an entropy coder. Pairs that are shuffled by bytes, at level 7, take the room that they take by bits at
# level 5 (98 and 101 %), 75 to 93 % of the time to compress, half of that to decompress. Images of hosts take 5 % more.
LOSSLESS, PAIRS, ROUNDED = "lz4-bitshuffle", "lz4-shuffle", "zstd3-shuffle"
CODECS = {
    "lz4-bitshuffle": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
    "lz4-shuffle": BloscCodec(cname="lz4", clevel=7, shuffle="shuffle"),
    "zstd1-bitshuffle": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
    "zstd1-shuffle": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    "zstd3-bitshuffle": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
    "zstd3-shuffle": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
}
# Tables that one process writes: rows of one object, and rows that a reader decompresses together, so that a region
# reads little more than its own.
SHARD_ROWS, CHUNK_ROWS = 262_144, 4_096


# Columns of a manifest stored as separate arrays: keys, columns used to select rows, and free text.
MANIFEST_KEYS = ("row_id", "host_index", "is_control", "split", "src_id")


@dataclass(frozen=True)
class Layout:
    """Layout of a store's variables as zarr arrays.

    Attributes
    ----------
    dim : str
        The sharded dimension.
    head : tuple of Variable
        Written once, by the process that creates the store: one array each.
    pixels : tuple of Variable
        One sharded array each.
    tables : dict
        Name of a packed array -> its variables and dtype: one object a region instead of one per variable. Text in
        them is one of a few categories, stored as its number.
    optional : tuple of Variable
        Further arrays by region (of pixels, or a value a band), in stores that were created with them.
    """

    dim: str
    head: tuple[Variable, ...] = ()
    pixels: tuple[Variable, ...] = ()
    tables: Mapping[str, tuple[tuple[Variable, ...], str]] | None = None
    optional: tuple[Variable, ...] = ()

    def pixels_in(self, group: zarr.Group) -> tuple[Variable, ...]:
        """Pixel arrays of a store, including the optional ones it has."""
        return self.pixels + tuple(v for v in self.optional if objects.has_array(group, v.name))


def packed_of(variables: Iterable[Variable]) -> tuple[Variable, ...]:
    """Variables of a manifest that are in its packed table."""
    return tuple(v for v in variables if v.name not in MANIFEST_KEYS)


def _layouts() -> dict[str, Layout]:
    known_first = {"cell", "split", *(v.name for v in schema.TARGETS)}
    cut = schema.STORES["cutouts"]
    pixels = tuple(v for v in cut if "y" in v.dims)
    rest = tuple(v for v in cut if "y" not in v.dims and v.name not in known_first)
    return {
        "cutouts": Layout(
            "host",
            head=tuple(v for v in cut if v.name in known_first),
            pixels=pixels,
            optional=(schema.PSF_KERNEL,),
            tables={"host_table": (rest, "f8")},
        ),
        # Of the former, whole columns are read; a region reads all columns of the table, with one request.
        "manifest": Layout(
            "sample",
            head=tuple(v for v in schema.MANIFEST if v.name in MANIFEST_KEYS),
            tables={"parameters": (packed_of(schema.MANIFEST), "f8")},
        ),
        "pairs": Layout(
            "sample",
            pixels=schema.PAIRS,
            optional=(schema.CTRL, *schema.COMPONENT_METRICS),
            tables={"metrics": (schema.METRICS + schema.ROUNDING, "f4"), "flags": (schema.FLAGS, "u1")},
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
    psf_size: int = 0,
    rows_per_region: int = SHARD_ROWS,
    inner_chunk: int = 0,
    attrs: Mapping[str, Any] | None = None,
    optional: Sequence[str] = (),
    codec: str = "auto",
    rounded: Mapping[str, Mapping[str, Any]] | None = None,
    virtual: Sequence[str] = (),
    guard: Guard = unguarded,
) -> None:
    """Write a store's metadata and its head variables; regions come later, through :mod:`lensflow.store.writing`.

    Parameters
    ----------
    url : str
        Where; an existing store there is replaced.
    store : {"cutouts", "pairs"}
        A manifest is written by :class:`lensflow.store.tables.TableWriter`.
    n_rows : int
        Length of the host or sample dimension.
    bands : sequence of str
    head : Dataset, optional
        The head variables of the layout.
    stamp_size, psf_size, rows_per_region, inner_chunk : int
        Pixels of a stamp's side, and of a PSF image's; rows in a shard; rows in a compressed chunk.
    attrs : mapping, optional
        JSON-like attributes of the group.
    optional : sequence of str
        Optional pixel arrays of the layout to create.
    codec : str
        As ``store.codec``.
    rounded : mapping, optional
        Pixel arrays whose values are rounded -> attributes that say how.
    virtual : sequence of str
        Pixel arrays that are not stored: a checksum of each of their rows is.
    guard : callable, optional
        Asked before every write; raises once the folder is another run's.
    """
    rounded = rounded or {}
    layout = LAYOUTS[store]
    values: dict[str, str] = {}
    regional = []
    guard()
    paths.remove(objects.record_url(url))
    with paths.explain_errors(url):
        recorder = RecordingStore(paths.zarr_store(url, read_only=False), guard, virtual)
        group = zarr.open_group(recorder, mode="w", zarr_format=3)
        sizing: dict[str, Any] = {"n_rows": n_rows, "rows_per_region": rows_per_region} if layout.pixels else {}
        about = {"lensflow_store": store, "schema_version": schema.SCHEMA_VERSION, "bands": list(bands), **sizing}
        # Until everything is written the store counts as absent: see resume.may_resume.
        group.attrs.update({**about, **(attrs or {}), "complete": False})
        for v in layout.head:
            if head is not None and v.name not in head and v in schema.CATALOGUE:
                head = head.assign({v.name: schema.without_values(v, {layout.dim: n_rows, "band": len(bands)})})
            if head is None or v.name not in head:
                raise StoreError(f"{url}: {v.name} is needed to create a {store} store")
            values[v.name] = _write_whole(group, v, np.asarray(head[v.name].values))
        sizes = {
            layout.dim: n_rows,
            "band": len(bands),
            "y": stamp_size,
            "x": stamp_size,
            "psf_y": psf_size,
            "psf_x": psf_size,
        }
        for v in (*layout.pixels, *(v for v in layout.optional if v.name in optional)):
            shape = tuple(sizes[d] for d in v.dims)
            auto = ROUNDED if v.name in rounded else PAIRS if store == "pairs" else LOSSLESS
            by = auto if codec == "auto" else codec
            of_array = {**v.attrs, **rounded.get(v.name, {})}
            _create_sharded(group, v.name, shape, v.dtype, v.dims, rows_per_region, inner_chunk, of_array, by)
            regional.append(v.name)
        for name, (variables, dtype) in (layout.tables or {}).items():
            columns = schema.packed_columns(variables, bands)
            described = {"columns": columns}
            shape = (n_rows, len(columns))
            dims = (layout.dim, column_dim(name))
            _create_sharded(group, name, shape, dtype, dims, rows_per_region, rows_per_region, described)
            regional.append(name)
            values[column_dim(name)] = write_coordinate(group, column_dim(name), columns, f"columns of {name}")
        if virtual:
            by_row = {"columns": list(virtual), "long_name": "xxh3-64 of the bytes of a row's pixels, not stored"}
            dims = (layout.dim, column_dim(ROW_CHECKS))
            shape = (n_rows, len(virtual))
            _create_sharded(group, ROW_CHECKS, shape, "u8", dims, rows_per_region, inner_chunk, by_row)
            regional.append(ROW_CHECKS)
        if layout.pixels:
            values["band"] = write_coordinate(group, "band", bands, "band")
        guard()
        last: dict[str, Any] = {"layout": recorder.layout, "complete": True}
        objects.write_created(url, recorder.created(regional, values, last))
        group.attrs.update(last)


def _create_sharded(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    dims: Iterable[str],
    rows: int,
    inner: int,
    attrs: Mapping[str, Any],
    codec: str = LOSSLESS,
) -> None:
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        shards=(rows, *shape[1:]),
        chunks=(inner or rows, *shape[1:]),
        compressors=CODECS[codec],
        fill_value=0,
        dimension_names=list(dims),
        attributes=dict[str, Any](attrs),
    )


def table_chunks(shape: tuple[int, ...]) -> dict[str, Any]:
    """Shards and chunks of a table's column; one chunk if there are few rows."""
    n, *rest = shape
    if n <= CHUNK_ROWS:
        return {"shards": None, "chunks": (max(n, 1), *rest)}
    return {"shards": (SHARD_ROWS, *rest), "chunks": (CHUNK_ROWS, *rest)}


def column_dim(table: str) -> str:
    """Dimension of a packed table's columns, and the coordinate that names them."""
    return f"{table}_column"


def write_coordinate(group: zarr.Group, name: str, values: Sequence[str], meaning: str) -> str:
    """Write names along a dimension, for plain xarray (lensflow reads the attributes); return the values' checksum."""
    return _write_whole(group, Variable(name, (name,), "U", "", meaning), np.array(values, dtype=str))


def _write_whole(group: zarr.Group, v: Variable, values: NDArray) -> str:
    """Write an array at once; returns the checksum of its values."""
    dtype = v.stored_dtype
    values = values.astype(dtype)
    array = group.create_array(
        v.name,
        shape=values.shape,
        dtype=dtype,
        **table_chunks(values.shape),
        compressors=CODECS[LOSSLESS],
        # Chunks of fill values only are not written: a column missing from the catalogue costs nothing.
        fill_value="" if dtype is str else np.array(np.nan if dtype.kind == "f" else 0, dtype).item(),
        dimension_names=list(v.dims),
        attributes=dict[str, Any](v.attrs),
    )
    array[...] = values
    return checksum(values.astype(v.dtype) if dtype is str else values)


def grow_store(url: str, n_rows: int) -> None:
    """Lengthen the regional arrays of a store; existing data stay in place.

    The store's own attributes still give the old number of rows: the caller writes them last.
    """
    created = objects.read_created(url)
    group = paths.open_group(url, mode="r+")
    with paths.explain_errors(url):
        for name in created.arrays:
            if name in created.rendered:  # what an interrupted `lensflow materialise` may have left
                paths.remove(paths.join(url, name, objects.ROOT))
                continue
            array = group[name]
            if isinstance(array, zarr.Array) and array.shape[0] < n_rows:
                array.resize((n_rows, *array.shape[1:]))


def seal_grown(url: str, attrs: Mapping[str, Any]) -> None:
    """Complete a store's growth: write its record, then its attributes; if interrupted, repeat it."""
    created = objects.read_created(url)
    keys = list(created.metadata)
    texts = [paths.read_object(paths.join(url, key)) or b"" for key in keys]
    root = {**created.root, "attributes": {**created.root["attributes"], **attrs}}
    metadata = {key: text.decode() for key, text in zip(keys, texts, strict=True)}
    before = (
        created.before
        if created.before and objects.canonical(root) == objects.canonical(created.root)
        else created.root
    )
    virtual = {key: _longer(text, root["attributes"]["n_rows"]) for key, text in created.virtual.items()}
    objects.write_created(url, replace(created, root=root, metadata=metadata, before=before, virtual=virtual))
    write_attrs(url, attrs)


def _longer(metadata: str, n_rows: int) -> str:
    """Metadata of an array with another number of rows."""
    value = json.loads(metadata)
    value["shape"][0] = n_rows
    return json.dumps(value, indent=2)


def write_attrs(url: str, attrs: Mapping[str, Any]) -> None:
    """Add JSON-like attributes to a store's group; readers refuse any but those in ``objects.LATER_ATTRS``."""
    with paths.explain_errors(url):
        paths.open_group(url, mode="r+").attrs.update(attrs)


def object_key(array: zarr.Array, region: Region) -> str:
    """Key of the object that holds a region of a sharded array, relative to its group."""
    return f"{array.basename}/c/{'/'.join([str(region.index), *['0'] * (array.ndim - 1)])}"


def group_bands(group: zarr.Group) -> list[str]:
    """Bands of a store, in the order of its arrays."""
    return [str(b) for b in group.attrs["bands"]]  # type: ignore[union-attr]


def pack(block: xr.Dataset, variables: Iterable[Variable], dtype: str) -> NDArray:
    """Pack named variables into one table (row, column), columns as :func:`schema.packed_columns` says."""
    columns = []
    for v in variables:
        values = v.encode(block.variables[v.name].values)
        columns += list(values.T) if values.ndim > 1 else [values]
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(dtype))


def checksum(values: NDArray) -> str:
    """128-bit xxh3 of an array's bytes in C order, as hex."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).data)
