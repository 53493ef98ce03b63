"""Coarser copies of an image for light that the map to the image plane, and the PSF, will blur anyway.

Level 0 is the image itself, read between its pixels by cubic convolution (Keys 1981). Level l is its least-squares
approximation by cubic B-splines whose knots are 2^l pixels apart. Averages would not do: a copy averaged over a tenth
of the PSF's width is wrong by 1e-3 of the peak. A least-squares spline passes frequencies f (cycles per knot) with an
error of (f / (1 - f))^8, 1e-4 at a quarter of a cycle, and drops those beyond half a cycle. Constants and cubics are
splines, and what is dropped is orthogonal to splines: flux, centroid and second moments of each level are those of the
image, by construction.

References
----------
Unser, Aldroubi & Eden 1993, IEEE Trans. Image Processing 2, 162 (the L2 spline pyramid); Unser 1999, IEEE Signal
Processing Magazine 16(6), 22 (recursive filters).
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from lensflow.jit import compiled

Floats = NDArray[np.float64]

# Coefficients around each level's image: the splines' tails fall by 0.54 a knot.
FRAME = 12
MAX_LEVELS = 8
_ROOM = FRAME + 2
# Coefficients below this share of a level's largest are 0: outside of the galaxy the tails need no samples.
_FAINT = 1e-7
# Poles of the inverse of the B-spline's autocorrelation (a spline of degree 7 at the integers).
_POLES = (-0.5352804307964382, -0.12255461519232669, -0.009148694809608277)


class Levels(NamedTuple):
    """All levels of one image.

    Attributes
    ----------
    pixels : ndarray of float32, flat
        Levels one after the other, row-major; the light at the knots (level 0), or B-spline coefficients.
    frame : ndarray of int64, shape (level, 3)
        Where each begins, its rows and its columns. Coefficient [FRAME + i, FRAME + j] of level l is at the image's
        pixel [2^l i, 2^l j].
    """

    pixels: NDArray[np.float32]
    frame: NDArray[np.int64]


def _keys(x: Floats) -> Floats:
    """Cubic convolution kernel."""
    d = np.abs(x)
    return np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, np.where(d < 2, ((2.5 - 0.5 * d) * d - 4) * d + 2, 0.0))


def _spline_moments() -> Floats:
    """Integrals of the cubic convolution kernel times B-splines at distances -3 to 3 pixels; exact."""
    t, w = np.polynomial.legendre.leggauss(4)
    x = (np.arange(-4, 4)[:, None] + 0.5 * (t + 1)).ravel()
    weight = np.tile(0.5 * w, 8)
    spline = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)
    return np.array([(weight * _keys(x) * np.nan_to_num(spline(x - k))).sum() for k in range(-3, 4)])


_TO_SPLINE = _spline_moments()
_TWO_SCALE = np.array([comb(4, k) / 8 for k in range(5)])


def make_levels(image: Floats, coarsest: float) -> Levels:
    """Make the levels of an image.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        Light at the pixels; 0 beyond them.
    coarsest : float
        Largest distance of knots, pixels.

    Returns
    -------
    Levels
        At least one.
    """
    image = np.asarray(image, dtype=np.float64)
    levels = [np.pad(image, FRAME)]
    extent, knots, origin = np.array(image.shape), 1, 0
    # Integrals of the light times the B-splines of each level's knots; they need one frame more than the coefficients.
    moments = _both_axes(image, _TO_SPLINE, -3 - _ROOM, 1, extent + 2 * _ROOM)
    while len(levels) < MAX_LEVELS and 2 * knots <= coarsest:
        knots, origin, extent = 2 * knots, _ROOM, -(-extent // 2)
        moments = _both_axes(moments, _TWO_SCALE, origin - 2 * _ROOM - 2, 2, extent + 2 * _ROOM)
        level = moments / knots**2
        for _ in range(2):
            level = _without_overlap(np.ascontiguousarray(level.T))
        level = level[_ROOM - FRAME : FRAME - _ROOM, _ROOM - FRAME : FRAME - _ROOM]
        level = np.where(np.abs(level) < _FAINT * np.abs(level).max(), 0.0, level)
        # What the tails beyond the frame and the faintest coefficients held.
        levels.append(level * (image.sum() / (level.sum() * knots**2)))
    starts = np.cumsum([0, *(level.size for level in levels)])
    frame = np.array([(start, *level.shape) for start, level in zip(starts, levels, strict=False)], dtype=np.int64)
    return Levels(np.concatenate([level.ravel() for level in levels]).astype(np.float32), frame)


def _both_axes(values: Floats, kernel: Floats, first: int, step: int, sizes: NDArray[np.int64]) -> Floats:
    for size in sizes:
        values = np.ascontiguousarray(_correlate(values, kernel, first, step, int(size)).T)
    return values


@compiled()
def _correlate(values, kernel, first, step, size):  # type: ignore[no-untyped-def]
    """Sums of ``kernel`` times rows from ``first``, ``first + step``, ... on; rows that are not there are 0."""
    out = np.zeros((size, values.shape[1]))
    for k in range(size):
        for j in range(kernel.size):
            i = first + step * k + j
            if 0 <= i < values.shape[0]:
                for column in range(values.shape[1]):
                    out[k, column] += kernel[j] * values[i, column]
    return out


@compiled()
def _without_overlap(level):  # type: ignore[no-untyped-def]
    """Coefficients along the first axis of the spline whose integrals with the B-splines are given, in place.

    The inverse of the B-splines' overlaps, as a recursive filter there and back for each pole.
    """
    n = level.shape[0]
    for pole in _POLES:
        gain = -(1.0 - pole) * (1.0 - pole) / pole
        level[0] *= gain
        for i in range(1, n):
            level[i] = gain * level[i] + pole * level[i - 1]
        level[n - 1] *= -pole / (1.0 - pole * pole)
        for i in range(n - 2, -1, -1):
            level[i] = pole * (level[i + 1] - level[i])
    return level
