"""Statistics of the checks: areas with intervals over hosts, and tests of order and of association by host.

Probabilities are two-sided. Where samples of one host cannot be exchanged one by one (they lie in one file, and hosts
have unequal numbers of injections), a test's scatter is that of whole hosts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, ndtr
from scipy.stats import rankdata

from lensflow import rng
from lensflow.export.check.results import CheckResult, CheckVerdict, Measured, worst
from lensflow.export.check.rows import Facts
from lensflow.stats.auc import host_bootstrap
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import drawn_units, interval

Floats = NDArray[np.float64]

# Largest area under the ROC curve, on either side of 1/2, and smallest probability of all tests of a check together.
MAX_AUC, MIN_P = 0.55, 1e-4
# An area that is nothing but chance of all samples (no sample stands out) passes if its interval ends here: with 1,000
# samples of a class four standard errors from 1/2 and not two, with 100 still out of reach. What fails is the same.
MAX_CHANCE_AUC = 0.575
# With fewer hosts the scatter of whole hosts is not known well enough for a probability of 1e-4.
FEW_HOSTS = 40
BOOTSTRAP = 400
_SHUFFLES, _MIXED_HOSTS = 200, 10


def area(
    name: str,
    y: NDArray[np.bool_],
    score: ArrayLike,
    host: NDArray[np.int64],
    weight: Floats,
    seed: int,
    limit: float = MAX_AUC,
    passes: float | None = None,
) -> Measured:
    """Area of a score with its 95 % interval over hosts, judged: within 1 - limit and limit.

    Parameters
    ----------
    name : str
        Also of the bootstrap's draws.
    y : ndarray of bool, shape (n,)
    score : array_like, shape (n,)
        Samples without (NaN) are left out.
    host : ndarray of int64, shape (n,)
    weight : ndarray, shape (n,)
        In training.
    seed : int
    limit : float
    passes : float, optional
        Within which the whole interval passes; ``limit`` if not given.

    Returns
    -------
    Measured
        PASS if the whole interval lies within; FAIL if it lies outside; NOT_TESTED without two classes on two hosts.
    """
    s = np.asarray(score, dtype=np.float64)
    some = np.isfinite(s) & (weight > 0)
    y, s, host, weight = y[some], s[some], host[some], weight[some]
    if s.size and (s == s[0]).all() and np.unique(y).size == 2:  # nothing varies: nothing can be told
        return Measured(name, Estimate(0.5, 0.5, 0.5, np.unique(host).size), limit, CheckVerdict.PASS)
    unit, n_units = drawn_units(host)
    value, draws = host_bootstrap(y, s, unit, BOOTSTRAP, seed, f"export.check.{name}", weight)
    n_hosts = int(np.unique(host).size)
    low, high = (float(v) for v in interval(draws, min(n_hosts, n_units))) if s.size else (np.nan, np.nan)
    found = Estimate(value, low, high, n_hosts)
    if not found.is_measured:
        return Measured(name, found, limit, CheckVerdict.NOT_TESTED)
    within = limit if passes is None else passes
    if low >= 1 - within and high <= within:
        verdict = CheckVerdict.PASS
    elif low > limit or high < 1 - limit:
        verdict = CheckVerdict.FAIL
    else:
        verdict = CheckVerdict.INCONCLUSIVE
    return Measured(name, found, limit if verdict is CheckVerdict.FAIL else within, verdict)


def probability(name: str, p: float, tests: int) -> Measured:
    """A probability times the number of tests, judged against ``MIN_P``."""
    p = min(1.0, p * tests)
    return Measured(name, Estimate(p), MIN_P, CheckVerdict.FAIL if p < MIN_P else CheckVerdict.PASS)


def rank_test(y: NDArray[np.bool_], score: ArrayLike, stratum: ArrayLike) -> float:
    """Probability of the classes' ranks within strata, if a stratum's samples can be exchanged (van Elteren).

    Parameters
    ----------
    y : ndarray of bool, shape (n,)
    score, stratum : array_like, shape (n,)
        With hosts for strata: whether a host's stamps and controls lie in any order.
    """
    total = variance = 0.0
    rank = rankdata(np.asarray(score))
    for rows in _strata(stratum):
        n, positives = len(rows), int(y[rows].sum())
        if 0 < positives < n:
            # Divided last: equal ranks (an export of one file) must differ by exactly 0.
            own = (rank[rows] - rank[rows].mean()) / len(y)
            total += own[y[rows]].sum()
            variance += positives * (n - positives) / (n * (n - 1)) * (own**2).sum()
    return _two_sided(total, variance)


def rank_test_by_host(y: NDArray[np.bool_], score: ArrayLike, stratum: ArrayLike, host: NDArray[np.int64]) -> float:
    """Probability of the classes' ranks within strata, if whole hosts lie in any order.

    With few hosts that of :func:`rank_test`, which takes samples for independent.
    """
    if np.unique(host).size < FEW_HOSTS:
        return rank_test(y, score, stratum)
    products = np.zeros(len(y))
    for rows in _strata(stratum):
        rank = rankdata(np.asarray(score)[rows])
        products[rows] = (rank - rank.mean()) / len(rows) * (y[rows] - y[rows].mean())
    of_host = np.bincount(np.unique(host, return_inverse=True)[1], weights=products)
    return _two_sided(float(of_host.sum()), float((of_host**2).sum()))


def runs_test(y: NDArray[np.bool_], file: NDArray[np.int64], host: NDArray[np.int64], seed: int) -> float:
    """Probability of the number of runs of one class in files, if a host's stamps and controls can be exchanged.

    Few runs: samples of a class lie together. Many: classes take turns. The distribution is that of ``_SHUFFLES``
    exchanges within hosts, which leaves a file that is sorted by the sky, where hosts lie together, as it is. Hosts of
    one class cannot be exchanged; where nearly all are, files are shuffled as they are.

    Parameters
    ----------
    y, file, host : ndarray, shape (n,)
        In the order of the files.
    seed : int
    """
    first_of_file = np.diff(file) != 0

    def runs(labels: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero((labels[1:] != labels[:-1]) & ~first_of_file))

    _, place = np.unique(host, return_inverse=True)
    mixed = np.bincount(place[y], minlength=place.max(initial=0) + 1) > 0
    mixed &= np.bincount(place[~y], minlength=len(mixed)) > 0
    group = place if mixed.sum() >= _MIXED_HOSTS else file
    by_group = np.argsort(group, kind="stable")
    draws = rng.generator(seed, "export.check.runs")
    found, labels = [], np.empty(len(y), bool)
    for _ in range(_SHUFFLES):
        labels[by_group] = y[np.lexsort((draws.random(len(y)), group))]
        found.append(runs(labels))
    scatter = float(np.std(found, ddof=1))
    return _two_sided(runs(y) - float(np.mean(found)), scatter**2)


def association(y: NDArray[np.bool_], kind: ArrayLike, host: NDArray[np.int64], stratum: ArrayLike) -> float:
    """Probability of the classes' shares in groups of samples, if groups know nothing of the class.

    A host's excess of positives over its stratum's share is summed in each group; the scatter is that of the hosts.

    Parameters
    ----------
    y : ndarray of bool, shape (n,)
    kind : array_like, shape (n,)
        Group of each sample: its file, a character of its name.
    host : ndarray of int64, shape (n,)
    stratum : array_like, shape (n,)
    """
    excess = y.astype(np.float64)
    for rows in _strata(stratum):
        excess[rows] -= excess[rows].mean()
    _, group = np.unique(np.asarray(kind), return_inverse=True)
    _, place = np.unique(host, return_inverse=True)
    n_hosts = int(place.max(initial=-1)) + 1
    cell, of_cell = np.unique(group.astype(np.int64) * n_hosts + place, return_inverse=True)
    sums = np.bincount(of_cell, weights=excess)
    n_groups = int(group.max(initial=-1)) + 1
    total = np.bincount(cell // n_hosts, weights=sums, minlength=n_groups)
    square = np.bincount(cell // n_hosts, weights=sums**2, minlength=n_groups)
    some = square > 1e-9
    if not some.any() or n_groups < 2:
        return 1.0
    return float(chdtrc(int(some.sum()), (total[some] ** 2 / square[some]).sum()))


def _strata(stratum: ArrayLike) -> Sequence[NDArray[np.int64]]:
    """Rows of each stratum, in their order."""
    _, place = np.unique(np.asarray(stratum), return_inverse=True)
    order = np.argsort(place, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(order) else []


def _two_sided(total: float, variance: float) -> float:
    return 1.0 if variance <= 0 else float(2 * ndtr(-abs(total) / np.sqrt(variance)))


def of_areas(
    name: str,
    facts: Facts,
    scores: dict[str, ArrayLike],
    cure: str,
    more: tuple[Measured, ...] = (),
    weight: Floats | None = None,
    by_chance: Collection[str] = (),
) -> CheckResult:
    """Judge a check by the areas of some scores: FAIL if any fails, PASS if all pass.

    Parameters
    ----------
    name : str
        Of the check.
    facts : Facts
    scores : dict of array_like, shape (n,)
    cure : str
        What to say if one fails: what it means, and what to do.
    more : tuple of Measured
        Other numbers of the check, already judged; their verdicts count.
    weight : ndarray, shape (n,), optional
        Of samples, in place of those in training.
    by_chance : collection of str
        Scores in which no sample stands out: these pass within ``MAX_CHANCE_AUC``.

    Returns
    -------
    CheckResult
    """
    if why := facts.is_one_class():
        return CheckResult(name, CheckVerdict.NOT_TESTED, why)
    each = facts.weight if weight is None else weight
    every = [
        area(n, facts.y, s, facts.host, each, facts.seed, passes=MAX_CHANCE_AUC if n in by_chance else None)
        for n, s in scores.items()
    ]
    every += more
    verdict = worst(tuple(m.verdict for m in every))
    if verdict is CheckVerdict.FAIL:
        bad = "; ".join(f"{m.name} {m.found:.3f}" for m in every if m.verdict is CheckVerdict.FAIL)
        reason = f"{bad}: {cure}"
    elif verdict is CheckVerdict.INCONCLUSIVE:
        left = [m for m in every if m.verdict is CheckVerdict.INCONCLUSIVE]
        reason = "; ".join(
            f"{m.name} {m.found:.3f} (within {1 - m.limit:g} to {m.limit:g} it would pass)" for m in left
        )
        reason += ": the interval crosses the limit. More samples would decide"
    elif verdict is CheckVerdict.NOT_TESTED:
        reason = "the classes are on fewer than two hosts each: no interval"
    else:
        furthest = max((m for m in every if np.isfinite(m.found.high)), key=lambda m: abs(m.found.value - 0.5))
        reason = f"furthest from 0.5: {furthest.name} {furthest.found:.3f}"
    return CheckResult(name, verdict, reason, tuple(every))
