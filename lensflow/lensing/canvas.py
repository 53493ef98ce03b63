"""Render one row: uniform rays, shared by the bands, each entering the convolution at its own position.

Per row, the lensed light is evaluated once on uniform rays (:mod:`lensflow.lensing.kernels`). "Exact phase": the
fine spectrum is multiplied by a band's analytic PSF transform and folded onto the pixel grid's frequencies. Nothing
is binned before the PSF, nothing integrated over pixels after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lensflow.lensing import psf
from lensflow.lensing.kernels import fold_spectrum, pack_row, shoot_grid
from lensflow.lensing.magnification import magnification
from lensflow.lensing.rows import Rows

# The arc is exactly 0 below this share of its peak (in its row and band).
ARC_FLOOR = 1e-6
# Frequencies at which the PSF transmits less than this are dropped: the image changes by < 1e-10 of its peak.
_PSF_FLOOR = 1e-12
# The canvas is padded until at most this share of the PSF's flux reaches round it.
_WRAP = 1e-4
# Padding stops here (wings that fall off slower than about r^-4 would ask for more).
_MAX_PERIOD_PIX = 1024
# Frequencies that matter to the error estimate, which needs two digits.
_ERROR_PSF_FLOOR = 1e-4
# render_err over the half-lattices' difference: measured against ../shared/truth, see ``render``.
_LATTICE_TO_ERROR = 0.5

Spectrum = NDArray[np.complex128]


@dataclass(frozen=True)
class Canvas:
    """The geometry that the rows of one call share; holds no state between rows."""

    stamp_size: int
    pixel: float
    psf_model: str
    psf_beta: float
    supersample: int
    pad_pix: int

    def render_row(self, rows: Rows, i: int, arc: NDArray[np.floating]) -> tuple[float, float]:
        """Fill ``arc`` (band, y, x) with row ``i``; return its render_err and its magnification."""
        s, size, pad = self.supersample, self.stamp_size, self.pad_pix
        field = size + 2 * pad
        lens, source = rows.lens(i), rows.source(i)
        parameters, central = pack_row(**lens, **source)
        x0, y0 = (-pad - rows.x_center[i]) * self.pixel, (-pad - rows.y_center[i]) * self.pixel
        light = np.zeros((field * s, field * s))
        total, first, end = shoot_grid(light, s, x0, y0, self.pixel, parameters)
        magnified = magnification(
            total,
            parameters,
            central,
            theta_e=lens["theta_e"],
            lens_q=lens["lens_q"],
            shear=lens["shear"],
            src_x=source["src_x"],
            src_y=source["src_y"],
            reff=source["reff"],
            n=source["n"],
            x0=x0,
            y0=y0,
            pixel=self.pixel,
            n_pix=field,
            supersample=s,
        )
        present = np.flatnonzero(np.isfinite(rows.fwhm[i]))
        if not present.size:
            return np.nan, magnified
        fwhm_pix = rows.fwhm[i] / self.pixel
        period = self._period(float(fwhm_pix[present].max()))
        narrowest = int(present[np.argmin(fwhm_pix[present])])
        # One transform along x serves all bands, and the error estimate.
        along_x = scipy.fft.rfft(light[first:end], n=period * s, axis=1, workers=1)
        k = self._cutoff(float(fwhm_pix[narrowest]), period, _PSF_FLOOR)
        spectrum = _low_frequencies(along_x, k, 0, 0)
        nmgy = central * (self.pixel / s) ** 2
        error = np.nan
        for band in present:
            image = self._image(spectrum, float(fwhm_pix[band]), period, first, _PSF_FLOOR)
            peak = float(image.max())
            if band == narrowest and peak > 0:
                error = self._lattice_difference(along_x, float(fwhm_pix[band]), period, first) / peak
            image[np.abs(image) < ARC_FLOOR * peak] = 0.0
            arc[band] = image * (nmgy * rows.flux[i, band])
        return _LATTICE_TO_ERROR * error, magnified

    def _period(self, widest_fwhm_pix: float) -> int:
        """Even period of the padded canvas, pixels: no light reaches a stamp pixel the wrong way round."""
        reach = psf.enclosing_radius(_WRAP, widest_fwhm_pix, self.psf_model, self.psf_beta)
        span = self.stamp_size + self.pad_pix  # largest distance between light and a stamp pixel, one axis
        least = max(span + min(reach, _MAX_PERIOD_PIX), self.stamp_size + 2 * self.pad_pix)
        return 2 * int(scipy.fft.next_fast_len(int(np.ceil(least / 2)), real=True))

    def _cutoff(self, fwhm_pix: float, period: int, level: float) -> int:
        """Index of the highest frequency, in units of 1/period, at which the PSF transmits ``level``."""
        return int(psf.cutoff_frequency(self.psf_model, self.psf_beta, level) / fwhm_pix * period) + 1

    def _image(
        self, spectrum: Spectrum, fwhm_pix: float, period: int, first_row: int, level: float
    ) -> NDArray[np.float64]:
        """Convolve with one PSF and sample at the stamp's pixel centres.

        Parameters
        ----------
        spectrum : ndarray, shape (k + 1, 2 k + 1)
            x frequencies 0..k, y frequencies -k..k, in units of 1/period cycles per pixel; k may exceed what this
            PSF transmits.
        fwhm_pix : float
            FWHM in pixels.
        period : int
            Of the padded canvas, pixels.
        first_row : int
            Row of the fine grid at which the transformed light starts.
        level : float
            What the PSF transmits less of than this is left out.
        """
        k = spectrum.shape[0] - 1
        axis = np.arange(min(self._cutoff(fwhm_pix, period, level), k) + 1) / period
        hat = psf.transform(np.hypot(axis[:, None], axis[None, :]), fwhm_pix, self.psf_model, self.psf_beta)
        # Phases that put the first ray where it lies relative to the stamp's first pixel centre.
        first_x = -self.pad_pix - 0.5 + 0.5 / self.supersample
        first_y = first_x + first_row / self.supersample
        phase_x = np.exp(-2j * np.pi / period * np.arange(k + 1) * first_x)
        phase_y = np.exp(-2j * np.pi / period * np.arange(-k, k + 1) * first_y)
        folded = np.zeros((period, period // 2 + 1), dtype=np.complex128)
        fold_spectrum(folded, spectrum, hat, phase_x, phase_y, level)
        image = scipy.fft.irfft2(folded, s=(period, period), workers=1)
        return np.asarray(image[: self.stamp_size, : self.stamp_size].copy())

    def _lattice_difference(self, along_x: Spectrum, fwhm_pix: float, period: int, first_row: int) -> float:
        """Root sum of squares of the largest differences between the images of complementary half-lattices.

        Three ways to halve the lattice: checkerboard, every other column, every other row. Light times +1 on one
        half and -1 on the other has the fine spectrum shifted by the Nyquist frequency on both axes, on x, on y.
        """
        k = self._cutoff(fwhm_pix, period, _ERROR_PSF_FLOOR)
        nyquist = period * self.supersample // 2  # whole: the period is even
        squares = 0.0
        for shift_x, shift_y in ((nyquist, nyquist), (nyquist, 0), (0, nyquist)):
            shifted = _low_frequencies(along_x, k, shift_x, shift_y)
            squares += float(np.abs(self._image(shifted, fwhm_pix, period, first_row, _ERROR_PSF_FLOOR)).max()) ** 2
        return float(np.sqrt(squares))


def _low_frequencies(along_x: Spectrum, k: int, shift_x: int, shift_y: int) -> Spectrum:
    """Finish the fine grid's transform along y, at the frequencies within ``k`` of (shift_x, shift_y) only.

    Parameters
    ----------
    along_x : ndarray, shape (rows, fine//2 + 1)
        Transform along x of the rows that hold light; ``fine`` is even.
    k, shift_x, shift_y : int
        In units of 1/period.

    Returns
    -------
    ndarray, shape (k + 1, 2 k + 1)
        x frequencies shift_x + 0..k, y frequencies shift_y + -k..k.
    """
    fine = 2 * (along_x.shape[1] - 1)
    # The spectrum repeats after `fine`; bins beyond its half are conjugates of those before.
    wanted = (np.arange(k + 1) + shift_x) % fine
    columns = np.ascontiguousarray(along_x[:, np.minimum(wanted, fine - wanted)].T)
    beyond = wanted > fine - wanted
    columns[beyond] = columns[beyond].conj()
    along_y = scipy.fft.fft(columns, n=fine, axis=1, workers=1)
    return along_y[:, (np.arange(-k, k + 1) + shift_y) % fine]
