"""Magnitudes and fluxes, and the standard deviation from a median absolute deviation.

Pixels are nanomaggies (nMgy): the flux of AB magnitude 22.5.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Number = TypeVar("Number", float, NDArray[np.float64])

# AB magnitude of 1 nMgy.
NMGY_MAG = 22.5
# Standard deviation of a Gaussian over its median absolute deviation: 1 / Phi^-1(3/4).
MAD_TO_SIGMA = 1.482602218505602


def nmgy_of_mag(magnitude: Number) -> Number:
    """Flux in nMgy of an AB magnitude."""
    return 10 ** (-0.4 * (magnitude - NMGY_MAG))


def mag_of_flux(flux: ArrayLike, zero_point: float = NMGY_MAG) -> NDArray[np.float64]:
    """AB magnitude of a flux; NaN where the flux is not above 0.

    Parameters
    ----------
    flux : array_like
        nMgy, or units of which one has the magnitude ``zero_point``.
    zero_point : float

    Returns
    -------
    ndarray
        In the precision of ``flux``.
    """
    values = np.asarray(flux)
    lit = values > 0
    return np.where(lit, zero_point - 2.5 * np.log10(np.where(lit, values, 1.0)), np.nan)


def median_and_sigma(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Median and robust standard deviation along the last axis, shape (...).

    References
    ----------
    Rousseeuw & Croux 1993, Journal of the American Statistical Association 88, 1273.
    """
    median = np.median(values, axis=-1)
    return median, MAD_TO_SIGMA * np.median(np.abs(values - median[..., None]), axis=-1)
