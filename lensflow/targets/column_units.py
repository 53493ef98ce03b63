"""Units stated for a table's columns: converted to lensflow's, or refused."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from lensflow.units import nmgy_of_mag

# A maggy is the flux of AB magnitude 0; the Legacy Surveys and SDSS take it to be 3631 Jy.
_AB = u.zero_point_flux(3631 * u.Jy)
_SPELLINGS = {
    "deg": ("degree", "degrees", "deg.", "degs", "decimal degrees", "decimal degree", "angle[deg]"),
    "arcsec": ("arcsecond", "arcseconds", "arcsecs", "arcsec.", "asec", "seconds of arc", '"'),
    "arcmin": ("arcminute", "arcminutes", "arcmins", "minutes of arc", "'"),
    "rad": ("radian", "radians"),
    "hourangle": ("hour angle", "hourangles", "hours of ra"),
    "nmgy": ("nmgy", "nanomaggies", "nanomaggy", "nanomaggys", "nanomgy"),
    "mgy": ("mgy", "maggies", "maggy"),
    "mag(AB)": ("abmag", "ab mag", "mag_ab", "magab", "mag ab", "mag (ab)", "[mag_ab]", "ab magnitude"),
    "mag": ("magnitude", "magnitudes", "mags", "[mag]"),
    "nJy": ("nanojansky", "nanojy"),
    "uJy": ("microjansky", "microjy", "mujy"),
    "km/s": ("km/sec", "kms", "km s^-1", "kms^-1", "kms-1", "km.s-1"),
    "": ("dimensionless", "unitless", "none", "-", "--", "1", "redshift", "n/a", "number", "null"),
}
_OF_SPELLING = {text: unit for unit, texts in _SPELLINGS.items() for text in texts}


class UnitRefused(ValueError):
    """A stated unit cannot be converted; the text says why."""


Convert = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@lru_cache(maxsize=256)
def converter(stated: str, wanted: str) -> Convert | None:
    """Return the conversion from the stated unit to lensflow's.

    Parameters
    ----------
    stated : str
        As the table has it; empty if it states none.
    wanted : str
        ``deg``, ``arcsec``, ``rad``, ``nMgy``, ``nMgy^-2``, ``km/s``, ``mag``, ``1``, or "" for any.

    Returns
    -------
    callable or None
        None if there is nothing to convert.

    Raises
    ------
    UnitRefused
        If the unit is unknown or of another kind.
    """
    if not stated.strip() or not wanted:
        return None
    unit = _parse(stated)
    if wanted in ("nMgy", "nMgy^-2") and unit in (u.mag, u.Unit("mag(AB)")):
        if wanted == "nMgy" and unit != u.mag:
            return nmgy_of_mag
        raise UnitRefused(
            "a flux is needed, and mag does not say of which system: state mag(AB)" if wanted == "nMgy" else
            "an inverse variance is needed"
        )  # fmt: skip
    if wanted == "mag":
        if unit in (u.mag, u.Unit("mag(AB)"), u.dimensionless_unscaled):
            return None
        raise UnitRefused("magnitudes are needed")
    factor = _factor(unit, wanted)
    return None if abs(factor - 1) < 1e-12 else lambda v: v * factor


def _factor(unit: Any, wanted: str) -> float:
    nmgy = u.Unit("nmgy")
    try:
        if wanted == "nMgy":
            return float(unit.to(nmgy, equivalencies=_AB))
        if wanted == "nMgy^-2":
            return float(((unit**-0.5).to(nmgy, equivalencies=_AB)) ** -2)
        return float(unit.to(u.dimensionless_unscaled if wanted == "1" else u.Unit(wanted)))
    except (u.UnitConversionError, u.UnitTypeError, TypeError, AttributeError) as error:
        raise UnitRefused(f"{'a number without a unit' if wanted == '1' else wanted} is needed") from error


def _parse(stated: str) -> Any:
    text = re.sub(r"\s+", " ", stated.strip())
    text = _OF_SPELLING.get(text.lower(), text)
    # The Legacy Surveys write 1/nanomaggy^2.
    text = re.sub(r"(?i)\b(nanomaggies|nanomaggy|nmgy)\b", "nmgy", text)
    if not re.fullmatch(r"[\w\s./*^()+\-\[\]%']*", text) or len(text) > 80:
        raise UnitRefused("astropy knows no such unit")
    try:
        with warnings.catch_warnings(action="ignore"):
            return u.Unit(text)
    except (ValueError, TypeError) as error:
        raise UnitRefused("astropy knows no such unit") from error
