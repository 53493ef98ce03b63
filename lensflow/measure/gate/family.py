"""One gate on several sets of features: each is measured separately, and the worst result counts.

The more sets, the likelier a chance finding. Every interval of one of m measurements is therefore
one of 1 - 0.05 / m (Bonferroni), and so is every null control's: the chance that any of them errs is not larger than
that of one gate alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.stats.estimate import Estimate

# What is found counts more than what is not; of equals the largest area.
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.EXPLAINED, Verdict.PASS)


def worst_of(results: Sequence[tuple[str, GateResult]]) -> GateResult:
    """Result of the worst of several measurements, which names all.

    Parameters
    ----------
    results : sequence of (str, GateResult)
        What was looked at, in words, and what it says. One that is not testable is set aside if another is: it says
        nothing, and a PASS needs power and most of its features open by itself.

    Returns
    -------
    GateResult
        With ``controls["looked_at"]``: every one's words, area, interval, verdict and open share. Of a single result
        the result itself.
    """
    if len(results) == 1:
        return results[0][1]
    tested = [r for r in results if r[1].verdict is not Verdict.NOT_TESTABLE]

    def badness(entry: tuple[str, GateResult]) -> tuple[int, float]:
        found = entry[1]
        return -_WORST_FIRST.index(found.verdict), found.auc if found.auc == found.auc else 1.0

    where, worst = max(tested, key=badness) if tested else results[0]
    if tested:
        reason = f"{where}, the worst of {len(tested)} tested: {worst.reason}"
    else:
        reason = f"{where}: {worst.reason}; and none of the {len(results) - 1} others can be tested"
    if 0 < len(tested) < len(results):
        aside = ", ".join(name for name, r in results if r.verdict is Verdict.NOT_TESTABLE)
        reason += f". Not testable: {aside}"
    looked_at = [_line(name, r, name == where) for name, r in results]
    return replace(worst, reason=reason, controls={**worst.controls, "looked_at": looked_at})


def first_alone(result: GateResult) -> GateResult:
    """AUC, interval and verdict of the first set: a core gate's own box, with or without a mask."""
    looked_at = result.controls.get("looked_at")
    if not looked_at:
        return result
    first = looked_at[0]
    alone = result.with_area(Estimate.from_fields(first, "auc"))
    return alone.decided(Verdict(first["verdict"]), str(first["reason"]))


def _line(name: str, result: GateResult, counts: bool) -> dict[str, Any]:
    return {
        "what": name,
        "counts": counts,
        "verdict": str(result.verdict),
        "reason": result.reason,
        **result.area.fields("auc"),
        "share_of_features_open": result.controls.get("share_of_features_open", 0.0),
    }
