"""Check ``norm_stats``: does the normalisation leave the class in pixels that no arc reaches?

Division by a stamp's own scatter does: an arc raises it, so that all pixels of a positive shrink, its sky too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.export.check.parts import Part
from lensflow.export.check.results import CheckResult, CheckVerdict
from lensflow.export.check.rows import Facts
from lensflow.export.check.statistics import of_areas
from lensflow.units import median_and_sigma

NAME = "norm_stats"
# Inner and outer radius of the outer annulus, of the stamp's side.
ANNULUS = (0.3125, 0.5)
STATISTICS = ("median", "scatter", "lowest", "highest")


def measure(part: Part, description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Median, scaled MAD, lowest and highest of the outer annulus of each sample and channel."""
    size = part.x.shape[-1]
    middle = geometry.centre(size)
    inside = geometry.annulus(size, middle, middle, ANNULUS[0] * size, ANNULUS[1] * size)
    pixels = part.x[..., inside].astype(np.float32)
    pixels = np.where(np.isfinite(pixels), pixels, 0)  # those have a check of their own
    median, scatter = median_and_sigma(pixels)
    found = np.stack([median, scatter, pixels.min(axis=-1), pixels.max(axis=-1)], axis=1).astype(np.float32)
    return {"norm_stats": found.reshape(len(part), len(STATISTICS), -1)}


def judge(facts: Facts) -> CheckResult:
    """Judge the area of each statistic, the mean over channels.

    Counterfactuals are left out: their arc light may lie there. Light of the brightest arcs reaches the annulus, too:
    it raises all but the lowest values. No division and no offset does that, so that such a difference is not called a
    leak of the normalisation but left open.
    """
    values = facts.columns["norm_stats"].mean(axis=2, dtype=np.float64)
    scores = {_name(name): values[:, k] for k, name in enumerate(STATISTICS)}
    result = of_areas(
        NAME, facts, scores,
        "the annulus outside of all arcs tells the class. Normalise both classes with the same constants "
        "(export.normalisation.kind: survey)", weight=np.where(facts.kind == "counterfactual", 0.0, facts.weight),
    )  # fmt: skip
    failed = [m for m in result.measured if m.verdict is CheckVerdict.FAIL]
    if not failed or any(m.name == _name("lowest") or m.found.value < 0.5 for m in failed):
        return result
    open_ = tuple(replace(m, verdict=CheckVerdict.INCONCLUSIVE) if m in failed else m for m in result.measured)
    text = "; ".join(f"{m.name} {m.found:.3f}" for m in failed)
    text += (
        ": positives have more light there, and their lowest values are those of the negatives. No normalisation does "
        "that; arcs bright enough to reach the annulus do. Whether it is theirs, the run's diagnostic annulus says"
    )
    return CheckResult(NAME, CheckVerdict.INCONCLUSIVE, text, open_)


def _name(statistic: str) -> str:
    return f"AUC of the outer annulus' {statistic}"
