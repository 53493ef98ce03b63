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

try:  # Not public: where zarr moves them, zarr writes the shards itself, and tests/store/test_shards.py says so.
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
except ImportError:  # pragma: no cover - no zarr of today
    sync = None  # type: ignore[assignment]

_ABSENT = 2**64 - 1
_SHUFFLE = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


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
    if codec is None or sync is None or values.shape != array.shards or not values.size:
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
    place = "/".join([array.path, "c", str(index), *["0"] * (array.ndim - 1)]).lstrip("/")
    if not data:
        sync(array.store.delete(place))
        return True
    footer = table.tobytes()
    shard = b"".join([*data, footer, struct.pack("<I", crc32c(footer))])
    sync(array.store.set(place, default_buffer_prototype().buffer.from_bytes(shard)))
    return True


def _blosc(array: zarr.Array) -> Blosc | None:
    """Compressor of an array that is cut along its first dimension only, with one Blosc codec; None for any other.

    Asked of the metadata as zarr's format has them on disk: what attributes of codecs hold changes between versions.
    """
    stored = array.metadata.to_dict()
    codecs: Any = stored.get("codecs", ())
    if array.shards is None or [c["name"] for c in codecs] != ["sharding_indexed"]:
        return None
    sharding = codecs[0]["configuration"]
    inner = {c["name"]: c.get("configuration", {}) for c in sharding["codecs"]}
    plain = (
        [c["name"] for c in sharding["codecs"]] == ["bytes", "blosc"]
        and inner["bytes"].get("endian", "little") == "little"
        and [c["name"] for c in sharding["index_codecs"]] == ["bytes", "crc32c"]
        and sharding.get("index_location", "end") == "end"
        and stored["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
        and array.chunks[1:] == array.shards[1:]
        and array.dtype.byteorder in "=|<"
        and array.fill_value == 0
    )
    if not plain:
        return None
    c = inner["blosc"]
    return Blosc(c["cname"], c["clevel"], _SHUFFLE[c["shuffle"]], c["blocksize"], typesize=array.dtype.itemsize)
