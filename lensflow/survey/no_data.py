"""Find pixels without data that the file does not mark: dithered zeros, padding, sentinels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A weight this much below the stamp's typical one is a zero that a lossy compression has moved.
_RELATIVE_FLOOR = 1e-3
# Negative weights this small relative to the largest are dithered zeros; larger ones are errors.
_DITHER_SHARE = 0.1
# If a stamp's weights scatter around zero, at least this fraction is negative (expected: half).
_ABOUT_ZERO = 0.2
# No flux in nMgy is as large: 1e20 nMgy is magnitude -27.5, and what fills undefined pixels is larger still.
IMPOSSIBLE = 1e15
# Values that mean "no data" wherever they form a block.
SENTINELS = (0.0, -1.0, 99.0, -99.0, 999.0, -999.0, 9999.0, -9999.0, -32768.0, 32767.0, -65535.0, 65535.0)
_EDGE_RUN = 16


def dithered_zeros(invvar: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Weights that are zero but for the dither of a lossy compression, of one stamp and band.

    Quantised with a dither, a zero comes back as anything within half a quantisation step of zero: half of the zeros
    are positive. Their negative half tells the step. Weights below it are none; so are weights a thousand times below
    the median of the others. What a stamp gets depends on its own pixels alone.

    Parameters
    ----------
    invvar : ndarray, shape (y, x)

    Returns
    -------
    ndarray of bool, shape (y, x)
        False for exact zeros, NaN, and for negative weights that are too large to be a dithered zero.
    """
    finite = np.where(np.isfinite(invvar), invvar, np.float32(0))
    high = float(finite.max(initial=0))
    negative = finite[finite < 0]
    floor = 0.0
    if negative.size < _ABOUT_ZERO * np.count_nonzero(finite):
        negative = negative[-negative < _DITHER_SHARE * high]
    if negative.size:
        # A step shows half of itself in the most negative of many zeros, and less in that of a few.
        floor = -2 * float(negative.min()) * (1 + 3 / negative.size)
    kept = finite[finite > floor]
    if kept.size:
        floor = max(floor, _RELATIVE_FLOOR * float(np.median(kept)))
    return np.asarray((finite != 0) & (np.abs(finite) <= floor))


def padding(stamp: NDArray[np.float32], smallest: int = 3) -> NDArray[np.bool_]:
    """Pixels of a stamp without data: not finite, impossible, or blocks of one value.

    Noise never gives one value to a block of pixels. A block counts if it reaches the stamp's edge, whatever the value,
    or if the value is zero or another usual sentinel (-99, -32768, ...). It holds a square of 3 x 3 pixels, of 5 x 5
    where values repeat by themselves (integers, quantised images), or is a run of 16 pixels along the edge.

    Parameters
    ----------
    stamp : ndarray, shape (y, x)
    smallest : int
        Side of the smallest square.

    Returns
    -------
    ndarray of bool, shape (y, x)
    """
    out = ~np.isfinite(stamp) | (np.abs(stamp) >= IMPOSSIBLE)
    rest = stamp[~out]
    if not rest.size:
        return out
    values, count = np.unique(rest, return_counts=True)
    candidates = values[count >= smallest**2]
    # Many values that repeat: integers, or a coarse quantisation.
    side = 5 if candidates.size > 4 else smallest
    for value in candidates:
        equal = (stamp == value) & ~out
        seed = ndimage.binary_opening(equal, np.ones((side, side), bool))
        for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
            line = equal[edge]
            run = min(_EDGE_RUN, line.size)
            seed[edge] |= ndimage.binary_opening(line, np.ones(run, bool))
        if not seed.any():
            continue
        block = ndimage.binary_propagation(seed, mask=equal)
        if value in SENTINELS:
            out |= block
            continue
        labels, _ = ndimage.label(block)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        out |= np.isin(labels, border[border > 0])
    return np.asarray(out)
