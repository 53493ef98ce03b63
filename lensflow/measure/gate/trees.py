"""Out-of-fold scores of gradient-boosted trees, for leaks that a linear fit cannot see.

A logistic regression sees a difference of means along one direction. Trees also see a difference of scatter, and of
combinations whose single features are alike in both classes. They are fitted as the linear gate is: one model per
fold of hosts, on the stamps and controls of all other hosts.

They are no better judge of everything. A split looks at one feature at a time, so a constant added to every pixel,
which a linear fit finds in differences between pixels, drowns in how galaxies differ: with few hosts the positive
control says so, and such a gate is NOT_TESTABLE where it does not fail.

Five fits of 20,000 pairs with 300 features take 23 s of one core; with its controls and reference a gate of that size
takes two to three minutes, where the linear one takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lensflow import rng
from lensflow.measure.gate.crossfit import Folds

Floats = NDArray[np.float64]

# Small trees and a fixed number of them: stopping early would need a validation set split by host, and tuning on the
# data would make the null control mean less.
SETTINGS: dict[str, Any] = {
    "max_iter": 100,
    "learning_rate": 0.1,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 20,
    "l2_regularization": 0.0,
    "max_bins": 255,
    "early_stopping": False,
}


def _classifier(random_state: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier  # most gates are linear

    return HistGradientBoostingClassifier(**SETTINGS, random_state=random_state)


@dataclass(frozen=True)
class Trees:
    """Gradient-boosted trees (scikit-learn's HistGradientBoostingClassifier) with fixed settings.

    Attributes
    ----------
    random_state : int
        Used by scikit-learn only where it bins features from a sample, beyond 200,000 rows.
    """

    random_state: int
    # A swap costs as many fits as the gate itself, and here a fit takes seconds.
    null_swaps: ClassVar[int] = 3

    @classmethod
    def seeded(cls, seed: int) -> Trees:
        """Trees of a run with this seed."""
        return cls(int(rng.generator(seed, "gates.trees").integers(2**31)))

    def describe(self) -> str:
        """Describe the estimator with all hyperparameters."""
        settings = ", ".join(f"{k}={v}" for k, v in SETTINGS.items())
        return (
            "gradient-boosted trees on the features as they are (HistGradientBoostingClassifier of scikit-learn, "
            f"{settings}, random_state={self.random_state}); no coefficients, and no permutation test: it would take "
            "a fit for every swap"
        )

    def crossfit(self, stamp: NDArray[Any], ctrl: NDArray[Any], folds: Folds) -> TreeFit:
        """Prepare the fits of features (pair, feature)."""
        return TreeFit(stamp, ctrl, folds, self.random_state)

    def row_scores(self, train: Floats, positive: NDArray[np.bool_], test: Floats) -> Floats:
        """Log odds of unpaired rows; both classes have equal weight."""
        share = positive.mean()
        weight = np.where(positive, 0.5 / share, 0.5 / (1 - share))
        train, test = _bins_of(train, test)
        with threadpool_limits(1, user_api="openmp"):
            model = _classifier(self.random_state)
            model.fit(train, positive, sample_weight=weight)
            return np.asarray(model.decision_function(test))


def _bins_of(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Numbers of the bins of every feature, split where the training rows have their quantiles.

    scikit-learn bins weighted rows by a search for each edge of each feature (1.9: ten times the time of the fit); a
    feature with no more values than bins it takes as it is. Unweighted rows it bins as here.
    """
    shares = np.linspace(0, 1, SETTINGS["max_bins"] + 1)[1:-1]
    edges = np.quantile(train, shares, axis=0, method="averaged_inverted_cdf").T
    both = np.array([np.searchsorted(e, v) for e, v in zip(edges, np.concatenate([train, test]).T, strict=True)])
    numbers = both.T.astype(np.float64)
    return numbers[: len(train)], numbers[len(train) :]


@dataclass(frozen=True, eq=False)
class TreeFit:
    """Features of pairs and the folds that trees are fitted in.

    Attributes
    ----------
    stamp, ctrl : ndarray, shape (n, p)
    folds : list of (training pairs, test pairs)
    random_state : int
    """

    stamp: NDArray[Any]
    ctrl: NDArray[Any]
    folds: Folds
    random_state: int

    @property
    def test(self) -> list[NDArray[np.int64]]:
        """Pairs that each fold tests."""
        return [rows for _, rows in self.folds]

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.stamp)

    def scores(self, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Out-of-fold log odds of stamps and of controls, each of shape (n,).

        Parameters
        ----------
        positive : ndarray of bool, shape (n,)
            Pairs whose stamp is the positive and whose control is the negative; in the others labels are swapped.
        """
        out = np.empty((2, self.n_pairs))
        # OpenMP keeps its limit per thread, so one set where the gates are started does not hold here; with as many
        # threads as cores in each of several gates, they wait for each other (measured: 15 times slower).
        with threadpool_limits(1, user_api="openmp"):
            for train, test in self.folds:
                model = _classifier(self.random_state)
                labels = np.concatenate([positive[train], ~positive[train]])
                model.fit(np.concatenate([self.stamp[train], self.ctrl[train]]), labels)
                out[0, test], out[1, test] = (model.decision_function(v[test]) for v in (self.stamp, self.ctrl))
        return out[0], out[1]

    def scores_of_swaps(self, positives: NDArray[np.bool_]) -> Floats:
        """Scores of several sets of labels (k, n), shape (k, 2, n): stamps, then controls."""
        return np.array([self.scores(positive) for positive in positives])

    def summary(self) -> tuple[tuple[float, ...], dict[str, Any]]:
        """No coefficients; the number of trees of each fit."""
        return (), {"iterations": SETTINGS["max_iter"]}
