"""Compiled: quantisation and Rice coding of FITS tiles, many tiles a call; the inverse of :mod:`lensflow.fits.rice`.

The bytes are those that cfitsio (and astropy, which calls it tile by tile) writes for 4-byte integers.

References
----------
FITS Standard 4.0, sections 10.4.1 (Rice) and 10.2, appendix I (subtractive dithering);
Rice, Yeh & Miller 1993, JPL Publication 91-3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lensflow.fits.rice import ZERO_VALUE
from lensflow.jit import compiled

# Quantised values below this one are kept for undefined pixels and for zeros.
LOWEST = -2147483647 + 10
MOST_LEVELS = 2.0 * 2147483647.0 - 10


@compiled()
def quantise_tiles(
    values: NDArray[np.float32],
    n_pixels: NDArray[np.int64],
    step: float,
    seed: int,
    random: NDArray[np.float32],
    first: NDArray[np.int64],
    levels: NDArray[np.int32],
    zero: NDArray[np.float64],
) -> bool:  # pragma: no cover - compiled
    """Quantise tiles with SUBTRACTIVE_DITHER_2 and an absolute step; False if one of them has no such levels.

    That is a tile of one pixel, which cfitsio does not quantise; one that spans more levels than an int32 has; and one
    with a value that is not finite.

    Parameters
    ----------
    values : ndarray of float32
        Pixels of all tiles, one after another.
    n_pixels : ndarray of int64, shape (tile,)
    step : float
        ZSCALE of all tiles, a float32's value.
    seed : int
        ZDITHER0.
    random, first : ndarray
        ``RANDOM`` and ``FIRST`` of :mod:`lensflow.fits.rice`.
    levels : ndarray of int32
        Written, as ``values``.
    zero : ndarray of float64, shape (tile,)
        Written: ZZERO.
    """
    start = 0
    for tile in range(len(n_pixels)):
        n = n_pixels[tile]
        low, high, finite = values[start], values[start], True
        for i in range(start, start + n):
            value = values[i]
            low, high = min(low, value), max(high, value)
            finite &= np.isfinite(value)
        if n < 2 or not finite or np.float64(np.float32(high - low)) / step > MOST_LEVELS:
            return False
        zero[tile] = np.float64(low) - step * LOWEST
        row = (tile + seed - 1) % len(random)
        at, i, stop = first[row], start, start + n
        while i < stop:
            end = min(stop, i + len(random) - at)
            for k in range(i, end):
                level = (np.float64(values[k]) - zero[tile]) / step + np.float64(random[at + k - i]) - 0.5
                rounded = np.int32(level + 0.5) if level >= 0 else np.int32(level - 0.5)
                levels[k] = np.int32(ZERO_VALUE) if values[k] == 0 else rounded
            i = end
            row = row + 1 if row + 1 < len(random) else 0
            at = first[row]
        start += n
    return True


@compiled()
def rice_encode(
    levels: NDArray[np.int32], n_pixels: NDArray[np.int64], n_block: int, out: NDArray[np.uint8]
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """Code tiles one after another into ``out``; return the bytes of each.

    Parameters
    ----------
    levels : ndarray of int32
        Pixels of all tiles, one after another.
    n_pixels : ndarray of int64, shape (tile,)
    n_block : int
        Pixels that share a code (BLOCKSIZE).
    out : ndarray of uint8
        :func:`room_for` bytes.
    """
    length = np.zeros(len(n_pixels), np.int64)
    code = np.zeros(n_block, np.int64)
    start = at = 0
    for tile in range(len(n_pixels)):
        begun = at
        # Bits that are not written yet: the lowest ``pending`` of ``bits``, at most seven between pixels.
        last = np.int64(levels[start])
        bits, pending = np.uint64(last & 0xFFFFFFFF), 32
        for block in range(start, start + n_pixels[tile], n_block):
            n = min(n_block, start + n_pixels[tile] - block)
            total = 0
            for i in range(n):
                value = np.int64(levels[block + i])
                difference = np.int64(np.int32(value - last))  # wraps, as it does when it is added again
                code[i] = (difference << 1) ^ (difference >> 63)
                total += code[i]
                last = value
            split, left = 0, max(total - n // 2 - 1, 0) // n >> 1
            while left > 0:
                split, left = split + 1, left >> 1
            marker = 26 if split >= 25 else 0 if total == 0 else split + 1
            bits, pending, at = _flushed((bits << np.uint64(5)) | np.uint64(marker), pending + 5, out, at)
            if marker == 0:
                continue
            for i in range(n):
                if marker == 26:
                    bits, pending, at = _flushed((bits << np.uint64(32)) | np.uint64(code[i]), pending + 32, out, at)
                    continue
                zeros = code[i] >> split
                while zeros > 24:
                    bits, pending, at = _flushed(bits << np.uint64(24), pending + 24, out, at)
                    zeros -= 24
                low = np.uint64((1 << split) | (code[i] & ((1 << split) - 1)))
                width = zeros + 1 + split
                bits, pending, at = _flushed((bits << np.uint64(width)) | low, pending + width, out, at)
        if pending > 0:
            out[at] = np.uint8((bits << np.uint64(8 - pending)) & np.uint64(255))
            at += 1
        length[tile] = at - begun
        start += n_pixels[tile]
    return length


@compiled()
def _flushed(
    bits: np.uint64, pending: int, out: NDArray[np.uint8], at: int
) -> tuple[np.uint64, int, int]:  # pragma: no cover - compiled
    """Write whole bytes; the bits left, their number, and where the next byte goes."""
    while pending >= 8:
        pending -= 8
        out[at] = np.uint8((bits >> np.uint64(pending)) & np.uint64(255))
        at += 1
    return bits, pending, at


def room_for(n_pixels: NDArray[np.int64], n_block: int) -> int:
    """Bytes that the codes of tiles take at most: direct coding, of which no other code is longer."""
    return int((4 * n_pixels + n_pixels // n_block + 16).sum())
