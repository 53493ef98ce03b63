"""Magnifications: of a whole source, by summing its lensed light, and of a point, from the map's Jacobian."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry
from lensflow.errors import ManifestError
from lensflow.lensing.components import OF_BANDS
from lensflow.lensing.deflectors import deflect_epl
from lensflow.lensing.render import render

# The renderer follows a source as finely as its PSF can show; of this width, pixels, the flux is good to 1e-3.
_FWHM_PIX = 4.0


def magnification(
    manifest: Mapping[str, ArrayLike], *, stamp_size: int = 64, pixel_scale_arcsec: float = 0.262
) -> NDArray[np.float64]:
    """Total magnification of the source of every row: flux of all its images over its unlensed flux.

    Parameters
    ----------
    manifest : mapping of arrays
        Columns of ``lensflow.schema.MANIFEST`` along ``sample``: lens_model, theta_e_arcsec, lens_q, lens_phi_rad,
        shear, shear_phi_rad, src_x_arcsec, src_y_arcsec, src_reff_arcsec, src_n, src_q, src_phi_rad, and lens_gamma
        for an EPL. PSFs and the lens's place in a stamp do not matter and are not looked at; nor are fluxes, but of
        sources with a bulge or knots: their magnification is that of all bands' light together.
    stamp_size : int
        Pixels on a side of the field about the lens in which rays are followed; light from further out counts by the
        magnification of the far field.
    pixel_scale_arcsec : float
        Pixel size, arcsec.

    Returns
    -------
    ndarray of float64, shape (sample,)
        Before any PSF, on and off the stamp; NaN for controls. At least 1 for an SIS or SIE, with shear below about
        0.3. Good to 1e-3; equal to ``render(...).magnification`` within that.

    Raises
    ------
    ManifestError
        If a column is missing or a row cannot be lensed; names the first such row and its value.
    """
    if "lens_model" not in manifest:
        raise ManifestError("manifest: no column 'lens_model'.")
    n = np.atleast_1d(np.asarray(manifest["lens_model"])).size
    place = np.full(n, geometry.centre(stamp_size))
    taken = {k: np.asarray(manifest[k]) for k in manifest if k != "psf_model"}
    coloured = any(name in taken for name in OF_BANDS) and "src_flux_nmgy" in taken
    flux = np.asarray(taken["src_flux_nmgy"]) if coloured else np.ones((n, 1))
    columns = {
        **taken,
        "x_center": place,
        "y_center": place,
        "src_flux_nmgy": flux,
        "psf_fwhm_arcsec": np.full(flux.shape, _FWHM_PIX * pixel_scale_arcsec),
    }
    return render(columns, stamp_size=stamp_size, pixel_scale_arcsec=pixel_scale_arcsec).magnification


def point_magnification(
    x_arcsec: ArrayLike,
    y_arcsec: ArrayLike,
    theta_e_arcsec: ArrayLike,
    lens_q: ArrayLike = 1.0,
    lens_phi_rad: ArrayLike = 0.0,
    lens_gamma: ArrayLike = 2.0,
    shear: ArrayLike = 0.0,
    shear_phi_rad: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    r"""Signed magnification of a point image at a position in the image plane.

    ``mu = 1 / ((1 - kappa)^2 - |gamma + gamma_ext|^2)``, with ``kappa = (2 - t)/2 (b/R)^t``, t = lens_gamma - 1 and,
    phi being the direction of the position and alpha the lens's deflection as a complex number,
    ``gamma = -exp(2 i phi) kappa + (1 - t) exp(i phi) alpha / r``.

    Parameters
    ----------
    x_arcsec, y_arcsec : array_like
        Position relative to the lens centre, arcsec. All arguments broadcast against each other.
    theta_e_arcsec : array_like
        Einstein radius, arcsec.
    lens_q, lens_phi_rad : array_like
        Axis ratio in (0, 1] and angle of the major axis, rad; 1 is the SIS.
    lens_gamma : array_like
        Slope of the density in three dimensions, in (1, 3); 2 is the SIE.
    shear, shear_phi_rad : array_like
        External shear and its angle, rad.

    Returns
    -------
    ndarray of float64
        Negative for a saddle; infinite on a critical curve; 0 at the centre, where the lens is singular.

    References
    ----------
    Tessore & Metcalf 2015, A&A 580, A79, eqs. 2 and 17.
    """
    x, y, theta_e, q, phi, gamma, strength, angle = (
        np.asarray(v, dtype=np.float64)
        for v in (x_arcsec, y_arcsec, theta_e_arcsec, lens_q, lens_phi_rad, lens_gamma, shear, shear_phi_rad)
    )
    alpha_x, alpha_y = deflect_epl(x, y, theta_e, q, phi, gamma)
    c, s, t = np.cos(phi), np.sin(phi), gamma - 1
    radius = np.hypot(q * (c * x + s * y), c * y - s * x)
    r = np.hypot(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = (x + 1j * y) / r
        kappa = (2 - t) / 2 * (theta_e * np.sqrt(q) / radius) ** t
        own = -(direction**2) * kappa + (1 - t) * direction * (alpha_x + 1j * alpha_y) / r
        mu = 1 / ((1 - kappa) ** 2 - np.abs(own + strength * np.exp(2j * angle)) ** 2)
    return np.asarray(np.where(r > 0, mu, 0.0))
