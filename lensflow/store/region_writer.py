"""Write a region of a store a few rows at a time: the same objects and checksums as of the whole region at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import xarray as xr
import xxhash
from numpy.typing import NDArray

from lensflow.errors import StoreError
from lensflow.store import objects, paths
from lensflow.store.create import LAYOUTS, object_key, pack
from lensflow.store.objects import Guard, unguarded
from lensflow.store.pieces import pieces_of_parts
from lensflow.store.receipts import ROW_CHECKS
from lensflow.store.regions import Region
from lensflow.store.row_checks import checksums_of_rows, columns_of_checks
from lensflow.store.shards import ShardEncoder
from lensflow.store.writing import Encoded, permission, pixels_of, publish, sharded, write_objects


@dataclass
class _Growing:
    """An array whose rows come a few at a time; without a shard it is not stored."""

    key: str
    chunk: int
    shard: ShardEncoder | None
    digest: Any = field(default_factory=xxhash.xxh3_128)
    n_bytes: int = 0
    pieces: list[str] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    staged: Path | None = None


class RegionWriter:
    """Write one region of a store, block by block; a context, at whose end what was staged is removed.

    A block is compressed while its pixels are in the processor's cache, and its memory is free for the next one.
    Nothing is visible to readers before :meth:`finish`.

    Parameters
    ----------
    url, store : str
    region : Region
    guard : callable, optional
        Raises once the folder is another run's.

    Raises
    ------
    StoreError
        If the region is not one shard.
    """

    def __init__(self, url: str, store: str, region: Region, guard: Guard = unguarded):
        self.url, self.region, self.guard = url, region, guard
        self.layout, self.n_rows = LAYOUTS[store], 0
        self._exits = contextlib.ExitStack()
        self._stage: paths.Stage | None = None
        with paths.explain_errors(url):
            self.group = objects.open_group(url)
            self.created = objects.created_of(self.group)
            self._pixels = self.layout.pixels_in(self.group)
            self._tables: dict[str, list[NDArray[Any]]] = {name: [] for name in self.layout.tables or {}}
            names = [*(v.name for v in self._pixels), *self._tables]
            self._checked = columns_of_checks(url, self.group) if ROW_CHECKS in self.created.arrays else []
            names += [ROW_CHECKS] if self._checked else []
            self._arrays = {name: self._array(name) for name in names}
            (self._chunk,) = {sharded(self.group, url, v.name, region).chunks[0] for v in self._pixels}

    def _array(self, name: str) -> _Growing:
        array = sharded(self.group, self.url, name, self.region)
        stored = name not in self.created.rendered
        return _Growing(object_key(array, self.region), array.chunks[0], ShardEncoder(array) if stored else None)

    def __enter__(self) -> RegionWriter:
        if paths.is_local(self.url):
            self._stage = self._exits.enter_context(paths.staging(objects.run_of(self.url)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.close()

    def parts(self) -> Iterator[Region]:
        """Rows of the region that are to be added together."""
        return self.region.parts(int(self._chunk))

    def add(self, block: xr.Dataset) -> None:
        """Take the region's next rows: whole chunks, except at its end. Their arrays may be written over afterwards.

        Raises
        ------
        StoreError
            If they are not whole chunks, or more than the region has.
        """
        self.n_rows += block.sizes[self.layout.dim]
        if self.n_rows > self.region.size:
            raise StoreError(f"{self.url}: at least {self.n_rows} rows for region {self.region}")
        arrays = {v.name: pixels_of(block, v) for v in self._pixels}
        checks = {name: self._add(self._arrays[name], values, name in self._checked) for name, values in arrays.items()}
        if self._checked:
            self._add(self._arrays[ROW_CHECKS], np.stack([checks[name] for name in self._checked], axis=1))
        for name, (variables, dtype) in (self.layout.tables or {}).items():
            self._tables[name].append(pack(block, variables, dtype))

    def _add(self, array: _Growing, values: NDArray[Any], by_row: bool = False) -> NDArray[np.uint64]:
        """Take rows of an array; returns their checksums where they are wanted.

        A few rows at a time go through all that reads their bytes: they are in the processor's cache after the first.
        """
        checks, parts = [], list[bytes]()
        for first in range(0, len(values), array.chunk):
            rows = values[first : first + array.chunk]
            if by_row:
                checks.append(checksums_of_rows(rows))
            array.digest.update(rows.data)
            if array.shard is not None:
                parts += array.shard.add(rows)
        if array.shard is not None:
            array.n_bytes += values.nbytes
            self._keep(array, parts)
        return np.concatenate(checks) if by_row else np.empty(0, np.uint64)

    def _keep(self, array: _Growing, parts: list[bytes]) -> None:
        """Keep bytes of an object: in a staged file, or in memory for an object store."""
        if not parts:
            return
        array.pieces.append(pieces_of_parts(parts))
        if self._stage is None:
            array.parts += parts
        else:
            array.staged = self._stage(parts, array.staged)

    def finish(self) -> dict[str, Any]:
        """Make the region's objects visible.

        Returns
        -------
        dict
            As :func:`lensflow.store.writing.write_region`.

        Raises
        ------
        StoreError
            If rows are lacking, or the region is finished already with other values.
        """
        if self.n_rows != self.region.size:
            raise StoreError(f"{self.url}: {self.n_rows} rows for region {self.region}")
        with paths.explain_errors(self.url):
            for name, blocks in self._tables.items():
                self._add(self._arrays[name], np.concatenate(blocks))
            stored = [array for array in self._arrays.values() if array.shard is not None]
            for array in stored:
                self._keep(array, array.shard.finish() if array.shard else [])
            checksums = {name: array.digest.hexdigest() for name, array in self._arrays.items()}
            stamp = str(self.group.attrs.get("fingerprint"))
            may_write = permission(self.url, self.region, stamp, checksums, self.guard)
            pieces = {array.key: " ".join(array.pieces) for array in stored if array.pieces}
            if self._stage is None:
                encoded = (Encoded(a.key, a.parts or None, pieces.get(a.key, "")) for a in stored)
                write_objects(self.url, encoded, may_write)
            elif may_write():
                publish(self.url, ((array.key, array.staged) for array in stored))
        n_bytes = sum(array.n_bytes for array in stored)
        return {"checksums": checksums, "bytes": n_bytes, "objects": pieces, "rendered": self.created.rendered}
