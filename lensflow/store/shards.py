"""Encode one whole shard of a sharded array: the same bytes as zarr's own codec, at half the cost.

zarr splits, encodes, joins and copies a shard through its general pipeline, one asynchronous task for each chunk; with
a fast compressor that takes longer than compressing. A region is always one whole shard, so a loop suffices; and the
bytes can be checked before they are visible to readers. A test compares these bytes with zarr's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs import Blosc
from numpy.typing import NDArray

from lensflow.errors import StoreError

ABSENT = 2**64 - 1
_BYTES_AT_ONCE = 2**16
_SHUFFLE = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


def chunks_of_shard(array: zarr.Array) -> int:
    """Inner chunks of a shard of an array that is divided along its first dimension only."""
    assert array.shards is not None
    return int(array.shards[0] // array.chunks[0])


def chunks_of_metadata(metadata: Mapping[str, Any]) -> int:
    """Inner chunks of a shard, from an array's metadata (zarr's format, version 3); 0 without shards."""
    first = (metadata.get("codecs") or [{}])[0]
    if first.get("name") != "sharding_indexed":
        return 0
    shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    chunk = first["configuration"]["chunk_shape"]
    return math.prod(s // c for s, c in zip(shard, chunk, strict=True))


def encode_shard(array: zarr.Array, values: NDArray[Any]) -> list[bytes] | None:
    """Bytes of a shard along the first dimension, the only divided one: its chunks, and its index.

    They are not joined: a copy of a shard takes as long as compressing half of it.

    Parameters
    ----------
    array : zarr.Array
        As :func:`lensflow.store.create.create_store` makes them.
    values : ndarray, shape of a shard
        C-contiguous, of the array's dtype. Fewer rows, in the last shard, are filled up with zeros, as zarr does.

    Returns
    -------
    list of bytes, or None
        None for a shard of zeros: it has no object.

    Raises
    ------
    StoreError
        If the array is laid out in another way.
    """
    shard = ShardEncoder(array)
    data = shard.add(values)
    return [*data, *shard.finish()] or None


class ShardEncoder:
    """Encode a shard a few rows at a time: bytes as of :func:`encode_shard`, which has the parameters and errors."""

    def __init__(self, array: zarr.Array):
        self.array, self.codec = array, blosc_of(array)
        assert array.shards is not None
        self.whole, self.n_rows, self._end = array.shards, 0, 0
        self._table = np.full((chunks_of_shard(array), 2), ABSENT, dtype="<u8")

    def add(self, values: NDArray[Any]) -> list[bytes]:
        """Encode the next rows, whole chunks except at the shard's end; without chunks of zeros.

        Raises
        ------
        StoreError
        """
        rows = self.array.chunks[0]
        if self.n_rows % rows or values.shape[1:] != self.whole[1:] or self.n_rows + len(values) > self.whole[0]:
            raise StoreError(
                f"{self.array.name}: values of shape {values.shape}, after {self.n_rows} rows, for a shard of "
                f"{self.whole} in chunks of {rows} rows"
            )
        data: list[bytes] = []
        for first in range(0, len(values), rows):
            chunk = values[first : first + rows]
            if _is_zeros(chunk):  # the fill value, which is not stored
                continue
            if len(chunk) < rows:
                chunk = np.concatenate([chunk, np.zeros((rows - len(chunk), *self.whole[1:]), chunk.dtype)])
            data.append(self.codec.encode(chunk))
            self._table[(self.n_rows + first) // rows] = self._end, len(data[-1])
            self._end += len(data[-1])
        self.n_rows += len(values)
        return data

    def finish(self) -> list[bytes]:
        """Encode the shard's index, which comes last; nothing for a shard of zeros."""
        if not self._end:
            return []
        footer = self._table.tobytes()
        return [footer + struct.pack("<I", crc32c(footer))]


def _is_zeros(chunk: NDArray[Any]) -> bool:
    """Whether all bytes are 0; most chunks are seen not to be from their first ones."""
    flat = chunk.view(np.uint8).reshape(-1)
    return not any(flat[k : k + _BYTES_AT_ONCE].any() for k in range(0, flat.size, _BYTES_AT_ONCE))


# Of arrays that are kept open: zarr writes all of their metadata to say it.
_codecs: dict[int, tuple[Any, Blosc, bool]] = {}
_CODECS_KEPT = 1000


def blosc_of(array: zarr.Array) -> Blosc:
    """Compressor of an array that is divided along its first dimension only, with one Blosc codec.

    Read from the metadata in zarr's on-disk format: attributes of codec objects change between versions.
    """
    codec, transposed = codec_of(array)
    if transposed:
        raise _unknown(array)
    return codec


def codec_of(array: zarr.Array) -> tuple[Blosc, bool]:
    """As :func:`blosc_of`; and whether a chunk is stored transposed, a table's columns one after another."""
    known = _codecs.get(id(array.metadata))
    if known is None or known[0] is not array.metadata:
        known = array.metadata, *_codec_of(array)
        if len(_codecs) >= _CODECS_KEPT:
            _codecs.clear()
        _codecs[id(array.metadata)] = known
    return known[1], known[2]


def _codec_of(array: zarr.Array) -> tuple[Blosc, bool]:
    stored = array.metadata.to_dict()
    codecs: Any = stored.get("codecs", ())
    if array.shards is None or [c["name"] for c in codecs] != ["sharding_indexed"]:
        raise _unknown(array)
    sharding = codecs[0]["configuration"]
    inner = {c["name"]: c.get("configuration", {}) for c in sharding["codecs"]}
    names = [c["name"] for c in sharding["codecs"]]
    transposed = names[:1] == ["transpose"] and list(inner["transpose"]["order"]) == [1, 0]
    plain = (
        names[transposed:] == ["bytes", "blosc"]
        and inner["bytes"].get("endian", "little") == "little"
        and [c["name"] for c in sharding["index_codecs"]] == ["bytes", "crc32c"]
        and sharding.get("index_location", "end") == "end"
        and stored["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
        and array.chunks[1:] == array.shards[1:]
        and array.dtype.byteorder in "=|<"
        and array.fill_value == 0
    )
    if not plain:
        raise _unknown(array)
    c = inner["blosc"]
    codec = Blosc(c["cname"], c["clevel"], _SHUFFLE[c["shuffle"]], c["blocksize"], typesize=array.dtype.itemsize)
    return codec, transposed


def _unknown(array: zarr.Array) -> StoreError:
    return StoreError(f"{array.name}: laid out in a way that lensflow does not write")
