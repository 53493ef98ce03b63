"""The median along the last axis, and the scatter about it, several times as fast as ``np.median`` on images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.units import MAD_TO_SIGMA


def median_of(values: NDArray[Any]) -> NDArray[Any]:
    """Median along the last axis, the same bits as ``np.median`` gives.

    One place is searched for, which the processor's vector instructions do; ``np.median`` searches for three at once,
    and they do not.

    Parameters
    ----------
    values : ndarray of float, shape (..., n), n > 0

    Returns
    -------
    ndarray, shape (...)
        In the precision of ``values``; NaN where one of them is NaN.
    """
    n = values.shape[-1]
    parts = np.partition(values, n // 2, axis=-1)
    upper = parts[..., n // 2]
    middle = upper if n % 2 else (parts[..., : n // 2].max(axis=-1) + upper) / values.dtype.type(2)
    # NaN are ordered to the end.
    return np.where(np.isnan(parts[..., n // 2 :]).any(axis=-1), values.dtype.type(np.nan), middle)


def sky_of(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Median and robust standard deviation along the last axis, the bits of :func:`lensflow.units.median_and_sigma`.

    Parameters
    ----------
    values : ndarray of float, shape (..., n), n > 0

    Returns
    -------
    median, sigma : ndarray, shape (...)
        In the precision of ``values``.
    """
    median = median_of(values)
    apart = values - median[..., None]
    return median, values.dtype.type(MAD_TO_SIGMA) * median_of(np.abs(apart, out=apart))
