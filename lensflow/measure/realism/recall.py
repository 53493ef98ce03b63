"""Real lenses that a scorer recovers, and known non-lenses that it takes for lenses.

The thresholds are those of the completeness stage, set on images without an arc, never on the real lenses. Each real
lens is a host of its own, so that the interval of a share of them is the exact binomial one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from lensflow.config import RealismConfig
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.pixels.judging import Finding
from lensflow.measure.realism.scored import FEWEST, Asked, ScoredLenses, finding_of, gate_of, line_of, share, table_of
from lensflow.stats.estimate import Estimate


def real_recall(
    lenses: ScoredLenses, taus: Sequence[Threshold], asked: Asked, config: RealismConfig, seed: int
) -> tuple[GateResult, xr.Dataset]:
    """Judge the recall of real lenses of tier A, at every threshold; the worst verdict counts.

    Parameters
    ----------
    lenses : ScoredLenses
    taus : sequence of Threshold
    asked : Asked
    config : RealismConfig
        ``min_real_recall``.
    seed : int
        Of the run, for the recipe.

    Returns
    -------
    GateResult, Dataset
        PASS: the whole interval lies above the limit; FAIL: none of it; NOT_TESTABLE below 20 lenses. The Dataset, dim
        line, has recall by threshold, tier (A, B, C) and visibility, with ``missed``: the lens_ids.
    """
    groups = [
        (f"tier {tier}, {words}", (lenses.tier == tier) & rows)
        for tier in ("A", "B", "C")
        for words, rows in (("all", np.ones(lenses.score.size, bool)), ("visible", lenses.visible),
                            ("not visible", ~lenses.visible))
    ]  # fmt: skip
    lines, findings = [], []
    for tau in taus:
        for k, (where, rows) in enumerate(groups):
            found = lenses.score[rows] >= tau.tau
            value = share(int(found.sum()), int(rows.sum()))
            missed = lenses.lens_id[rows][~found]
            lines.append(line_of(tau, where, value, int(found.sum()), ", ".join(map(str, missed))))
            if k == 0:
                findings.append(_recall_verdict(value, int(found.sum()), tau, config.min_real_recall, asked))
    gate = gate_of("real_recall", findings, config.min_real_recall, asked, int((lenses.tier == "A").sum()), seed)
    return gate, table_of(lines, "real lenses at the threshold or above")


def real_fpr(
    lenses: ScoredLenses, taus: Sequence[Threshold], asked: Asked, config: RealismConfig, seed: int
) -> tuple[GateResult, xr.Dataset]:
    """Judge the false-positive rate on known non-lenses (tier N), at every threshold; the worst verdict counts.

    Parameters
    ----------
    lenses : ScoredLenses
    taus, asked, config, seed
        As of :func:`real_recall`; ``max_real_fpr``.

    Returns
    -------
    GateResult, Dataset
        NOT_TESTABLE below 20 non-lenses. The Dataset has a line per threshold and kind of confuser.
    """
    non = lenses.tier == "N"
    kinds = sorted({str(v) for v in lenses.confuser[non] if v})
    groups = [("all known non-lenses", non), *((k, non & (lenses.confuser == k)) for k in kinds)]
    lines, findings = [], []
    limit = config.max_real_fpr
    for tau in taus:
        for k, (where, rows) in enumerate(groups):
            taken = lenses.score[rows] >= tau.tau
            value = share(int(taken.sum()), int(rows.sum()))
            names = ", ".join(map(str, lenses.lens_id[rows][taken]))
            lines.append(line_of(tau, where, value, int(taken.sum()), names))
            if k:
                continue
            n, text = value.n_hosts, f"{int(taken.sum())} of {value.n_hosts} known non-lenses: {value:.3f}"
            if n < FEWEST:
                verdict, text = Verdict.NOT_TESTABLE, (
                    f"{n} known non-lenses (tier N): at least {FEWEST} are needed. Without them nobody knows what the "
                    "scorer makes of spirals, rings and mergers"
                )  # fmt: skip
            elif value.high < limit:
                verdict, text = Verdict.PASS, f"{text}, the whole interval is below {limit:g}"
            elif value.low >= limit:
                verdict, text = Verdict.FAIL, f"{text}, the whole interval is at or above {limit:g}"
            else:
                verdict, text = Verdict.INCONCLUSIVE, f"{text}, the interval crosses {limit:g}"
            findings.append(finding_of("real_fpr", verdict, tau, value, limit, text + asked.note))
    return gate_of("real_fpr", findings, limit, asked, int(non.sum()), seed), table_of(
        lines, "non-lenses taken for lenses"
    )


def _recall_verdict(value: Estimate, found: int, tau: Threshold, least: float, asked: Asked) -> tuple[Verdict, Finding]:
    text = f"{found} of {value.n_hosts} real lenses of tier A: {value:.3f}"
    if value.n_hosts < FEWEST:
        verdict, text = (
            Verdict.NOT_TESTABLE,
            (
                f"{text}. At least {FEWEST} are needed: with fewer the interval is wider than 0.4"
                if value.n_hosts
                else f"no real lens of tier A: at least {FEWEST} are needed"
            ),
        )
    elif value.low > least:
        verdict, text = Verdict.PASS, f"{text}, the whole interval is above {least:g}"
    elif value.high <= least:
        verdict, text = Verdict.FAIL, f"{text}, the whole interval is at or below {least:g}"
    else:
        verdict, text = Verdict.INCONCLUSIVE, f"{text}, the interval crosses {least:g}; more lenses would decide"
    return finding_of("real_recall", verdict, tau, value, least, text + asked.note)
