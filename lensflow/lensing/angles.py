"""Converters of shape, angle and Einstein radius: what a manifest stores to and from what other codes call it.

Stored are the axis ratio q and the mathematical angle phi of the major axis: radians from +x of the pixel grid,
counter-clockwise, in [0, pi).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError

Floats = NDArray[np.float64]
Measure = Literal["ellipticity", "distortion"]

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
    q = _checked_q(q)
    return np.asarray((1 - q) / (1 + q))


def q_from_ellipticity(e: ArrayLike) -> Floats:
    """Axis ratio ``(1 - e) / (1 + e)`` of an ellipticity in [0, 1)."""
    e = _checked_e(e, "ellipticity")
    return np.asarray((1 - e) / (1 + e))


def distortion_from_q(q: ArrayLike) -> Floats:
    """Distortion ``(1 - q^2) / (1 + q^2)`` of an axis ratio in (0, 1]; GalSim's and SExtractor-like ``e``."""
    q = _checked_q(q)
    return np.asarray((1 - q) * (1 + q) / (1 + q * q))


def q_from_distortion(e: ArrayLike) -> Floats:
    """Axis ratio ``sqrt((1 - e) / (1 + e))`` of a distortion in [0, 1)."""
    e = _checked_e(e, "distortion")
    return np.asarray(np.sqrt((1 - e) / (1 + e)))


def components_from_q_phi(q: ArrayLike, phi_rad: ArrayLike, measure: Measure = "ellipticity") -> tuple[Floats, Floats]:
    """Components ``e1 = e cos 2 phi``, ``e2 = e sin 2 phi``.

    Parameters
    ----------
    q, phi_rad : array_like
        Axis ratio in (0, 1]; angle of the major axis, rad.
    measure : {"ellipticity", "distortion"}
        Which ``e``: (1 - q)/(1 + q), as lenstronomy and Tractor have it, or (1 - q^2)/(1 + q^2).

    Returns
    -------
    e1, e2 : ndarray of float64
        In the frame of ``phi_rad``.
    """
    e = ellipticity_from_q(q) if _checked_measure(measure) == "ellipticity" else distortion_from_q(q)
    twice = 2 * np.asarray(phi_rad, dtype=np.float64)
    return np.asarray(e * np.cos(twice)), np.asarray(e * np.sin(twice))


def q_phi_from_components(e1: ArrayLike, e2: ArrayLike, measure: Measure = "ellipticity") -> tuple[Floats, Floats]:
    """Axis ratio and angle (rad, in [0, pi)) of components; the angle of a circle is 0.

    Raises
    ------
    ManifestError
        If ``hypot(e1, e2)`` is 1 or more.
    """
    e1, e2 = np.asarray(e1, dtype=np.float64), np.asarray(e2, dtype=np.float64)
    e = np.hypot(e1, e2)
    q = q_from_ellipticity(e) if _checked_measure(measure) == "ellipticity" else q_from_distortion(e)
    return q, axis_angle(0.5 * np.arctan2(e2, e1))


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
    """Angle on the pixel grid (rad, in [0, pi)) of an axis at a position angle; see :func:`position_angle_from_phi`."""
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
    sigma, ratio = np.asarray(sigma_v_km_s, dtype=np.float64), _checked_ratio(dls_over_ds)
    _refuse(sigma, np.isfinite(sigma) & (sigma > 0), "sigma_v_km_s", "> 0")
    return np.asarray(4 * np.pi * (sigma / _KM_S_C) ** 2 * ratio * _ARCSEC_PER_RAD)


def sigma_v_from_theta_e(theta_e_arcsec: ArrayLike, dls_over_ds: ArrayLike) -> Floats:
    """Velocity dispersion, km/s, of the isothermal sphere with an Einstein radius in arcsec (> 0)."""
    theta_e, ratio = np.asarray(theta_e_arcsec, dtype=np.float64), _checked_ratio(dls_over_ds)
    _refuse(theta_e, np.isfinite(theta_e) & (theta_e > 0), "theta_e_arcsec", "> 0")
    return np.asarray(_KM_S_C * np.sqrt(theta_e / _ARCSEC_PER_RAD / (4 * np.pi * ratio)))


def _refuse(value: Floats, good: NDArray[np.bool_], name: str, rule: str) -> None:
    if not np.all(good):
        i = int(np.argmin(np.atleast_1d(good)))
        raise ManifestError(f"{name} must be {rule}, not {np.atleast_1d(value).ravel()[i]} (element {i})")


def _checked_q(q: ArrayLike) -> Floats:
    value = np.asarray(q, dtype=np.float64)
    _refuse(value, (value > 0) & (value <= 1), "axis ratio", "in (0, 1]")
    return value


def _checked_e(e: ArrayLike, name: str) -> Floats:
    value = np.asarray(e, dtype=np.float64)
    _refuse(value, (value >= 0) & (value < 1), name, "in [0, 1)")
    return value


def _checked_ratio(ratio: ArrayLike) -> Floats:
    value = np.asarray(ratio, dtype=np.float64)
    _refuse(value, (value > 0) & (value <= 1), "dls_over_ds", "in (0, 1] (the source behind the lens)")
    return value


def _checked_measure(measure: str) -> str:
    if measure not in ("ellipticity", "distortion"):
        raise ManifestError(f"measure must be 'ellipticity' or 'distortion', not {measure!r}")
    return measure


def _checked_cd(cd: ArrayLike) -> Floats:
    matrix = np.asarray(cd, dtype=np.float64)
    if matrix.shape != (2, 2) or not np.isfinite(matrix).all():
        raise ManifestError(f"cd must be a finite 2 x 2 matrix (wcs.pixel_scale_matrix), not {matrix.tolist()}")
    # Against the product of its rows' lengths: the matrix may be in degrees, 1e-9 in the determinant.
    if abs(np.linalg.det(matrix)) <= 1e-12 * np.prod(np.linalg.norm(matrix, axis=1)):
        raise ManifestError(f"cd is singular: {matrix.tolist()}; two pixel axes along one direction of the sky")
    return matrix
