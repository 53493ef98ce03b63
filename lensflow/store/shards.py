"""Encode one whole shard of a sharded array: what zarr's own codec writes, at half its cost.

zarr splits, encodes, joins and copies a shard through its general pipeline, one asynchronous task for each chunk; with
a fast compressor that takes longer than compressing. A region is always one whole shard, so a loop does. The bytes are
zarr's (a test holds both together), and arrays of any other kind of codec are left to zarr.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

_ABSENT = 2**64 - 1


def write_shard(array: zarr.Array, index: int, values: NDArray[Any]) -> bool:
    """Write shard number ``index`` along the first dimension, the only one that is cut.

    Parameters
    ----------
    array : zarr.Array
    index : int
    values : ndarray, shape of a shard
        C-contiguous, of the array's dtype.

    Returns
    -------
    bool
        False if this shard is not one that is known here: then nothing was written.
    """
    codec = _blosc(array)
    if codec is None or values.shape != array.shards or not values.size:
        return False
    rows = array.chunks[0]
    data: list[bytes] = []
    table = np.full((len(values) // rows, 2), _ABSENT, dtype="<u8")
    end = 0
    for k in range(len(table)):
        chunk = values[k * rows : (k + 1) * rows]
        if chunk.view(np.uint8).any():  # a chunk of zeros, the fill value, is not stored
            data.append(codec.encode(chunk))
            table[k] = end, len(data[-1])
            end += len(data[-1])
    place = f"{array.path}/{array.metadata.encode_chunk_key((index, *[0] * (array.ndim - 1)))}".lstrip("/")
    if not data:
        sync(array.store.delete(place))
        return True
    footer = table.tobytes()
    shard = b"".join([*data, footer, struct.pack("<I", crc32c(footer))])
    sync(array.store.set(place, default_buffer_prototype().buffer.from_bytes(shard)))
    return True


def _blosc(array: zarr.Array) -> Blosc | None:
    """Compressor of an array that is cut along its first dimension only, with one Blosc codec; None for any other."""
    codecs: Any = getattr(array.metadata, "codecs", ())
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec) or array.shards is None:
        return None
    (sharding,) = codecs
    inner, fill = sharding.codecs, array.fill_value
    plain = (
        len(inner) == 2
        and isinstance(inner[0], BytesCodec)
        and isinstance(inner[1], BloscCodec)
        and [type(c) for c in sharding.index_codecs] == [BytesCodec, Crc32cCodec]
        and sharding.index_location.value == "end"
        and array.chunks[1:] == array.shards[1:]
        and array.dtype.byteorder in "=|<"
        and fill == 0
    )
    if not plain:
        return None
    shuffle = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
    c = inner[1]
    return Blosc(c.cname.value, c.clevel, shuffle[c.shuffle.value], c.blocksize, typesize=array.dtype.itemsize)
