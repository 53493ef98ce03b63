"""The slow, obvious renderer of one row: numpy only, every step written out. Tests compare the kernels with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ManifestError
from lensflow.lensing.components import source_profiles
from lensflow.lensing.deflectors import deflect_epl, deflect_shear, deflect_sie, deflect_sis
from lensflow.lensing.psf import cutoff_frequency, transform
from lensflow.lensing.psf_image import kernel_transform
from lensflow.lensing.sources import sersic_profile

# Share of its light that a PSF lets through at frequencies that are left out: below rounding, summed over all of them.
NOTHING = 1e-20


def lensed_light(
    row: Mapping[str, Any], x: NDArray[np.float64], y: NDArray[np.float64], band: int | None = None
) -> NDArray[np.float64]:
    """Surface brightness of the lensed source of unit flux, before the PSF.

    Parameters
    ----------
    row : mapping of scalars
        One row of the manifest.
    x, y : ndarray
        Position relative to the lens centre, arcsec.
    band : int, optional
        Which band's light; needed only where the source's components have different colours.

    Returns
    -------
    ndarray
        nMgy/arcsec^2 for an unlensed flux of 1 nMgy.

    Raises
    ------
    ManifestError
        If a component cannot be rendered, or the band is needed and not given.
    """
    model = str(row["lens_model"])
    if model == "SIS":
        ax, ay = deflect_sis(x, y, row["theta_e_arcsec"])
    elif model == "EPL":
        ax, ay = deflect_epl(
            x, y, row["theta_e_arcsec"], row["lens_q"], row["lens_phi_rad"], row.get("lens_gamma", 2.0)
        )
    else:
        ax, ay = deflect_sie(x, y, row["theta_e_arcsec"], row["lens_q"], row["lens_phi_rad"])
    gx, gy = deflect_shear(x, y, row["shear"], row["shear_phi_rad"])
    light = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)))
    for one in source_profiles(row):
        if band is None and np.ptp(one.share) > 0:
            raise ManifestError("the source's components have different colours: say which band's light is wanted.")
        u, v = x - ax - gx - one.x_arcsec, y - ay - gy - one.y_arcsec
        light += sersic_profile(u, v, one.reff_arcsec, one.n, one.q, one.phi_rad, one.share[band or 0])
    return light


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
    coloured = any(np.ptp(one.share) > 0 for one in source_profiles(row))
    spectrum: NDArray[np.complex128] = np.zeros(0, dtype=complex)
    blocks = spectrum
    bins = np.fft.fftfreq(period * s, 1 / s)  # cycles per pixel
    # The spectrum of point-like rays repeats every `s` cycles per pixel; a coarse grid needs the repeats that the
    # PSF does not yet suppress.
    repeats = range(-int(4 / s), int(4 / s) + 1)
    first_ray = -0.5 + 0.5 / s  # in pixels from the field's first pixel centre
    # In blocks of one cycle per pixel; those that the narrowest PSF keeps all but nothing of are left out.
    cycles = bins.reshape(s, period)
    narrowest = np.nanmin(np.append(row["psf_fwhm_arcsec"], np.inf)) / pixel_scale_arcsec
    highest = cutoff_frequency(psf_model, psf_beta, NOTHING) / narrowest
    seen = {m: np.flatnonzero(np.abs(cycles + m * s).min(axis=1) <= highest) for m in repeats}
    # Frequencies, and what the place of the first ray does to their phase: the same for every band.
    grids = []
    for m in repeats:
        for n in repeats:
            fy, fx = (cycles[seen[m]] + m * s).reshape(-1, 1), (cycles[seen[n]] + n * s).reshape(1, -1)
            grids.append((np.ix_(seen[m], seen[n]), np.hypot(fx, fy), np.exp(-2j * np.pi * (fx + fy) * first_ray)))
    arc = np.zeros((len(row["psf_fwhm_arcsec"]), stamp_size, stamp_size))
    for band, (fwhm, flux) in enumerate(zip(row["psf_fwhm_arcsec"], row["src_flux_nmgy"], strict=True)):
        if np.isnan(fwhm):
            continue
        if coloured or not spectrum.size:
            light = lensed_light(row, x[None, :], y[:, None], band) * (pixel_scale_arcsec / s) ** 2
            spectrum = np.fft.fft2(light, s=(period * s, period * s))
            blocks = spectrum.reshape(s, period, s, period)
        folded = np.zeros((period, period), dtype=complex)
        for (rows, columns), frequency, phase in grids:
            psf = transform(frequency, fwhm / pixel_scale_arcsec, psf_model, psf_beta)
            some = blocks[rows, :, columns]  # (row of blocks, column of blocks, frequency, frequency)
            # Frequencies that differ by whole cycles per pixel are one frequency to the pixel grid.
            there = (rows.size, period, columns.size, period)
            folded += (some.transpose(0, 2, 1, 3) * (psf * phase).reshape(there)).sum(axis=(0, 2))
        image = np.fft.ifft2(folded).real
        arc[band] = flux * image[pad_pix : pad_pix + stamp_size, pad_pix : pad_pix + stamp_size]
    return arc


def adaptive_samples(
    row: Mapping[str, Any],
    *,
    stamp_size: int = 64,
    pixel_scale_arcsec: float = 0.262,
    pad_pix: int = 16,
    tolerance: float = 1e-7,
    max_depth: int = 30,
    band: int | None = None,
) -> NDArray[np.float64]:
    """Samples of the lensed light from cells that are quartered until their flux settles.

    A cell starts as a pixel with 4 x 4 Gauss-Legendre nodes. If the flux of its four quarters differs from its own
    by more than ``tolerance`` of the whole field's, the quarters take its place and are looked at in turn. ``band`` as
    for :func:`lensed_light`.

    Returns
    -------
    ndarray, shape (3, n)
        x and y in pixels from the stamp's first pixel centre, and flux for an unlensed flux of 1.
    """
    t, w = np.polynomial.legendre.leggauss(4)
    node_x, node_y = (v.ravel() for v in np.meshgrid(t, t))
    weight = np.outer(w, w).ravel() / 4

    def shoot(x: NDArray, y: NDArray, half: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        px, py = x[:, None] + half[:, None] * node_x, y[:, None] + half[:, None] * node_y
        arcsec_x, arcsec_y = (px - row["x_center"]) * pixel_scale_arcsec, (py - row["y_center"]) * pixel_scale_arcsec
        area = (2 * half[:, None] * pixel_scale_arcsec) ** 2
        return px, py, lensed_light(row, arcsec_x, arcsec_y, band) * weight * area

    axis = np.arange(-pad_pix, stamp_size + pad_pix, dtype=np.float64)
    x, y = (v.ravel() for v in np.meshgrid(axis, axis))
    half = np.full(x.size, 0.5)
    cells = shoot(x, y, half)
    done: list[NDArray] = []
    for _ in range(max_depth):
        total = cells[2].sum() + sum(part[2].sum() for part in done)
        quarter = 0.5 * half[:, None]
        qx, qy = x[:, None] + quarter * [-1, 1, -1, 1], y[:, None] + quarter * [-1, -1, 1, 1]
        parts = shoot(qx.ravel(), qy.ravel(), np.repeat(0.5 * half, 4))
        change = np.abs(parts[2].reshape(x.size, -1).sum(1) - cells[2].sum(1))
        settled = change <= tolerance * total
        done.append(np.stack([v.reshape(x.size, -1)[settled].ravel() for v in parts]))
        again = np.repeat(~settled, 4)
        if not again.any():
            break
        x, y, half = qx.ravel()[again], qy.ravel()[again], np.repeat(0.5 * half, 4)[again]
        cells = (parts[0][again], parts[1][again], parts[2][again])
    else:
        done.append(np.stack([v.ravel() for v in cells]))
    return np.concatenate(done, axis=1)


def image_of_samples(
    samples: NDArray[np.float64],
    fwhm_pix: float,
    *,
    stamp_size: int = 64,
    psf_model: str = "moffat",
    psf_beta: float = 3.5,
    period_pix: int = 192,
    level: float = 1e-7,
    kernel: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The sum over samples of flux x PSF(pixel - sample), as a plain Fourier sum; shape (stamp_size, stamp_size).

    ``kernel``, of unit flux at pixel centres, takes the analytic PSF's place.
    """
    x, y, flux = samples[:, samples[2] != 0]
    highest = cutoff_frequency(psf_model, psf_beta, level) / fwhm_pix if kernel is None else 0.5
    top = int(np.ceil(highest * period_pix))
    fx, fy = np.arange(top + 1) / period_pix, np.arange(-top, top + 1) / period_pix
    spectrum = np.zeros((fy.size, fx.size), dtype=complex)
    for start in range(0, x.size, 20_000):
        part = slice(start, start + 20_000)
        spectrum += np.exp(-2j * np.pi * np.outer(fy, y[part])) @ (
            np.exp(-2j * np.pi * np.outer(x[part], fx)) * flux[part, None]
        )
    hat: NDArray[Any]
    if kernel is None:
        hat = transform(np.hypot(fy[:, None], fx), fwhm_pix, psf_model, psf_beta)
    else:
        hat = kernel_transform(kernel, fx, fy)
    spectrum *= hat / period_pix**2
    spectrum[:, 1:] *= 2  # for the frequencies -fx
    pixel = np.arange(stamp_size)
    return np.asarray(
        (np.exp(2j * np.pi * np.outer(pixel, fy)) @ spectrum @ np.exp(2j * np.pi * np.outer(fx, pixel))).real
    )
