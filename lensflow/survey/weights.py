"""Variances and standard deviations as inverse variances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lensflow.config.layouts import Weights
from lensflow.survey.no_data import dithered_zeros


def as_invvar(pixels: NDArray[np.floating], kind: Weights) -> NDArray[np.float32]:
    """Inverse variances of stamps whose survey stores something else.

    A variance of zero, of infinity or too small to be one (a zero that a lossy compression has moved, which inverted
    would outweigh all other pixels) is no data: weight 0. NaN stays NaN, and a negative value negative: what judges
    inverse variances finds both.

    Parameters
    ----------
    pixels : ndarray, shape (stamp, y, x)
        In the survey's unit, squared for a variance.
    kind : {"invvar", "variance", "rms"}

    Returns
    -------
    ndarray of float32, shape (stamp, y, x)
    """
    if kind == "invvar":
        return pixels.astype(np.float32, copy=False)
    out = np.zeros(pixels.shape, np.float32)
    for stamp, found in zip(pixels, out, strict=True):
        value = stamp.astype(np.float64)
        size = value if kind == "variance" else value * np.abs(value)
        used = (size != 0) & ~np.isinf(size) & ~dithered_zeros(stamp.astype(np.float32))
        found[used] = 1 / size[used]
    return out
