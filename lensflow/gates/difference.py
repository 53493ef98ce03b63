"""The difference of two estimates that come with intervals of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Return a - b with its interval, from two estimates ``(value, low, high)``.

    Notes
    -----
    The method of variance estimates recovery, for independent estimates (Zou & Donner 2008, Statistics in Medicine 27,
    1693). Estimates on the same hosts rise and fall together: the interval is then wider than it need be.
    """
    (p, low_p, high_p), (q, low_q, high_q) = a, b
    return (
        p - q,
        p - q - math.hypot(p - low_p, high_q - q),
        p - q + math.hypot(high_p - p, q - low_q),
    )
