"""Shared parts of all gates: folds and selections by host, AUCs with intervals by host."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import fingerprint
from lensflow.measure.gate.crossfit import Folds
from lensflow.measure.gate.estimators import Estimator, Fit
from lensflow.measure.gate.verdicts import Drawn
from lensflow.stats.auc import host_bootstrap, roc_points, true_rates
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import interval, spread

Floats = NDArray[np.float64]


def choose_hosts(host_index: NDArray[np.int64], max_pairs: int, seed: int) -> NDArray[np.bool_]:
    """Rows to use when there are more than ``max_pairs``: whole hosts, in an order that only the seed decides.

    A host with more rows than there is room for is passed over, and those after it are tried: one host of very many
    rows must not leave a gate with a handful. A host's place in the order depends on its index alone, so a caller may
    choose among all rows of the manifest before any pixel is read; choosing again among the chosen changes nothing.
    """
    hosts, place, count = np.unique(host_index, return_inverse=True, return_counts=True)
    order = np.argsort(rng.uniform(seed, hosts.astype(np.uint64), "gates.core.hosts")[:, 0], kind="stable")
    chosen = np.zeros(hosts.size, dtype=bool)
    left, fewest = max_pairs, int(count.min(initial=1))
    for k, rows in zip(order.tolist(), count[order].tolist(), strict=True):
        if left < fewest:
            break
        if rows <= left:
            chosen[k] = True
            left -= rows
    return chosen[place]


def chosen_hosts(host_index: NDArray[np.int64], max_pairs: int, seed: int) -> NDArray[np.int64]:
    """Hosts of the rows that :func:`choose_hosts` takes, ascending."""
    return np.unique(host_index[choose_hosts(host_index, max_pairs, seed)])


def host_folds(groups: NDArray[np.int64], folds: int, seed: int) -> Folds:
    """Training and test pairs of each fold; every host is in one test fold, whole.

    The folds of scikit-learn's shuffled ``GroupKFold``, without importing it: that takes a worker most of a second.

    Raises
    ------
    ValueError
        If there are fewer hosts than folds.
    """
    state = int(rng.generator(seed, "gates.core.folds").integers(2**31))
    hosts = np.unique(groups)
    if len(hosts) < folds:
        raise ValueError(f"{folds} folds of {len(hosts)} hosts")
    shuffled = np.random.RandomState(state).permutation(hosts)
    tests = [np.isin(groups, part) for part in np.array_split(shuffled, folds)]
    return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in tests]


@dataclass(frozen=True)
class Machine:
    """Common inputs of all fits of one gate."""

    groups: NDArray[np.int64]  # host of each pair
    folds: Folds
    estimator: Estimator
    bootstrap: int
    seed: int
    family: int = 1  # measurements of which the worst counts: each interval is one of 1 - 0.05 / family

    def crossfit(self, stamp: NDArray[Any], ctrl: NDArray[Any]) -> Fit:
        """Prepare the fits of features (pair, feature)."""
        return self.estimator.crossfit(stamp, ctrl, self.folds)

    def area(self, positive: Floats, negative: Floats, purpose: str) -> Estimate:
        """Pooled area of out-of-fold scores of all pairs, with its interval over hosts."""
        return self.interval_of(positive, negative, self.groups, purpose)[0]

    def interval_of(self, positive: Floats, negative: Floats, hosts: Any, purpose: str) -> tuple[Estimate, Floats]:
        """Pooled area of scores, with its interval over hosts, and the bootstrap's draws.

        Stamps are compared with controls of other hosts only.
        """
        labels = np.repeat([True, False], [len(positive), len(negative)])
        scores, both = np.concatenate([positive, negative]), np.concatenate([hosts, hosts])
        return self.interval_of_rows(labels, scores, both, np.unique(hosts).size, purpose)

    def interval_of_rows(
        self, labels: NDArray[np.bool_], scores: Floats, hosts: Any, n_hosts: int, purpose: str
    ) -> tuple[Estimate, Floats]:
        """Area of scores of rows that need not come in pairs; ``n_hosts`` decides how wide few hosts make it."""
        found, draws = host_bootstrap(labels, scores, hosts, self.bootstrap, self.seed, purpose)
        area = self.around(found, draws, n_hosts)
        return replace(area, low=max(0.0, area.low), high=min(1.0, area.high)), draws

    def drawn(self, host_index: NDArray[np.int64], draws: Floats, purpose: str) -> Drawn:
        """Draws of an area with the hosts that they are of, (n,), to be paired with those of another run."""
        hosts = np.unique(np.asarray(host_index, np.int64)).tolist()
        return Drawn(fingerprint(hosts, self.seed, purpose, len(self.folds)), draws)

    def roc_of(self, positive: Floats, negative: Floats, purpose: str) -> dict[str, Any]:
        """ROC of scores of all pairs, with the interval over hosts of each true positive rate: ``roc``, its ends."""
        labels = np.repeat([True, False], [len(positive), len(negative)])
        scores, both = np.concatenate([positive, negative]), np.concatenate([self.groups, self.groups])
        return self.roc_of_rows(labels, scores, both, np.unique(self.groups).size, purpose)

    def roc_of_rows(
        self, labels: NDArray[np.bool_], scores: Floats, hosts: Any, n_hosts: int, purpose: str
    ) -> dict[str, Any]:
        """ROC as :meth:`roc_of`, of rows that need not come in pairs."""
        points = roc_points(labels, scores)
        found, draws = true_rates(labels, scores, hosts, points[:, 0], self.bootstrap, self.seed, purpose)
        low, high = interval(draws, n_hosts, self.level)
        wider = training_share(len(self.folds))
        return {
            "roc": tuple((x, y) for x, y in points.tolist()),
            "roc_low": tuple(np.clip(found - wider * (found - low), 0, 1).tolist()),
            "roc_high": tuple(np.clip(found + wider * (high - found), 0, 1).tolist()),
        }

    @property
    def level(self) -> float:
        """Level of every interval."""
        return 1 - 0.05 / self.family

    def around(self, found: float, draws: Floats, n_hosts: int) -> Estimate:
        """Interval and standard deviation of a value from its bootstrap draws, for training sets that overlap."""
        low, high = interval(draws, n_hosts, self.level)
        wider = training_share(len(self.folds))
        return Estimate(
            found,
            found - wider * (found - float(low)),
            found + wider * (float(high) - found),
            n_hosts,
            wider * float(spread(draws, n_hosts)),
        )


def area_fields(area: Estimate) -> dict[str, float]:
    """``auc``, ``auc_low``, ``auc_high``, ``sd``, as controls and strata keep them."""
    return {**area.fields("auc"), "sd": area.sd}


def interval_in_words(folds: int, bootstrap: int, family: int = 1) -> str:
    """Describe how an interval is computed."""
    level = f"{100 * (1 - 0.05 / family):.4g} %" + (
        "" if family == 1 else f" (95 % for all {family} measurements together, Bonferroni)"
    )
    return (
        f"{level} expanded percentile of {bootstrap} bootstrap draws of hosts, widened by {training_share(folds):.4g} "
        "for training sets that overlap (Nadeau & Bengio 2003)"
    )


def training_share(folds: int) -> float:
    """Factor by which an interval of out-of-fold scores must grow, because the folds' training sets overlap.

    A bootstrap of the scores takes the fitted models as given. But a host that chance makes look odd moves both
    its own scores and, through training, all others: the folds err together. The factor is that of Nadeau &
    Bengio 2003 (Machine Learning 52, 239), sqrt(1 + K n_test / n_train) = sqrt(1 + K / (K - 1)), 1.5 for 5 folds.
    Measured on pure noise, 31 hosts x 100 features: the area scatters 1.6 times as much as its bootstrap says and
    the bare interval holds 0.5 in 78 % of cases; widened, in 93 to 97 % for 10 to 200 hosts, 100 or 300 features.
    """
    return math.sqrt(1 + folds / (folds - 1))
