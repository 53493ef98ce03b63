"""Encode one whole shard of a sharded array: the same bytes as zarr's own codec, at half the cost.

zarr splits, encodes, joins and copies a shard through its general pipeline, one asynchronous task for each chunk; with
a fast compressor that takes longer than compressing. A region is always one whole shard, so a loop suffices; and the
bytes can be checked before they are visible to readers. A test compares these bytes with zarr's.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs import Blosc
from numpy.typing import NDArray

from lensflow.errors import StoreError

ABSENT = 2**64 - 1
_SHUFFLE = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


def chunks_of_shard(array: zarr.Array) -> int:
    """Inner chunks of a shard of an array that is divided along its first dimension only."""
    assert array.shards is not None
    return int(array.shards[0] // array.chunks[0])


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
    codec = blosc_of(array)
    assert array.shards is not None
    rows, whole = array.chunks[0], array.shards
    if values.shape[1:] != whole[1:] or len(values) > whole[0]:
        raise StoreError(f"{array.name}: values of shape {values.shape} for a shard of {whole}")
    data: list[bytes] = []
    table = np.full((chunks_of_shard(array), 2), ABSENT, dtype="<u8")
    end = 0
    for k in range(len(table)):
        chunk = values[k * rows : (k + 1) * rows]
        if not chunk.view(np.uint8).any():  # a chunk of zeros, the fill value, is not stored
            continue
        if len(chunk) < rows:
            chunk = np.concatenate([chunk, np.zeros((rows - len(chunk), *whole[1:]), chunk.dtype)])
        data.append(codec.encode(chunk))
        table[k] = end, len(data[-1])
        end += len(data[-1])
    if not data:
        return None
    footer = table.tobytes()
    return [*data, footer + struct.pack("<I", crc32c(footer))]


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
