"""One number in two runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lensflow.stats.difference import difference


@dataclass(frozen=True)
class Change:
    """One number with its interval in both runs.

    Attributes
    ----------
    a, b : tuple of float
        ``(value, low, high)``; NaN where not measured.
    delta, low, high : float
        b - a, with its 95 % interval.
    """

    what: str
    where: str
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    delta: float
    low: float
    high: float

    @classmethod
    def of(cls, what: str, where: str, a: Sequence[float], b: Sequence[float]) -> Change:
        """Compare two estimates ``(value, low, high)``."""
        first, second = (tuple(float(v) for v in side) for side in (a, b))
        return cls(what, where, first, second, *difference(second, first))  # type: ignore[arg-type]

    @property
    def judgement(self) -> str:
        """``differs``, ``same`` (to the last digit), ``within`` its interval, or ``not measured`` in one of them."""
        if self.a == self.b:
            return "same"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return "not measured"
        return "within" if self.low <= 0 <= self.high else "differs"
