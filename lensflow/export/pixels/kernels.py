"""Compiled loops over pixels: normalise in place, and take samples turned, flipped and cropped into a batch.

In their own folder, so that a change elsewhere compiles nothing again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled

LINEAR, ASINH, CLIP = 0, 1, 2
# asinh(u / KNEE) * KNEE: linear in the noise, logarithmic above.
KNEE = np.float32(10.0)


def _fit_log1p() -> tuple[np.float32, ...]:
    # log(1 + z) / z where 1 + z lies between sqrt(1/2) and sqrt(2)
    z = np.sqrt(0.5) * (1.5 + 0.5 * np.cos(np.pi * (np.arange(200) + 0.5) / 200)) - 1
    return tuple(np.float32(c) for c in np.polynomial.Polynomial.fit(z, np.log1p(z) / z, 8).convert().coef)


_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _fit_log1p()
_LN2 = np.float32(0.6931471805599453)


@compiled(inline="always")
def _asinh(u):  # type: ignore[no-untyped-def]
    """asinh of a float32, to 3e-7 of its value: sums, products, roots and bits, which run in vector registers."""
    one = np.float32(1.0)
    a = np.float32(abs(u))
    z = a + a * a / (one + np.sqrt(one + a * a))
    # 1 + z = m 2^e with m from sqrt(1/2) to sqrt(2); where e is 0, z itself is exact, and m - 1 is not.
    bits = np.float32(one + z).view(np.int32)
    e = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.float32(np.int32(bits - np.int32(e << np.int32(23))).view(np.float32) - one)
    y = m if e != 0 else z
    log = y * (_L0 + y * (_L1 + y * (_L2 + y * (_L3 + y * (_L4 + y * (_L5 + y * (_L6 + y * (_L7 + y * _L8))))))))
    return np.float32(math.copysign(np.float32(e) * _LN2 + log, u))


@compiled()
def _normalise(x, a, s, how, clip, lacks):  # type: ignore[no-untyped-def]
    zero, one, tenth = np.float32(0.0), np.float32(1.0), np.float32(1.0) / KNEE
    for i in range(x.shape[0]):
        missing = np.int32(0)
        for c in range(x.shape[1]):
            shift, scale = a[i, c], one / s[i, c]
            row = x[i, c]
            if how == 1:
                for p in range(row.size):
                    v = (row[p] - shift) * scale
                    y = _asinh(v * tenth) * KNEE
                    missing |= np.int32(v != v)
                    row[p] = y if v == v else zero
            elif how == 2:
                for p in range(row.size):
                    v = (row[p] - shift) * scale
                    y = min(max(v, -clip), clip)
                    missing |= np.int32(v != v)
                    row[p] = y if v == v else zero
            else:
                for p in range(row.size):
                    v = (row[p] - shift) * scale
                    missing |= np.int32(v != v)
                    row[p] = v if v == v else zero
        lacks[i] = missing != 0


def normalise_in_place(
    x: NDArray[np.float32], a: NDArray[np.float32], s: NDArray[np.float32], how: int, clip: float
) -> NDArray[np.bool_]:
    """Replace pixels by f((x - a) / s), NaN by 0.

    Parameters
    ----------
    x : ndarray of float32, shape (n, channel, y, x)
        C-contiguous; changed.
    a, s : ndarray of float32, shape (n, channel)
    how : {LINEAR, ASINH, CLIP}
        f: nothing, asinh(u / 10) * 10, or limits at +-clip.
    clip : float

    Returns
    -------
    ndarray of bool, shape (n,)
        Samples with a NaN.
    """
    lacks = np.zeros(len(x), bool)
    if x.size:
        _normalise(x.reshape(*x.shape[:2], -1), a, s, how, np.float32(clip), lacks)
    return lacks


@compiled()
def _not_finite(x, out):  # type: ignore[no-untyped-def]
    exponent = np.int32(0x7F800000)
    for i in range(x.shape[0]):
        odd = np.int32(0)
        for p in range(x.shape[1]):
            odd |= np.int32((x[i, p] & exponent) == exponent)
        out[i] = odd != 0


def not_finite(x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Samples with a NaN or an infinity, shape (n,), of pixels of shape (n, ...) that are contiguous."""
    out = np.zeros(len(x), bool)
    if x.size:
        _not_finite(x.reshape(len(x), -1).view(np.int32), out)
    return out


