"""The source's light: an elliptical Sersic profile, normalised analytically to its unlensed flux."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma, gammaincinv

N_RANGE = (0.3, 8.0)


def sersic_b(n: ArrayLike) -> NDArray[np.float64]:
    """Exact b_n: half of the flux lies within R_e. Solves ``gammainc(2 n, b) = 1/2`` (1.67835 for n = 1)."""
    return np.asarray(gammaincinv(2 * np.asarray(n, dtype=np.float64), 0.5), dtype=np.float64)


def sersic_amplitude(flux: ArrayLike, reff: ArrayLike, n: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """Surface brightness I_e at the half-light radius that gives a total flux.

    Parameters
    ----------
    flux : array_like
        Total flux out to infinity, nMgy.
    reff : array_like
        Major-axis half-light radius, arcsec.
    n, q : array_like
        Sersic index and axis ratio.

    Returns
    -------
    ndarray of float64
        I_e in nMgy/arcsec^2: flux / (2 pi q R_e^2 n e^b b^(-2n) Gamma(2n)).

    References
    ----------
    Graham & Driver 2005, PASA 22, 118, eq. 4.
    """
    flux, reff, n, q = (np.asarray(v, dtype=np.float64) for v in (flux, reff, n, q))
    b = sersic_b(n)
    return np.asarray(flux / (2 * np.pi * q * reff**2 * n * np.exp(b) * b ** (-2 * n) * gamma(2 * n)))


def sersic_profile(
    x: ArrayLike,
    y: ArrayLike,
    reff: ArrayLike,
    n: ArrayLike = 1.0,
    q: ArrayLike = 1.0,
    phi: ArrayLike = 0.0,
    flux: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Surface brightness ``I_e exp(-b ((R/R_e)^(1/n) - 1))`` of an elliptical Sersic source.

    Parameters
    ----------
    x, y : array_like
        Position relative to the source's centre, arcsec.
    reff : array_like
        Half-light radius along the major axis, arcsec.
    n : array_like
        Sersic index.
    q : array_like
        Axis ratio in (0, 1]; R is the major-axis radius of the ellipse through (x, y).
    phi : array_like
        Angle of the major axis, rad, from +x counter-clockwise.
    flux : array_like
        Total flux, nMgy.

    Returns
    -------
    ndarray of float64
        nMgy/arcsec^2.
    """
    x, y, reff, n, q, phi = (np.asarray(v, dtype=np.float64) for v in (x, y, reff, n, q, phi))
    c, s = np.cos(phi), np.sin(phi)
    radius = np.hypot(c * x + s * y, (c * y - s * x) / q)
    b = sersic_b(n)
    return np.asarray(sersic_amplitude(flux, reff, n, q) * np.exp(-b * ((radius / reff) ** (1 / n) - 1)))
