"""Positions of a table of lenses: degrees as they stand, sexagesimal where it is known what it counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import TargetError
from lensflow.targets.column_units import UnitRefused, converter

Fail = Callable[[int, str], TargetError]

DEGREES, HOURS = "deg", "hourangle"
# Units that say how the parts of a sexagesimal text count (VizieR writes "h:m:s", quotation marks included).
_SEXAGESIMAL = {
    **dict.fromkeys(("h:m:s", "hms", "hh:mm:ss", "hh mm ss", "h m s", "hours"), HOURS),
    **dict.fromkeys(("d:m:s", "dms", "dd:mm:ss", "dd mm ss", "d m s"), DEGREES),
}
_PARTS = re.compile(
    r"""([+\-\u2212]?)\s*(\d{1,3})\s*([:hHdD\u00b0\s])\s*(\d{1,2})\s*([:mM'\u2032\s])\s*"""
    r"""(\d{1,2}(?:\.\d*)?)\s*(?:[sS"\u2033]|'')?"""
)
_NOTHING = frozenset(["", "-", "--", "nan", "none", "null", "n/a", "na"])
# An error of the last digit of three decimals is 1.8".
COARSE_DECIMALS = 3
_LIMITS = {"ra": (0.0, 360.0), "dec": (-90.0, 90.0)}


def as_degrees(
    values: NDArray[np.float64] | Sequence[str], axis: str, stated: str, sexagesimal: str, fail: Fail
) -> NDArray[np.float64]:
    """Convert a column of coordinates.

    Parameters
    ----------
    values : ndarray of float64, or sequence of str
        As the table has them.
    axis : str
        ``ra`` or ``dec``.
    stated : str
        Unit that the table or its reader states; empty if neither does.
    sexagesimal : str
        What a sexagesimal text without letters counts, if no unit is stated: ``hourangle``, ``deg``, or empty: not
        known.
    fail : callable
        Makes the error from a row and what is wrong there.

    Returns
    -------
    ndarray of float64
        Degrees; NaN where there is no coordinate.

    Raises
    ------
    TargetError
        If a text is no coordinate, sexagesimal without a unit, or out of range (RA in [0, 360), Dec in [-90, 90]).
    """
    unit = stated.strip().strip("\"'").strip().lower()
    counts = _SEXAGESIMAL.get(unit) or (HOURS if _is_hours(unit) else DEGREES if unit else sexagesimal)
    try:
        convert = converter("" if unit in _SEXAGESIMAL else stated, DEGREES)
    except UnitRefused as error:
        raise fail(0, f"values in {stated!r}: {error}") from error
    if isinstance(values, np.ndarray):
        out = np.array(values, np.float64)
        if unit in _SEXAGESIMAL and np.isfinite(out).any():
            row = int(np.argmax(np.isfinite(out)))
            raise fail(row, f"{out[row]:g}, a number in a column whose unit is {stated!r}")
        out = out if convert is None else convert(out)
    else:
        out = np.array([_degrees(text.strip(), counts, convert, axis, k, fail) for k, text in enumerate(values)])
    low, high = _LIMITS[axis]
    with np.errstate(invalid="ignore"):
        outside = np.isinf(out) | (out < low) | (out > high) | ((out == high) if axis == "ra" else False)
    if outside.any():
        row = int(np.argmax(outside))
        limits = "[0, 360)" if axis == "ra" else "[-90, 90]"
        raise fail(row, f"{values[row]!s} ({out[row]:g} deg), outside {limits}")
    return out


def is_coarse(values: NDArray[np.float64] | Sequence[str]) -> NDArray[np.bool_]:
    """Whether each coordinate is a text with three decimals or fewer; numbers do not say."""
    if isinstance(values, np.ndarray):
        return np.zeros(len(values), bool)
    decimals = [re.fullmatch(r"[+-]?\d+(?:\.(\d*))?", text.strip()) for text in values]
    return np.array([bool(m) and len((m and m[1]) or "") <= COARSE_DECIMALS for m in decimals], bool)


def _is_hours(unit: str) -> bool:
    return unit in ("hourangle", "hour", "h", "hr", "hrs", "hour angle")


def _degrees(text: str, counts: str, convert: Any, axis: str, row: int, fail: Fail) -> float:
    if text.casefold() in _NOTHING:
        return float("nan")
    try:
        value = float(text) if "_" not in text else None
    except ValueError:
        value = None
    if value is not None:
        return float(value if convert is None else convert(np.float64(value)))
    match = _PARTS.fullmatch(text)
    if match is None:
        raise fail(row, f"{text!r}, which is no coordinate")
    sign, first, mark, minutes, _, seconds = match.groups()
    if mark in "hH":
        counts = HOURS
    elif mark in "dD\u00b0":
        counts = DEGREES
    if not counts:
        name = "ra_deg" if axis == "ra" else "dec_deg"
        raise fail(row, f"{text!r}: sexagesimal, and nothing says whether it counts hours or degrees. Say it: "
                   f"units={{'{name}': 'hourangle'}} or 'deg'")  # fmt: skip
    if int(minutes) >= 60 or float(seconds) >= 60:
        raise fail(row, f"{text!r}, which has 60 minutes or seconds, or more")
    value = int(first) + int(minutes) / 60 + float(seconds) / 3600
    if axis == "dec" and counts == HOURS:
        raise fail(row, f"{text!r}: a declination in hours")
    return (-value if sign in ("-", "\u2212") else value) * (15 if counts == HOURS else 1)
