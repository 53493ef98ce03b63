"""What is measured once on every cutout: the aperture flux, and how far neighbouring pixels share their noise."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, schema
from lensflow.lensing.noise_correlation import correlated_noise_factor

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


def noise_correlation_factor(image: NDArray[np.float32], invvar: NDArray[np.float32]) -> NDArray[np.float32]:
    """Factor by which correlated noise lowers the SNR of a wide aperture, from the blank sky of each stamp.

    Parameters
    ----------
    image, invvar : ndarray, shape (host, band, y, x)
        Pixels with ``invvar`` 0 are not used.

    Returns
    -------
    ndarray, shape (host, band)
        :func:`lensflow.lensing.correlated_noise_factor` of every host by itself, good to about 10 %; NaN where fewer
        than 400 pixels are blank sky.
    """
    # Lags up to 3 pixels make no sense on a stamp of a few pixels.
    if min(image.shape[2:]) < 8:
        return np.full(image.shape[:2], np.nan, dtype=np.float32)
    each = [correlated_noise_factor(stamp, valid=good) for stamp, good in zip(image, invvar > 0, strict=True)]
    return np.array(each, dtype=np.float32).reshape(image.shape[:2])


def with_measurements(cutouts: xr.Dataset) -> xr.Dataset:
    """Add ``aperture_flux_nmgy`` and ``noise_correlation_factor`` to a block of cutouts in memory."""
    image, invvar, x, y = (cutouts[n].values for n in ("image", "invvar", "x_center", "y_center"))
    measured = {
        "aperture_flux_nmgy": aperture_flux(image, invvar, x, y, float(cutouts.attrs["pixel_scale_arcsec"])),
        "noise_correlation_factor": noise_correlation_factor(image, invvar),
    }
    variables = {name: schema.variable("cutouts", name) for name in measured}
    return cutouts.assign({name: (v.dims, measured[name], v.attrs) for name, v in variables.items()})
