"""The sampling that a PSF image states for itself, and the image on the stamps' own pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lensflow.geometry import centre

Floats = NDArray[np.float64]

# Pixels that differ by less are the stamps' own.
SAME = 0.01
# Two statements of one header must agree to this.
_AGREE = 0.02
# From this FWHM on, in the image's own pixels, an interpolation of its samples is good to 1 % of the peak (4: 0.2 %).
_LEAST_FWHM_PIX = 3.0
_STEPS = (1 / 32, 8.0)
# Keywords: size of the image's pixel in pixels of the survey's images (PSFEx), its inverse, and in arcsec.
_IN_PIXELS = ("PSF_SAMP",)
_PER_PIXEL = ("OVERSAMP", "OVERSMPL", "PSF_OVER")
_IN_ARCSEC = ("PIXSCALE", "PIXELSCL", "PSFSCALE", "SECPIX", "SECPIX1", "PIXSCAL1")


def stated_step(header: Mapping[str, Any], pixel_scale_arcsec: float) -> float:
    """Pixel of a PSF image over the stamps' pixel, as its header states it; 1 where it states nothing.

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
    said: dict[str, float] = {}
    for names, size in (
        (_IN_PIXELS, lambda v: v),
        (_PER_PIXEL, lambda v: 1 / v),
        (_IN_ARCSEC, lambda v: v / pixel_scale_arcsec),
    ):
        for name in names:
            if name in header:
                said[name] = size(_positive(name, header[name]))
    wcs = wcs_scale_arcsec(header)
    if wcs is not None:
        said["WCS"] = wcs / pixel_scale_arcsec
    if not said:
        return 1.0
    (first, step), *others = said.items()
    for name, other in others:
        if abs(other / step - 1) > _AGREE:
            raise ValueError(
                f"it states two samplings: {first} means {step:.4g} pixels of the stamps, {name} {other:.4g}"
            )
    if not _STEPS[0] <= step <= _STEPS[1]:
        raise ValueError(f"{first} = {header.get(first, wcs)} means pixels of {step:.4g} pixels of the stamps")
    return step


def wcs_scale_arcsec(header: Mapping[str, Any]) -> float | None:
    """Side of a pixel by a header's WCS, arcsec; None where it states none.

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


def on_stamp_pixels(image: Floats, step: float, fwhm_pix: float) -> Floats:
    """Sample a PSF image at the centres of the stamps' pixels, about its centroid if its size is even.

    The image is taken to be what a coadd's PSF image is: the effective PSF, pixel response included, at its own pixels'
    centres. An odd image keeps its middle pixel as its centre; an even one, whose makers disagree on where its centre
    is, is centred on its light.

    Parameters
    ----------
    image : ndarray, shape (n, n)
    step : float
        Its pixel over the stamps'.
    fwhm_pix : float
        Of the image, in its own pixels.

    Returns
    -------
    ndarray, shape (m, m), m odd
        Not normalised.

    Raises
    ------
    ValueError
        If the image is too coarse to be interpolated.
    """
    n = len(image)
    if n % 2 and abs(step - 1) <= SAME:
        return image
    if fwhm_pix < _LEAST_FWHM_PIX:
        raise ValueError(
            f"its FWHM is {fwhm_pix:.2g} of its own pixels: with less than {_LEAST_FWHM_PIX} it cannot be resampled"
        )
    if abs(step - 1) <= SAME:
        step = 1.0
    middle = (centre(n), centre(n)) if n % 2 else _centroid(image, fwhm_pix)
    reach = int((n - 1) / 2 * step)
    offset = np.arange(-reach, reach + 1) / step
    y, x = np.meshgrid(offset + middle[0], offset + middle[1], indexing="ij")
    return np.asarray(ndimage.map_coordinates(image, [y, x], order=5, mode="constant"), np.float64)


def _centroid(image: Floats, fwhm_pix: float) -> tuple[float, float]:
    """Centre (y, x) of the light, weighted with a Gaussian as wide as the PSF."""
    y, x = (float(v) for v in np.unravel_index(int(np.argmax(image)), image.shape))
    grid_y, grid_x = np.indices(image.shape, dtype=np.float64)
    variance = (fwhm_pix / 2.3548) ** 2
    for _ in range(100):
        light = image * np.exp(-0.5 * ((grid_y - y) ** 2 + (grid_x - x) ** 2) / variance)
        # Twice: the weight halves the pull of the true centre.
        dy, dx = (2 * float((light * (g - at)).sum()) / float(light.sum()) for g, at in ((grid_y, y), (grid_x, x)))
        y, x = y + dy, x + dx
        if math.hypot(dy, dx) < 1e-9:
            break
    if max(abs(y - centre(len(image))), abs(x - centre(len(image)))) > len(image) / 4:
        raise ValueError(f"its light is centred at pixel ({x:.1f}, {y:.1f}) of {len(image)}")
    return y, x


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} = {value!r} is no number") from error
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} = {value!r} is not positive")
    return number
