"""Converters of shape, angle and Einstein radius: what a manifest stores to and from what other codes call it.

Stored are the axis ratio q and the mathematical angle phi of the major axis: radians from +x of the pixel grid,
counter-clockwise, in [0, pi).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError

Floats = NDArray[np.float64]

_KM_S_C = 299792.458
_ARCSEC_PER_RAD = 180 * 3600 / np.pi


def ellipticity_from_q(q: ArrayLike) -> Floats:
    """Ellipticity ``(1 - q) / (1 + q)`` of an axis ratio in (0, 1].

    lenstronomy's ``e``, Tractor's ``shape_e``, GalSim's ``g`` (reduced shear), and ``e`` of older manifests.

    Raises
    ------
    ManifestError
        If an axis ratio is outside of (0, 1].
    """
    q = np.asarray(q, dtype=np.float64)
    _refuse(q, (q > 0) & (q <= 1), "axis ratio", "in (0, 1]")
    return np.asarray((1 - q) / (1 + q))


def q_from_ellipticity(e: ArrayLike) -> Floats:
    """Axis ratio ``(1 - e) / (1 + e)`` of an ellipticity in [0, 1)."""
    e = np.asarray(e, dtype=np.float64)
    _refuse(e, (e >= 0) & (e < 1), "ellipticity", "in [0, 1)")
    return np.asarray((1 - e) / (1 + e))


def components_from_q_phi(q: ArrayLike, phi_rad: ArrayLike) -> tuple[Floats, Floats]:
    """Components of the ellipticity ``e = (1 - q)/(1 + q)``: ``e1 = e cos 2 phi``, ``e2 = e sin 2 phi``.

    As lenstronomy, Tractor (``shape_e1``, ``shape_e2``) and GalSim's ``g1``, ``g2`` have them, in the frame of
    ``phi_rad``. Tractor's frame is the sky's: see :func:`phi_from_position_angle`.

    Parameters
    ----------
    q : array_like
        Axis ratio in (0, 1].
    phi_rad : array_like
        Angle of the major axis, rad.

    Returns
    -------
    e1, e2 : ndarray of float64

    Raises
    ------
    ManifestError
        If an axis ratio is outside of (0, 1].
    """
    e = ellipticity_from_q(q)
    twice = 2 * np.asarray(phi_rad, dtype=np.float64)
    return np.asarray(e * np.cos(twice)), np.asarray(e * np.sin(twice))


def q_phi_from_components(e1: ArrayLike, e2: ArrayLike) -> tuple[Floats, Floats]:
    """Axis ratio and angle from the components of :func:`components_from_q_phi`.

    Parameters
    ----------
    e1, e2 : array_like
        ``hypot(e1, e2)`` below 1.

    Returns
    -------
    q, phi_rad : ndarray of float64
        Angle in rad, in [0, pi), in the components' frame; 0 for a circle.

    Raises
    ------
    ManifestError
        If ``hypot(e1, e2)`` is 1 or more.
    """
    e1, e2 = np.asarray(e1, dtype=np.float64), np.asarray(e2, dtype=np.float64)
    return q_from_ellipticity(np.hypot(e1, e2)), axis_angle(0.5 * np.arctan2(e2, e1))


def axis_angle(phi_rad: ArrayLike) -> Floats:
    """Angle of an axis folded into [0, pi)."""
    folded = np.mod(np.asarray(phi_rad, dtype=np.float64), np.pi)
    # A tiny negative angle is rounded up to pi itself.
    return np.asarray(np.where(folded >= np.pi, 0.0, folded))


def position_angle_from_phi(phi_rad: ArrayLike, cd: ArrayLike) -> Floats:
    """Position angle, east of north, of an axis drawn on the pixel grid.

    Parameters
    ----------
    phi_rad : array_like
        Angle of the axis from +x of the pixel grid, counter-clockwise, rad.
    cd : array_like, shape (2, 2)
        CD matrix at the target: ``(east, north) = cd @ (dx, dy)``, any angular unit. From an ``astropy.wcs.WCS``
        whose axes are longitude and latitude: ``wcs.pixel_scale_matrix``.

    Returns
    -------
    ndarray of float64
        Radians in [0, pi). North up and east left (negative CD1_1): the position angle is phi - 90 degrees.

    Raises
    ------
    ManifestError
        If ``cd`` is not an invertible 2 x 2 matrix.
    """
    matrix = _checked_cd(cd)
    phi = np.asarray(phi_rad, dtype=np.float64)
    dx, dy = np.cos(phi), np.sin(phi)
    east, north = matrix[0, 0] * dx + matrix[0, 1] * dy, matrix[1, 0] * dx + matrix[1, 1] * dy
    return axis_angle(np.arctan2(east, north))


def phi_from_position_angle(position_angle_rad: ArrayLike, cd: ArrayLike) -> Floats:
    """Angle on the pixel grid of an axis at a position angle; the inverse of :func:`position_angle_from_phi`.

    Parameters
    ----------
    position_angle_rad : array_like
        East of north, rad.
    cd : array_like, shape (2, 2)
        CD matrix at the target, as there.

    Returns
    -------
    ndarray of float64
        From +x of the pixel grid, counter-clockwise, rad, in [0, pi).

    Raises
    ------
    ManifestError
        If ``cd`` is not an invertible 2 x 2 matrix.
    """
    inverse = np.linalg.inv(_checked_cd(cd))
    angle = np.asarray(position_angle_rad, dtype=np.float64)
    east, north = np.sin(angle), np.cos(angle)
    dx, dy = inverse[0, 0] * east + inverse[0, 1] * north, inverse[1, 0] * east + inverse[1, 1] * north
    return axis_angle(np.arctan2(dy, dx))


def theta_e_from_sigma_v(sigma_v_km_s: ArrayLike, dls_over_ds: ArrayLike) -> Floats:
    """Einstein radius of a singular isothermal sphere, ``4 pi (sigma_v/c)^2 D_ls/D_s``.

    Parameters
    ----------
    sigma_v_km_s : array_like
        Velocity dispersion, km/s, > 0.
    dls_over_ds : array_like
        Angular-diameter distance from lens to source over that to the source, in (0, 1]; from redshifts:
        :func:`lensflow.manifest.cosmology.distance_ratio`.

    Returns
    -------
    ndarray of float64
        Arcsec: 1.396 for 220 km/s and a ratio of 1.

    Raises
    ------
    ManifestError
        If a dispersion is not positive or a ratio is outside of (0, 1].

    References
    ----------
    Narayan & Bartelmann 1996, astro-ph/9606001, eq. 41.
    """
    sigma, ratio = np.asarray(sigma_v_km_s, dtype=np.float64), np.asarray(dls_over_ds, dtype=np.float64)
    _refuse(ratio, (ratio > 0) & (ratio <= 1), "dls_over_ds", "in (0, 1] (the source behind the lens)")
    _refuse(sigma, np.isfinite(sigma) & (sigma > 0), "sigma_v_km_s", "> 0")
    return np.asarray(4 * np.pi * (sigma / _KM_S_C) ** 2 * ratio * _ARCSEC_PER_RAD)


def _refuse(value: Floats, good: NDArray[np.bool_], name: str, rule: str) -> None:
    if not np.all(good):
        i = int(np.argmin(np.atleast_1d(good)))
        raise ManifestError(f"{name} must be {rule}, not {np.atleast_1d(value).ravel()[i]} (element {i})")


def _checked_cd(cd: ArrayLike) -> Floats:
    matrix = np.asarray(cd, dtype=np.float64)
    if matrix.shape != (2, 2) or not np.isfinite(matrix).all():
        raise ManifestError(f"cd must be a finite 2 x 2 matrix (wcs.pixel_scale_matrix), not {matrix.tolist()}")
    # Against the product of its rows' lengths: the matrix may be in degrees, 1e-9 in the determinant.
    if abs(np.linalg.det(matrix)) <= 1e-12 * np.prod(np.linalg.norm(matrix, axis=1)):
        raise ManifestError(f"cd is singular: {matrix.tolist()}; two pixel axes along one direction of the sky")
    return matrix
