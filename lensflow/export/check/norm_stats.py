"""Check ``norm_stats``: does the normalisation leave the class in pixels that no arc reaches?

Division by a stamp's own scatter does: an arc raises it, so that all pixels of a positive shrink, its sky too. The
annulus is asked, and the corners beyond it: light of bright arcs reaches the annulus, a normalisation changes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.export.check.parts import Part
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import Facts
from lensflow.export.check.statistics import of_areas
from lensflow.units import median_and_sigma

NAME = "norm_stats"
# Inner and outer radius, of the stamp's side; the corners are what is left of the square.
ANNULUS, CORNERS = (0.3125, 0.5), (0.5, 1.0)
STATISTICS = ("median", "scatter", "lowest", "highest")
_CURE = (
    "pixels outside of all arcs tell the class. Normalise both classes with the same constants "
    "(export.normalisation.kind: survey)"
)


def measure(part: Part, description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Median, scaled MAD, lowest and highest of the outer annulus and of the corners, of each sample and channel."""
    return {"norm_stats": _of(part, ANNULUS), "corner_stats": _of(part, CORNERS)}


def _of(part: Part, zone: tuple[float, float]) -> NDArray[np.float32]:
    size = part.x.shape[-1]
    middle = geometry.centre(size)
    inside = geometry.annulus(size, middle, middle, zone[0] * size, zone[1] * size)
    pixels = part.x[..., inside].astype(np.float32)
    pixels = np.where(np.isfinite(pixels), pixels, 0)  # those have a check of their own
    median, scatter = median_and_sigma(pixels)
    found = np.stack([median, scatter, pixels.min(axis=-1), pixels.max(axis=-1)], axis=1).astype(np.float32)
    return found.reshape(len(part), len(STATISTICS), -1)


def judge(facts: Facts) -> CheckResult:
    """Judge the area of each statistic, the mean over channels, in the annulus and in the corners.

    Counterfactuals are left out: their arc light may lie there. Light of the brightest arcs reaches the annulus, too:
    it raises all but the lowest values. No division and no offset does that, and the corners decide: what changes them
    FAILs, and if they are the same in both classes, what lies in the annulus is light. Where the corners are raised in
    the same way (a stamp that is small for its arcs), or are too few to say, the answer is left open.
    """
    names = {"annulus": "outer annulus", "corners": "corners"}
    scores = {
        _name(names[zone], s): values[:, k]
        for zone, column in (("annulus", "norm_stats"), ("corners", "corner_stats"))
        for values in (facts.columns[column].mean(axis=2, dtype=np.float64),)
        for k, s in enumerate(STATISTICS)
    }
    weight = np.where(facts.kind == "counterfactual", 0.0, facts.weight)
    result = of_areas(NAME, facts, scores, _CURE, weight=weight)
    annulus, corners = (tuple(m for m in result.measured if f"{names[z]}'" in m.name) for z in names)
    failed = [m for m in result.measured if m.verdict is CheckVerdict.FAIL]
    if not failed or not (_is_light(annulus) and _is_light(corners)):
        return result
    text = "; ".join(f"{m.name} {m.found:.3f}" for m in failed)
    text += ": positives have more light there, and their lowest values are those of the negatives. No normalisation "
    text += "does that; arcs bright enough to reach so far do"
    if all(m.verdict is CheckVerdict.PASS for m in corners):
        text += ". The corners, which a normalisation would change as well, are the same in both classes"
        return CheckResult(NAME, CheckVerdict.PASS, text, _as(CheckVerdict.PASS, failed, result))
    text += ". The corners do not decide it: whether it is theirs, the run's diagnostic annulus says"
    return CheckResult(NAME, CheckVerdict.INCONCLUSIVE, text, _as(CheckVerdict.INCONCLUSIVE, failed, result))


def _as(verdict: CheckVerdict, failed: list[Measured], result: CheckResult) -> tuple[Measured, ...]:
    return tuple(replace(m, verdict=verdict) if m in failed else m for m in result.measured)


def _is_light(measured: tuple[Measured, ...]) -> bool:
    """Whether what differs is higher in positives, and the lowest values do not differ."""
    failed = [m for m in measured if m.verdict is CheckVerdict.FAIL]
    return all(m.found.value > 0.5 and not m.name.endswith("lowest") for m in failed)


def _name(zone: str, statistic: str) -> str:
    return f"AUC of the {zone}' {statistic}"
