"""Files compressed as a whole: recognised by their first bytes, unpacked up to a limit."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

from lensflow.fits.header import FormatError

# The largest survey files are about 400 MB unpacked; more is a mistake, or an attack on the memory.
MAX_UNPACKED_BYTES = 1 << 31
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_UNKNOWN = {b"\x1f\x9d": "compress (.Z)", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\xa0": "LZH",
            b"\x04\x22\x4d\x18": "lz4", b"7z\xbc\xaf": "7z"}  # fmt: skip


def packing(head: bytes) -> str:
    """Return gzip, bzip2 or xz, or "" for a file that is not compressed as a whole.

    Raises
    ------
    FormatError
        For a packing that is not read; the message names it.
    """
    for magic, name in _UNKNOWN.items():
        if head.startswith(magic):
            raise FormatError(f"it is packed by {name}, which lensflow does not unpack: unpack it, or pack it by gzip")
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def unpack(data: bytes, how: str) -> bytes:
    """Unpack a whole file, of one part or of several after each other (pigz, bgzip, ``cat a.gz b.gz``).

    Raises
    ------
    FormatError
        If the data are damaged or end too early, or hold more than MAX_UNPACKED_BYTES.
    """
    parts: list[bytes] = []
    rest, total = data, 0
    while rest:
        stream: Any = {"gzip": lambda: zlib.decompressobj(wbits=31), "bzip2": bz2.BZ2Decompressor,
                       "xz": lzma.LZMADecompressor}[how]()  # fmt: skip
        try:
            part = stream.decompress(rest, MAX_UNPACKED_BYTES + 1 - total)
        except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
            raise FormatError(f"it cannot be unpacked by {how}: {error}") from error
        total += len(part)
        if total > MAX_UNPACKED_BYTES:
            raise FormatError(f"it unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB")
        if not stream.eof:
            raise FormatError(f"it is truncated: the {how} data end too early, after {total / 1e6:.3g} MB of pixels")
        parts.append(part)
        rest = stream.unused_data
        if not rest.strip(b"\0") or packing_or_none(rest) != how:
            break  # padding, which gzip's own tools ignore too
    return parts[0] if len(parts) == 1 else b"".join(parts)


def packing_or_none(head: bytes) -> str:
    """:func:`packing`, but "" for what is not read."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
