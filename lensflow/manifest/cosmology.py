"""Einstein radii from velocity dispersions and redshifts, in a named cosmology (default Planck 2018)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError
from lensflow.lensing.angles import theta_e_from_sigma_v

if TYPE_CHECKING:
    from astropy.cosmology import FLRW
    from scipy.interpolate import CubicSpline

Z_MAX = 20.0
# Nodes in ln(1 + z): the spline's distances agree with the integrals to 1e-10, and a million rows take 0.1 s.
_NODES = 1024


def distance_ratio(z_lens: ArrayLike, z_source: ArrayLike, cosmology: FLRW | None = None) -> NDArray[np.float64]:
    """Angular-diameter distance from lens to source over that from observer to source.

    Parameters
    ----------
    z_lens, z_source : array_like
        Redshifts, ``0 < z_lens < z_source <= 20``.
    cosmology : astropy.cosmology.FLRW, optional
        Default ``astropy.cosmology.Planck18``. The ratio does not depend on H0.

    Returns
    -------
    ndarray of float64
        In (0, 1).

    Raises
    ------
    ManifestError
        If a source is not behind its lens, or is beyond redshift 20; the message names the first.

    References
    ----------
    Hogg 1999, astro-ph/9905116, eq. 19.
    """
    lens, source = np.broadcast_arrays(*(np.asarray(z, dtype=np.float64) for z in (z_lens, z_source)))
    behind = (lens > 0) & (source > lens) & (source <= Z_MAX)
    if not np.all(behind):
        i = int(np.argmin(np.atleast_1d(behind)))
        near, far = np.atleast_1d(lens).ravel()[i], np.atleast_1d(source).ravel()[i]
        raise ManifestError(
            f"row {i}: 0 < z_lens < z_source <= {Z_MAX:g} must hold, not z_lens = {near}, z_source = {far}"
        )
    # Hogg 1999, eq. 19, from distances that every version of astropy names alike; (1 + z_source) cancels.
    distance, curvature = _planck18() if cosmology is None else _distances(cosmology)
    to_lens, to_source = (distance(np.log1p(z)) for z in (lens, source))
    curved_lens, curved_source = (np.sqrt(1 + curvature * d**2) for d in (to_lens, to_source))
    return np.asarray(curved_lens - to_lens / to_source * curved_source, dtype=np.float64)


def distance_modulus(z: ArrayLike) -> NDArray[np.float64]:
    """Apparent minus absolute magnitude in Planck 2018's cosmology, ``5 log10(D_L / 10 pc)``, for 0 < z <= 20."""
    from astropy.cosmology import Planck18

    z = np.asarray(z, dtype=np.float64)
    distance, _ = _planck18()
    pc = (1 + z) * distance(np.log1p(z)) * float(Planck18.hubble_distance.to_value("pc"))
    return np.asarray(5 * np.log10(pc / 10))


def source_distance(z: ArrayLike) -> NDArray[np.float64]:
    """Transverse comoving distance over the Hubble distance, Planck 2018, for 0 < z <= 20.

    Space is flat there: of a lens and a source, ``D_ls / D_s = 1 - source_distance(z_lens) / source_distance(z_src)``.
    """
    distance, _ = _planck18()
    return np.asarray(distance(np.log1p(np.asarray(z, dtype=np.float64))))


@lru_cache(maxsize=1)
def _planck18() -> tuple[CubicSpline, float]:
    from astropy.cosmology import Planck18  # imported late: it takes a second, which runs without redshifts save

    return _distances(Planck18)


def _distances(cosmology: FLRW) -> tuple[CubicSpline, float]:
    """Transverse comoving distance over the Hubble distance, against ln(1 + z); and the curvature Ok0."""
    from scipy.interpolate import CubicSpline

    nodes = np.linspace(0.0, np.log1p(Z_MAX), _NODES)
    distance = cosmology.comoving_transverse_distance(np.expm1(nodes)) / cosmology.hubble_distance
    return CubicSpline(nodes, distance.decompose().value), float(cosmology.Ok0)


def theta_e_from_redshifts(
    sigma_v_km_s: ArrayLike, z_lens: ArrayLike, z_source: ArrayLike, cosmology: FLRW | None = None
) -> NDArray[np.float64]:
    """Einstein radius of an isothermal sphere, arcsec: ``4 pi (sigma_v/c)^2 D_ls/D_s``.

    Parameters
    ----------
    sigma_v_km_s : array_like
        Velocity dispersion of the lens, km/s.
    z_lens, z_source, cosmology
        See :func:`distance_ratio`.
    """
    return theta_e_from_sigma_v(sigma_v_km_s, distance_ratio(z_lens, z_source, cosmology))
