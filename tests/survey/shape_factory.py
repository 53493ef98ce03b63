"""Galaxies as they are seen through a PSF, drawn by brute force: sampled finely, convolved by Fourier transform."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv

from lensflow.lensing.psf import psf_fwhm_from_psfsize

SIZE, FINE, PIXEL_ARCSEC, SIGMA = 64, 4, 0.262, 0.004


@lru_cache(maxsize=4)
def moffat_fine(psfsize_pix, beta):
    """Transform of the PSF on the fine grid, about its corner."""
    n = SIZE * FINE
    axis = np.fft.ifftshift(np.arange(n) - n // 2) / FINE
    fwhm = float(psf_fwhm_from_psfsize(psfsize_pix, "moffat", beta))
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    image = (1 + (axis[:, None] ** 2 + axis**2) / alpha**2) ** -beta
    return np.fft.rfft2(image / image.sum())


def sersic(index, reff_pix, q, phi, x, y, flux=10.0, psfsize_pix=5.0, beta=2.6):
    """A Sersic profile (R_e along the major axis) in Moffat seeing at the centres of pixels; nMgy/pixel."""
    n = SIZE * FINE
    at = np.arange(n) / FINE
    b = gammaincinv(2 * index, 0.5)

    def light(xx, yy):
        u = np.cos(phi) * (xx - x) + np.sin(phi) * (yy - y)
        v = np.cos(phi) * (yy - y) - np.sin(phi) * (xx - x)
        return np.exp(-b * (np.hypot(u, v / q) / reff_pix) ** (1 / index))

    image = light(at[None], at[:, None])
    # The cusp is averaged over the fine pixels near the centre.
    sub = (np.arange(20) - 9.5) / 20 / FINE
    i, j = round(y * FINE), round(x * FINE)
    for k in range(i - 6, i + 7):
        for m in range(j - 6, j + 7):
            image[k, m] = light(at[m] + sub[None], at[k] + sub[:, None]).mean()
    seen = np.fft.irfft2(np.fft.rfft2(image) * moffat_fine(psfsize_pix, beta), s=image.shape)
    return flux * (seen / image.sum() * FINE**2)[::FINE, ::FINE]


def noisy(image, seed=0, sigma=SIGMA):
    """Image with noise, and its weights, as cutouts have them."""
    draw = np.random.default_rng(seed)
    seen = (image + sigma * draw.normal(size=image.shape)).astype(np.float32)
    return seen, np.full(image.shape, sigma**-2, np.float32)


def turned(phi, truth):
    """Angle between two axes, rad, in [-pi/2, pi/2)."""
    return (phi - truth + np.pi / 2) % np.pi - np.pi / 2
