"""Check ``nan``: every pixel is a finite number, and no image is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.export.check.parts import Part
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import Facts
from lensflow.stats.estimate import Estimate

NAME = "nan"
KINDS = {"nan_pixels": "NaN", "infinite_pixels": "infinite pixels", "is_zero": "nothing but zeros"}


def measure(part: Part, description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Count the pixels of each sample that are NaN or infinite, and see whether all are 0."""
    along = tuple(range(1, part.x.ndim))
    return {
        "nan_pixels": np.isnan(part.x).sum(axis=along),
        "infinite_pixels": np.isinf(part.x).sum(axis=along),
        "is_zero": (part.x == 0).all(axis=along),
    }


def judge(facts: Facts) -> CheckResult:
    """Judge the counts: all must be 0."""
    measured, reasons = [], []
    for name, what in KINDS.items():
        bad = np.flatnonzero(facts.columns[name])
        verdict = CheckVerdict.FAIL if len(bad) else CheckVerdict.PASS
        measured.append(Measured(f"samples with {what}", Estimate(float(len(bad))), 0.0, verdict))
        if len(bad):
            reasons.append(f"{len(bad):,} samples have {what}, the first is {facts.name(bad[0])}")
    weight = facts.weight
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))
    verdict = CheckVerdict.FAIL if len(bad) else CheckVerdict.PASS
    measured.append(Measured("samples whose weight is no positive number", Estimate(float(len(bad))), 0.0, verdict))
    if len(bad):
        first = f"{facts.name(bad[0])}: {weight[bad[0]]:g}"
        reasons.append(f"{len(bad):,} samples have a weight that is no positive number, the first is {first}")
    if reasons:
        return CheckResult(NAME, CheckVerdict.FAIL, "; ".join(reasons), tuple(measured))
    return CheckResult(
        NAME, CheckVerdict.PASS, f"all {len(facts):,} samples are finite, none is empty", tuple(measured)
    )
