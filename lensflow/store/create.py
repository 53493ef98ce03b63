"""Create stores from the schema and write regions into them: the only place that writes zarr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import xxhash
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.schema import Variable
from lensflow.store import objects, paths, receipts
from lensflow.store.objects import Guard, RecordingStore, unguarded
from lensflow.store.pieces import pieces_of_parts
from lensflow.store.receipts import ROW_CHECKS
from lensflow.store.regions import Region, check_aligned
from lensflow.store.row_checks import row_checks
from lensflow.store.shards import encode_shard

# Measured by benchmarks/store.py: bit-shuffled lz4 compresses noisy floats as well as codecs of three times its cost;
# rounded pixels benefit from an entropy coder.
LOSSLESS, ROUNDED = "lz4-bitshuffle", "zstd3-shuffle"
CODECS = {
    "lz4-bitshuffle": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
    "zstd1-bitshuffle": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
    "zstd1-shuffle": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    "zstd3-bitshuffle": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
    "zstd3-shuffle": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
}
# Tables that one process writes: rows of one object, and rows that a reader decompresses together, so that a region
# reads little more than its own.
SHARD_ROWS, CHUNK_ROWS = 262_144, 4_096
# Objects of a region written to an object store at a time.
WRITES = 4


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
        return self.pixels + tuple(v for v in self.optional if v.name in group)


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
    """Write a store's metadata and its head variables; regions come later, through :func:`write_region`.

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
            by = (ROUNDED if v.name in rounded else LOSSLESS) if codec == "auto" else codec
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
        objects.write_created(url, recorder.created(regional, values, {"complete": True}))
        group.attrs["complete"] = True


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
        arrays[ROW_CHECKS] = row_checks(group, arrays)
    checksums = {name: checksum(values) for name, values in arrays.items()}
    arrays = {name: values for name, values in arrays.items() if name not in created.rendered}
    n_bytes = sum(values.nbytes for values in arrays.values())
    folder, stamp = objects.folder_of(url), str(group.attrs.get("fingerprint"))

    def may_write() -> bool:
        guard()
        first = receipts.read_receipt(folder, region.index)
        if first is None or first.fingerprint != stamp:
            return True
        receipts.require_same(receipts.receipt_url(folder, region.index), first, stamp, checksums)
        return False  # done already, to the same values

    with paths.explain_errors(url):
        written = write_objects(url, encode_arrays(arrays, group, region), may_write)
    return {"checksums": checksums, "bytes": n_bytes, "objects": written, "rendered": created.rendered}


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
        arrays[ROW_CHECKS] = row_checks(group, arrays)
    yield from encode_arrays({n: v for n, v in arrays.items() if n not in but}, group, region)


def _regional_arrays(
    block: xr.Dataset, group: zarr.Group, url: str, store: str, region: Region
) -> dict[str, NDArray[Any]]:
    layout = LAYOUTS[store]
    if block.sizes[layout.dim] != region.size:
        raise StoreError(f"{url}: a block of {block.sizes[layout.dim]} rows for region {region}")
    arrays = {v.name: np.ascontiguousarray(block[v.name].values, dtype=v.dtype) for v in layout.pixels_in(group)}
    for name, (variables, dtype) in (layout.tables or {}).items():
        arrays[name] = pack(block, variables, dtype)
    for name in arrays:
        array = group[name]
        if not isinstance(array, zarr.Array) or array.shards is None:
            raise StoreError(f"{url}: {name} is not a sharded array; the store was not made by lensflow")
        check_aligned(region, array.shape[0], array.shards[0])
    return arrays


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
                for key, temporary in staged:
                    # A run that takes the folder over deletes staged files: then this fails, even long after the
                    # guard's permission.
                    paths.publish(temporary, paths.join(url, key))
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


def _put(url: str, one: Encoded) -> None:
    """Write an object to an object store, or remove what is in the place of zeros."""
    if one.data is None:
        paths.remove(paths.join(url, one.key))
    else:
        paths.put_object(url, one.key, b"".join(one.data))


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
