r"""Where the images of a point source lie: every solution of the lens equation of an SIS or SIE with shear.

An isothermal lens deflects by an angle that depends on direction only. With theta = r e(phi), B = 1 - shear matrix
and alpha(phi) the deflection, the lens equation is ``r B e = beta + alpha``: an image lies in every direction where

    G(phi) = (beta + alpha) x B e = 0    and    r = (beta + alpha) . B e / |B e|^2 > 0,

and its magnification is r / G'(phi). Nothing is searched for on a grid: with P = e . B e and k the lens's
2 kappa r, ``G'' + G = -(k P^(3/2))' / P^(1/2)``, whose zeros are those of a trigonometric polynomial T of degree 2
in psi = 2 phi. Between two of them G'' + G keeps its sign, so that G / cos(phi - middle) is convex or concave in
tan(phi - middle) and has at most two zeros, which bisection finds. The zeros of T come from the same routine, and
those of T'' + T in closed form. No image is missed, however close to a caustic.

References
----------
Kormann, Schneider & Bartelmann 1994, A&A 284, 285 (SIE, its cut and caustic); Keeton, Mao & Witt 2000, ApJ 537, 697
(isothermal lenses with shear and more than four images); Karlin & Studden 1966, Tchebycheff Systems (convexity with
respect to sin and cos).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError
from lensflow.jit import compiled

# At most 4 for shear < 0.25; ellipticity and a strong shear that oppose each other make swallowtails and butterflies
# (6 images at q = 0.4 and shear 0.3). T has at most 4 zeros in psi: 8 cusps, so never more than 8 images.
MAX_IMAGES = 8
# Count of a source exactly behind a circular lens: the image is the whole circle of radius theta_E.
RING = -1
# Below this share of theta_E, every direction satisfies the lens equation to rounding.
_RING_LEVEL = 1e-13

# Below this f = sqrt(1 - q^2), a series in f replaces arcsin and arcsinh (error < 1e-14 relative, also at f = 0).
_SERIES_F = 0.04

_G, _T = 0, 1
# theta_e sqrt(q)/f, f, q, shear components in the lens's frame, source position there, coefficients of T.
_SCALE, _F, _Q, _G1, _G2, _BX, _BY, _T0 = 0, 1, 2, 3, 4, 5, 6, 7


class Images(NamedTuple):
    """Images of point sources, farthest from the lens first.

    Attributes
    ----------
    count : ndarray of int64, shape (n,)
        Number of images; ``RING`` (-1) where the image is a circle.
    x, y : ndarray of float64, shape (n, MAX_IMAGES)
        Positions relative to the lens, arcsec; NaN beyond ``count``.
    magnification : ndarray of float64, shape (n, MAX_IMAGES)
        Signed: negative for a saddle (mirror image); infinite exactly on a caustic.
    """

    count: NDArray[np.int64]  # type: ignore[assignment]  # shadows tuple.count, which nobody needs
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    magnification: NDArray[np.float64]


def image_positions(
    theta_e_arcsec: ArrayLike,
    lens_q: ArrayLike,
    lens_phi_rad: ArrayLike,
    shear: ArrayLike,
    shear_phi_rad: ArrayLike,
    src_x_arcsec: ArrayLike,
    src_y_arcsec: ArrayLike,
) -> Images:
    """Solve the lens equation of an SIS (``lens_q`` 1) or SIE with external shear for point sources.

    Parameters
    ----------
    theta_e_arcsec : array_like, shape (n,) or scalar
        Einstein radius, arcsec, > 0.
    lens_q, lens_phi_rad : array_like, shape (n,) or scalar
        Axis ratio in (0, 1] and angle of the major axis, rad.
    shear, shear_phi_rad : array_like, shape (n,) or scalar
        External shear in [0, 1) and its angle, rad.
    src_x_arcsec, src_y_arcsec : array_like, shape (n,) or scalar
        Source position relative to the lens, arcsec.

    Returns
    -------
    Images
        ``(count, x, y, magnification)``. A singular lens has no central image: 1 image outside of the cut, 2
        inside it, 2 more inside the tangential caustic. Every image satisfies the lens equation to 1e-14 of
        theta_E + |beta|.

    Raises
    ------
    ManifestError
        If a value is impossible or not finite; the message names the first such row.
    """
    names = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")
    given = (theta_e_arcsec, lens_q, lens_phi_rad, shear, shear_phi_rad, src_x_arcsec, src_y_arcsec)
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in given))
    for name, column in zip(names, columns, strict=True):
        good = np.isfinite(column)
        if name == "theta_e_arcsec":
            good &= column > 0
        elif name == "lens_q":
            good &= (column > 0) & (column <= 1)
        elif name == "shear":
            good &= (column >= 0) & (column < 1)
        if not good.all():
            i = int(np.argmin(good))
            raise ManifestError(f"row {i}: {name} = {column[i]} has no image positions (see the manifest's ranges).")
    n = columns[0].size
    count = np.zeros(n, dtype=np.int64)
    x, y, mu = (np.full((n, MAX_IMAGES), np.nan) for _ in range(3))
    _solve(*(np.ascontiguousarray(c) for c in columns), count, x, y, mu)
    return Images(count, x, y, mu)


def image_multiplicity(images: Images) -> NDArray[np.int64]:
    """Count the images of the source's centre.

    Parameters
    ----------
    images : Images
        From :func:`image_positions`.

    Returns
    -------
    ndarray of int64, shape (n,)
        ``RING`` (-1) for a source right behind a circular lens.
    """
    return images.count


def counter_image_radius_arcsec(images: Images) -> NDArray[np.float64]:
    """Distance from the lens centre of the image of the source's centre that lies nearest to it.

    Parameters
    ----------
    images : Images
        From :func:`image_positions`.

    Returns
    -------
    ndarray of float64, shape (n,)
        Arcsec. NaN where there is no counter-image: a single image, or a ring.
    """
    last = np.maximum(images.count - 1, 0)
    rows = np.arange(last.size)
    radius = np.hypot(images.x[rows, last], images.y[rows, last])
    return np.where(images.count >= 2, radius, np.nan)


@compiled(inline="always")
def _sie_deflection(cos, sin, scale, f, q):  # type: ignore[no-untyped-def]
    """SIE deflection in its principal frame from the direction of the ray; see ``deflectors.deflect_sie``."""
    u, v = f * cos, f * sin / q
    if f < _SERIES_F:
        u2, v2 = u * u, v * v
        ax = cos * (1 + u2 * (1 / 6 + u2 * (3 / 40 + u2 * (5 / 112 + u2 * (35 / 1152)))))
        ay = sin / q * (1 - v2 * (1 / 6 - v2 * (3 / 40 - v2 * (5 / 112 - v2 * (35 / 1152)))))
    else:
        ax, ay = math.asin(u), math.asinh(v)
    return scale * ax, scale * ay


@compiled()
def _value(kind, angle, p):  # type: ignore[no-untyped-def]
    """Return G(phi) or T(psi) and its derivative."""
    cos, sin = math.cos(angle), math.sin(angle)
    if kind == _T:
        t = p[_T0:]
        cos2, sin2 = cos * cos - sin * sin, 2 * sin * cos
        value = t[0] + t[1] * cos + t[2] * sin + t[3] * cos2 + t[4] * sin2
        return value, -t[1] * sin + t[2] * cos - 2 * t[3] * sin2 + 2 * t[4] * cos2
    ax, ay = _sie_deflection(cos, sin, p[_SCALE], p[_F], p[_Q])
    g1, g2 = p[_G1], p[_G2]
    ux, uy = p[_BX] + ax, p[_BY] + ay
    wx, wy = (1 - g1) * cos - g2 * sin, -g2 * cos + (1 + g1) * sin  # B e
    tx, ty = -(1 - g1) * sin - g2 * cos, g2 * sin + (1 + g1) * cos  # B e_t
    f = p[_F]
    # k = theta_e sqrt(q) / sqrt(q^2 cos^2 + sin^2) = |d alpha / d phi|
    k = p[_SCALE] * (1.0 if f < _SERIES_F else f) / math.sqrt(p[_Q] ** 2 * cos * cos + sin * sin)
    return ux * wy - uy * wx, ux * ty - uy * tx - k * (cos * wx + sin * wy)


@compiled()
def _crossing(kind, low, high, low_is_positive, p):  # type: ignore[no-untyped-def]
    """Zero between two angles where the function has opposite signs: Newton, kept in its bracket."""
    angle = 0.5 * (low + high)
    for _ in range(100):
        value, slope = _value(kind, angle, p)
        if (value >= 0.0) == low_is_positive:
            low = angle
        else:
            high = angle
        step = value / slope if slope != 0.0 else math.inf
        following = angle - step
        if not (low < following < high):
            following = 0.5 * (low + high)
        if following == angle or high - low <= 4e-16 * max(1.0, abs(high)):
            break
        angle = following
    return angle


@compiled()
def _zeros(kind, ends, n_ends, p, found):  # type: ignore[no-untyped-def]
    """Every zero of a periodic function between ``ends`` (sorted, the last one period after the first).

    Between two ends, at most pi/2 apart, the function over cos(angle - middle) is convex or concave in
    tan(angle - middle).
    """
    count = 0
    first, _ = _value(kind, ends[0], p)
    before = first
    for i in range(n_ends - 1):
        low, high = ends[i], ends[i + 1]
        # One number for an end that two intervals share: no zero is counted twice or lost between them.
        after = first if i == n_ends - 2 else _value(kind, high, p)[0]
        positive = before >= 0.0
        if positive != (after >= 0.0):
            found[count] = _crossing(kind, low, high, positive, p)
            count += 1
        else:
            turn = _turning_point(kind, low, high, positive, p)
            if turn == turn:
                found[count] = _crossing(kind, low, turn, positive, p)
                found[count + 1] = _crossing(kind, turn, high, not positive, p)
                count += 2
        before = after
    return count


@compiled()
def _turning_point(kind, low, high, positive, p):  # type: ignore[no-untyped-def]
    """An angle in between where the function has the other sign than at both ends, or NaN."""
    middle = 0.5 * (low + high)
    sign = 1.0 if positive else -1.0
    # The derivative with respect to tan(angle - middle), up to a positive factor: monotonic.
    value, slope = _value(kind, low, p)
    at_low = sign * (slope * math.cos(low - middle) + value * math.sin(low - middle))
    value, slope = _value(kind, high, p)
    at_high = sign * (slope * math.cos(high - middle) + value * math.sin(high - middle))
    if at_low >= 0.0 or at_high <= 0.0:
        return math.nan
    for _ in range(60):
        angle = 0.5 * (low + high)
        value, slope = _value(kind, angle, p)
        if (value >= 0.0) != positive:
            return angle
        if sign * (slope * math.cos(angle - middle) + value * math.sin(angle - middle)) < 0.0:
            low = angle
        else:
            high = angle
        if high - low < 1e-15:
            break
    return math.nan


@compiled()
def _pack(theta_e, q, phi, shear, shear_phi, bx, by):  # type: ignore[no-untyped-def]
    p = np.empty(12)
    f = math.sqrt((1.0 - q) * (1.0 + q))
    c, s = math.cos(phi), math.sin(phi)
    p[_SCALE] = theta_e * math.sqrt(q) / (1.0 if f < _SERIES_F else f)
    p[_F], p[_Q] = f, q
    p[_G1], p[_G2] = shear * math.cos(2 * (shear_phi - phi)), shear * math.sin(2 * (shear_phi - phi))
    p[_BX], p[_BY] = c * bx + s * by, c * by - s * bx
    # T = 3 P' D - D' P, with P = 1 - g1 cos psi - g2 sin psi and k^2 proportional to 1/D, D = d0 - d1 cos psi.
    d0, d1 = 1 - 0.5 * f * f, 0.5 * f * f
    p[_T0] = 2 * p[_G2] * d1
    p[_T0 + 1] = -3 * p[_G2] * d0
    p[_T0 + 2] = 3 * p[_G1] * d0 - d1
    p[_T0 + 3] = p[_G2] * d1
    p[_T0 + 4] = -p[_G1] * d1
    return p


@compiled()
def _inflections(p, ends):  # type: ignore[no-untyped-def]
    """Fill ``ends`` with the directions, sorted over one turn, between which G is convex or concave."""
    quarter = 0.5 * math.pi
    cuts = np.empty(10)
    n = 0
    # T'' + T = t0 - 3 A cos(2 psi - delta)
    amplitude = 3 * math.hypot(p[_T0 + 3], p[_T0 + 4])
    if abs(p[_T0]) < amplitude:
        delta, half = math.atan2(p[_T0 + 4], p[_T0 + 3]), math.acos(p[_T0] / amplitude)
        for k in range(4):
            cuts[n] = (0.5 * (delta + (half if k % 2 else -half)) + (k // 2) * math.pi) % (2 * math.pi)
            n += 1
    for k in range(4):
        cuts[n] = k * quarter
        n += 1
    cuts[n] = 2 * math.pi
    n += 1
    cuts[:n].sort()
    psi = np.empty(32)
    zeros = _zeros(_T, cuts, n, p, psi)
    n = 0
    for k in range(zeros):
        half = 0.5 * psi[k] % math.pi
        ends[n], ends[n + 1] = half, half + math.pi
        n += 2
    for k in range(5):
        ends[n] = k * quarter
        n += 1
    ends[:n].sort()
    return n


@compiled()
def _solve_row(theta_e, q, phi, shear, shear_phi, bx, by, x, y, mu):  # type: ignore[no-untyped-def]
    p = _pack(theta_e, q, phi, shear, shear_phi, bx, by)
    if math.hypot(bx, by) < _RING_LEVEL * theta_e and p[_F] ** 2 + shear < _RING_LEVEL:
        return RING
    ends, angles = np.empty(64), np.empty(64)
    n_angles = _zeros(_G, ends, _inflections(p, ends), p, angles)
    c, s = math.cos(phi), math.sin(phi)
    count = 0
    for i in range(n_angles):
        cos, sin = math.cos(angles[i]), math.sin(angles[i])
        ax, ay = _sie_deflection(cos, sin, p[_SCALE], p[_F], p[_Q])
        wx, wy = (1 - p[_G1]) * cos - p[_G2] * sin, -p[_G2] * cos + (1 + p[_G1]) * sin
        r = ((p[_BX] + ax) * wx + (p[_BY] + ay) * wy) / (wx * wx + wy * wy)
        # r < 0: the direction opposite to an image that a source outside of the cut does not have.
        if not r > 0.0 or count == MAX_IMAGES:
            continue
        _, slope = _value(_G, angles[i], p)
        k = count
        while k > 0 and math.hypot(x[k - 1], y[k - 1]) < r:
            x[k], y[k], mu[k] = x[k - 1], y[k - 1], mu[k - 1]
            k -= 1
        x[k], y[k], mu[k] = r * (c * cos - s * sin), r * (s * cos + c * sin), r / slope
        count += 1
    return count


@compiled()
def _solve(theta_e, q, phi, shear, shear_phi, bx, by, count, x, y, mu):  # type: ignore[no-untyped-def]
    for i in range(count.size):
        count[i] = _solve_row(theta_e[i], q[i], phi[i], shear[i], shear_phi[i], bx[i], by[i], x[i], y[i], mu[i])
