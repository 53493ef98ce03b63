"""Checksums of an object's consecutive pieces: each compressed chunk of a shard, and its index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from google_crc32c import value as crc32c
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from lensflow.store.shards import ABSENT


def pieces_of(data: bytes | memoryview, n_chunks: int = 0) -> str:
    """Lengths and crc32c of an object's consecutive pieces: ``"length:crc length:crc ..."``, the crc in hex.

    Parameters
    ----------
    data : bytes
        The object.
    n_chunks : int
        Inner chunks of a shard, whose index is its end; each chunk is a piece, and so is the index. 0: one piece.
    """
    view = memoryview(data).cast("B")
    cuts = {0, len(view)}
    footer = 16 * n_chunks + 4
    if n_chunks and len(view) >= footer:
        index = np.frombuffer(view[-footer:-4], "<u8").reshape(-1, 2)
        used = index[index[:, 0] != ABSENT]
        cuts |= {*used[:, 0].tolist(), *used.sum(axis=1).tolist(), len(view) - footer}
    ends = sorted(cuts)
    return " ".join(f"{b - a}:{crc32c(bytes(view[a:b])):08x}" for a, b in itertools.pairwise(ends))


def pieces_of_parts(parts: Sequence[bytes]) -> str:
    """As :func:`pieces_of`, of an object whose pieces are given one by one."""
    return " ".join(f"{len(part)}:{crc32c(part):08x}" for part in parts)


def places_of(pieces: str) -> Iterator[tuple[int, int, int]]:
    """First byte, byte after the last, and crc32c of each piece of an object."""
    start = 0
    for piece in pieces.split():
        length, crc = piece.split(":")
        yield start, start + int(length), int(crc, 16)
        start += int(length)


def size_of(pieces: str) -> int:
    """Bytes of an object."""
    return sum(int(p.split(":")[0]) for p in pieces.split())


def fault_of(data: bytes | memoryview, pieces: str) -> str:
    """Return what is wrong with an object's bytes; empty if nothing is."""
    view = memoryview(data).cast("B")
    if len(view) != (size := size_of(pieces)):
        return f"is truncated: {len(view)} of {size} bytes" if len(view) < size else "has more bytes than were written"
    for start, stop, crc in places_of(pieces):
        if crc32c(bytes(view[start:stop])) != crc:
            return f"has other bytes than were written (between byte {start} and {stop})"
    return ""


def covering(pieces: str, byte_range: ByteRequest | None) -> tuple[int, int, int, int, str]:
    """Requested bytes, the whole pieces around them, and those pieces."""
    size = size_of(pieces)
    match byte_range:
        case None:
            start, stop = 0, size
        case RangeByteRequest():
            start, stop = byte_range.start, min(byte_range.end, size)
        case OffsetByteRequest():
            start, stop = byte_range.offset, size
        case SuffixByteRequest():
            start, stop = max(0, size - byte_range.suffix), size
        case _:
            raise TypeError(f"a request for bytes of an unknown kind: {byte_range!r}")
    low, high, taken = stop, start, []
    for piece, (at, end, _) in zip(pieces.split(), places_of(pieces), strict=True):
        if at < stop and end > start:
            taken.append(piece)
            low, high = min(low, at), max(high, end)
    return start, stop, low, high, " ".join(taken)
