"""Completeness of injections less the recall of real lenses like them: what a synthetic number is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from lensflow.config import RealismConfig
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.realism.scored import (
    FEWEST,
    Asked,
    Bools,
    Floats,
    ScoredInjections,
    ScoredLenses,
    finding_of,
    gate_of,
    line_of,
    share,
    table_of,
)
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.proportions import from_variance

# Injections that stand for each real lens when they are reweighted to them.
NEIGHBOURS = 10
# A real lens farther from its nearest injections than this, standard deviations of a covariate, is beyond them.
BEYOND_SD = 1.0


def gap(
    lenses: ScoredLenses,
    injections: ScoredInjections,
    taus: Sequence[Threshold],
    asked: Asked,
    config: RealismConfig,
    seed: int,
) -> tuple[GateResult, xr.Dataset]:
    """Judge the completeness of injections less the recall of real lenses like them.

    Each visible lens of tier A is stood for by its nearest injections in theta_E, arc magnitude and seeing.

    Parameters
    ----------
    lenses : ScoredLenses
    injections : ScoredInjections
    taus, asked, config, seed
        As of :func:`real_recall`; ``max_gap``.

    Returns
    -------
    GateResult, Dataset
        FAIL: farther from 0 than ``max_gap``, with an interval that excludes half of it. PASS: the whole interval
        lies within ``max_gap`` of 0. The Dataset, dim line: gap, completeness, recall, and lenses beyond all
        injections, which count on neither side.
    """
    used = (lenses.tier == "A") & lenses.visible
    weight, inside = neighbours(lenses.covariates[used], injections.covariates)
    kept = np.flatnonzero(used)[inside]
    lines, findings = [], []
    limit = config.max_gap
    for tau in taus:
        recall = share(int((lenses.score[kept] >= tau.tau).sum()), kept.size)
        complete = weighted_share(injections.score >= tau.tau, weight, injections.host)
        value = complete - recall
        beyond = int(used.sum()) - kept.size
        line = line_of(tau, "visible lenses of tier A", value, 0, "")
        lines.append(line | {"completeness": complete.value, "recall": recall.value, "n": kept.size, "beyond": beyond})
        text = f"completeness {complete:.3f} of injections like them less recall {recall:.3f} is {value:+.3f}"
        if kept.size < FEWEST:
            verdict, text = Verdict.NOT_TESTABLE, (
                f"{kept.size} visible lenses of tier A with injections like them: at least {FEWEST} are needed"
            )  # fmt: skip
        elif not value.is_measured:
            verdict, text = Verdict.NOT_TESTABLE, f"{text}: no interval"
        elif abs(value.value) > limit and (value.low > limit / 2 or value.high < -limit / 2):
            verdict, text = Verdict.FAIL, f"{text}: synthetic completeness is no guide to real recall"
        elif -limit <= value.low and value.high <= limit:
            verdict, text = Verdict.PASS, f"{text}: the whole interval lies within {limit:g}"
        else:
            verdict, text = Verdict.INCONCLUSIVE, f"{text}: more lenses would decide"
        if beyond and kept.size:
            text += f"; {beyond} lenses have no injection like them and are left out"
        findings.append(finding_of("gap", verdict, tau, value, 0.0, text + asked.note))
    return gate_of("gap", findings, limit, asked, kept.size, seed), table_of(lines, "completeness less recall")


def neighbours(lenses: Floats, injections: Floats) -> tuple[Floats, Bools]:
    """Weights of injections with which they have the covariates of the real lenses.

    Parameters
    ----------
    lenses : ndarray, shape (n, covariate)
    injections : ndarray, shape (m, covariate)
        A covariate is used for a lens where the lens has it; injections without one are used for nobody.

    Returns
    -------
    ndarray, shape (m,), and ndarray of bool, shape (n,)
        Weights (sum: lenses inside), and which lenses have enough injections near them.
    """
    weight, inside = np.zeros(len(injections)), np.zeros(len(lenses), dtype=bool)
    known = np.isfinite(injections).all(axis=1)
    have = np.isfinite(lenses)
    if known.sum() < NEIGHBOURS or not len(lenses):
        return weight, inside
    scale = injections[known].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    rows = np.flatnonzero(known)
    for pattern in np.unique(have, axis=0):
        some = np.flatnonzero((have == pattern).all(axis=1))
        if not pattern.any():
            continue
        tree = KDTree((injections[known] / scale)[:, pattern])
        far, near = tree.query((lenses[some] / scale)[:, pattern], k=NEIGHBOURS)
        # The nearest few are like the lens only if they surround it closely in every covariate.
        good = np.median(far, axis=1) <= BEYOND_SD * math.sqrt(int(pattern.sum()))
        inside[some[good]] = True
        np.add.at(weight, rows[near[good]].ravel(), 1.0 / NEIGHBOURS)
    return weight, inside


def weighted_share(recovered: ArrayLike, weight: ArrayLike, host: ArrayLike) -> Estimate:
    """Weighted share of recovered rows with its interval over hosts."""
    found, w = np.asarray(recovered, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    rows = w > 0
    if not rows.any():
        return NOT_MEASURED
    found, w = found[rows], w[rows]
    _, place = np.unique(np.asarray(host)[rows], return_inverse=True)
    n_hosts = int(place.max()) + 1
    value = float(w @ found / w.sum())
    residual = np.bincount(place, weights=w * (found - value))
    variance = n_hosts / max(n_hosts - 1, 1) * float(residual @ residual) / float(w.sum()) ** 2
    # As many independent rows as weights of this spread are worth.
    n = float(w.sum() ** 2 / (w @ w))
    ends = from_variance(value, variance, n, n_hosts, min(n, n_hosts))
    return Estimate(value, float(ends.low), float(ends.high), n_hosts)
