"""The point-spread function: its width from the survey's psfsize, its Fourier transform, sampled kernels.

The PSF of a coadd is an effective one, the pixel's response included: lensed light is convolved with it and
sampled at pixel centres, with no second integration over the pixel. Widths are always a FWHM.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.special import gamma, kv

from lensflow.errors import RenderError, did_you_mean
from lensflow.geometry import centre

MODELS = ("moffat", "gaussian")
# The widest wings that are rendered: of a Moffat below this, more light lies off stamp and margin than can be followed.
LEAST_BETA = 2.0
_SIGMAS_PER_FWHM = 2 * np.sqrt(2 * np.log(2))
# Pixels around the stamp whose light is followed, and the same in units of the widest FWHM.
_LEAST_MARGIN_PIX, _MARGIN_PER_FWHM = 16, 2.5


def check_model(model: str, beta: float) -> None:
    """Raise RenderError unless the PSF model is known and, for a Moffat, ``beta > 1`` (its flux is finite)."""
    if model not in MODELS:
        raise RenderError(
            f"psf_model: no such model {model!r}; known: {', '.join(MODELS)}.{did_you_mean(model, MODELS)}"
        )
    if model == "moffat" and not (np.isfinite(beta) and beta > 1):
        raise RenderError(f"psf_beta must be a number above 1 (a Moffat's flux is infinite otherwise), not {beta}")


def _checked_fwhm(fwhm: ArrayLike) -> NDArray[np.float64]:
    value = np.asarray(fwhm, dtype=np.float64)
    if not (np.isfinite(value) & (value > 0)).all():
        bad = value[~(np.isfinite(value) & (value > 0))].ravel()[0]
        raise RenderError(f"PSF FWHM must be positive and finite, not {bad} arcsec")
    return value


def _sigma(fwhm: NDArray[np.float64]) -> NDArray[np.float64]:
    return fwhm / _SIGMAS_PER_FWHM


def _alpha(fwhm: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    return fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))


def scale_length(fwhm: ArrayLike, model: str = "moffat", beta: float = 3.5) -> NDArray[np.float64]:
    """The profile's own length, in the unit of ``fwhm``: a Gaussian's sigma, a Moffat's alpha. NaN stays NaN."""
    width = np.asarray(fwhm, dtype=np.float64)
    return np.asarray(_sigma(width) if model == "gaussian" else _alpha(width, beta))


def noise_equivalent_area(fwhm: ArrayLike, model: str = "moffat", beta: float = 3.5) -> NDArray[np.float64]:
    """Noise-equivalent area ``1 / integral of PSF^2``, in the square of the unit of ``fwhm``.

    Gaussian: 4 pi sigma^2. Moffat: pi alpha^2 (2 beta - 1) / (beta - 1)^2.

    Raises
    ------
    RenderError
        If a FWHM is not positive and finite, the model unknown, or beta <= 1.
    """
    check_model(model, beta)
    width = _checked_fwhm(fwhm)
    if model == "gaussian":
        return np.asarray(4 * np.pi * _sigma(width) ** 2)
    return np.asarray(np.pi * _alpha(width, beta) ** 2 * (2 * beta - 1) / (beta - 1) ** 2)


def margin_pix(widest_fwhm_pix: ArrayLike) -> NDArray[np.float64]:
    """Pixels around the stamp whose light is followed, for a widest FWHM in pixels; of its shape."""
    return np.asarray(np.ceil(np.maximum(_LEAST_MARGIN_PIX, _MARGIN_PER_FWHM * np.asarray(widest_fwhm_pix))))


def psf_fwhm_from_psfsize(psfsize_arcsec: ArrayLike, model: str = "moffat", beta: float = 3.5) -> NDArray[np.float64]:
    """FWHM of the profile whose noise-equivalent area is that of a Gaussian of FWHM ``psfsize``.

    Parameters
    ----------
    psfsize_arcsec : array_like
        psfsize of the Legacy Surveys, arcsec: FWHM of the Gaussian with the PSF's noise-equivalent area. NaN
        (band absent) stays NaN.
    model : {"moffat", "gaussian", "kernel"}
        Profile that will be applied; of a measured kernel the FWHM is not known, psfsize stands for it.
    beta : float
        Moffat exponent, > 1.

    Returns
    -------
    ndarray of float64
        Arcsec: psfsize itself for a Gaussian, 0.811 psfsize for a Moffat of beta 3.5.
    """
    if model == "kernel":
        return np.asarray(psfsize_arcsec, dtype=np.float64)
    check_model(model, beta)
    # Areas scale with FWHM^2, so one ratio at FWHM 1 serves all.
    ratio = np.sqrt(noise_equivalent_area(1.0, "gaussian") / noise_equivalent_area(1.0, model, beta))
    return np.asarray(np.asarray(psfsize_arcsec, dtype=np.float64) * ratio)


def gaussian_transform(f: ArrayLike, fwhm: ArrayLike) -> NDArray[np.float64]:
    """Fourier transform of a unit-flux Gaussian, ``exp(-2 pi^2 sigma^2 f^2)``; f in cycles per unit of ``fwhm``."""
    f = np.asarray(f, dtype=np.float64)
    return np.asarray(np.exp(-2 * (np.pi * _sigma(_checked_fwhm(fwhm)) * f) ** 2))


