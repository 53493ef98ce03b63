"""Aperture fluxes of cutouts: the host's magnitude where the catalogue gives none."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, schema

APERTURE_RADIUS_ARCSEC = 5.0


def aperture_flux(
    image: NDArray[np.float32],
    invvar: NDArray[np.float32],
    x_center: NDArray[np.float64],
    y_center: NDArray[np.float64],
    pixel_scale_arcsec: float,
) -> NDArray[np.float32]:
    """Flux within 5" of the target (the radius of the host statistics of the survey spec), whole pixels.

    Parameters
    ----------
    image, invvar : ndarray, shape (host, band, y, x)
        nMgy/pixel and nMgy^-2.
    x_center, y_center : ndarray, shape (host,)
    pixel_scale_arcsec : float

    Returns
    -------
    ndarray, shape (host, band)
        nMgy; NaN where a tenth or more of the aperture has no data.
    """
    inside = geometry.disc(image.shape[-1], x_center, y_center, APERTURE_RADIUS_ARCSEC / pixel_scale_arcsec)[:, None]
    good = (invvar > 0) & inside
    flux = np.where(good, image, 0).sum(axis=(2, 3), dtype=np.float64)
    share = good.sum(axis=(2, 3)) / np.maximum(inside.sum(axis=(2, 3)), 1)
    return np.where(share > 0.9, flux, np.nan).astype(np.float32)


def with_aperture_flux(cutouts: xr.Dataset) -> xr.Dataset:
    """Add ``aperture_flux_nmgy`` to a block of cutouts in memory."""
    v = schema.variable("cutouts", "aperture_flux_nmgy")
    image, invvar, x, y = (cutouts[n].values for n in ("image", "invvar", "x_center", "y_center"))
    flux = aperture_flux(image, invvar, x, y, float(cutouts.attrs["pixel_scale_arcsec"]))
    return cutouts.assign({v.name: (v.dims, flux, v.attrs)})
