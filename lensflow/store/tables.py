"""Write a store that is tables alone (a manifest), row block by row block: memory holds less than one shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import xxhash
import zarr
from zarr.codecs import BloscCodec

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.schema import Variable
from lensflow.store import create, paths
from lensflow.store.create import LAYOUTS

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
    attrs : mapping
        JSON-like attributes of the group.
    """

    def __init__(self, url: str, store: str, n_rows: int, bands: Sequence[str], attrs: Mapping[str, Any]):
        self.url, self.variables = url, LAYOUTS[store].head
        self._held: list[xr.Dataset] = []
        self._checksums = {v.name: xxhash.xxh3_128() for v in self.variables}
        self._written = self._waiting = 0
        self._n_rows = n_rows
        with paths.explain_errors(url):
            self._group = zarr.open_group(paths.zarr_store(url, read_only=False), mode="w", zarr_format=3)
            fixed: dict[str, Any] = {
                "lensflow_store": store,
                "schema_version": schema.SCHEMA_VERSION,
                "bands": list(bands),
            }
            self._group.attrs.update({**fixed, **attrs, "finished": False})
            for v in self.variables:
                self._create(v, n_rows, len(bands))

    def _create(self, v: Variable, n_rows: int, n_bands: int) -> None:
        rest = (n_bands,) if "band" in v.dims else ()
        self._group.create_array(
            v.name,
            shape=(n_rows, *rest),
            dtype=v.stored_dtype,
            **create.table_chunks((n_rows, *rest)),
            compressors=_CODEC,
            dimension_names=list(v.dims),
            attributes=dict[str, Any](v.stored_attrs),
        )

    def append(self, block: xr.Dataset) -> None:
        """Write the next rows (kept back until a shard is full)."""
        self._held.append(block)
        self._waiting += block.sizes["sample"]
        if self._written + self._waiting > self._n_rows:
            raise StoreError(f"{self.url}: more rows than the {self._n_rows} that the store was made for")
        if self._waiting >= create.SHARD_ROWS:
            self._flush(self._waiting // create.SHARD_ROWS * create.SHARD_ROWS)

    def finish(self, attrs: Mapping[str, Any]) -> None:
        """Write what is kept back, cut the store to the rows that came, and add attributes: the store is complete."""
        self._flush(self._waiting)
        with paths.explain_errors(self.url):
            if self._written < self._n_rows:
                for v in self.variables:
                    array = self._array(v)
                    array.resize((self._written, *array.shape[1:]))
            checksums = {name: c.hexdigest() for name, c in self._checksums.items()}
            self._group.attrs.update({**attrs, "checksums": checksums, "finished": True})

    def _flush(self, n_rows: int) -> None:
        if n_rows == 0:
            return
        rows = slice(self._written, self._written + n_rows)
        with paths.explain_errors(self.url):
            for v in self.variables:
                values = np.concatenate([b[v.name].values for b in self._held])[:n_rows]
                encoded = v.encode(values)
                self._array(v)[rows] = encoded
                self._checksums[v.name].update(np.ascontiguousarray(encoded).data)
        self._written += n_rows
        self._waiting -= n_rows
        # What is left over is the end of the last block.
        self._held = [self._held[-1].isel(sample=slice(-self._waiting, None))] if self._waiting else []

    def _array(self, v: Variable) -> zarr.Array:
        array = self._group[v.name]
        assert isinstance(array, zarr.Array)
        return array


def write_table(url: str, store: str, table: xr.Dataset, bands: Sequence[str], attrs: Mapping[str, Any]) -> None:
    """Write a whole table that is in memory."""
    writer = TableWriter(url, store, table.sizes["sample"], bands, attrs)
    writer.append(table)
    writer.finish({})
