"""Choose the image of a FITS file by its name, WCS, kind and size, never by being first.

A file of one survey product may also hold quality bits, weights or a preview. If two images fit equally well, the file
is refused, and the message names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lensflow.fits.header import BLOCK, MAX_HDUS, FormatError, Header, MoreBytes
from lensflow.fits.index import is_image
from lensflow.fits.known import check_structure

# Extension names of products (from HST, LSST, DES and Legacy Survey files).
NAMES = {
    "image": {"SCI", "SCIENCE", "IMAGE", "IMG", "DATA", "COADD"},
    "invvar": {"INVVAR", "IVAR", "INVERSE_VARIANCE", "INVERSEVARIANCE", "WHT", "WGT", "WEIGHT", "WEIGHTS", "WT"},
    "maskbits": {"MASKBITS", "MASK", "MSK", "DQ", "FLAGS", "FLAG", "BITMASK", "QUALITY", "OOIMASK"},
    "nexp": {"NEXP", "NIMAGES", "NIMAGE", "NEXPOSURES"},
    "psfsize": {"PSFSIZE", "SEEING", "FWHM"},
    # In the place of an inverse variance, where a survey has these.
    "variance": {"VAR", "VARIANCE"},
    "rms": {"ERR", "ERROR", "RMS", "SIGMA", "STD", "STDDEV", "UNCERT", "UNC", "NOISE"},
}
# Extension names of other products.
OTHER = {
    "CON", "CTX",
    "CONTEXT", "BKG", "BACKGROUND", "SKY", "MODEL", "CHI", "CHI2", "RESIDUAL", "RESID", "PSF", "EXP", "EXPTIME",
    "EXPMAP", "PREVIEW", "THUMBNAIL", "SEGMENTATION", "SEG", "SEGMAP",
}  # fmt: skip
_NEUTRAL = {"", "PRIMARY", "COMPRESSED_IMAGE"}
# What a reader may write into EXTNAME where none says which is which.
_ADVISED = {
    "invvar": "INVVAR",
    "maskbits": "MASK",
    "nexp": "NEXP",
    "psfsize": "PSFSIZE",
    "variance": "VARIANCE",
    "rms": "RMS",
}

# Bytes ``start:stop`` of a file, fewer where it ends.
Reader = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Image:
    """An image among the HDUs of a file.

    Attributes
    ----------
    header : Header
    hdu : int
        Counted from 0.
    shape : (int, int)
        Pixels (y, x), axes of length 1 left out.
    n_axes : int
    """

    header: Header
    hdu: int
    shape: tuple[int, int]
    n_axes: int

    def __str__(self) -> str:
        name = _name(self.header)
        return f"HDU {self.hdu}{f' {name}' if name else ''} ({self.shape[1]} x {self.shape[0]} pixels)"


def read_headers(read: Reader, size: int | None, known: int, to_end: bool = False) -> tuple[list[Header], bool]:
    """Read the headers of a file, one after the other.

    Parameters
    ----------
    read : callable
    size : int or None
        Bytes of the file; None where that is not known. Then headers are read from the first ``known`` bytes, and
        beyond them only until the first image.
    known : int
        Bytes that are at hand.
    to_end : bool
        Read all of them whatever it costs.

    Returns
    -------
    headers : list
    complete : bool
        Whether these are all of the file's; False where more may follow the last of them.

    Raises
    ------
    FormatError
        If the file does not begin as FITS.
    MoreBytes
        If it ends within a header.
    """
    found: list[Header] = []
    start = 0
    while len(found) < MAX_HDUS:
        if size is not None and start >= size:
            return found, True
        if size is None and not to_end and start >= known and any(is_image(h) for h in found):
            return found, False
        if found and not read(start, start + BLOCK).startswith(b"XTENSION"):
            return found, True  # nothing more, or bytes that astropy ignores too
        header = _header_at(read, start, known - start if known > start else 4 * BLOCK)
        check_structure(header)
        found.append(header)
        start = header.end
    raise FormatError(f"it holds more than {MAX_HDUS} HDUs")


def _header_at(read: Reader, start: int, length: int) -> Header:
    while True:
        part = read(start, start + length)
        try:
            return Header.parse(part, 0).shifted(start)
        except MoreBytes as need:
            if len(part) < length:
                raise MoreBytes(start + need.stop) from None
            length *= 4


def choose(headers: Sequence[Header], product: str, shape: tuple[int, int] | None = None) -> Image:
    """Choose the image that holds a product.

    Of the images with two axes longer than one (or two axes), those whose EXTNAME (or, where that says nothing, the
    EXTTYPE of older LSST and HSC pipelines) says the product come first, then those that say nothing; among equals
    those with a WCS of the sky, of the product's kind (integers for maskbits, floats for the others), of the brick's
    shape, and much larger than all others.

    Parameters
    ----------
    headers : sequence of Header
        Of all HDUs.
    product : str
        A product of the layout.
    shape : (int, int), optional
        Of the brick, where that is known.

    Raises
    ------
    FormatError
        If no image serves, or several have an equal claim; the message names them.
    """
    images, others = [], []
    for hdu, header in enumerate(headers):
        if is_image(header):
            axes = _axes(header)
            if len(axes) >= 2 and all(n == 1 for n in axes[2:]):
                images.append(Image(header, hdu, (axes[1], axes[0]), len(axes)))
            else:
                others.append(f"HDU {hdu} has {len(axes)} dimensions ({' x '.join(map(str, axes))}) instead of (y, x)")
    if not images:
        raise FormatError(others[0] if others else "it holds no image")
    claims = [_claim(_name(image.header), product, len(images) == 1) for image in images]
    if max(claims) == 0:
        raise FormatError(f"none of its images is named as {product}: {_listed(images)}")
    best = [image for image, claim in zip(images, claims, strict=True) if claim == max(claims)]
    largest = max(image.shape[0] * image.shape[1] for image in best)
    for serves in (
        _has_sky,
        lambda image: _is_integer(image.header) == (product == "maskbits"),
        lambda image: image.shape == shape,
        lambda image: 4 * image.shape[0] * image.shape[1] > largest,
    ):
        best = [image for image in best if serves(image)] or best
    if len(best) > 1:
        raise FormatError(
            f"it holds {len(best)} images with an equal claim to be its {product}: {_listed(best)}. Name one of them "
            f"{_ADVISED.get(product, 'IMAGE')} in EXTNAME, or give it a file of its own"
        )
    return best[0]


def _name(header: Header) -> str:
    """EXTNAME; where it says nothing, EXTTYPE."""
    name = header.string("EXTNAME")
    return header.string("EXTTYPE", name) or name if name.upper() in _NEUTRAL else name


def _axes(header: Header) -> list[int]:
    prefix = "Z" if header.get("ZIMAGE") is True else ""
    n = header.integer(f"{prefix}NAXIS", low=1)
    if n > 9:
        raise FormatError(f"{prefix}NAXIS is {n}")
    return [header.integer(f"{prefix}NAXIS{i + 1}", low=1) for i in range(n)]


def _claim(name: str, product: str, alone: bool) -> int:
    """2 if a name means the product, 1 if it is neutral, 0 if it means something else."""
    name = name.upper()
    if name in _NEUTRAL or product not in NAMES:
        return 1
    words = [name] if _said(name) else [word.rstrip("0123456789") for word in re.split(r"[^A-Z0-9]+", name)]
    products = {_said(word) for word in words} - {""}
    if products == {product}:
        return 2
    # Files of weights and maps often carry a copy of the image's header, its name included.
    return 1 if not products or (alone and products == {"image"}) else 0


def _said(word: str) -> str:
    """Product, or "other", meant by a word of a name; "" if neither."""
    return "other" if word in OTHER else next((p for p, names in NAMES.items() if word in names), "")


def _has_sky(image: Image) -> bool:
    return bool(image.header.string("CTYPE1"))


def _is_integer(header: Header) -> bool:
    bits = header.get("ZBITPIX" if header.get("ZIMAGE") is True else "BITPIX")
    return isinstance(bits, int) and bits > 0 and header.string("BSCALE", "1") in ("1", "1.0")


def _listed(images: Sequence[Image]) -> str:
    return ", ".join(map(str, images[:5])) + (" and others" if len(images) > 5 else "")
