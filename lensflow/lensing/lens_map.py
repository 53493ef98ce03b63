"""The lens map, compiled: from a ray in the image to a position in the source plane, in the source's own axes.

Shared by what needs the map alone: :mod:`lensflow.lensing.image_positions` and :mod:`lensflow.lensing.render_image`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled

# Below this f = sqrt(1 - q^2), a series in f replaces arcsin and arcsinh (error < 1e-14 relative, also at f = 0).
SERIES_F = 0.04

# w = M theta + N alpha + w0: M and N 2 x 2 by rows; alpha in the lens's principal frame.
_SCALE, _F, _Q, _COS, _SIN, _M, _N, _W0 = 0, 1, 2, 3, 4, 5, 9, 13
_SLOPE_FAR, _SLOPE_LENS = 15, 16


def deflection_scale(theta_e: float, q: float) -> tuple[float, float]:
    """Return the factor that :func:`sie_deflection` takes, and f = sqrt(1 - q^2)."""
    f = math.sqrt((1.0 - q) * (1.0 + q))
    return theta_e * math.sqrt(q) / (1.0 if f < SERIES_F else f), f


def pack_map(
    theta_e: float,
    lens_q: float,
    lens_phi: float,
    shear: float,
    shear_phi: float,
    src_x: float,
    src_y: float,
    unit: float,
    src_q: float,
    src_phi: float,
) -> NDArray[np.float64]:
    """Pack a row's map: lengths in arcsec, angles in rad, ``lens_q`` 1 for an SIS.

    Parameters
    ----------
    unit : float
        Source-plane positions come in units of this many arcsec: a half-light radius, a source pixel.
    src_q, src_phi : float
        Positions come along and across an axis at ``src_phi``, the latter divided by ``src_q``.

    Returns
    -------
    ndarray, shape (17,)
        For :func:`map_ray` and :func:`map_reach`.
    """
    p = np.zeros(17)
    p[_SCALE], p[_F] = deflection_scale(theta_e, lens_q)
    p[_Q], p[_COS], p[_SIN] = lens_q, math.cos(lens_phi), math.sin(lens_phi)
    g1, g2 = shear * math.cos(2 * shear_phi), shear * math.sin(2 * shear_phi)
    c, s = math.cos(src_phi), math.sin(src_phi)
    to_source = np.array([[c, s], [-s / src_q, c / src_q]]) / unit
    unrotate = np.array([[p[_COS], -p[_SIN]], [p[_SIN], p[_COS]]])
    p[_M : _M + 4] = (to_source @ np.array([[1 - g1, -g2], [-g2, 1 + g1]])).ravel()
    p[_N : _N + 4] = (-to_source @ unrotate).ravel()
    p[_W0 : _W0 + 2] = -to_source @ np.array([src_x, src_y])
    # Per arcsec in the image: 1 + shear, plus 2 kappa <= theta_e / (sqrt(q) r); `src_q` stretches both.
    p[_SLOPE_FAR] = (1 + shear) / (unit * src_q)
    p[_SLOPE_LENS] = theta_e / (math.sqrt(lens_q) * unit * src_q)
    return p


@compiled(inline="always")
def sie_deflection(cos, sin, scale, f, q):  # type: ignore[no-untyped-def]
    """SIE deflection in its principal frame from the direction of the ray; see ``deflectors.deflect_sie``."""
    u, v = f * cos, f * sin / q
    if f < SERIES_F:
        u2, v2 = u * u, v * v
        ax = cos * (1 + u2 * (1 / 6 + u2 * (3 / 40 + u2 * (5 / 112 + u2 * (35 / 1152)))))
        ay = sin / q * (1 - v2 * (1 / 6 - v2 * (3 / 40 - v2 * (5 / 112 - v2 * (35 / 1152)))))
    else:
        ax, ay = math.asin(u), math.asinh(v)
    return scale * ax, scale * ay


@compiled(inline="always")
def map_ray(x, y, p):  # type: ignore[no-untyped-def]
    """Source-plane position of the ray at (x, y), arcsec from the lens, in the packed units."""
    r = math.sqrt(x * x + y * y)
    inverse = 1.0 / r if r > 1e-150 else 0.0
    cos, sin = (p[_COS] * x + p[_SIN] * y) * inverse, (p[_COS] * y - p[_SIN] * x) * inverse
    ax, ay = sie_deflection(cos, sin, p[_SCALE], p[_F], p[_Q])
    wx = p[_M] * x + p[_M + 1] * y + p[_N] * ax + p[_N + 1] * ay + p[_W0]
    wy = p[_M + 2] * x + p[_M + 3] * y + p[_N + 2] * ax + p[_N + 3] * ay + p[_W0 + 1]
    return wx, wy


@compiled(inline="always")
def map_reach(x, y, distance, p):  # type: ignore[no-untyped-def]
    """Bound on how far, in the packed units, rays within ``distance`` of (x, y) land from where that one lands."""
    r = math.sqrt(x * x + y * y) - distance
    if r <= 0.0:
        return math.inf
    return (p[_SLOPE_FAR] + p[_SLOPE_LENS] / r) * distance
