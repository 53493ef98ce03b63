"""Impossible pixels: traces of damage that a codec does not detect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Against the noise of the stamp. A detector holds 10^5 electrons over a noise of a few, and a coadd of 100 exposures
# has a tenth of that noise: the brightest pixel that is not saturated stays below 10^6 sigma. Too much sky subtracted
# is a few sigma.
BRIGHTEST_SIGMA = 1e7
DARKEST_SIGMA = -1e5
# Against the stamp's median weight.
LARGEST_WEIGHT = 1e6
_STRIDE = 8


def impossible_pixels(image: NDArray[np.floating], invvar: NDArray[np.floating]) -> dict[int, str]:
    """Find stamps with impossible pixels, relative to the stamp's own noise.

    Only pixels with data (``invvar`` > 0) are checked: elsewhere surveys write arbitrary values.

    Parameters
    ----------
    image, invvar : ndarray, shape (host, y, x)
        nMgy/pixel and nMgy^-2, not finite where undefined.

    Returns
    -------
    dict
        Row -> what cannot be, in words.
    """
    if not image.size:
        return {}
    with np.errstate(all="ignore"):
        most = invvar.max(axis=(1, 2))
        typical = np.median(invvar[:, ::_STRIDE, ::_STRIDE], axis=(1, 2))
        swing = np.maximum(image.max(axis=(1, 2)), -image.min(axis=(1, 2))).astype(np.float64)
        # A quick test that passes nearly all stamps: the median weight is at most the largest. False for NaN.
        clean = (swing * np.sqrt(most) < -DARKEST_SIGMA) & (most < LARGEST_WEIGHT * typical)
    found = {}
    for row in np.flatnonzero(~clean).tolist():
        if why := _impossible(image[row].astype(np.float64), invvar[row].astype(np.float64)):
            found[row] = why
    return found


def _impossible(image: NDArray[np.float64], invvar: NDArray[np.float64]) -> str:
    good = np.isfinite(image) & np.isfinite(invvar) & (invvar > 0)
    if not good.any():
        return ""
    weight = np.median(invvar[good])
    heaviest = invvar[good].max()
    if heaviest > LARGEST_WEIGHT * weight:
        return f"a weight of {heaviest:.3g} where its median is {weight:.3g}"
    sigma = image[good] * np.sqrt(weight)
    for value, beyond in ((sigma.max(), sigma.max() > BRIGHTEST_SIGMA), (sigma.min(), sigma.min() < DARKEST_SIGMA)):
        if beyond:
            return f"a pixel of {value / np.sqrt(weight):.3g} nMgy where the noise is {1 / np.sqrt(weight):.3g}"
    return ""
