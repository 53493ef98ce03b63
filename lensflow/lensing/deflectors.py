"""Deflection angles of the lens models: what the reference renderer and the tests bend light with.

Positions are relative to the lens centre, lengths in arcsec, angles in radians from +x counter-clockwise. The
source lies at ``beta = theta - alpha_lens - alpha_shear``. All arguments broadcast against each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]

# Below this, sqrt(1 - q^2) is taken as this: the deflection then differs from the SIS's by 1e-19, and nothing
# is divided by zero.
_SMALLEST_F = 1e-9


def deflect_sis(x: ArrayLike, y: ArrayLike, theta_e: ArrayLike) -> Pair:
    """Deflection of a singular isothermal sphere: ``theta_e`` at every radius.

    Parameters
    ----------
    x, y : array_like
        Position relative to the lens centre, arcsec.
    theta_e : array_like
        Einstein radius, arcsec.

    Returns
    -------
    alpha_x, alpha_y : ndarray of float64
        Arcsec; 0 exactly at the centre, where the direction is undefined.
    """
    x, y, theta_e = (np.asarray(v, dtype=np.float64) for v in (x, y, theta_e))
    cos, sin = _direction(x, y)
    return theta_e * cos, theta_e * sin


def deflect_sie(x: ArrayLike, y: ArrayLike, theta_e: ArrayLike, q: ArrayLike, phi: ArrayLike = 0.0) -> Pair:
    r"""Deflection of a singular isothermal ellipsoid, area-normalised.

    In the principal frame, with f = sqrt(1 - q^2) and psi = sqrt(q^2 x^2 + y^2),

        alpha_x = theta_e sqrt(q)/f arctan(f x/psi)  = theta_e sqrt(q)/f arcsin(f cos)
        alpha_y = theta_e sqrt(q)/f arctanh(f y/psi) = theta_e sqrt(q)/f arcsinh(f sin/q)

    where cos = x/r and sin = y/r. The right-hand forms are used: they stay accurate near the axes and tend to the
    SIS smoothly as q -> 1.

    Parameters
    ----------
    x, y : array_like
        Position relative to the lens centre, arcsec.
    theta_e : array_like
        Einstein radius, arcsec: the circle of this radius has the area inside the critical curve, for every q.
    q : array_like
        Axis ratio of the mass, in (0, 1].
    phi : array_like
        Angle of the major axis, rad.

    Returns
    -------
    alpha_x, alpha_y : ndarray of float64
        Arcsec, in the frame of ``x`` and ``y``; 0 exactly at the centre.

    References
    ----------
    Kormann, Schneider & Bartelmann 1994, A&A 284, 285; the normalisation is lenstronomy's ``SIE``.
    """
    x, y, theta_e, q, phi = (np.asarray(v, dtype=np.float64) for v in (x, y, theta_e, q, phi))
    c, s = np.cos(phi), np.sin(phi)
    cos, sin = _direction(c * x + s * y, c * y - s * x)
    f = np.maximum(np.sqrt((1.0 - q) * (1.0 + q)), _SMALLEST_F)
    scale = theta_e * np.sqrt(q) / f
    along = scale * np.arcsin(f * cos)
    across = scale * np.arcsinh(f * sin / q)
    return c * along - s * across, s * along + c * across


def deflect_epl(
    x: ArrayLike, y: ArrayLike, theta_e: ArrayLike, q: ArrayLike, phi: ArrayLike = 0.0, gamma: ArrayLike = 2.0
) -> Pair:
    r"""Deflection of an elliptical power law: density ~ r^-gamma, convergence ~ R^-t with t = gamma - 1.

    With R = sqrt(q^2 x^2 + y^2) and z = exp(i vartheta) the direction of (q x, y) in the principal frame,

        kappa = (2 - t)/2 (b/R)^t,                b = theta_e sqrt(q)
        alpha = 2 b/(1 + q) (b/R)^(t-1) sum_n Omega_n
        Omega_0 = z,  Omega_n = -(1-q)/(1+q) (2n - 2 + t)/(2n + 2 - t) z^2 Omega_(n-1)

    The ellipse R = b holds a mean convergence of 1 and has the area pi theta_e^2, for every q and gamma.

    Parameters
    ----------
    x, y : array_like
        Position relative to the lens centre, arcsec.
    theta_e : array_like
        Einstein radius, arcsec, as for :func:`deflect_sie`.
    q : array_like
        Axis ratio of the mass, in (0, 1].
    phi : array_like
        Angle of the major axis, rad.
    gamma : array_like
        Slope of the density in three dimensions, in (1, 3); 2 is the SIE.

    Returns
    -------
    alpha_x, alpha_y : ndarray of float64
        Arcsec; 0 at the centre, where the direction is undefined.

    References
    ----------
    Tessore & Metcalf 2015, A&A 580, A79, eqs. 11-29; the normalisation is lenstronomy's ``EPL``.
    """
    x, y, theta_e, q, phi, gamma = (np.asarray(v, dtype=np.float64) for v in (x, y, theta_e, q, phi, gamma))
    c, s = np.cos(phi), np.sin(phi)
    u, v = q * (c * x + s * y), c * y - s * x
    radius = np.hypot(u, v)
    cos, sin = _direction(u, v)
    direction, t, f = cos + 1j * sin, gamma - 1, (1 - q) / (1 + q)
    term = direction
    total = np.array(term)
    worst = float(np.max(f, initial=0.0))
    for n in range(1, 2 + (int(np.log(1e-16) / np.log(worst)) if worst > 1e-16 else 0)):
        term = term * direction**2 * (-f * (2 * n - 2 + t) / (2 * n + 2 - t))
        total = total + term
    b = theta_e * np.sqrt(q)
    at_centre = radius <= 1e-150
    alpha = 2 * b / (1 + q) * (b / np.where(at_centre, 1.0, radius)) ** (t - 1) * total * (c + 1j * s)
    alpha = np.where(at_centre, 0.0, alpha)
    return np.asarray(alpha.real), np.asarray(alpha.imag)


def deflect_shear(x: ArrayLike, y: ArrayLike, shear: ArrayLike, phi: ArrayLike) -> Pair:
    """Deflection of an external shear: ``(g1 x + g2 y, g2 x - g1 y)``, g1 = s cos 2 phi, g2 = s sin 2 phi.

    Parameters
    ----------
    x, y : array_like
        Position relative to the lens centre, arcsec.
    shear, phi : array_like
        Strength and angle (rad).

    Returns
    -------
    alpha_x, alpha_y : ndarray of float64
        Arcsec.
    """
    x, y, shear, phi = (np.asarray(v, dtype=np.float64) for v in (x, y, shear, phi))
    g1, g2 = shear * np.cos(2 * phi), shear * np.sin(2 * phi)
    return g1 * x + g2 * y, g2 * x - g1 * y


def _direction(x: NDArray[np.float64], y: NDArray[np.float64]) -> Pair:
    r = np.hypot(x, y)
    # 1/r overflows for a subnormal r; such a point is the centre for every purpose here.
    inverse = np.divide(1.0, r, out=np.zeros_like(r), where=r > 1e-150)
    return x * inverse, y * inverse
