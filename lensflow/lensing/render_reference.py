"""The slow, obvious renderer of one row: numpy only, every step written out. Tests compare the kernels with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.lensing.deflectors import deflect_shear, deflect_sie, deflect_sis
from lensflow.lensing.psf import transform
from lensflow.lensing.sources import sersic_profile


def lensed_light(row: Mapping[str, Any], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Surface brightness of the lensed source of unit flux, before the PSF.

    Parameters
    ----------
    row : mapping of scalars
        One row of the manifest.
    x, y : ndarray
        Position relative to the lens centre, arcsec.

    Returns
    -------
    ndarray
        nMgy/arcsec^2 for an unlensed flux of 1 nMgy.
    """
    if str(row["lens_model"]) == "SIS":
        ax, ay = deflect_sis(x, y, row["theta_e_arcsec"])
    else:
        ax, ay = deflect_sie(x, y, row["theta_e_arcsec"], row["lens_q"], row["lens_phi_rad"])
    gx, gy = deflect_shear(x, y, row["shear"], row["shear_phi_rad"])
    return sersic_profile(
        x - ax - gx - row["src_x_arcsec"],
        y - ay - gy - row["src_y_arcsec"],
        row["src_reff_arcsec"],
        row["src_n"],
        row["src_q"],
        row["src_phi_rad"],
    )


def ray_positions(
    stamp_size: int, pad_pix: int, supersample: int, pixel_scale_arcsec: float, center_pix: float
) -> NDArray[np.float64]:
    """Ray coordinates along one axis, arcsec from the lens: the midpoints of ``supersample`` cells per pixel."""
    k = np.arange((stamp_size + 2 * pad_pix) * supersample)
    return (-pad_pix - 0.5 + (k + 0.5) / supersample - center_pix) * pixel_scale_arcsec


def render_row_reference(
    row: Mapping[str, Any],
    *,
    stamp_size: int = 64,
    pixel_scale_arcsec: float = 0.262,
    psf_model: str = "moffat",
    psf_beta: float = 3.5,
    supersample: int = 8,
    pad_pix: int = 16,
    period_pix: int | None = None,
) -> NDArray[np.float64]:
    """Render one injection with uniform rays, ``supersample`` squared to the pixel.

    Each ray enters the convolution at its own position: arc(p) = sum over rays of light x PSF(p - ray). The sum is
    done in Fourier space: the transform of the fine grid, times the PSF's transform at physical frequencies,
    folded (aliased) onto the frequencies of the pixel grid, transformed back. Nothing is binned before the
    convolution or integrated over pixels after it.

    Parameters
    ----------
    row : mapping of scalars
        One row of the manifest, an injection; ``src_flux_nmgy`` and ``psf_fwhm_arcsec`` have shape (band,).
    stamp_size, pad_pix : int
        Pixels of the stamp and of the margin around it whose light is followed.
    pixel_scale_arcsec : float
        Pixel size.
    psf_model, psf_beta
        See :mod:`lensflow.lensing.psf`.
    supersample : int
        Rays per pixel and axis.
    period_pix : int, optional
        Period of the zero-padded canvas in pixels; default twice the field, enough for a FWHM of 3.8 arcsec.

    Returns
    -------
    ndarray, shape (band, y, x)
        nMgy/pixel, float64, with nothing cut off; NaN bands (no PSF) are 0.
    """
    s, field = supersample, stamp_size + 2 * pad_pix
    period = period_pix or 2 * field
    x = ray_positions(stamp_size, pad_pix, s, pixel_scale_arcsec, row["x_center"])
    y = ray_positions(stamp_size, pad_pix, s, pixel_scale_arcsec, row["y_center"])
    light = lensed_light(row, x[None, :], y[:, None]) * (pixel_scale_arcsec / s) ** 2
    spectrum = np.fft.fft2(light, s=(period * s, period * s))
    bins = np.fft.fftfreq(period * s, 1 / s)  # cycles per pixel
    # The spectrum of point-like rays repeats every `s` cycles per pixel; a coarse grid needs the repeats that the
    # PSF does not yet suppress.
    repeats = range(-int(4 / s), int(4 / s) + 1)
    first_ray = -0.5 + 0.5 / s  # in pixels from the field's first pixel centre
    arc = np.zeros((len(row["psf_fwhm_arcsec"]), stamp_size, stamp_size))
    for band, (fwhm, flux) in enumerate(zip(row["psf_fwhm_arcsec"], row["src_flux_nmgy"], strict=True)):
        if np.isnan(fwhm):
            continue
        folded = np.zeros((period, period), dtype=complex)
        for m in repeats:
            for n in repeats:
                fy, fx = (bins + m * s)[:, None], (bins + n * s)[None, :]
                psf = transform(np.hypot(fx, fy), fwhm / pixel_scale_arcsec, psf_model, psf_beta)
                product = spectrum * psf * np.exp(-2j * np.pi * (fx + fy) * first_ray)
                # Frequencies that differ by whole cycles per pixel are one frequency to the pixel grid.
                folded += product.reshape(s, period, s, period).sum(axis=(0, 2))
        image = np.fft.ifft2(folded).real
        arc[band] = flux * image[pad_pix : pad_pix + stamp_size, pad_pix : pad_pix + stamp_size]
    return arc
