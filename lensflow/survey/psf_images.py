"""Coadd PSF images of a brick (``coadd-psf-*.fits``): one small image per band, and the size that it stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.survey.fits_header import MoreBytes
from lensflow.survey.fits_index import ImageIndex, headers, index_hdu, is_image
from lensflow.survey.tile_codecs import decode_tiles

MAX_PIXELS = 1 << 20

# FWHM over sigma of a Gaussian.
_FWHM = 2 * np.sqrt(2 * np.log(2))


def read_psf_images(content: bytes, bands: Sequence[str], size: int) -> dict[str, NDArray[np.float32]]:
    """Read a file of PSF images, one HDU per band with the band's name in ``BAND``.

    Parameters
    ----------
    content : bytes
        The whole file.
    bands : sequence of str
        Bands that are wanted; those that the file lacks are left out.
    size : int
        Pixels on a side, odd. A larger image is cropped about its centre, a smaller one padded with 0.

    Returns
    -------
    dict
        Band -> ndarray (size, size) of unit sum, centred on the middle pixel.

    Raises
    ------
    ValueError
        If it is no FITS file, or an image is not square and odd, not finite, or does not sum to something positive.
    """
    images: dict[str, NDArray[np.float64]] = {}
    try:
        for header in headers(content):
            if is_image(header):
                images[str(header.get("BAND", "")).strip()] = _whole(index_hdu(header, content), content)
            if header.end >= len(content):
                break
    except MoreBytes as error:
        raise ValueError(f"it has {len(content)} of at least {error.stop} bytes") from error
    return {band: _normalised(images[band], size, band) for band in bands if band in images}


def _whole(index: ImageIndex, content: bytes) -> NDArray[np.float64]:
    """All pixels of an image."""
    if math.prod(index.shape) > MAX_PIXELS:
        raise ValueError(f"it has an image of {index.shape[1]} x {index.shape[0]} pixels")
    data = [content[a : a + n] for a, n in zip(index.start.tolist(), index.length.tolist(), strict=True)]
    tiles, bad = decode_tiles(index, range(len(data)), data)
    if bad:
        raise ValueError(next(iter(bad.values())).why)
    out = np.empty(index.shape)
    for k, tile in enumerate(tiles):
        y, x = index.tile_slices(k)
        out[y, x] = tile[: y.stop - y.start, : x.stop - x.start]
    return out


def _normalised(image: NDArray[Any], size: int, band: str) -> NDArray[np.float32]:
    if image.ndim != 2 or image.shape[0] != image.shape[1] or image.shape[0] % 2 == 0:
        raise ValueError(f"the PSF image in {band} has shape {image.shape}, a square with an odd side is needed")
    margin = (image.shape[0] - size) // 2
    if margin > 0:
        image = image[margin:-margin, margin:-margin]
    total = image.sum()
    if not np.isfinite(image).all() or not total > 0:
        raise ValueError(f"the PSF image in {band} is not finite or sums to {total:g}")
    return np.asarray(np.pad(image / total, max(-margin, 0)), dtype=np.float32)


def gaussian_equivalent_fwhm_pix(image: NDArray[Any]) -> float:
    """FWHM in pixels of the Gaussian with the image's noise-equivalent area ``(sum p)^2 / sum p^2 = 4 pi sigma^2``.

    References
    ----------
    King 1983, PASP 95, 163 (noise-equivalent area); the Legacy Surveys' psfsize is defined by it.
    """
    p = np.asarray(image, dtype=np.float64)
    return float(_FWHM * np.sqrt(p.sum() ** 2 / (p**2).sum() / (4 * np.pi)))
