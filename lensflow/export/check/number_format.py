"""Check ``format``: is everything that says how a sample is stored the same for both classes?"""

from __future__ import annotations

import numpy as np

from lensflow.export.check.results import CheckResult, CheckVerdict, Measured
from lensflow.export.check.rows import Facts
from lensflow.export.check.statistics import association, probability
from lensflow.stats.estimate import Estimate

NAME = "format"
_WORDS = 100


def judge(facts: Facts) -> CheckResult:
    """Judge headers: every one must be of both classes, in the same proportion."""
    if why := facts.is_one_class():
        return CheckResult(NAME, CheckVerdict.NOT_TESTED, why)
    y, header = facts.y, facts.columns["header"]
    kinds = len(facts.headers)
    positives, negatives = (np.bincount(header[c], minlength=kinds) for c in (y, ~y))
    alone = np.flatnonzero((positives == 0) != (negatives == 0))
    # One of a few samples may be alone by chance, but then there is no reason for a header of its own.
    count = Measured(
        "headers of one class only",
        Estimate(float(len(alone))),
        0.0,
        CheckVerdict.FAIL if len(alone) else CheckVerdict.PASS,
    )
    shares = probability("classes' shares by header", association(y, header, facts.host, facts.columns["split"]), 1)
    if len(alone):
        k = int(alone[0])
        of, n = ("positives", positives[k]) if positives[k] else ("negatives", negatives[k])
        mine, theirs = _short(facts.headers[k]), _short(_other(facts, k))
        reason = f"only {n:,} {of} are stored as {mine}; others as {theirs}. Store all alike"
        return CheckResult(NAME, CheckVerdict.FAIL, reason, (count, shares))
    if shares.verdict is CheckVerdict.FAIL:
        reason = f"{kinds} ways of storing, whose shares tell the class (p = {shares.found.value:.1g}). Store all alike"
        return CheckResult(NAME, CheckVerdict.FAIL, reason, (count, shares))
    reason = (
        f"all {len(facts):,} samples: {_short(facts.headers[0])}"
        if kinds == 1
        else f"{kinds} ways, both classes in each"
    )
    return CheckResult(NAME, CheckVerdict.PASS, reason, (count, shares))


def _short(header: str) -> str:
    return header if len(header) <= _WORDS else f"{header[:_WORDS]} ..."


def _other(facts: Facts, k: int) -> str:
    return next((h for j, h in enumerate(facts.headers) if j != k), "no other")