def moffat_transform(f: ArrayLike, fwhm: ArrayLike, beta: float = 3.5) -> NDArray[np.float64]:
    """Fourier transform of a unit-flux Moffat profile ``(1 + r^2/alpha^2)^-beta``.

    With x = 2 pi alpha f: ``2 (x/2)^(beta-1) K_(beta-1)(x) / Gamma(beta-1)``, which for beta = 3.5 is exactly
    ``exp(-x) (1 + x + x^2/3)`` (K of order 5/2 is elementary).

    Parameters
    ----------
    f : array_like
        Radial frequency, cycles per unit of ``fwhm``.
    fwhm : array_like
        FWHM of the profile, > 0.
    beta : float
        Exponent, > 1.

    References
    ----------
    Moffat 1969, A&A 3, 455; the Hankel transform is Gradshteyn & Ryzhik 6.565.4.
    """
    check_model("moffat", beta)
    x = 2 * np.pi * _alpha(_checked_fwhm(fwhm), beta) * np.abs(np.asarray(f, dtype=np.float64))
    if beta == 3.5:
        return np.asarray(np.exp(-x) * (1 + x * (1 + x / 3)))
    if x.size > 4 * _KNOTS:
        # A plane of frequencies has few radii that differ, and a Bessel function costs a microsecond.
        spline, root = _bessel_spline(beta), np.sqrt(np.minimum(x, _REACH))
        return np.asarray(np.where(x < _REACH, spline(root), 0.0))
    return _bessel_form(x, beta)


# Beyond it the transform is below 1e-30.
_REACH, _KNOTS = 80.0, 4096


def _bessel_form(x: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    order = beta - 1
    # K diverges at 0 while its product with x^order tends to the value that gives 1; x below 1e-9 is 0 here.
    safe = np.maximum(x, 1e-9)
    return np.asarray(np.where(x < 1e-9, 1.0, 2 * (safe / 2) ** order * kv(order, safe) / gamma(order)))


@lru_cache(maxsize=16)
def _bessel_spline(beta: float) -> CubicSpline:
    """Cubic spline of the transform in sqrt(x): near 0 it goes as x^(2 beta - 2), which is smooth in the root only."""
    root = np.linspace(0, np.sqrt(_REACH), _KNOTS)
    return CubicSpline(root, _bessel_form(root**2, beta))


def transform(f: ArrayLike, fwhm: ArrayLike, model: str = "moffat", beta: float = 3.5) -> NDArray[np.float64]:
    """Fourier transform of the named PSF model; see :func:`gaussian_transform` and :func:`moffat_transform`."""
    check_model(model, beta)
    return gaussian_transform(f, fwhm) if model == "gaussian" else moffat_transform(f, fwhm, beta)


@lru_cache(maxsize=64)
def cutoff_frequency(model: str, beta: float, level: float) -> float:
    """Frequency beyond which the transform stays below ``level``, for FWHM 1 (divide by the FWHM for others)."""
    low, high = 0.0, 1.0
    while transform(high, 1.0, model, beta) > level:
        low, high = high, 2 * high
    for _ in range(40):
        mid = 0.5 * (low + high)
        low, high = (mid, high) if transform(mid, 1.0, model, beta) > level else (low, mid)
    return high


def level_radius(level: float, fwhm: float, model: str = "moffat", beta: float = 3.5) -> float:
    """Radius, in the unit of ``fwhm``, at which the profile has fallen to a share ``level`` of its peak."""
    check_model(model, beta)
    width = _checked_fwhm(fwhm)
    if model == "gaussian":
        return float(_sigma(width) * np.sqrt(-2 * np.log(level)))
    return float(_alpha(width, beta) * np.sqrt(level ** (-1 / beta) - 1))


def profile(r: ArrayLike, fwhm: ArrayLike, model: str = "moffat", beta: float = 3.5) -> NDArray[np.float64]:
    """Surface density of the unit-flux PSF at radius ``r``, per squared unit of ``fwhm``."""
    check_model(model, beta)
    r, width = np.asarray(r, dtype=np.float64), _checked_fwhm(fwhm)
    if model == "gaussian":
        sigma = _sigma(width)
        return np.asarray(np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * sigma**2))
    alpha = _alpha(width, beta)
    return np.asarray((beta - 1) / (np.pi * alpha**2) * (1 + (r / alpha) ** 2) ** -beta)


def kernel(size: int, fwhm_pix: float, model: str = "moffat", beta: float = 3.5) -> NDArray[np.float64]:
    """PSF sampled at pixel centres, for checks and plots; the renderer itself needs no sampled kernel.

    Parameters
    ----------
    size : int
        Pixels on a side; the profile is centred on ``geometry.centre(size)``: the middle pixel of an odd size,
        the corner of four pixels of an even one.
    fwhm_pix : float
        FWHM in pixels.

    Returns
    -------
    ndarray, shape (size, size)
        Not renormalised: the sum is the share of the flux that the kernel holds (0.978 for 19 x 19 pixels of
        0.262 arcsec and a Moffat of 1.35 arcsec).
    """
    axis = np.arange(size) - centre(size)
    return profile(np.hypot(axis[None, :], axis[:, None]), fwhm_pix, model, beta)
