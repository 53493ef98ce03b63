"""Extremes of arcs and stamps, in one pass over their pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled

_MAGNITUDE, _INFINITY = 0x7FFFFFFF, 0x7F800000


class Extremes(NamedTuple):
    """Extremes of the pixels of a row and band, each of shape (sample, band).

    Attributes
    ----------
    peak, dip : ndarray of float32
        Largest arc pixel, at least 0, and lowest one, at most 0, nMgy.
    lit : ndarray of bool
        Whether any arc pixel is not 0.
    finite : ndarray of bool
        Whether all pixels of arc and stamp are.
    """

    peak: NDArray[np.float32]
    dip: NDArray[np.float32]
    lit: NDArray[np.bool_]
    finite: NDArray[np.bool_]


def extremes(arc: NDArray[np.float32], stamp: NDArray[np.float32]) -> Extremes:
    """Find the extremes of arcs and stamps.

    Parameters
    ----------
    arc, stamp : ndarray of float32, shape (sample, band, y, x)

    Notes
    -----
    The bits of a float32 without its sign are in the order of its magnitude, infinity and NaN at the end. Compared as
    integers, pixels are compared several at a time; as floats they could not be, for the sake of NaN.
    """
    flat = (*arc.shape[:2], -1)
    found = np.zeros((*arc.shape[:2], 4), np.int32)
    bits = (np.ascontiguousarray(a, dtype=np.float32).view(np.int32).reshape(flat) for a in (arc, stamp))
    _extremes(*bits, found)
    values = found.view(np.float32)
    finite = (found[..., 2] < _INFINITY) & (found[..., 3] < _INFINITY)
    return Extremes(values[..., 0], -values[..., 1], found[..., 2] > 0, finite)


@compiled()
def _extremes(arc, stamp, out):  # type: ignore[no-untyped-def]
    rows, bands, pixels = arc.shape
    none, magnitude = np.int32(0), np.int32(_MAGNITUDE)
    for i in range(rows):
        for b in range(bands):
            high = low = top = other = none
            for p in range(pixels):
                v = arc[i, b, p]
                size = v & magnitude
                high = max(high, v)
                low = max(low, size if v < none else none)
                top = max(top, size)
            for p in range(pixels):
                other = max(other, stamp[i, b, p] & magnitude)
            out[i, b, 0], out[i, b, 1], out[i, b, 2], out[i, b, 3] = high, low, top, other
