"""Compiled: Rice decoding and dequantisation of FITS tiles, many tiles a call.

The algorithms are those of the FITS standard; the results equal astropy's (and cfitsio's) bit for bit.

References
----------
FITS Standard 4.0, sections 10.4.1 (Rice) and 10.2, appendix I (subtractive dithering);
Rice, Yeh & Miller 1993, JPL Publication 91-3; Park & Miller 1988, CACM 31, 1192 (random numbers).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled

N_RANDOM = 10_000
# Quantised value that SUBTRACTIVE_DITHER_2 keeps for pixels that are exactly 0.
ZERO_VALUE = -2147483646


def _park_miller() -> NDArray[np.float32]:
    out = np.empty(N_RANDOM, np.float32)
    seed = 1
    for i in range(N_RANDOM):
        seed = 16807 * seed % 2147483647
        out[i] = seed / 2147483647.0
    return out


RANDOM = _park_miller()
# Where the sequence of a tile begins; the standard multiplies in single precision.
FIRST = (RANDOM * np.float32(500)).astype(np.int64)


@compiled()
def _refilled(
    data: NDArray[np.uint8], at: int, stop: int, buffer: np.int64, n_bits: int
) -> tuple[np.int64, int, int]:  # pragma: no cover - compiled
    """Shift bytes in until ``n_bits``, the bits left after those wanted, is not negative; at the end it stays so."""
    while n_bits < 0 and at < stop:
        buffer = (buffer << 8) | np.int64(data[at])
        at += 1
        n_bits += 8
    return buffer, n_bits, at


@compiled()
def rice_tiles(
    data: NDArray[np.uint8],
    offset: NDArray[np.int64],
    length: NDArray[np.int64],
    n_pixels: NDArray[np.int64],
    n_block: int,
    byte_pix: int,
    out: NDArray[np.int32],
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """Decode tiles ``data[offset : offset + length]`` into rows of ``out``; return how many pixels each gave.

    A tile that was garbled shows in its end: the code of another number of pixels, or one that no encoder writes. Its
    pixels before that are no better, for nobody knows where the damage begins; -1 is returned for it.

    Parameters
    ----------
    data : ndarray of uint8
        Compressed tiles.
    offset, length, n_pixels : ndarray of int64, shape (tile,)
        n_pixels are the pixels of each tile; one that gives fewer ends too early.
    n_block : int
        Pixels that share a code (BLOCKSIZE).
    byte_pix : int
        1, 2 or 4 bytes a pixel (BYTEPIX).
    out : ndarray of int32, shape (tile, pixel)
        Written.
    """
    bits = 8 * byte_pix
    fs_bits = 3 if byte_pix == 1 else 4 if byte_pix == 2 else 5
    fs_max = 6 if byte_pix == 1 else 14 if byte_pix == 2 else 25
    mask = np.uint32(0xFFFFFFFF) if byte_pix == 4 else np.uint32((1 << bits) - 1)
    top = np.zeros(256, np.int64)  # position of the highest bit that is set, counted from 1
    for k in range(1, 256):
        top[k] = top[k >> 1] + 1
    decoded = np.zeros(len(offset), np.int64)
    for tile in range(len(offset)):
        at, stop, n = offset[tile], offset[tile] + length[tile], n_pixels[tile]
        if length[tile] < byte_pix + 1:
            continue
        good = True
        last = np.uint32(0)
        for _ in range(byte_pix):
            last = np.uint32((last << np.uint32(8)) | np.uint32(data[at]))
            at += 1
        buffer, n_bits = np.int64(data[at]), 8
        at += 1
        i = 0
        while i < n and good:
            buffer, n_bits, at = _refilled(data, at, stop, buffer, n_bits - fs_bits)
            if n_bits < 0:
                break
            fs = (buffer >> n_bits) - 1
            buffer &= (1 << n_bits) - 1
            if fs > fs_max:
                break
            end = min(i + n_block, n)
            if fs < 0:  # all pixels equal the one before
                while i < end:
                    out[tile, i] = np.int32(last)
                    i += 1
                continue
            raw = fs == fs_max
            while i < end:
                wanted, zeros = bits, 0
                if not raw:
                    while buffer == 0:
                        if at >= stop:
                            good = False
                            break
                        n_bits += 8
                        buffer = np.int64(data[at])
                        at += 1
                    if not good:
                        break
                    zeros = n_bits - int(top[buffer])
                    n_bits -= zeros + 1
                    buffer ^= 1 << n_bits
                    wanted = int(fs)
                buffer, n_bits, at = _refilled(data, at, stop, buffer, n_bits - wanted)
                if n_bits < 0:
                    good = False
                    break
                code = np.uint32((np.int64(zeros) << wanted) | (buffer >> n_bits))
                buffer &= (1 << n_bits) - 1
                difference = ~(code >> np.uint32(1)) if code & np.uint32(1) else code >> np.uint32(1)
                last = np.uint32(last + np.uint32(difference)) & mask
                out[tile, i] = np.int32(last)
                i += 1
        # An encoder fills its last byte with zeros and ends there.
        decoded[tile] = i if i < n or (at == stop and buffer == 0) else -1
    return decoded


@compiled()
def dequantise_tiles(
    values: NDArray[np.int32],
    n_pixels: NDArray[np.int64],
    row: NDArray[np.int64],
    scale: NDArray[np.float64],
    zero: NDArray[np.float64],
    dither: int,
    keep_zero: bool,
    random: NDArray[np.float32],
    first: NDArray[np.int64],
    out: NDArray[Any],
) -> None:  # pragma: no cover - compiled
    """Turn quantised tiles into floats, ``(value - random + 1/2) scale + zero``, in ``out`` of shape (tile, pixel).

    Parameters
    ----------
    values : ndarray of int32, shape (tile, pixel)
    n_pixels : ndarray of int64, shape (tile,)
        Pixels in use of each row.
    row : ndarray of int64, shape (tile,)
        Number of the tile in its file, from 0, plus ZDITHER0.
    scale, zero : ndarray of float64, shape (tile,)
        ZSCALE and ZZERO.
    dither : int
        1 or 2 for the subtractive dithers; anything else for none.
    keep_zero : bool
        ZERO_VALUE stands for exactly 0 (SUBTRACTIVE_DITHER_2 with 4-byte integers).
    random, first : ndarray
        ``RANDOM`` and ``FIRST``.
    """
    for tile in range(len(n_pixels)):
        if dither < 1:
            for i in range(n_pixels[tile]):
                out[tile, i] = values[tile, i] * scale[tile] + zero[tile]
            continue
        seed = (row[tile] - 1) % len(random)
        at = first[seed]
        for i in range(n_pixels[tile]):
            if keep_zero and values[tile, i] == ZERO_VALUE:
                out[tile, i] = 0.0
            else:
                out[tile, i] = (np.float64(values[tile, i]) - np.float64(random[at]) + 0.5) * scale[tile] + zero[tile]
            at += 1
            if at == len(random):
                seed = seed + 1 if seed + 1 < len(random) else 0
                at = first[seed]
