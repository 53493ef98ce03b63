"""Statistics of the checks: areas with intervals over hosts, and tests of order and of association by host.

Probabilities are two-sided. Where samples of one host cannot be exchanged one by one (they lie in one file, and hosts
have unequal numbers of injections), a test's scatter is that of whole hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, ndtr
from scipy.stats import rankdata

from lensflow.export.check.results import CheckVerdict, Measured
from lensflow.stats.auc import host_bootstrap
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import drawn_units, interval

Floats = NDArray[np.float64]

# Largest area under the ROC curve, on either side of 1/2, and smallest probability of all tests of a check together.
MAX_AUC, MIN_P = 0.55, 1e-4
# With fewer hosts the scatter of whole hosts is not known well enough for a probability of 1e-4.
FEW_HOSTS = 40
BOOTSTRAP = 400


def area(
    name: str,
    y: NDArray[np.bool_],
    score: ArrayLike,
    host: NDArray[np.int64],
    weight: Floats,
    seed: int,
    limit: float = MAX_AUC,
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

    Returns
    -------
    Measured
        PASS if the whole interval lies within; FAIL if it lies outside; NOT_TESTED without two classes on two hosts.
    """
    s = np.asarray(score, dtype=np.float64)
    some = np.isfinite(s)
    y, s, host, weight = y[some], s[some], host[some], weight[some]
    if s.size and (s == s[0]).all() and np.unique(y).size == 2:  # nothing varies: nothing can be told
        return Measured(name, Estimate(0.5, 0.5, 0.5, np.unique(host).size), limit, CheckVerdict.PASS)
    unit, n_units = drawn_units(host)
    value, draws = host_bootstrap(y, s, unit, BOOTSTRAP, seed, f"export.check.{name}", weight)
    n_hosts = int(np.unique(host).size)
    low, high = (float(v) for v in interval(draws[:, None], min(n_hosts, n_units))) if s.size else (np.nan, np.nan)
    found = Estimate(value, low, high, n_hosts)
    if not found.is_measured:
        return Measured(name, found, limit, CheckVerdict.NOT_TESTED)
    if low >= 1 - limit and high <= limit:
        verdict = CheckVerdict.PASS
    elif low > limit or high < 1 - limit:
        verdict = CheckVerdict.FAIL
    else:
        verdict = CheckVerdict.INCONCLUSIVE
    return Measured(name, found, limit, verdict)


def probability(name: str, p: float, tests: int) -> Measured:
    """A probability times the number of tests, judged against ``MIN_P``."""
    p = min(1.0, p * tests)
    return Measured(name, Estimate(p), MIN_P, CheckVerdict.FAIL if p < MIN_P else CheckVerdict.PASS)


def rank_test(y: NDArray[np.bool_], score: ArrayLike, stratum: ArrayLike) -> float:
    """Probability of the classes' ranks within strata, if samples of a stratum lie in any order (van Elteren).

    Parameters
    ----------
    y : ndarray of bool, shape (n,)
    score, stratum : array_like, shape (n,)
    """
    total = variance = 0.0
    for rows in _strata(stratum):
        n, positives = len(rows), int(y[rows].sum())
        if 0 < positives < n:
            rank = rankdata(np.asarray(score)[rows])
            rank = (rank - rank.mean()) / (n + 1)
            total += rank[y[rows]].sum()
            variance += positives * (n - positives) / (n * (n - 1)) * (rank**2).sum()
    return _two_sided(total, variance)


def rank_test_by_host(
    y: NDArray[np.bool_], score: ArrayLike, stratum: ArrayLike, host: NDArray[np.int64]
) -> float:
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


def runs_test(y: NDArray[np.bool_], stratum: ArrayLike) -> float:
    """Probability of the number of runs of one class within strata, if their samples lie in any order.

    Wald & Wolfowitz 1940, Ann. Math. Stat. 11, 147. Few runs: samples of a class lie together. Many: classes take
    turns.
    """
    total = variance = 0.0
    for rows in _strata(stratum):
        n, a = len(rows), int(y[rows].sum())
        product = 2.0 * a * (n - a)
        if product > 0 and n > 1:
            total += 1 + np.count_nonzero(np.diff(y[rows].astype(np.int8))) - (1 + product / n)
            variance += product * (product - n) / (n**2 * (n - 1))
    return _two_sided(total, variance)


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
