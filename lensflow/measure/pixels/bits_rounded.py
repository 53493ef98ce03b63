"""Patterns in rounded pixels: their residuals are steps, whose signs are not fair coins but whose mean is 0.

What rounding without bias leaves of a stamp less its control and its arc has no mean, is independent from pixel to
pixel and no larger than a step and the noise. So sums over rows are held against the sum of their own squares. Rounding
to the nearest value, of pixels that were rounded before, has a mean where the arc is fainter than a step; it is as
smooth as arcs are. So only what is finer is asked for: each position against its neighbours, and frequencies beyond
1/16 cycles per pixel. Of coarser patterns that part is, which changes sign across the stamp's centre (a tilt): arcs
have one each, but none in common, so the sum over rows is held against the rows' own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

Floats = NDArray[np.float64]

PATTERNS = (
    "of rounded pixels, by position",
    "of rounded pixels, by frequency",
    "of rounded pixels, coarse and odd about the centre",
)
COARSEST_CYCLES_PER_PIX = 1 / 16
# A sum of fewer is not normal; such a position is skipped.
_LEAST_ROWS = 30
# Steps that a histogram holds; and the mean power of a line that is an alarm: with 30 rows chance gives 2.
LINES_LENGTH, LINE_ALARM = 2048, 3.0
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) / 8


def residuals(stamp: NDArray[np.floating], ctrl: NDArray[np.floating], arc: NDArray[np.floating]) -> Floats:
    """Residuals of a row and band over their own scatter, 0 where there is no arc; shape (y, x)."""
    rest = np.where(arc != 0, stamp.astype(np.float64) - ctrl - arc, 0.0)
    rest = np.where(np.isfinite(rest), rest, 0.0)
    scatter = np.sqrt((rest**2).sum() / max(int((arc != 0).sum()), 1))
    return rest / scatter if scatter > 0 else rest


def odd_part(rest: Floats) -> Floats:
    """Spectrum of residuals (y, x) that is odd about the stamp's centre, shape (y, x // 2 + 1)."""
    size = rest.shape[-1]
    turn = np.exp(1j * np.pi * (size - 1) * (np.fft.fftfreq(size)[:, None] + np.fft.rfftfreq(size)))
    return np.asarray((np.fft.rfft2(rest) * turn).imag)


def lines(values: NDArray[np.floating], step: float) -> Floats:
    """Power of the steps' histogram by frequency, cycles per step, over that of as many independent values."""
    place = np.rint(values[np.isfinite(values)].astype(np.float64) / step)
    place = place - np.floor(np.median(place)) if place.size else place
    place = place[np.abs(place) < LINES_LENGTH // 2].astype(np.int64)
    count = np.bincount(place + LINES_LENGTH // 2, minlength=LINES_LENGTH)
    return np.asarray(np.abs(np.fft.rfft(count)) ** 2 / max(place.size, 1))


def second_lattice(powers: Floats, rows: NDArray[np.int64]) -> Floats:
    """Largest mean power of a line that stamps have and controls have not, by band; NaN with too few rows.

    Values that were on another lattice before they were rounded have one; others have powers of 1 at all frequencies
    beyond those of the sky's scatter.

    Parameters
    ----------
    powers : ndarray, shape (2, band, frequency)
        Sums over rows of :func:`lines` of stamps and controls.
    rows : ndarray, shape (band,)
    """
    frequency = np.fft.rfftfreq(LINES_LENGTH)
    stamp, ctrl = powers[..., frequency > 0.1] / np.maximum(rows, 1)[:, None]
    largest = np.where(stamp > 2 * ctrl, stamp, 1.0).max(axis=-1)
    return np.where(rows >= _LEAST_ROWS, largest, np.nan)


def chances(total: Floats, squares: Floats, rows: Floats, odd: Floats, odd_squares: Floats) -> list[Floats]:
    """Chance of every position, every fine frequency and every coarse one, shape (band, ...); 1 where none was counted.

    Parameters
    ----------
    total, squares : ndarray, shape (band, y, x)
        Sums over rows of the residuals and of their squares.
    rows : ndarray, shape (band, y, x)
        Rows that have an arc there.
    odd, odd_squares : ndarray, shape (band, y, x // 2 + 1)
        Sums over rows of :func:`odd_part` and of its squares.
    """
    near = ndimage.correlate(total, _NEIGHBOURS[None], mode="constant")
    variance = squares + ndimage.correlate(squares, (_NEIGHBOURS**2)[None], mode="constant")
    enough = ndimage.minimum_filter(rows, (1, 3, 3), mode="constant") >= _LEAST_ROWS
    z = np.divide(total - near, np.sqrt(variance), out=np.zeros_like(total), where=enough & (variance > 0))
    size = total.shape[-1]
    power = np.abs(np.fft.rfft2(total)) ** 2
    every = squares.sum(axis=(1, 2), keepdims=True)
    share = np.divide(power, every, out=np.zeros_like(power), where=every > 0)
    fy, fx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    frequency = np.hypot(fy[:, None], fx)
    p = np.where(frequency > COARSEST_CYCLES_PER_PIX, np.exp(-share), 1.0)
    if size % 2 == 0:  # waves that are their own mirror image have one phase only
        k = size // 2
        for v, u in ((0, k), (k, 0), (k, k)):
            p[:, v, u] = special.erfc(np.sqrt(share[:, v, u] / 2))
    coarse = (frequency <= COARSEST_CYCLES_PER_PIX) & (frequency > 0)
    many = rows.max(axis=(1, 2), keepdims=True, initial=0) >= _LEAST_ROWS
    of_odd = np.divide(odd, np.sqrt(odd_squares), out=np.zeros_like(odd), where=coarse & many & (odd_squares > 0))
    return [special.erfc(np.abs(v) / np.sqrt(2)) if k != 1 else p for k, v in enumerate((z, p, of_odd))]
