"""Write a store of tables only (a manifest), block by block: less than one shard is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import xxhash
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, TransposeCodec

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.store import create, objects, paths
from lensflow.store.create import LAYOUTS
from lensflow.store.objects import Guard, RecordingStore, unguarded

_CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")


class TableWriter:
    """Writes the rows of a store of tables in order. Until :meth:`finish`, the store does not open.

    Parameters
    ----------
    url : str
        Where; an existing store there is replaced.
    store : {"manifest"}
    n_rows : int
        Rows at most.
    bands : sequence of str
    about : mapping
        JSON-like attributes of the group.
    guard : callable, optional
        Asked before every write; raises once the folder is another run's.
    names : iterable of str, optional
        Names of the table's variables: those of ``schema.FURTHER`` are written only if they are among them.
    """

    def __init__(
        self,
        url: str,
        store: str,
        n_rows: int,
        bands: Sequence[str],
        about: Mapping[str, Any],
        guard: Guard = unguarded,
        names: Iterable[Any] = (),
    ):
        self.url, self._guard, layout = url, guard, LAYOUTS[store]
        self.variables, self.tables = layout.head, dict(layout.tables or {})
        _, dtype = self.tables["parameters"]
        self.tables["parameters"] = (create.packed_of(schema.manifest_variables(names)), dtype)
        self._held: list[xr.Dataset] = []
        self._checksums = {name: xxhash.xxh3_128() for name in (*(v.name for v in self.variables), *self.tables)}
        self._coordinates: dict[str, str] = {}
        self._written = self._waiting = 0
        self._n_rows = n_rows
        guard()
        paths.remove(objects.record_url(url))
        with paths.explain_errors(url):
            self._recorder = RecordingStore(paths.zarr_store(url, read_only=False), guard)
            self._group = zarr.open_group(self._recorder, mode="w", zarr_format=3)
            fixed: dict[str, Any] = {
                "lensflow_store": store,
                "schema_version": schema.SCHEMA_VERSION,
                "bands": list(bands),
            }
            self._group.attrs.update({**fixed, **about, "finished": False})
            for v in self.variables:
                shape = (n_rows, *([len(bands)] if "band" in v.dims else []))
                self._create(v.name, shape, v.stored_dtype, v.dims, v.stored_attrs)
            for name, (variables, dtype) in self.tables.items():
                columns = schema.packed_columns(variables, bands)
                dims = (layout.dim, create.column_dim(name))
                categories = {v.name: list(v.categories) for v in variables if v.categories}
                attrs = {"columns": columns, "categories": categories}
                self._create(name, (n_rows, len(columns)), dtype, dims, attrs)
                column = create.column_dim(name)
                self._coordinates[column] = create.write_coordinate(self._group, column, columns, f"columns of {name}")

    def _create(
        self, name: str, shape: tuple[int, ...], dtype: Any, dims: Sequence[str], attrs: Mapping[str, Any]
    ) -> None:
        self._group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            **create.table_chunks(shape),
            # A table's columns are stored one after another within a chunk: numbers of one kind compress together.
            filters=[TransposeCodec(order=(1, 0))] if name in self.tables else None,
            compressors=_CODEC,
            dimension_names=list(dims),
            attributes=dict[str, Any](attrs),
        )

    def append(self, block: xr.Dataset) -> None:
        """Write the next rows (buffered until a shard is full)."""
        self._held.append(block)
        self._waiting += block.sizes["sample"]
        if self._written + self._waiting > self._n_rows:
            raise StoreError(f"{self.url}: more rows than the {self._n_rows} that the store was made for")
        if self._waiting >= create.SHARD_ROWS:
            self._flush(self._waiting // create.SHARD_ROWS * create.SHARD_ROWS)

    def finish(self, attrs: Mapping[str, Any]) -> None:
        """Write the buffered rows, cut the store to its actual length, and add attributes: the store is complete."""
        self._flush(self._waiting)
        with paths.explain_errors(self.url):
            if self._written < self._n_rows:
                for name in self._checksums:
                    array = self._array(name)
                    array.resize((self._written, *array.shape[1:]))
            checksums = {name: c.hexdigest() for name, c in self._checksums.items()} | self._coordinates
            self._guard()
            last = {**attrs, "finished": True}
            objects.write_created(self.url, self._recorder.created([], checksums, last))
            self._group.attrs.update(last)

    def _flush(self, n_rows: int) -> None:
        if n_rows == 0:
            return
        rows = slice(self._written, self._written + n_rows)
        with paths.explain_errors(self.url):
            for name, values in self._encoded(n_rows):
                self._array(name)[rows] = values
                self._checksums[name].update(np.ascontiguousarray(values).data)
        self._written += n_rows
        self._waiting -= n_rows
        # The remainder is the end of the last block.
        self._held = [self._held[-1].isel(sample=slice(-self._waiting, None))] if self._waiting else []

    def _encoded(self, n_rows: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and stored values of every array, for the first buffered rows."""
        for v in self.variables:
            yield v.name, v.encode(np.concatenate([b[v.name].values for b in self._held])[:n_rows])
        for name, (variables, dtype) in self.tables.items():
            yield name, np.concatenate([create.pack(b, variables, dtype) for b in self._held])[:n_rows]

    def _array(self, name: str) -> zarr.Array:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array


def write_table(
    url: str, store: str, table: xr.Dataset, bands: Sequence[str], attrs: Mapping[str, Any], guard: Guard = unguarded
) -> None:
    """Write a complete table from memory."""
    writer = TableWriter(url, store, table.sizes["sample"], bands, attrs, guard, table.variables)
    writer.append(table)
    writer.finish({})
