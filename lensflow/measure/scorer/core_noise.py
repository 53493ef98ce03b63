"""Cores filled with noise of the annulus: what a scorer reads where an image has no core, alike in both classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry, rng
from lensflow.errors import GateError
from lensflow.units import MAD_TO_SIGMA

Floats = NDArray[np.float64]
# Annulus as a share of the stamp's side: 20 to 32 pixels of 64.
INNER, OUTER = 0.3125, 0.5


def annulus_noise(images: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Median and scatter of images in the annulus.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        Of controls, without arc light; NaN where there are no data.

    Returns
    -------
    ndarray, ndarray, shape (n, band)
        In the images' units. 0 where a band has no data there.
    """
    size = images.shape[-1]
    middle = geometry.centre(size)
    pixels = images[:, :, geometry.annulus(size, middle, middle, INNER * size, OUTER * size)].astype(np.float64)
    some = np.isfinite(pixels).any(axis=2)
    pixels[~some] = 0.0
    level = np.nanmedian(pixels, axis=2)
    return level, MAD_TO_SIGMA * np.nanmedian(np.abs(pixels - level[:, :, None]), axis=2)


def fill_core_with_noise(
    images: NDArray[np.floating],
    noise: tuple[Floats, Floats],
    x_center: ArrayLike,
    y_center: ArrayLike,
    radius_pix: ArrayLike,
    key: NDArray[np.uint64],
    seed: int,
) -> NDArray[np.float32]:
    """Replace the core of images by noise.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        Stamps or controls; NaN (no data) stays NaN.
    noise : (ndarray, ndarray), shape (n, band)
        Median and scatter, of :func:`annulus_noise` of their **controls**: a stamp's own annulus can hold arc light.
    x_center, y_center : array_like, shape (n,)
        Target in stamp pixels.
    radius_pix : array_like, shape (n,)
        Pixels at r < radius are replaced.
    key : ndarray of uint64, shape (n,)
        Of the noise: the same for a stamp and its control, which then differ by nothing in the core.
    seed : int

    Returns
    -------
    ndarray of float32
        New; pixels outside of the core keep their bits.

    Raises
    ------
    GateError
        If a radius is not a positive number; the message names the first image.
    """
    radius = np.broadcast_to(np.asarray(radius_pix, np.float64), (len(images),))
    if not (np.isfinite(radius) & (radius > 0)).all():
        bad = int(np.argmax(~(np.isfinite(radius) & (radius > 0))))
        raise GateError(f"core of image {bad}: a radius of {radius[bad]:g} pix; its PSF size is not known")
    size, bands = images.shape[-1], images.shape[1]
    inside = geometry.radius_pix(size, x_center, y_center) < radius[:, None, None]
    level, sigma = noise
    drawn = rng.normal_f4(seed, key, "training.core_noise", bands * size * size).reshape(images.shape)
    filled = level[:, :, None, None] + sigma[:, :, None, None] * drawn
    out = np.where(inside[:, None], filled, images).astype(np.float32)
    out[~np.isfinite(images)] = np.nan
    return out
