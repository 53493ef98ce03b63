"""Masks whose planes are named in their headers: HSC's and Rubin's pipeline numbers them anew in every file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.fits.header import FormatError


def plane_bits(cards: Callable[[str], Any], planes: Sequence[str]) -> tuple[int, ...]:
    """Numbers of named planes in one file.

    Parameters
    ----------
    cards : callable
        Keyword -> value of the mask's header, None where there is none.
    planes : sequence of str
        Such as BAD, whose number is in the card MP_BAD.

    Raises
    ------
    FormatError
        If the file does not number one of them; nothing is guessed.
    """
    found = []
    for plane in planes:
        number = cards(f"MP_{plane}")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 31:
            has = "no such card" if number is None else f"MP_{plane} = {number!r}"
            raise FormatError(f"it does not number the mask plane {plane} ({has}), which survey.mask_bits names")
        found.append(number)
    return tuple(found)


def renumbered(bits: NDArray[np.integer], numbers: Sequence[int]) -> NDArray[np.int64]:
    """Mask with plane k of the config at bit k, whatever its number in the file; other planes are left out.

    Parameters
    ----------
    bits : ndarray of int
    numbers : sequence of int
        Of :func:`plane_bits`.

    Returns
    -------
    ndarray of int64, shape of ``bits``
    """
    out = np.zeros(bits.shape, np.int64)
    for k, number in enumerate(numbers):
        out |= ((bits.astype(np.int64) >> number) & 1) << k
    return out
