"""The stated sampling of a PSF image, and its resampling to the stamps' pixels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lensflow.errors import LensflowWarning, RenderError
from lensflow.fits.astropy_image import ONE_THREAD
from lensflow.lensing.psf_image import kernel_fwhm_pix, prepare_kernel, resample_kernel

Floats = NDArray[np.float64]

# Pixel sizes that differ by less count as equal.
SAME = 1e-3
# Two statements of one header must agree to this.
_AGREE = 0.02
# From this FWHM on, in the image's pixels, interpolation is accurate to 0.6 % of the peak (3: 0.15 %).
_LEAST_FWHM_PIX = 2.5
_STEPS = (1 / 32, 8.0)
# Keywords: size of the image's pixel in pixels of the survey's images (PSFEx), its inverse, and in arcsec.
_IN_PIXELS = ("PSF_SAMP",)
_PER_PIXEL = ("OVERSAMP", "OVERSMPL", "PSF_OVER")
_IN_ARCSEC = ("PIXSCALE", "PIXELSCL", "PSFSCALE", "SECPIX", "SECPIX1", "PIXSCAL1")


def stated_step(header: Mapping[str, Any], pixel_scale_arcsec: float) -> float:
    """Pixel of a PSF image relative to the stamps' pixel, from its header; 1 if not stated.

    Understood are ``PSF_SAMP`` (PSFEx), ``OVERSAMP``, ``PIXSCALE``, ``PIXELSCL``, ``SECPIX`` and the like in arcsec,
    and a WCS of the sky (CD or PC and CDELT, degrees or what CUNIT says).

    Parameters
    ----------
    header : mapping
        FITS cards.
    pixel_scale_arcsec : float
        Of the stamps.

    Raises
    ------
    ValueError
        If a statement is no positive number, two of them differ, or a CDELT has no unit that could be meant.
    """
    stated: dict[str, float] = {}
    for names, size in (
        (_IN_PIXELS, lambda v: v),
        (_PER_PIXEL, lambda v: 1 / v),
        (_IN_ARCSEC, lambda v: v / pixel_scale_arcsec),
    ):
        for name in names:
            if name in header:
                stated[name] = size(_positive(name, header[name]))
    wcs = wcs_scale_arcsec(header)
    if wcs is not None:
        stated["WCS"] = wcs / pixel_scale_arcsec
    if not stated:
        return 1.0
    (first, step), *others = stated.items()
    for name, other in others:
        if abs(other / step - 1) > _AGREE:
            raise ValueError(
                f"it states two samplings: {first} means {step:.4g} pixels of the stamps, {name} {other:.4g}"
            )
    if not _STEPS[0] <= step <= _STEPS[1]:
        raise ValueError(f"{first} = {header.get(first, wcs)} means pixels of {step:.4g} pixels of the stamps")
    return step


def wcs_scale_arcsec(header: Mapping[str, Any]) -> float | None:
    """Side of a pixel from a header's WCS, arcsec; None if not stated.

    Raises
    ------
    ValueError
        If CDELT is not 1 and nothing says in what unit it is.
    """
    sky = any(str(header.get(f"CTYPE{i}", ""))[:4] in ("RA--", "DEC-", "GLON", "GLAT") for i in (1, 2))
    unit = str(header.get("CUNIT1", "")).strip()
    matrix = np.array([[float(header.get(f"CD{i}_{j}", 0)) for j in (1, 2)] for i in (1, 2)])
    if not matrix.any():
        if "CDELT1" not in header:
            return None
        delt = [float(header.get(f"CDELT{i}", header["CDELT1"])) for i in (1, 2)]
        pc = np.array([[float(header.get(f"PC{i}_{j}", float(i == j))) for j in (1, 2)] for i in (1, 2)])
        matrix = np.array(delt)[:, None] * pc
    side = math.sqrt(abs(float(np.linalg.det(matrix))))
    if not sky and not unit:
        if abs(side - 1) < 1e-9:
            return None  # pixels, the default of FITS
        raise ValueError(f"CDELT or CD make a pixel of {side:.4g}, and no CTYPE or CUNIT says of what")
    if unit in ("pixel", "pix"):
        return None
    try:
        return side * float((u.Unit(unit) if unit else u.deg).to(u.arcsec))
    except (ValueError, u.UnitConversionError) as error:
        raise ValueError(f"CUNIT1 = {unit!r} is no angle") from error


def on_stamp_pixels(image: Floats, step: float) -> Floats:
    """Sample a PSF image at the centres of the stamps' pixels, about its centroid if its size is even.

    The image is taken to be what a coadd's PSF image is: the effective PSF, pixel response included, at its own pixels'
    centres. An odd image keeps its middle pixel as its centre; an even one, whose makers disagree on where its centre
    is, is centred on its light. The resampling is :func:`lensflow.lensing.resample_kernel`.

    Parameters
    ----------
    image : ndarray, shape (n, n)
    step : float
        Its pixel over the stamps'.

    Returns
    -------
    ndarray, shape (m, m), m odd
        Not normalised.

    Raises
    ------
    ValueError
        If the image is too coarse to be resampled, or the light of an even one has no centre.
    """
    n = len(image)
    same = abs(step - 1) <= SAME
    if n % 2 and same:
        return image
    fwhm = kernel_fwhm_pix(image)
    if fwhm < _LEAST_FWHM_PIX:
        raise ValueError(
            f"its FWHM is {fwhm:.2g} of its own pixels: with less than {_LEAST_FWHM_PIX} it cannot be resampled"
        )
    try:
        if n % 2 == 0:
            with quiet_kernels():
                # The middle pixel of an odd image is its makers' word; even ones have none.
                # 0.03 pixels off the light are 1 % of the peak.
                image = prepare_kernel(image, tolerance_pix=0, name="it").kernel
        return resample_kernel(image, 1.0 if same else 1 / step, name="it")
    except RenderError as error:
        raise ValueError(str(error)) from error


@contextmanager
def quiet_kernels() -> Iterator[None]:
    """Keep the warnings of kernels (recentred, cropped) back: injection gives them.

    The filters of warnings are the process's, so that one thread at a time may change them.
    """
    with ONE_THREAD, warnings.catch_warnings():
        warnings.simplefilter("ignore", LensflowWarning)
        yield


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} = {value!r} is no number") from error
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} = {value!r} is not positive")
    return number
