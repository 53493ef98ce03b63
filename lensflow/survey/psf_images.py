"""PSF images of a brick (``coadd-psf-*.fits``) or of stamps: checked, resampled, and their equivalent size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lensflow.errors import RenderError
from lensflow.fits.astropy_image import ONE_THREAD
from lensflow.lensing.psf_image import prepare_kernel
from lensflow.survey.psf_sampling import on_stamp_pixels, quiet_kernels, stated_step

MAX_PIXELS = 1 << 20
# A PSF image this much wider or narrower than the PSF size at the host has another sampling or position.
MAX_WIDTH_RATIO = 1.5
# Noise makes pixels negative; with a larger fraction of negative flux it is not a PSF.
_MAX_NEGATIVE = 0.05

# FWHM over sigma of a Gaussian.
_FWHM = 2 * np.sqrt(2 * np.log(2))
_EXTNAME = re.compile(r"(?:coadd[-_ ]?)?psf[-_ ]?(.+)", re.IGNORECASE)


@dataclass
class PsfImages:
    """Images of a file by band, and the reasons for missing bands.

    Attributes
    ----------
    images : dict
        Band -> ndarray of float32 (size, size), unit sum, centred on the middle pixel, at the stamps' pixels.
    problems : dict
        Band -> what is wrong.
    """

    images: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def read_psf_images(content: bytes, bands: Sequence[str], size: int, pixel_scale_arcsec: float) -> PsfImages:
    """Read a file of PSF images, one HDU per band.

    A HDU's band is its ``BAND``, else the first word of ``FILTER``, else ``EXTNAME`` (``g`` or ``PSF_g``). One band's
    image that cannot be used says nothing about the others.

    Parameters
    ----------
    content : bytes
        The whole file.
    bands : sequence of str
        Bands that are wanted.
    size : int
        Pixels on a side, odd. A larger image is cropped about its centre, a smaller one padded with 0.
    pixel_scale_arcsec : float
        Of the stamps; an image that states another sampling is resampled.

    Raises
    ------
    ValueError
        If it is no FITS file.
    """
    found: dict[str, list[tuple[NDArray[Any] | None, Mapping[str, Any]]]] = {}
    try:
        with ONE_THREAD, fits.open(BytesIO(content), memmap=False) as hdus:
            for hdu in hdus:
                if hdu.is_image and hdu.header.get("NAXIS", 0) and np.prod(hdu.shape) > MAX_PIXELS:
                    raise ValueError(f"it has an image of shape {hdu.shape}")
                if hdu.is_image and hdu.data is not None:
                    data = np.asarray(hdu.data, np.float64)
                    found.setdefault(band_of(hdu.header), []).append((data, dict(hdu.header)))
    except Exception as error:  # whatever astropy makes of garbage, the answer is the same
        raise ValueError(f"{type(error).__name__}: {error}") from error
    out = PsfImages()
    for band in bands:
        here = found.get(band, [])
        if not here:
            names = ", ".join(repr(name) for name in found if name) or "none"
            out.problems[band] = f"no HDU names the band (BAND, FILTER or EXTNAME; bands in the file: {names})"
        elif len(here) > 1:
            out.problems[band] = f"{len(here)} HDUs name the band"
        else:
            try:
                out.images[band] = usable_psf_image(here[0][0], here[0][1], size, pixel_scale_arcsec)
            except ValueError as error:
                out.problems[band] = str(error)
    return out


def band_of(header: Mapping[str, Any]) -> str:
    """Band named in the header of a PSF image; "" if none."""
    for key in ("BAND", "FILTER", "EXTNAME"):
        words = str(header.get(key, "")).split()
        if words:
            match = _EXTNAME.fullmatch(words[0]) if key == "EXTNAME" else None
            return match.group(1) if match else words[0]
    return ""


def usable_psf_image(
    image: Any, header: Mapping[str, Any], size: int, pixel_scale_arcsec: float
) -> NDArray[np.float32]:
    """Check a PSF image and bring it onto the stamps' pixels.

    Parameters
    ----------
    image : array_like, shape (n, n)
    header : mapping
        Its FITS cards; empty for an array, which is taken to be sampled as the stamps are.
    size : int
        Pixels on a side of the result, odd.
    pixel_scale_arcsec : float
        Of the stamps.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Unit sum.

    Raises
    ------
    ValueError
        Saying why it cannot be used: not square, not finite, without or with negative flux, off-centre, with a sampling
        that is not understood, or too coarse.
    """
    pixels = np.asarray(image, np.float64)
    if pixels.ndim != 2 or pixels.shape[0] != pixels.shape[1] or pixels.shape[0] < 5:
        raise ValueError(f"its shape is {pixels.shape}, a square of at least 5 pixels is needed")
    if not np.isfinite(pixels).all():
        raise ValueError(f"{int((~np.isfinite(pixels)).sum())} of its pixels are not finite")
    total, negative = float(pixels.sum()), -float(pixels[pixels < 0].sum())
    if not total > 0 or negative > _MAX_NEGATIVE * total:
        raise ValueError(f"it sums to {total:.3g}, of which {-negative:.3g} in negative pixels")
    pixels = on_stamp_pixels(pixels / total, stated_step(header, pixel_scale_arcsec))
    margin = (len(pixels) - size) // 2
    if margin > 0:
        pixels = pixels[margin:-margin, margin:-margin]
    out = np.asarray(np.pad(pixels / pixels.sum(), max(-margin, 0)), dtype=np.float32)
    try:
        with quiet_kernels():  # same treatment as in injection
            prepare_kernel(out, name="it")
    except RenderError as error:
        raise ValueError(str(error)) from error
    return out


def stack_psf_images(
    cube: Any, header: Mapping[str, Any], n_hosts: int, size: int, pixel_scale_arcsec: float
) -> tuple[NDArray[np.float32], list[str]]:
    """PSF images of stamps in one band: one for all, or one per host.

    Parameters
    ----------
    cube : array_like, shape (n, n) or (1, n, n) or (host, n, n)
    header, size, pixel_scale_arcsec
        As :func:`usable_psf_image`.
    n_hosts : int

    Returns
    -------
    kernel : ndarray of float32, shape (host, size, size)
        NaN where an image cannot be used.
    problems : list of str
        Per host, why; "" where it can.

    Raises
    ------
    ValueError
        If the shape does not fit.
    """
    images = np.asarray(cube)
    images = images[None] if images.ndim == 2 else images
    if images.ndim != 3 or len(images) not in (1, n_hosts):
        raise ValueError(f"PSF images of shape {images.shape} for {n_hosts} stamps: give one (y, x), or one a stamp")
    kernel, problems = np.full((len(images), size, size), np.nan, np.float32), [""] * len(images)
    for i, image in enumerate(images):
        try:
            kernel[i] = usable_psf_image(image, header, size, pixel_scale_arcsec)
        except ValueError as error:
            problems[i] = str(error)
    if len(images) < n_hosts:
        return np.repeat(kernel, n_hosts, axis=0), problems * n_hosts
    return kernel, problems


def widths_disagree(image_arcsec: float, psfsize_arcsec: Iterable[float]) -> NDArray[np.bool_]:
    """Whether the width of a PSF image and the PSF size at a host differ by more than a factor 1.5; False for NaN."""
    ratio = np.asarray(list(psfsize_arcsec), np.float64) / image_arcsec
    with np.errstate(invalid="ignore"):
        return np.asarray((ratio > MAX_WIDTH_RATIO) | ((ratio > 0) & (ratio * MAX_WIDTH_RATIO < 1)))


def gaussian_equivalent_fwhm_pix(image: NDArray[Any]) -> float:
    """FWHM in pixels of the Gaussian with the image's noise-equivalent area ``(sum p)^2 / sum p^2 = 4 pi sigma^2``.

    References
    ----------
    King 1983, PASP 95, 163 (noise-equivalent area); the Legacy Surveys' psfsize is defined by it.
    """
    p = np.asarray(image, dtype=np.float64)
    return float(_FWHM * np.sqrt(p.sum() ** 2 / (p**2).sum() / (4 * np.pi)))
