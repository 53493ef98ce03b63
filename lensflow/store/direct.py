"""Read rows of a sharded array, chunk by chunk: each is checked, and decompressed where it is needed.

zarr's pipeline reads a shard whole, copies each compressed chunk several times and starts a task for each; with a fast
compressor that takes longer than decompressing. Here a chunk is still in the processor's cache when it is used. From an
object store zarr asks for the index first and then for each chunk; here a region is mostly one request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs import Blosc
from numpy.typing import NDArray

from lensflow.errors import DamagedStoreError, StoreError
from lensflow.store import paths
from lensflow.store.object_bytes import ObjectBytes, RequestedBytes, file_bytes, require_absent
from lensflow.store.objects import CheckedStore
from lensflow.store.pieces import places_of, size_of
from lensflow.store.shards import ABSENT, chunks_of_shard, codec_of


@dataclass(frozen=True, eq=False)
class Direct:
    """A sharded array whose chunks can be read without zarr.

    Attributes
    ----------
    url : str
        Of the store.
    array : zarr.Array
    store : CheckedStore
        Which knows what every object must be.
    codec : Blosc
    transposed : bool
        Whether chunks are stored transposed: a table's columns one after another.
    """

    url: str
    array: zarr.Array
    store: CheckedStore
    codec: Blosc
    transposed: bool

    @staticmethod
    def of(url: str, array: zarr.Array) -> Direct | None:
        """Return the array if it can be read so; None if zarr must read it.

        Parameters
        ----------
        url : str
            Of the store.
        array : zarr.Array
            Opened through :func:`lensflow.store.objects.open_group`.
        """
        store = array.store_path.store
        if not isinstance(store, CheckedStore) or store.unfinished or array.shards is None:
            return None
        try:
            return Direct(url, array, store, *codec_of(array))
        except StoreError:  # laid out in another way
            return None

    def rows(self, rows: slice) -> NDArray[Any]:
        """Read rows.

        Parameters
        ----------
        rows : slice
            Without a step.

        Returns
        -------
        ndarray, shape (row, ...)

        Raises
        ------
        DamagedStoreError
            If an object is missing, or is not what was written.
        """
        start, stop, _ = rows.indices(self.array.shape[0])
        out = np.empty((max(stop - start, 0), *self.array.shape[1:]), self.array.dtype)
        for first, packed in self._packed(start, stop):
            low, high = max(first, start), min(first + self._per_chunk, stop)
            if high - low == self._per_chunk and not self.transposed:
                self._unpack(packed, out[low - start : high - start])
            else:
                buffer, block = self._buffer()
                self._unpack(packed, buffer)
                out[low - start : high - start] = block[low - first : high - first]
        return out

    def blocks(self, rows: slice) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read rows, some at a time.

        Parameters
        ----------
        rows : slice
            Without a step.

        Yields
        ------
        first : int
            Number of the first row.
        values : ndarray, shape (row, ...)
            The next block is written over them.

        Raises
        ------
        DamagedStoreError
            If an object is missing, or is not what was written.
        """
        start, stop, _ = rows.indices(self.array.shape[0])
        buffer, block = self._buffer()
        for first, packed in self._packed(start, stop):
            self._unpack(packed, buffer)
            low, high = max(first, start), min(first + self._per_chunk, stop)
            yield low, block[low - first : high - first]

    @property
    def _per_chunk(self) -> int:
        return int(self.array.chunks[0])

    def _buffer(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Room for a chunk as it is stored, and the same seen as rows."""
        shape = (self._per_chunk, *self.array.shape[1:])
        buffer = np.empty(shape[::-1] if self.transposed else shape, self.array.dtype)
        return buffer, buffer.T if self.transposed else buffer

    def _unpack(self, packed: bytes | None, out: NDArray[Any]) -> None:
        if packed is None:
            out[...] = 0
            return
        # Blosc's header says how many bytes come out: fewer would leave a part of the buffer as it was.
        (size,) = struct.unpack_from("<I", packed, 4)
        if size != out.nbytes:
            raise DamagedStoreError(self.url, self.array.basename, f"has a chunk of {size} bytes, not {out.nbytes}")
        self.codec.decode(packed, out)

    def _packed(self, start: int, stop: int) -> Iterator[tuple[int, bytes | None]]:
        """First row and compressed bytes of each chunk that has some of the rows; None where it is all zeros."""
        assert self.array.shards is not None
        per_shard, per_chunk = int(self.array.shards[0]), self._per_chunk
        for shard in range(start // per_shard, -(-stop // per_shard) if stop > start else start // per_shard):
            first = shard * per_shard
            chunks = range(max(start - first, 0) // per_chunk, -(-(min(stop, first + per_shard) - first) // per_chunk))
            for chunk, packed in self._of_shard(shard, chunks):
                yield first + chunk * per_chunk, packed

    def _of_shard(self, shard: int, chunks: range) -> Iterator[tuple[int, bytes | None]]:
        key = f"{self.array.basename}/c/{'/'.join([str(shard), *['0'] * (self.array.ndim - 1)])}"
        pieces = self.store.expected(key)
        assert pieces is not None  # only stores that may be unfinished have such
        if not pieces:
            require_absent(self.url, key, self._keep)
            yield from ((chunk, None) for chunk in chunks)
            return
        known = {(at, end - at): crc for at, end, crc in places_of(pieces)}
        n_chunks, size = chunks_of_shard(self.array), size_of(pieces)
        with self._object(key, pieces, len(chunks) / n_chunks) as source:
            end = 16 * n_chunks + 4
            index = np.frombuffer(self._checked(source, key, size - end, end, known)[:-4], "<u8").reshape(-1, 2)
            places = [index[chunk].tolist() for chunk in chunks]
            source.want([(at, at + length) for at, length in places if at != ABSENT])
            for chunk, (at, length) in zip(chunks, places, strict=True):
                yield chunk, None if at == ABSENT else self._checked(source, key, at, length, known)

    def _object(self, key: str, pieces: str, share: float) -> AbstractContextManager[ObjectBytes]:
        if paths.is_local(self.url):
            return file_bytes(self.url, key, size_of(pieces))
        return nullcontext(RequestedBytes(self.url, key, pieces, share, self._keep))

    @property
    def _keep(self) -> bool:
        """Whether region after region reads it: it was written with the store."""
        return not paths.is_local(self.url) and self.array.basename not in self.store.created.arrays

    def _checked(self, source: ObjectBytes, key: str, at: int, length: int, known: dict[tuple[int, int], int]) -> bytes:
        data = source.read(at, length)
        if len(data) != length or crc32c(data) != known.get((at, length)):
            what = f"has other bytes than were written (between byte {at} and {at + length})"
            raise DamagedStoreError(self.url, key, what)
        source.checked(at, data)
        return data
