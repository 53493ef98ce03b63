"""Controls with a known answer: swapped labels must give 0.5, a known leak must be found.

And two references for the AUC: its rank among swapped labels, and the AUC of arcs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import stdtrit

from lensflow import rng
from lensflow.measure.gate.crossfit import CrossFit
from lensflow.measure.gate.estimators import Fit
from lensflow.measure.gate.machine import Machine, area_fields, choose_hosts, host_folds
from lensflow.stats.estimate import NOT_MEASURED, Estimate

Floats = NDArray[np.float64]

LEAK_SIGMA = 1.0
SMALLER_LEAKS_SIGMA = (0.3, 0.1)
# Tried when the first is not found: a gate that sees none of them is broken, not merely weak.
LARGER_LEAKS_SIGMA = (10.0, 100.0)
# The positive control uses no more: what is found with these is found with all, and leaks take most of the time.
LEAK_PAIRS = 5000
# All swaps together are judged at 99.9 %: at 95 % one healthy gate in twenty would call itself broken.
NULL_LEVEL = 0.999
PERMUTATIONS = 1999


def null_control(machine: Machine, fit: Fit) -> dict[str, Any]:
    """Swap the labels of half of the pairs of each fold, at random, several times: nothing is left to learn."""
    draws, n_swaps = rng.generator(machine.seed, "gates.core.null"), machine.estimator.null_swaps
    straight = np.ones((n_swaps, fit.n_pairs), dtype=bool)
    for swap in straight:
        for test in fit.test:
            # Half of each fold, not a coin per pair: a chance excess in training would otherwise meet the same arcs
            # in the test fold, and the area would scatter more than its bootstrap says.
            half = len(test) // 2 + int(draws.integers(2)) * (len(test) % 2)
            swap[draws.permutation(test)[:half]] = False
    swaps = []
    for swap, (stamp, ctrl) in zip(straight, fit.scores_of_swaps(straight), strict=True):
        positive, negative = np.where(swap, stamp, ctrl), np.where(swap, ctrl, stamp)
        swaps.append(machine.area(positive, negative, "gates.core.null.interval"))
    what = f"labels swapped at random within half of the pairs of each fold, {n_swaps} times"
    return judged_null(swaps, np.unique(machine.groups).size, what, machine.family)


def judged_null(swaps: Sequence[Estimate], n_hosts: int, what: str, family: int = 1) -> dict[str, Any]:
    """Judge the null AUCs: all together must be consistent with 0.5 at ``NULL_LEVEL``.

    Parameters
    ----------
    swaps : sequence of Estimate
        With ``sd``.
    n_hosts : int
    what : str
        What was done, in words.
    family : int
        Measurements of one gate that are judged so: all of them together err as seldom as one.
    """
    level = 1 - (1 - NULL_LEVEL) / family
    quantile = float(stdtrit(n_hosts - 1, 1 - (1 - level) / (2 * len(swaps))))
    value, low, high, sd = np.mean([(s.value, s.low, s.high, s.sd) for s in swaps], axis=0).tolist()
    mean = Estimate(value, low, high, n_hosts, sd)
    return {
        **area_fields(mean),
        "what": f"{what}; mean area and mean interval",
        "swaps": [s.value for s in swaps],
        "holds_half": all(abs(s.value - 0.5) <= quantile * s.sd for s in swaps),
        "judged_low": 0.5 - quantile * mean.sd,
        "judged_high": 0.5 + quantile * mean.sd,
        "judged_level": level,
    }


def permutation_test(machine: Machine, fit: CrossFit) -> dict[str, Any]:
    """Permutation test: labels swapped within pairs, all pairs of a host together.

    The statistic is the mean difference of out-of-fold scores within pairs, of models one Newton step away from 0:
    their Hessian has no labels in it and their gradient is a sum of signed differences, so thousands of swaps cost
    what one fit does. If stamps and controls are exchangeable within hosts, the share is an exact p-value whatever
    the statistic (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39).
    """
    hosts, place = np.unique(machine.groups, return_inverse=True)
    signs = rng.generator(machine.seed, "gates.core.permutation").integers(0, 2, (hosts.size, PERMUTATIONS)) * 2.0 - 1
    signs = np.concatenate([np.ones((hosts.size, 1)), signs], axis=1)
    by_host, sums = [], []
    for rows, difference in zip(fit.test, fit.differences(), strict=True):
        order = np.argsort(place[rows], kind="stable")
        own, first = np.unique(place[rows][order], return_index=True)
        by_host.append((own, np.add.reduceat(difference[order], first, axis=0)))
        sums.append(by_host[-1][1].T @ signs[own])
    statistic = np.zeros(signs.shape[1])
    for fold, (own, tested) in enumerate(by_host):
        # The intercept's gradient is 0 for equal classes; the features are not centred within the fold, so it stays.
        gradient = 0.5 * sum(sums[k] for k in fit.trained[fold])
        factor = cho_factor(fit.curvature_at_zero(fold))
        if _few(len(own), *gradient.shape):  # one solution a host instead of one a swap
            statistic += np.einsum("hb,hb->b", signs[own], _solved(factor, tested.T).T @ gradient)
        else:
            statistic += np.einsum("pb,pb->b", sums[fold], _solved(factor, gradient))
    found, swapped = statistic[0], statistic[1:]
    as_large = int((swapped >= found - 1e-9 * abs(found)).sum())
    return {
        "what": "labels swapped within pairs, all pairs of a host together; statistic: mean difference of the "
        "out-of-fold scores within pairs, one Newton step from 0",
        "p": (1 + as_large) / (1 + PERMUTATIONS),
        "n_swaps": PERMUTATIONS,
        "n_as_large": as_large,
        "statistic": float(found) / fit.n_pairs,
        "swapped_p95": float(np.quantile(swapped, 0.95)) / fit.n_pairs,
    }


def _few(n_hosts: int, n_features: int, n_swaps: int) -> bool:
    """Whether it takes fewer operations to solve for each host of a fold than for each swap."""
    return n_hosts * (n_features + n_swaps) < n_features * n_swaps


def _solved(factor: Any, right: Floats) -> Floats:
    """Solve for right sides (p, k) whose intercept is 0; the intercept of the solution is left out."""
    padded = np.concatenate([right, np.zeros((1, right.shape[1]))])
    return np.asarray(cho_solve(factor, padded, overwrite_b=True)[:-1])


def reference(
    machine: Machine, expected: Floats, ctrl: Floats, auc: float, draws: Floats, purpose: str
) -> dict[str, Any]:
    """Compare with the AUC of the renderer's noiseless arcs on the same controls, by the same procedure.

    Parameters
    ----------
    expected, ctrl : ndarray, shape (n, p)
        Features of control plus arc, and of the control.
    auc, draws : float, ndarray
        The data's area and its bootstrap draws for ``purpose``: the same draws of hosts serve both.
    """
    scores = machine.crossfit(expected, ctrl).scores(np.ones(len(ctrl), dtype=bool))
    found, reference_draws = machine.interval_of(*scores, machine.groups, purpose)
    n_hosts = np.unique(machine.groups).size
    excess = machine.around(auc - found.value, draws - reference_draws, n_hosts)
    return {
        **area_fields(found),
        "what": "the renderer's noiseless arcs on the same controls: what physics alone reads here",
        **excess.fields("excess"),
    }


def beyond_arcs(
    machine: Machine, host_index: NDArray[np.int64], stamp: Floats, expected: Floats, unit: Floats, what: str
) -> dict[str, Any]:
    """Classify stamps against controls plus the renderer's noiseless arcs: only a leak distinguishes them.

    An area near 1 cannot show a leak on top of the arcs; with the arcs in both classes it can. Noise has no mean that
    a linear fit could learn, so clean data read 0.5 however bright the arcs are.

    Parameters
    ----------
    stamp, expected : ndarray, shape (n, p)
        Features of the stamps, and of control plus noiseless arc.
    unit, what
        As for :func:`positive_control`: a known leak is put on top of the arcs, to see whether it would be found.
    """
    scores = machine.crossfit(stamp, expected).scores(np.ones(len(stamp), dtype=bool))
    found = machine.area(*scores, "gates.core.beyond.interval")
    # Any difference from 0.5 counts here, so the known leak is compared with 0.5 too.
    leak = positive_control(machine, host_index, expected, unit, f"{what}, arcs included", threshold=0.5)
    return {
        **area_fields(found),
        "what": "stamps against controls plus the renderer's noiseless arcs: 0.5 unless something else differs",
        "positive": leak,
    }


def positive_control(
    machine: Machine, host_index: NDArray[np.int64], ctrl: Floats, unit: Floats, what: str, threshold: float
) -> dict[str, Any]:
    """Add a known shift to copies of the controls and test for it; then smaller ones, or larger ones.

    A leak shares its control's noise, so even a tiny one is told from 0.5. What counts is whether the gate would
    have let it pass.

    Parameters
    ----------
    host_index : ndarray, shape (n,)
    ctrl : ndarray, shape (n, p)
    unit : ndarray, shape (p,)
        Shift of each feature for a leak of one sigma.
    what : str
        The shift in words.
    threshold : float
        The gate passes below it.
    """
    testable = bool(np.isfinite(unit).all() and (unit > 0).any())
    if len(ctrl) > LEAK_PAIRS:
        rows = np.flatnonzero(choose_hosts(host_index, LEAK_PAIRS, machine.seed))
        groups, folds = machine.groups[rows], len(machine.folds)
        testable = testable and np.unique(groups).size >= folds
        if testable:
            machine = replace(machine, groups=groups, folds=host_folds(groups, folds, machine.seed))
            ctrl = ctrl[rows]

    def measure(size: float) -> Estimate:
        scores = machine.crossfit(ctrl + size * unit, ctrl).scores(np.ones(len(ctrl), dtype=bool))
        return machine.area(*scores, "gates.core.positive.interval")

    return known_leaks(measure if testable else None, what, threshold, len(ctrl))


def known_leaks(
    measure: Callable[[float], Estimate] | None, what: str, threshold: float, n_rows: int
) -> dict[str, Any]:
    """Test for a leak of one sigma, then for smaller or larger ones.

    Parameters
    ----------
    measure : callable or None
        Area with its interval for a leak of so many sigma; None if there is nothing to scale one by.
    what : str
        The leak in words.
    threshold : float
        The gate passes below it.
    n_rows : int
        Rows that it is put into.
    """
    tried: list[dict[str, Any]] = []

    def look_for(size: float) -> bool:
        area = measure(size)  # type: ignore[misc]
        tried.append({"leak_sigma": size, **area_fields(area), "found": area.low > 0.5 and area.high >= threshold})
        return bool(tried[-1]["found"])

    if measure is not None:
        found = look_for(LEAK_SIGMA)
        # Down to the smallest that is still found (the power), or up to the first that is.
        for size in SMALLER_LEAKS_SIGMA if found else LARGER_LEAKS_SIGMA:
            if look_for(size) != found:
                break
    first = tried[0] if tried else {"found": False, **NOT_MEASURED.fields("auc")}
    return {
        "what": f"{what}; found: told from 0.5 (auc_low > 0.5) and not passed (auc_high >= threshold)",
        "leak_sigma": LEAK_SIGMA,
        **{k: first[k] for k in ("found", "auc", "auc_low", "auc_high")},
        "n_rows": n_rows,
        "testable": measure is not None,
        "tried": tried,
        "smallest_found_sigma": min((t["leak_sigma"] for t in tried if t["found"]), default=math.nan),
    }
