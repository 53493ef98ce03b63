"""The ten checks, one line each: name, what it measures in a part, how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lensflow.export.check import (
    bits,
    duplicates,
    finite,
    labels,
    metadata,
    norm_stats,
    number_format,
    order,
    record_bytes,
    roundtrip,
)
from lensflow.export.check.results import CheckResult
from lensflow.export.check.rows import Facts, Measure


@dataclass(frozen=True)
class Check:
    """A check as it is registered.

    Attributes
    ----------
    name : str
    judge : callable
        The gathered export to a result.
    measure : callable, optional
        A part to numbers of its samples.
    """

    name: str
    judge: Callable[[Facts], CheckResult]
    measure: Measure | None = None


CHECKS = (
    Check(order.NAME, order.judge),
    Check(record_bytes.NAME, record_bytes.judge),
    Check(number_format.NAME, number_format.judge),
    Check(bits.NAME, bits.judge, bits.measure),
    Check(norm_stats.NAME, norm_stats.judge, norm_stats.measure),
    Check(metadata.NAME, metadata.judge),
    Check(duplicates.NAME, duplicates.judge, duplicates.measure),
    Check(labels.NAME, labels.judge),
    Check(finite.NAME, finite.judge, finite.measure),
    Check(roundtrip.NAME, roundtrip.judge, roundtrip.measure),
)
NAMES = tuple(c.name for c in CHECKS)
