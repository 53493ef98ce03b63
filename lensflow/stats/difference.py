"""The difference of two estimates that come with intervals of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence


def difference(a: Sequence[float], b: Sequence[float], correlation: float = 0.0) -> tuple[float, float, float]:
    """Return a - b with its interval, from two estimates ``(value, low, high)``.

    Parameters
    ----------
    a, b : sequence of float
    correlation : float
        Of the two estimates, -1 to 1. 0 for independent ones; for estimates on the same hosts, which rise and fall
        together, 0 gives an interval wider than it need be.

    Notes
    -----
    The method of variance estimates recovery (Zou & Donner 2008, Statistics in Medicine 27, 1693; for correlated
    estimates Zou 2007, Psychological Methods 12, 399).
    """
    (p, low_p, high_p), (q, low_q, high_q) = a, b
    return (
        p - q,
        p - q - _joined(p - low_p, high_q - q, correlation),
        p - q + _joined(high_p - p, q - low_q, correlation),
    )


def _joined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(0.0, a * a + b * b - 2 * correlation * a * b))
