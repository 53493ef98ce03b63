"""Measured kernels as PSFs: checked, centred, and transformed at physical frequencies.

A coadd's PSF image is the effective PSF (pixel response included) sampled at pixel centres. Between its samples it
is taken to be band-limited at the pixel Nyquist frequency, 0.5 cycles per pixel on each axis: its transform is the
samples' Fourier sum within that square and 0 outside of it. A Gaussian sampled on pixels then differs from the
analytic one, in the image of a point, by 2e-7 of the peak at a FWHM of 4 pixels (1.05 arcsec in the Legacy Surveys),
7e-5 at 3 pixels, 1e-3 at 2.5 and 1e-2 at 2; a Moffat of beta 3.5 by 9e-5, 1.5e-3, 6e-3 and 2e-2. Kernels below a FWHM
of 2 pixels are refused, and what a sampled kernel cannot know is part of ``render_err``.

A kernel that is sampled more finely (or more coarsely) than the pixels of the survey is resampled first, by
:func:`resample_kernel`: the renderer takes every kernel as one value per pixel.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import LensflowWarning, RenderError
from lensflow.geometry import centre

Floats = NDArray[np.float64]

# Off-centre by more than this, pixels, a kernel is refused or recentred.
CENTROID_TOLERANCE_PIX = 0.05
# A share of the flux beyond the kernel's edge above this is warned of: spec, enclosed flux >= 0.999.
CLIPPED_FLUX = 1e-3
_NYQUIST = 0.5
# The narrowest FWHM, in pixels, that samples at pixel centres describe: at 2 a point is off by 1-2 % of its peak.
LEAST_FWHM_PIX = 2.0
# A FWHM is measured to this share of itself.
_FWHM_ERROR = 0.01
_FINE = 121


@dataclass(frozen=True, eq=False)
class KernelPSF:
    """A measured PSF; made by :func:`prepare_kernel`.

    Attributes
    ----------
    kernel : ndarray of float64, shape (n, n)
        Unit flux, centred on ``geometry.centre(n)`` to the tolerance asked for.
    offset_x_pix, offset_y_pix : float
        Centroid of what was given, relative to ``geometry.centre(n)``, pixels.
    recentred : bool
        Whether it was shifted by that.
    clipped_flux : float
        Estimated share of the PSF's flux beyond the kernel's edge (lower limit: 0 if its edge was zeroed).
    noise_equivalent_area_pix : float
        ``1 / sum(kernel^2)``, square pixels.
    """

    kernel: Floats
    offset_x_pix: float
    offset_y_pix: float
    recentred: bool
    clipped_flux: float
    noise_equivalent_area_pix: float

    @property
    def psfsize_pix(self) -> float:
        """FWHM, pixels, of the Gaussian with this noise-equivalent area: ``psfsize`` of the Legacy Surveys."""
        return _psfsize(self.noise_equivalent_area_pix)

    @property
    def fwhm_pix(self) -> float:
        """FWHM, pixels: of the circle with the area where the band-limited kernel exceeds half its peak, to 1 %."""
        return kernel_fwhm_pix(self.kernel)

    def transform(self, fx: ArrayLike, fy: ArrayLike) -> NDArray[np.complex128]:
        """Fourier transform about the geometric centre; see :func:`kernel_transform`.

        Parameters
        ----------
        fx, fy : array_like, shapes (nx,), (ny,)
            Frequencies on each axis, cycles per pixel.

        Returns
        -------
        ndarray of complex, shape (ny, nx)
            0 where |fx| or |fy| is 0.5 or more.
        """
        return kernel_transform(self.kernel, fx, fy)


def prepare_kernel(
    kernel: ArrayLike,
    *,
    recentre: bool = True,
    tolerance_pix: float = CENTROID_TOLERANCE_PIX,
    name: str = "PSF kernel",
) -> KernelPSF:
    """Check a measured PSF and make it fit for convolution.

    Parameters
    ----------
    kernel : array_like, shape (n, n)
        PSF at pixel centres, any positive normalisation, n >= 5 odd or even. Its centre is meant to lie at
        ``(n - 1) / 2``: the middle pixel of an odd size, the corner of four pixels of an even one.
    recentre : bool
        Shift a kernel whose centroid is off by more than the tolerance (sub-pixel, by Fourier phases, with a
        LensflowWarning). If False, such a kernel is refused.
    tolerance_pix : float
        Pixels by which a centroid may be off.
    name : str
        For messages: file, band.

    Returns
    -------
    KernelPSF

    Raises
    ------
    RenderError
        If the kernel is not square, not finite, without positive flux, off-centre (``recentre=False``), off by more
        than a quarter of its size, or narrower than a FWHM of 2 pixels.

    Warns
    -----
    LensflowWarning
        If it was recentred, or if more than 0.1 % of its flux seems to lie beyond its edge.

    Notes
    -----
    The centroid is the fixed point of the Gaussian-weighted first moment, the weight as wide as the PSF: noise in
    the wings, 30 pixels from the centre, would decide an unweighted moment. So the PSF's core is what is centred, as
    a survey's astrometry does. An asymmetric PSF's plain first moment then lies elsewhere: with a skirt of 30 % of the
    light that pulls it by 0.81 pixels, the core moves by 0.42, and the warning names both. The clipped flux
    extrapolates the outermost rings as a Moffat (right to a third for losses above 1 % and betas of 2.5 to 4.5).
    """
    values = np.array(kernel, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or values.shape[0] < 5:
        raise RenderError(f"{name}: must be square and at least 5 x 5 pixels, not of the shape {values.shape}")
    if not np.isfinite(values).all():
        raise RenderError(f"{name}: {int((~np.isfinite(values)).sum())} pixels are not finite")
    if not values.sum() > 0:
        raise RenderError(f"{name}: its sum is {values.sum():.3g}; a PSF has positive flux")
    values /= values.sum()
    offset_x, offset_y = _centroid_offset(values, name)
    off = math.hypot(offset_x, offset_y) > tolerance_pix
    if off:
        axis = np.arange(len(values)) - centre(len(values))
        plain_x, plain_y = float(values.sum(axis=0) @ axis), float(values.sum(axis=1) @ axis)
        where = f"{name}: centroid off by ({offset_x:+.3f}, {offset_y:+.3f}) pixels from {centre(len(values))}"
        where += f" (Gaussian-weighted; the plain first moment is at {plain_x:+.3f}, {plain_y:+.3f})"
        if not recentre:
            raise RenderError(f"{where}; arcs would move by that. Pass recentre=True, or centre the kernel.")
        warnings.warn(f"{where}; recentred.", LensflowWarning, stacklevel=2)
        given, total_x, total_y = values, offset_x, offset_y
        for _ in range(2):  # the weight sees other pixels after a shift
            values = _shift(given, -total_x, -total_y)
            dx, dy = _centroid_offset(values, name)
            total_x, total_y = total_x + dx, total_y + dy
        values = _shift(given, -total_x, -total_y)
        values /= values.sum()
    fwhm = kernel_fwhm_pix(values)
    if fwhm < (1 - _FWHM_ERROR) * LEAST_FWHM_PIX:
        raise RenderError(
            f"{name}: its FWHM is {fwhm:.2f} pixels; below {LEAST_FWHM_PIX:g} its samples do not describe it. If it is "
            "sampled more coarsely or finely than the pixels, resample it (lensflow.lensing.resample_kernel); else use "
            "an analytic PSF (plan.psf_model: moffat)."
        )
    clipped = _clipped_flux(values)
    if clipped > CLIPPED_FLUX:
        size = len(values)
        text = f"{name}: about {clipped:.1%} of the PSF's flux lies beyond its {size} x {size} pixels"
        warnings.warn(f"{text}; arcs are brighter by that. Use a larger kernel.", LensflowWarning, stacklevel=2)
    return KernelPSF(values, offset_x, offset_y, off, clipped, 1 / float((values**2).sum()))


def kernel_transform(kernel: ArrayLike, fx: ArrayLike, fy: ArrayLike) -> NDArray[np.complex128]:
    """Fourier transform of a kernel sampled at pixel centres, about its geometric centre.

    Parameters
    ----------
    kernel : array_like, shape (n, n)
        Unit flux, from :func:`prepare_kernel`.
    fx, fy : array_like, shapes (nx,), (ny,)
        Frequencies on each axis, cycles per pixel.

    Returns
    -------
    ndarray of complex, shape (ny, nx)
        ``sum kernel[i, j] exp(-2 pi i (fx (j - c) + fy (i - c)))``, c = (n - 1)/2, and 0 where |fx| or |fy| is 0.5
        or more: the pixel Nyquist frequency, at which the kernel is taken to be band-limited.
    """
    values = np.asarray(kernel, dtype=np.float64)
    fx, fy = np.atleast_1d(np.asarray(fx, dtype=np.float64)), np.atleast_1d(np.asarray(fy, dtype=np.float64))
    along_y, along_x = (np.arange(n) - centre(n) for n in values.shape)
    out = np.exp(-2j * np.pi * np.outer(fy, along_y)) @ values @ np.exp(-2j * np.pi * np.outer(along_x, fx))
    out[np.abs(fy) >= _NYQUIST] = 0
    out[:, np.abs(fx) >= _NYQUIST] = 0
    return np.asarray(out)


def resample_kernel(
    kernel: ArrayLike, oversampling: float, size: int | None = None, *, name: str = "PSF kernel"
) -> Floats:
    """Resample a PSF image to the pixels of the survey.

    Parameters
    ----------
    kernel : array_like, shape (n, n)
        The effective PSF (the response of the survey's pixel included, as PSFEx and coadd PSF images have it), sampled
        at ``oversampling`` points to the pixel; its centre at ``(n - 1) / 2``, any positive normalisation.
    oversampling : float
        Samples per pixel of the survey along an axis; need not be whole. For PSFEx, 1 / PSF_SAMP; for an image with a
        scale of its own, pixel scale of the survey over that of the image. Below 1 the kernel is coarser than the
        pixels.
    size : int, optional
        Pixels on a side of the result; by default the least odd number that holds the whole kernel.
    name : str
        For messages.

    Returns
    -------
    ndarray of float64, shape (size, size)
        Samples at pixel centres of the PSF without its frequencies beyond 0.5 cycles per pixel, centred on
        ``(size - 1) / 2``. The sum is the share of the flux that ``size`` pixels hold: 1 by default.

    Raises
    ------
    RenderError
        If the kernel is not square and finite with positive flux, the oversampling is not positive and finite, or the
        kernel is narrower than 2 of its own samples.

    Notes
    -----
    The kernel's transform is taken at the frequencies of the pixel grid: nothing is interpolated, and flux, centroid
    and width stay what they are. Of a kernel that is sampled well enough (FWHM of 2.5 pixels and more) these are the
    values at the pixel centres, to 1e-3 of the peak.
    """
    values = np.array(kernel, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not np.isfinite(values).all():
        raise RenderError(f"{name}: must be square and finite, not of the shape {values.shape}")
    if not values.sum() > 0:
        raise RenderError(f"{name}: its sum is {values.sum():.3g}; a PSF has positive flux")
    if not (np.isfinite(oversampling) and oversampling > 0):
        raise RenderError(f"{name}: oversampling must be positive and finite, not {oversampling}")
    own = kernel_fwhm_pix(values)
    if own < (1 - _FWHM_ERROR) * LEAST_FWHM_PIX:
        raise RenderError(f"{name}: its FWHM is {own:.2f} of its own samples; below {LEAST_FWHM_PIX:g} it says nothing")
    whole = 2 * math.ceil((len(values) / oversampling - 1) / 2) + 1
    f = np.fft.fftfreq(whole)
    about = np.exp(-2j * np.pi * f * centre(whole))
    # Between its samples the kernel is band-limited at its own Nyquist frequency, so `kernel_transform` serves as is.
    transform = kernel_transform(values / values.sum(), f / oversampling, f / oversampling)
    out = np.fft.ifft2(transform * about[:, None] * about).real
    if size is None or size == whole:
        return np.asarray(out)
    margin = size - whole
    if margin % 2:
        raise RenderError(f"{name}: size must be odd, not {size}")
    if margin > 0:
        return np.pad(out, margin // 2)
    return np.asarray(out[-margin // 2 : size - margin // 2, -margin // 2 : size - margin // 2])


def kernel_fwhm_pix(kernel: ArrayLike) -> float:
    """FWHM of a kernel in its own samples: of the circle with the area where it exceeds half its peak, to 1 %.

    The kernel is taken between its samples as it is everywhere here, band-limited. Its light may lie anywhere.
    """
    values = np.asarray(kernel, dtype=np.float64)
    values = values / values.sum()
    i, j = np.unravel_index(int(np.argmax(values)), values.shape)
    # Half the peak lies within the width of the noise-equivalent area for every PSF, and within 3 samples of a spike.
    reach = max(_psfsize(1 / float((values**2).sum())), 3.0)
    fine = np.linspace(-reach, reach, _FINE)
    along_y, along_x = (_between(len(values), at + fine) for at in (i, j))
    image = along_y @ values @ along_x.T
    area = float((image > 0.5 * image.max()).sum()) * (fine[1] - fine[0]) ** 2
    return 2 * math.sqrt(area / math.pi)


def _between(n: int, at: Floats) -> Floats:
    """Weights of ``n`` samples in the band-limited values at positions ``at``, shape (at, n); no light beyond them."""
    return np.sinc(at[:, None] - np.arange(n))


def _centroid_offset(kernel: Floats, name: str) -> tuple[float, float]:
    size = len(kernel)
    axis = np.arange(size) - centre(size)
    # Start from the brightest pixel; the weight has the Gaussian width that belongs to the noise-equivalent area.
    i, j = np.unravel_index(int(np.argmax(kernel)), kernel.shape)
    x, y = float(axis[j]), float(axis[i])
    variance = float(kernel.sum()) ** 2 / float((kernel**2).sum()) / (4 * np.pi)
    for _ in range(200):
        weight = np.exp(-0.5 * ((axis - y)[:, None] ** 2 + (axis - x) ** 2) / variance)
        light = weight * kernel
        total = float(light.sum())
        if total <= 0:
            raise RenderError(f"{name}: no light around its brightest pixel ({i}, {j})")
        # Twice: the weight halves the variance of a Gaussian, and with it the pull of the true centre.
        dx, dy = 2 * float((light * (axis - x)).sum()) / total, 2 * float((light * (axis - y)[:, None]).sum()) / total
        x, y = x + dx, y + dy
        if max(abs(x), abs(y)) > size / 4:
            raise RenderError(f"{name}: its light is centred {x:+.1f}, {y:+.1f} pixels from its middle; wrong array?")
        if math.hypot(dx, dy) < 1e-8:
            break
    return x, y


def _shift(kernel: Floats, dx: float, dy: float) -> Floats:
    """Shift by a sub-pixel distance; padded, so that what leaves on one side does not come back on the other."""
    size = len(kernel)
    padded = 2 * size + 1  # odd: no Nyquist bin, whose shift would be ambiguous
    frequency = np.fft.fftfreq(padded)
    phase = np.exp(-2j * np.pi * (frequency[:, None] * dy + frequency * dx))
    moved = np.fft.ifft2(np.fft.fft2(kernel, s=(padded, padded)) * phase).real
    return np.asarray(moved[:size, :size])


def _clipped_flux(kernel: Floats) -> float:
    """Share of the flux beyond the array, the wings taken to go on as the Moffat that fits its rings."""
    size = len(kernel)
    axis = np.arange(size) - centre(size)
    radius = np.hypot(axis[:, None], axis)
    edge = size / 2
    rings = ((0.65 * edge, 0.8 * edge), (0.8 * edge, edge))
    inner, outer = (kernel[(radius >= a) & (radius < b)] for a, b in rings)
    if not outer.size or not inner.size or outer.mean() <= 0 or inner.mean() <= outer.mean():
        return 0.0
    # A Moffat's alpha goes with its noise-equivalent area (exactly so for beta 3.5: 0.811 x 1.07 psfsize).
    alpha2 = 0.75 * _psfsize(1 / float((kernel**2).sum())) ** 2
    at_inner, at_outer = (((a + b) / 2) ** 2 + alpha2 for a, b in rings)
    beta = math.log(inner.mean() / outer.mean()) / math.log(at_outer / at_inner)
    beta = min(max(beta, 1.25), 20.0)
    at_edge = edge**2 + alpha2
    beyond_circle = math.pi * float(outer.mean()) * (at_edge / at_outer) ** -beta * at_edge / (beta - 1)
    lost = max(beyond_circle - float(kernel[radius > edge].sum()), 0.0)
    return lost / (1 + lost)


def _psfsize(area: float) -> float:
    """FWHM of the Gaussian with a noise-equivalent area."""
    return math.sqrt(area / (4 * math.pi)) * 2 * math.sqrt(2 * math.log(2))
