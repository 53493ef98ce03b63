"""The light outside a rendered square field: how far it reaches, and nodes to integrate it with.

Outside of the field the lens map is smooth, and a polar quadrature (Gauss-Legendre in angle and in the logarithm of
the radius) is enough, out to where the source is spent.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from lensflow.lensing.sources import sersic_b

_ANGLES_PER_PANEL = 16
_PANELS_PER_SIDE = 2
_RADII = 24


@lru_cache(maxsize=8)
def _gauss_legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return 0.5 * (nodes + 1), 0.5 * weights


def deflection_bound(theta_e: float, q: float) -> float:
    """Bound on the length of an SIE's deflection over all directions, arcsec; at most sqrt(2) above the largest."""
    f = max(float(np.sqrt((1.0 - q) * (1.0 + q))), 1e-9)
    # Each component is largest on its own axis; their hypotenuse bounds every direction.
    return float(theta_e * np.sqrt(q) / f * np.hypot(np.arcsin(f), np.arcsinh(f / q)))


def sersic_flux_radius(outside: float, reff: float, n: float) -> float:
    """Major-axis radius, arcsec, outside of which a share ``outside`` of a Sersic profile's flux lies."""
    return float(reff * (gammainccinv(2 * n, outside) / sersic_b(n)) ** n)


def image_reach(theta_e: float, lens_q: float, shear: float, src_x: float, src_y: float, source_radius: float) -> float:
    """Largest distance from the lens, arcsec, at which light from within ``source_radius`` of the source appears."""
    # |theta| <= |beta| + |alpha| + shear |theta|
    farthest = np.hypot(src_x, src_y) + source_radius + deflection_bound(theta_e, lens_q)
    return float(farthest / (1 - shear))


def outside_nodes(
    edges: tuple[float, float, float, float], r_max: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Quadrature between a rectangle around the lens and the circle of radius ``r_max``.

    Parameters
    ----------
    edges : tuple
        Left, right, lower and upper edge relative to the lens, arcsec: ``(< 0, > 0, < 0, > 0)``.
    r_max : float
        Outer radius, arcsec. Directions in which the rectangle reaches further get no weight.

    Returns
    -------
    x, y, weight : ndarray, shape (n,)
        Positions, arcsec, and areas, arcsec^2.
    """
    left, right, low, high = edges
    corners = np.arctan2([low, high, high, low], [right, right, left, left])  # counter-clockwise from lower right
    corners[3] += 2 * np.pi
    starts = np.concatenate([corners, [corners[0] + 2 * np.pi]])
    u, wu = _gauss_legendre(_ANGLES_PER_PANEL)
    v, wv = _gauss_legendre(_RADII)
    # Panels of angle that end at the corners: the edge's distance is smooth within each.
    share = np.linspace(0, 1, _PANELS_PER_SIDE + 1)
    bounds = (starts[:-1, None] + (starts[1:] - starts[:-1])[:, None] * share)[:, :, None]
    width = bounds[:, 1:] - bounds[:, :-1]
    angle = bounds[:, :-1] + width * u
    cos, sin = np.cos(angle), np.sin(angle)
    # Sides in the order of the corners: right, upper, left, lower.
    edge = np.stack([right / cos[0], high / sin[1], left / cos[2], low / sin[3]])
    log_span = np.maximum(np.log(r_max / edge), 0.0)[..., None]
    r = edge[..., None] * np.exp(log_span * v)
    weight = (width * wu)[..., None] * log_span * wv * r**2  # dA = r dr dphi = r^2 dlog(r) dphi
    return (r * cos[..., None]).ravel(), (r * sin[..., None]).ravel(), weight.ravel()
