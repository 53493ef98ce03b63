"""Number formats of the report: 3 significant digits, true minus signs, an em dash for missing values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

MISSING = "—"
_UNITS = {
    "1": "",
    "percent": "%",
    "mag/arcsec^2": "mag/arcsec²",
    "nMgy/pixel per unit of the predictor": "nMgy/pixel per unit",
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: Any, digits: int = 3) -> str:
    """Write a number with ``digits`` significant digits; None and NaN are an em dash."""
    if value is None or not math.isfinite(value):
        return MISSING if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    rounded = f"{value:.{digits - 1}e}"  # so that 999.9 counts as 1,000
    mantissa, exponent = rounded.split("e")
    if not -3 <= int(exponent) < 6:
        return f"{mantissa}×{power_of_ten(int(exponent))}".replace("-", "−")
    return f"{float(rounded):,.{max(digits - 1 - int(exponent), 0)}f}".replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """``10⁻⁵`` and the like."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def fixed(value: Any, decimals: int = 3) -> str:
    """Write a number with ``decimals`` places: for columns whose entries are alike in size."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:z,.{decimals}f}".replace("-", "−")


def count(value: Any) -> str:
    """Write a whole number with thousands separated."""
    return MISSING if value is None or math.isnan(value) else f"{int(value):,}"


def interval(low: Any, high: Any, decimals: int | None = None, write: Callable[[Any], str] = number) -> str:
    """Write ``low – high`` (``low to high`` where a minus sign would meet the dash); an em dash if neither is known."""
    if all(v is None or math.isnan(v) for v in (low, high)):
        return MISSING
    ends = [write(v) if decimals is None else fixed(v, decimals) for v in (low, high)]
    return (" to " if "−" in "".join(ends) else " – ").join(ends)


def unit(units: Any) -> str:
    """Format the units of a variable for readers; empty for pure numbers."""
    return _UNITS.get(str(units), str(units))


def common_exponent(values: Iterable[float]) -> int:
    """Power of ten of the largest magnitude, for a table whose entries share a unit; 0 if all are 0 or NaN."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return math.floor(math.log10(largest)) if largest > 0 else 0


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent; never rounded to all or to nothing."""
    if not whole:
        return MISSING
    if not part:
        return "0 %"
    percent = 100 * part / whole
    if 0 < percent < 0.05 or 99.95 <= percent < 100:
        return "< 0.1 %" if percent < 50 else "> 99.9 %"
    return f"{percent:.1f} %"


def probability(value: float) -> str:
    """p value; its size no longer matters below 10⁻⁴."""
    return f"< {power_of_ten(-4)}" if value < 1e-4 else number(value)


def scaled(value: float) -> str:
    """Number in units of its table's largest: places stop at the fourth."""
    return fixed(value, 4) if abs(value) < 0.1 else number(value)


def seconds(value: float) -> str:
    """Seconds, or minutes, hours and days for longer times."""
    for name, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * length:
            return f"{number(value / length)} {name}"
    return f"{number(value)} s"


def amount(value: float) -> str:
    """Bytes as ``1.23 GB``."""
    power = min(int(math.log10(max(value, 1)) // 3), 5)
    return f"{value / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
