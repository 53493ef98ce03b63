"""Measurements of a target on its stamp: aperture fluxes, shape of its light, noise correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, schema
from lensflow.lensing.noise_correlation import correlated_noise_factor
from lensflow.schema import HostShape, Status
from lensflow.survey.catalogue_shape import catalogue_shapes
from lensflow.survey.host_shape import measure_shapes

APERTURE_RADIUS_ARCSEC = 5.0
# Temporaries of a few hundred stamps fit into a processor's cache; those of a whole region are 1 GB.
_HOSTS_AT_A_TIME = 256


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
    # Lags up to 3 pixels are meaningless on a stamp of a few pixels.
    if min(image.shape[2:]) < 8:
        return np.full(image.shape[:2], np.nan, dtype=np.float32)
    each = [correlated_noise_factor(stamp, valid=good) for stamp, good in zip(image, invvar > 0, strict=True)]
    return np.array(each, dtype=np.float32).reshape(image.shape[:2])


def with_measurements(cutouts: xr.Dataset, host_shapes: bool = False) -> xr.Dataset:
    """Add the aperture flux, the light's shape and the noise's correlation to a block of cutouts in memory.

    The shape is the catalogue's where it has one and the stamp's orientation is known. Other hosts are measured with
    ``host_shapes``: in r, in the first band where there is no r. Hosts that FAILED have no measurement: NaN.
    """
    n_hosts, bands = cutouts.sizes["host"], [str(b) for b in cutouts["band"].values]
    scale = float(cutouts.attrs["pixel_scale_arcsec"])
    measured: dict[str, NDArray[np.float32]]
    measured = {name: np.full((n_hosts, len(bands)), np.nan, np.float32)
                for name in ("aperture_flux_nmgy", "noise_correlation_factor")}  # fmt: skip
    worth = np.flatnonzero(cutouts["status"].values != Status.FAILED)
    for first in range(0, worth.size, _HOSTS_AT_A_TIME):
        rows = worth[first : first + _HOSTS_AT_A_TIME]
        image, invvar, x, y = (cutouts[n].values[rows] for n in ("image", "invvar", "x_center", "y_center"))
        measured["aperture_flux_nmgy"][rows] = aperture_flux(image, invvar, x, y, scale)
        measured["noise_correlation_factor"][rows] = noise_correlation_factor(image, invvar)
    q, phi = catalogue_shapes(cutouts)
    source = np.where(np.isfinite(q), HostShape.CATALOGUE, HostShape.NOT_MEASURED).astype(np.uint8)
    if host_shapes:
        rows = worth[~np.isfinite(q[worth])]
        q[rows], phi[rows], source[rows] = measure_shapes(cutouts, rows)
    arrays: dict[str, NDArray[Any]] = {**measured, "host_q": q, "host_phi_rad": phi, "host_shape_source": source}
    pool = {name: schema.variable("cutouts", name) for name in arrays}
    return cutouts.assign(
        {name: (pool[name].dims, values.astype(pool[name].dtype), pool[name].attrs) for name, values in arrays.items()}
    )
