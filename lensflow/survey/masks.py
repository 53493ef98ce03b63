"""Survey mask bits (Legacy Surveys DR10 numbering) and the fractions of a stamp that they cover."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.config.presets import MaskBits


class MaskBit(IntEnum):
    """Bit numbers of ``maskbits``.

    References
    ----------
    Legacy Surveys DR10, https://www.legacysurvey.org/dr10/bitmasks/ (bits 0-13 are the same in DR8 and DR9, which have
    no others).
    """

    NPRIMARY = 0
    BRIGHT = 1
    SATUR_G = 2
    SATUR_R = 3
    SATUR_Z = 4
    ALLMASK_G = 5
    ALLMASK_R = 6
    ALLMASK_Z = 7
    WISEM1 = 8
    WISEM2 = 9
    BAILOUT = 10
    MEDIUM = 11
    GALAXY = 12
    CLUSTER = 13
    SATUR_I = 14
    ALLMASK_I = 15
    SUB_BLOB = 16


WISE_BITS = (MaskBit.WISEM1, MaskBit.WISEM2)
# Every bit that has a name here; a pixel with another one is not understood.
KNOWN = sum(1 << bit for bit in MaskBit)


def default_bits(bands: Iterable[str]) -> tuple[int, ...]:
    """Bits that make a pixel bad: NPRIMARY, BRIGHT, BAILOUT, MEDIUM, and SATUR_b and ALLMASK_b of ``bands``.

    A band without its own bits (u, Y) adds none.
    """
    names = [f"{kind}_{band.upper()}" for band in bands for kind in ("SATUR", "ALLMASK")]
    own = [MaskBit[name] for name in names if name in MaskBit.__members__]
    return tuple(sorted({MaskBit.NPRIMARY, MaskBit.BRIGHT, MaskBit.BAILOUT, MaskBit.MEDIUM, *own}))


def chosen_bits(choice: str | Sequence[int | str], bands: Iterable[str]) -> tuple[int, ...]:
    """Bits of ``default`` (:func:`default_bits` of the bands) or of a preset, or the given ones.

    Raises
    ------
    ConfigError
        If there is no such preset; the message has the nearest name.
    """
    if not isinstance(choice, str):
        # Planes that are named are bits in the order of their names: lensflow.survey.mask_planes.
        return tuple(k if isinstance(bit, str) else int(bit) for k, bit in enumerate(choice))
    if choice == "default":
        return default_bits(bands)
    return MaskBits.named(choice).bits


def bad_pixels(maskbits: ArrayLike, bits: Iterable[int]) -> NDArray[np.bool_]:
    """Pixels with any of ``bits`` set; same shape as ``maskbits``."""
    pixels, mask = np.asarray(maskbits), sum(1 << int(bit) for bit in set(bits))
    if pixels.dtype.kind not in "iu" or mask > np.iinfo(pixels.dtype).max:
        pixels = pixels.astype(np.int64)
    return (pixels & pixels.dtype.type(mask)) != 0


def unknown_bits(maskbits: ArrayLike) -> NDArray[np.int64]:
    """Unknown bits of each pixel, shape of ``maskbits``: 0 in files of DR9 and DR10."""
    return np.asarray(np.asarray(maskbits).astype(np.int64) & 0xFFFFFFFF & ~KNOWN)


def masked_pixels(maskbits: ArrayLike, choice: str | Sequence[int | str], bands: Iterable[str]) -> NDArray[np.bool_]:
    """Pixels that ``survey.mask_bits`` calls bad; by default also those with a bit that has no name here.

    Parameters
    ----------
    maskbits : array_like of int
    choice : str or sequence of int
        As :func:`chosen_bits` takes it.
    bands : iterable of str

    Returns
    -------
    ndarray of bool, shape of ``maskbits``
    """
    masked = bad_pixels(maskbits, chosen_bits(choice, bands))
    return masked | (unknown_bits(maskbits) != 0) if choice == "default" else masked


def bad_pixel_fraction(maskbits: ArrayLike, bits: Iterable[int]) -> NDArray[np.float32]:
    """Share of each stamp's pixels with any of ``bits``.

    Parameters
    ----------
    maskbits : array_like of int, shape (..., y, x)
    bits : iterable of int
        Bit numbers, from :func:`default_bits` or a preset.

    Returns
    -------
    ndarray of float32, shape (...)
    """
    return bad_pixels(maskbits, bits).mean(axis=(-2, -1)).astype(np.float32)


def wise_fraction(maskbits: ArrayLike) -> NDArray[np.float32]:
    """Share of each stamp's pixels with a WISE bright-star bit (8 or 9), shape (...)."""
    return bad_pixel_fraction(maskbits, WISE_BITS)


def fraction_per_bit(maskbits: ArrayLike) -> NDArray[np.float32]:
    """Share of each stamp's pixels with each bit, shape (..., 17), last axis in the order of :class:`MaskBit`."""
    bits = np.asarray(maskbits)
    out = np.zeros((*bits.shape[:-2], len(MaskBit)), np.float32)
    seen = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else 0
    for bit in MaskBit:
        if seen >> bit & 1:  # most bits occur in no pixel of a block
            out[..., bit] = bad_pixel_fraction(bits, (bit,))
    return out