@compiled()
def _take(x, rows, turn, flip, down, right, out, place):  # type: ignore[no-untyped-def]
    # Unsigned: a signed index could be negative, and the test for that in the inner loop takes more than the copy.
    one = np.uint64(1)
    n = np.uint64(out.shape[2])
    last = n - one
    for k in range(rows.size):
        t, f, y0, x0 = turn[k], flip[k], np.uint64(down[k]), np.uint64(right[k])
        for c in range(out.shape[1]):
            source, target = x[rows[k], c], out[place[k], c]
            # Each kind has a loop of its own: without branches inside.
            if t == 0 or t == 2:
                for y in range(n):
                    row, into = source[y0 + (y if t == 0 else last - y)], target[y]
                    if (t == 0) != f:
                        for z in range(n):
                            into[z] = row[x0 + z]
                    else:
                        for z in range(n):
                            into[z] = row[x0 + last - z]
            else:
                for y in range(n):
                    column, into = x0 + (last - y if t == 1 else y), target[y]
                    if (t == 1) != f:
                        for z in range(n):
                            into[z] = source[y0 + z, column]
                    else:
                        for z in range(n):
                            into[z] = source[y0 + last - z, column]


def take_into(
    out: NDArray[np.float32],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
    rows: NDArray[np.int64],
    turn: NDArray[np.uint8],
    flip: NDArray[np.bool_],
    corner: NDArray[np.int64],
) -> None:
    """Copy samples into a batch, cropped, turned and flipped: every pixel keeps its bits.

    Parameters
    ----------
    out : ndarray of float32, shape (batch, channel, n, n)
        Changed.
    place : ndarray of int64, shape (k,)
        Rows of ``out`` that are filled.
    x : ndarray of float32, shape (m, channel, y, x)
        Source.
    rows : ndarray of int64, shape (k,)
        Samples of ``x``.
    turn : ndarray of uint8, shape (k,)
        Quarter turns, as ``numpy.rot90`` of (y, x).
    flip : ndarray of bool, shape (k,)
        Mirror along x, after the turn.
    corner : ndarray of int64, shape (k, 2)
        First row and column of the crop, before turn and flip.
    """
    if rows.size:
        _take(x, rows, turn, flip, corner[:, 0], corner[:, 1], out, place)


@compiled()
def _mask_cores(x, rows, lacks, xc, yc, r0, r1, inner, outer, draws, channels):  # type: ignore[no-untyped-def]
    n = x.shape[2]
    middle = 0.5 * (n - 1)
    every, ring = np.empty(n * n, np.int64), np.empty(n * n, np.int64)
    in_ring = 0
    for p in range(n * n):
        if inner <= np.hypot(p // n - middle, p % n - middle) < outer:
            every[in_ring] = p
            in_ring += 1
    for k in range(rows.size):
        image = x[rows[k]]
        found = 0
        for i in range(in_ring):
            there = True
            if lacks[k]:
                for c in range(channels):
                    there = there and image[c, every[i] // n, every[i] % n] != np.float32(0.0)
            if there:
                ring[found] = every[i]
                found += 1
        drawn = 0
        for y in range(max(int(yc[k] - r1), 0), min(int(yc[k] + r1) + 2, n)):
            for z in range(max(int(xc[k] - r1), 0), min(int(xc[k] + r1) + 2, n)):
                r = np.hypot(y - yc[k], z - xc[k])
                if r < r1:
                    keep = np.float32(0.5 - 0.5 * np.cos(np.pi * (r - r0) / (r1 - r0))) if r > r0 else np.float32(0.0)
                    p = ring[min(int(draws[k, drawn % draws.shape[1]] * found), found - 1)] if found else -1
                    drawn += 1
                    for c in range(channels):
                        fill = image[c, p // n, p % n] if found else np.float32(0.0)
                        image[c, y, z] = keep * image[c, y, z] + (np.float32(1.0) - keep) * fill


def mask_cores(
    x: NDArray[np.float32],
    rows: NDArray[np.int64],
    lacks: NDArray[np.bool_],
    x_center: NDArray[np.float64],
    y_center: NDArray[np.float64],
    radii: tuple[float, float],
    annulus: tuple[float, float],
    draws: NDArray[np.float64],
    channels: int,
) -> None:
    """Replace the cores of some samples by noise of their annulus: exactly it up to r0, a half cosine to r1.

    Parameters
    ----------
    x : ndarray of float32, shape (batch, channel, n, n)
        Changed.
    rows : ndarray of int64, shape (k,)
        Samples that are masked.
    lacks : ndarray of bool, shape (k,)
        Whether they lack data somewhere: pixels that are 0 are then no noise to draw.
    x_center, y_center : ndarray, shape (k,)
        Targets, pixels.
    radii : (float, float)
        r0 and r1, pixels.
    annulus : (float, float)
        Inner and outer radius about the middle, pixels; larger than r1.
    draws : ndarray, shape (k, m)
        Uniform numbers: which pixel of the annulus takes each pixel's place, in all bands alike.
    channels : int
        Channels that are images; others are left as they are.
    """
    if rows.size:
        _mask_cores(x, rows, lacks, x_center, y_center, *radii, *annulus, draws, channels)
