"""What every gate is made of: folds and choices by host, the logistic regression, areas with intervals by host."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from lensflow import rng
from lensflow.diagnostics.hostsums import interval, spread
from lensflow.errors import ConvergenceError
from lensflow.gates.auc import auc, host_bootstrap

Floats = NDArray[np.float64]

TOLERANCE, MAX_ITERATIONS = 1e-8, 200
ACCEPTED_GRADIENT = 1e-7


def choose_hosts(host_index: NDArray[np.int64], max_pairs: int, seed: int) -> NDArray[np.bool_]:
    """Rows to use when there are more than ``max_pairs``: whole hosts, in an order that only the seed decides.

    A host's place in the order depends on its index alone, so a caller may choose among all rows of the manifest
    before any pixel is read.
    """
    hosts, place, count = np.unique(host_index, return_inverse=True, return_counts=True)
    order = np.argsort(rng.uniform(seed, hosts.astype(np.uint64), "gates.core.hosts")[:, 0], kind="stable")
    chosen = np.zeros(hosts.size, dtype=bool)
    chosen[order] = np.cumsum(count[order]) <= max_pairs
    return chosen[place]


def host_folds(groups: NDArray[np.int64], folds: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test pairs of each fold; every host is in one test fold, whole."""
    state = int(rng.generator(seed, "gates.core.folds").integers(2**31))
    return list(GroupKFold(folds, shuffle=True, random_state=state).split(groups, groups=groups))


@dataclass(frozen=True)
class Machine:
    """What all fits of one gate share."""

    groups: NDArray[np.int64]  # host of each pair
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]  # training and test pairs
    c: float
    bootstrap: int
    seed: int

    def area(self, positive: Floats, negative: Floats, purpose: str) -> tuple[Floats, Floats, dict[str, float]]:
        """Out-of-fold scores of both classes, and the pooled area with its interval."""
        scores = np.empty((2, len(self.groups)))
        for train, test in self.folds:
            model = fit(np.concatenate([positive[train], negative[train]]), len(train), self.c)
            scores[0, test] = model.decision_function(positive[test])
            scores[1, test] = model.decision_function(negative[test])
        return scores[0], scores[1], self.interval_of(scores[0], scores[1], self.groups, purpose)

    def interval_of(self, positive: Floats, negative: Floats, hosts: Any, purpose: str) -> dict[str, float]:
        """Pooled area of scores, with its interval over hosts."""
        labels = np.repeat([True, False], [len(positive), len(negative)])
        scores, both = np.concatenate([positive, negative]), np.concatenate([hosts, hosts])
        n_hosts = np.unique(hosts).size
        draws = host_bootstrap(labels, scores, both, self.bootstrap, self.seed, purpose)
        low, high = interval(draws, n_hosts)
        found, wider = float(auc(labels, scores)), training_share(len(self.folds))
        return {
            "auc": found,
            "auc_low": max(0.0, found - wider * (found - float(low))),
            "auc_high": min(1.0, found + wider * (float(high) - found)),
            "sd": wider * float(spread(draws, n_hosts)),
        }


def training_share(folds: int) -> float:
    """Factor by which an interval of out-of-fold scores must grow, because the folds' training sets overlap.

    A bootstrap of the scores takes the fitted models as given. But a host that chance makes look odd moves both
    its own scores and, through training, all others: the folds err together. The factor is that of Nadeau &
    Bengio 2003 (Machine Learning 52, 239), sqrt(1 + K n_test / n_train) = sqrt(1 + K / (K - 1)), 1.5 for 5 folds.
    Measured on pure noise, 31 hosts x 100 features: the area scatters 1.6 times as much as its bootstrap says and
    the bare interval holds 0.5 in 78 % of cases; widened, in 93 to 97 % for 10 to 200 hosts, 100 or 300 features.
    """
    return math.sqrt(1 + folds / (folds - 1))


def fit(features: Floats, n_positive: int, c: float) -> Pipeline:
    """Fit the gate's logistic regression; the first ``n_positive`` rows are the positives.

    Raises
    ------
    ConvergenceError
        If the solver stops before its gradient is small enough.
    """
    labels = np.arange(len(features)) < n_positive
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("lr", LogisticRegression(solver="newton-cholesky", C=c, tol=TOLERANCE, max_iter=MAX_ITERATIONS)),
        ]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(features, labels)
    doubts = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    # The solver also warns when it starts at the optimum and cannot go down any further: the gradient decides.
    if doubts and not (gradient := gradient_of(model, features, labels, c)) <= ACCEPTED_GRADIENT:
        raise ConvergenceError(
            f"core gate: logistic regression did not converge on {features.shape[0]} rows x {features.shape[1]} "
            f"features (gradient {gradient:.1e}): {doubts[-1]} A smaller gate.c (now {c:g}) makes that easier."
        )
    return model


def gradient_of(model: Pipeline, features: Floats, labels: NDArray[np.bool_], c: float) -> float:
    """Largest component of the gradient of the mean loss: what the solver's tolerance is about."""
    x = model["scale"].transform(features)
    excess = expit(model["lr"].decision_function(x)) - labels
    slopes = (x.T @ excess + model["lr"].coef_[0] / c) / len(x)
    return float(max(np.abs(slopes).max(), abs(excess.mean())))
