"""The unit of a survey image's pixels, from its header or the config, and the factor to nanomaggies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import astropy.units as u

from lensflow.config import ZeroPoint
from lensflow.config.layouts import Weights
from lensflow.units import nmgy_of_mag

# Zero points closer than this, mag, are the same.
_SAME_MAG = 0.01
# Cards that hold the AB magnitude of one unit of the image, in the surveys' dialects; FLUXMAG0 holds a flux instead.
ZERO_POINT_CARDS = (
    "MAGZERO", "MAGZP", "MAGZPT", "MAG_ZP", "ZP", "ZPT", "ZPAB", "ABZP", "ZEROPT", "ZEROPNT", "PHOTZP", "PHOTZPT",
    "SEXMGZPT", "FLUXMAG0",
)  # fmt: skip
_FLUX_OF_MAG_0 = ("FLUXMAG0", "FLUX0")
_NANOMAGGY = re.compile(r"(nano-?maggy|nano-?maggies|n-?mgy|nmaggy|nmaggies|nmgys)")
_PER_PIXEL = re.compile(r"\s*(/|per|\*)\s*(pixel|pix|px)s?(\^-1|\*\*-1)?\s*$", re.IGNORECASE)
# Common wording for the files and cards that a config can name.
WAY_OUT = (
    "State what one unit is: survey.zero_point: 30 (AB magnitude of 1 unit), or the card that holds it "
    "(survey.zero_point: MAGZERO), for all bands or by band"
)

Cards = Callable[[str], Any]


class UnitError(ValueError):
    """A unit or zero point that is unknown or contradicts another; the text says which and what to do."""


def image_factor(cards: Cards, zero_point: ZeroPoint | None) -> float:
    """Factor that converts a pixel to nanomaggies.

    Without a setting, an image is in nanomaggies unless it says otherwise: a ``BUNIT`` of nanomaggies, maggies or
    janskys is honoured, any other is an error, and so is a zero point that is not 22.5 beside no unit. With a setting,
    counts of any name are converted; what the file states for itself may not contradict it.

    Parameters
    ----------
    cards : callable
        Keyword -> value of the image's header, None where there is none.
    zero_point : float, str or None
        AB magnitude of one unit, or the card that holds it (``FLUXMAG0``: the flux of magnitude 0).

    Raises
    ------
    UnitError
    """
    of_unit = stated_factor(cards("BUNIT"))
    stated = {
        name: zero
        for name in ZERO_POINT_CARDS
        if not _is_uncalibrated(name, cards(name), zero_point) and (zero := _zero_point(name, cards(name))) is not None
    }
    if zero_point is not None:
        magnitude = _named(cards, zero_point) if isinstance(zero_point, str) else float(zero_point)
        factor = nmgy_of_mag(magnitude)
        if of_unit is not None and _magnitudes_apart(of_unit, factor) > _SAME_MAG:
            raise UnitError(
                f"it states BUNIT = {cards('BUNIT')!r}, and survey.zero_point makes 1 unit magnitude {magnitude:g}. "
                "Take the band out of survey.zero_point, or mend the header"
            )
        if not isinstance(zero_point, str) and stated and all(abs(z - magnitude) > _SAME_MAG for z in stated.values()):
            name, zero = next(iter(stated.items()))
            raise UnitError(
                f"it states {name} = {cards(name)}, a zero point of {zero:g}, survey.zero_point says {magnitude:g}. "
                f"Name the card (survey.zero_point: {name}), or mend the header"
            )
        return factor
    if of_unit is None and _text(cards("BUNIT")):
        zeros = "".join(f", {name} = {cards(name)}" for name in stated)
        raise UnitError(f"it states BUNIT = {cards('BUNIT')!r}{zeros}; images must be in nanomaggies. {WAY_OUT}")
    factor = 1.0 if of_unit is None else of_unit
    for name, zero in stated.items():
        if _magnitudes_apart(nmgy_of_mag(zero), factor) > _SAME_MAG:
            unit = f"BUNIT = {cards('BUNIT')!r} and " if of_unit is not None else ""
            raise UnitError(
                f"it states {unit}{name} = {cards(name)}, a zero point of {zero:g}; nanomaggies have 22.5. {WAY_OUT}"
            )
    return factor


def weight_factor(cards: Cards, image: float, weights: Weights = "invvar") -> float:
    """Factor for an inverse variance if its image is multiplied by ``image``.

    Parameters
    ----------
    cards : callable
        Keyword -> value of the weights' header.
    image : float
        Of :func:`image_factor`.
    weights : {"invvar", "variance", "rms"}
        What the file holds, and the inverse variances are made of.

    Raises
    ------
    UnitError
        If the file says that it holds something else.
    """
    text = _text(cards("BUNIT"))
    inverse = re.fullmatch(
        r"1(?:\.0*)?/\(?(.+?)\)?(?:\^|\*\*)?2\)?|\(?(.+?)\)?(?:\^|\*\*)?\(?-2\)?", text.replace(" ", "")
    )
    if inverse and weights != "invvar":
        raise UnitError(f"it states BUNIT = {text!r}, an inverse variance, and survey.weights says {weights}")
    if inverse:
        of_unit = stated_factor(inverse.group(1) or inverse.group(2))
        return image**-2 if of_unit is None else of_unit**-2
    squared = re.fullmatch(r"\(?(.+?)\)?(?:\^|\*\*)?2", text.replace(" ", ""))
    if squared and stated_factor(squared.group(1)) is not None:
        if weights == "variance":
            return (stated_factor(squared.group(1)) or image) ** -2
        expected = "inverse variances (1/unit^2)" if weights == "invvar" else "standard deviations"
        raise UnitError(f"it states BUNIT = {text!r}, a variance; {expected} are needed. survey.weights: variance")
    of_unit = stated_factor(text)
    if weights != "invvar" and of_unit is not None:  # of a variance: the header is a copy of the image's
        return of_unit**-2
    return image**-2


def stated_factor(unit: Any) -> float | None:
    """Nanomaggies in one unit of this name; None if it is no unit of flux (counts, or no name at all).

    Raises
    ------
    UnitError
        If it is a surface brightness or another physical unit that pixels in nanomaggies cannot be made from.
    """
    text = _PER_PIXEL.sub("", _text(unit))
    scale = 1.0
    match = re.fullmatch(r"(?:(10\*\*-?\d+|10\^-?\d+|[\d.]+(?:[eE][-+]?\d+)?)\s*\*?\s*)?(\S.*)", text)
    if match is None:
        return None
    if match.group(1):
        scale = float(match.group(1)) if match.group(1)[:3] not in ("10*", "10^") else 10.0 ** int(
            match.group(1).split("*")[-1].split("^")[-1])  # fmt: skip
    name = match.group(2)
    if _NANOMAGGY.fullmatch(name.lower()):
        return scale
    if name.lower() in ("maggy", "maggies", "mgy"):
        return 1e9 * scale
    try:
        parsed = u.Unit(name)
    except (ValueError, TypeError):
        return None
    if parsed.is_equivalent(u.Jy):
        return float(scale * parsed.to(u.Jy) / (u.ABflux.to(u.Jy) * 1e-9))
    if parsed.is_equivalent(u.maggy):
        return float(scale * parsed.to(u.maggy) * 1e9)
    return None


def _named(cards: Cards, name: str) -> float:
    zero = _zero_point(name, cards(name))
    if zero is None:
        raise UnitError(f"it has no card {name}, which survey.zero_point names")
    return zero


def _is_uncalibrated(name: str, value: Any, zero_point: ZeroPoint | None) -> bool:
    """Whether a flux of 0 for magnitude 0 says that no zero point was measured, and a number in the config gives it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return name in _FLUX_OF_MAG_0 and is_number and value == 0 and isinstance(zero_point, int | float)


def _zero_point(name: str, value: Any) -> float | None:
    """AB magnitude of one unit from a card; None without such a card."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UnitError(f"it states {name} = {value!r}, which is no number. {WAY_OUT}") from error
    if name in _FLUX_OF_MAG_0:
        number = 2.5 * math.log10(number) if number > 0 else math.nan
    if not math.isfinite(number) or abs(number) > 60:
        raise UnitError(f"it states {name} = {value!r}, which is no zero point. {WAY_OUT}")
    return number


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _magnitudes_apart(one: float, other: float) -> float:
    return abs(2.5 * math.log10(one / other))


def zero_point_of(setting: ZeroPoint | Mapping[str, ZeroPoint] | None, band: str) -> ZeroPoint | None:
    """Zero point of a band from a setting for all bands or by band; None if it has none for the band."""
    return setting.get(band) if isinstance(setting, Mapping) else setting
