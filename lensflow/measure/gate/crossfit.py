"""Out-of-fold scores of a gate: one logistic regression per fold of hosts, sharing label-independent work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, ClassVar

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lensflow.errors import GateError
from lensflow.stats.newton import Floats, Solution, Sums, minimise, minimise_together, slopes_of, sums_of

Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]

TOLERANCE, MAX_ITERATIONS = 1e-7, 200


@dataclass(frozen=True)
class Linear:
    """Logistic regression with inverse L2 strength ``c``."""

    c: float
    null_swaps: ClassVar[int] = 8

    def describe(self) -> str:
        """Describe the estimator with all hyperparameters."""
        return (
            f"logistic regression on standardised features, exact optimum (Newton, C={self.c:g}, tol={TOLERANCE:g}, "
            f"max_iter={MAX_ITERATIONS})"
        )

    def crossfit(self, stamp: NDArray[Any], ctrl: NDArray[Any], folds: Folds) -> CrossFit:
        """Prepare the fits of features (pair, feature)."""
        return CrossFit.of(stamp, ctrl, folds, self.c)


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Both classes' features, in blocks by the fold that tests them.

    A fold's model is what ``LogisticRegression`` gives on the other folds after a ``StandardScaler`` fitted there.
    All blocks are kept in one common standardisation; a fold's own enters as the penalty of each coefficient, which
    is the same optimum. Sums over all rows less those over a fold are the sums over its training rows, so one
    Hessian near the optimum serves every fold, and one at 0, which no label enters, serves every set of labels.
    A host's rows have one control: rows with the same features are kept once, with their number as weight.

    Attributes
    ----------
    test : list of ndarray
        Pairs that each fold tests.
    blocks : list of ndarray, shape (r, p)
        Their features, standardised, each different row once.
    places : list of ndarray of int, shape (2 m,)
        Where in the block each row is: first those of the m stamps, then those of the m controls.
    weights : list of ndarray, shape (r,)
        How many rows each one of a block is.
    penalties : list of ndarray, shape (p,)
        Of each fold's squared coefficients.
    penalty : float
        1 / C, for a fit of all rows.
    trained : list of list of int
        Blocks that each fold trains on.
    """

    test: list[NDArray[np.int64]]
    blocks: list[Floats]
    places: list[NDArray[np.int64]]
    weights: list[Floats]
    penalties: list[Floats]
    penalty: float
    trained: list[list[int]]

    @classmethod
    def of(cls, stamp: NDArray[np.floating], ctrl: NDArray[np.floating], folds: Folds, c: float) -> CrossFit:
        """Standardise and group the features (pair, feature) of stamps and their controls."""
        test = [rows for _, rows in folds]
        blocks, places, weights = zip(*(_each_once(stamp[rows], ctrl[rows]) for rows in test), strict=True)
        trained = [_blocks_of(train, test) for train, _ in folds]
        counts = np.array([w.sum() for w in weights])
        centre = sum(w @ b for b, w in zip(blocks, weights, strict=True)) / counts.sum()
        for b in blocks:
            b -= centre
        means = np.array([w @ b / w.sum() for b, w in zip(blocks, weights, strict=True)])
        within = np.array([w @ (b - m) ** 2 for b, w, m in zip(blocks, weights, means, strict=True)])
        scale = _scale(counts, means, within, centre)
        for b in blocks:
            b /= scale
        penalties = []
        for some in trained:
            own = _scale(counts[some], means[some], within[some], centre)
            penalties.append((own / scale) ** 2 / c)
        return cls(test, list(blocks), list(places), list(weights), penalties, 1 / c, trained)

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return sum(len(rows) for rows in self.test)

    def scores(self, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Out-of-fold decision functions of stamps and of controls, each of shape (n,).

        Parameters
        ----------
        positive : ndarray of bool, shape (n,)
            Pairs whose stamp is the positive and whose control is the negative; in the others labels are swapped.
        """
        labels = self._labels(positive)
        # There may be much to learn, and Hessians at 0 would be far off.
        start = self.whole.theta if positive.all() else np.zeros(self.blocks[0].shape[1] + 1)
        hessians = self._hessians(start) if positive.all() else self._at_zero
        out, folds = np.empty((2, self.n_pairs)), range(len(self.test))
        thetas = self._fit_folds(labels, start, hessians)
        if thetas is None:
            thetas = np.stack([self._fit(labels, fold, start, hessians).theta for fold in folds], axis=1)
        for fold, rows in enumerate(self.test):
            found = self.blocks[fold] @ thetas[:-1, fold] + thetas[-1, fold]
            out[:, rows] = found[self.places[fold]].reshape(2, -1)
        return out[0], out[1]

    def scores_of_swaps(self, positives: NDArray[np.bool_]) -> Floats:
        """Scores as :meth:`scores`, shape (k, 2, n), of labels (k, n) that are swapped at random, so near 0.5 each."""
        labels = self._labels(positives)
        out = np.empty((len(positives), 2, self.n_pairs))
        for fold, rows in enumerate(self.test):
            trained, penalty = self.trained[fold], self.penalties[fold]
            weight, n_sets = sum(self.weights[k].sum() for k in trained), len(positives)

            def slopes(thetas: Floats, trained: list[int] = trained) -> Floats:
                return reduce(add, [slopes_of(self.blocks[k], labels[k], self.weights[k], thetas) for k in trained])

            at_zero, zero = self._training(self._at_zero, fold), np.zeros(len(penalty) + 1)
            thetas = minimise_together(
                slopes,
                np.full(n_sets, float(weight)),
                np.tile(penalty[:, None], n_sets),
                [at_zero],
                np.tile(zero[:, None], n_sets),
                TOLERANCE,
            )
            if thetas is None:
                single = [[own[:, k] for own in labels] for k in range(len(positives))]
                thetas = np.stack([self._fit(own, fold, zero, self._at_zero).theta for own in single], axis=1)
            found = self.blocks[fold] @ thetas[:-1] + thetas[-1]
            out[:, :, rows] = found[self.places[fold]].T.reshape(len(positives), 2, -1)
        return out

    @cached_property
    def whole(self) -> Solution:
        """Fit of all rows; coefficients are per standard deviation of the feature."""
        labels = self._labels(np.ones(self.n_pairs, dtype=bool))
        p = self.blocks[0].shape[1]
        return minimise(
            lambda theta, hessian: self._sums(labels, range(len(self.blocks)), theta, hessian),
            np.full(p, self.penalty),
            np.zeros(p + 1),
            tol=TOLERANCE,
            max_iter=MAX_ITERATIONS,
            hessian=reduce(add, self._at_zero),
            who="gate",
        )

    def summary(self) -> tuple[tuple[float, ...], dict[str, Any]]:
        """Coefficients of the fit of all rows, and how it went."""
        whole = self.whole
        return tuple(whole.theta[:-1].tolist()), {"iterations": whole.n_iter, "gradient_max": whole.gradient_norm}

    def differences(self) -> list[Floats]:
        """Standardised features of each fold's stamps less those of their controls."""
        halves = ((b, *np.split(place, 2)) for b, place in zip(self.blocks, self.places, strict=True))
        return [b[stamps] - b[controls] for b, stamps, controls in halves]

    def curvature_at_zero(self, fold: int) -> Floats:
        """Penalised Hessian of a fold's training rows at 0, shape (p + 1, p + 1); labels do not enter."""
        out = self._training(self._at_zero, fold)
        p = len(self.penalties[fold])
        out[np.arange(p), np.arange(p)] += self.penalties[fold]
        return out

    @cached_property
    def _at_zero(self) -> list[Floats]:
        return self._hessians(np.zeros(self.blocks[0].shape[1] + 1))

    def _hessians(self, theta: Floats) -> list[Floats]:
        out = []
        for b, weight in zip(self.blocks, self.weights, strict=True):
            hessian = sums_of(b, np.zeros(len(b)), weight, theta, True).hessian
            assert hessian is not None
            out.append(hessian)
        return out

    def _training(self, hessians: list[Floats], fold: int) -> Floats:
        return reduce(add, [hessians[k] for k in self.trained[fold]])

    def _fit(self, labels: list[Floats], fold: int, start: Floats, hessians: list[Floats]) -> Solution:
        return minimise(
            lambda theta, hessian: self._sums(labels, self.trained[fold], theta, hessian),
            self.penalties[fold],
            start,
            tol=TOLERANCE,
            max_iter=MAX_ITERATIONS,
            hessian=self._training(hessians, fold),
            who="gate",
        )

    def _fit_folds(self, labels: list[Floats], start: Floats, hessians: list[Floats]) -> Floats | None:
        """Coefficients of every fold, (p + 1, fold), all from one start; None where they are far from it."""
        n_folds = len(self.test)
        trains = [[fold for fold in range(n_folds) if k in self.trained[fold]] for k in range(len(self.blocks))]

        def slopes(thetas: Floats) -> Floats:
            out = np.zeros(thetas.shape)
            for block, own, weight, some in zip(self.blocks, labels, self.weights, trains, strict=True):
                out[:, some] += slopes_of(block, own[:, None], weight, thetas[:, some])
            return out

        return minimise_together(
            slopes,
            np.array([float(sum(self.weights[k].sum() for k in some)) for some in self.trained]),
            np.stack(self.penalties, axis=1),
            [self._training(hessians, fold) for fold in range(n_folds)],
            np.tile(start[:, None], n_folds),
            TOLERANCE,
        )

    def _sums(self, labels: list[Floats], blocks: range | list[int], theta: Floats, hessian: bool) -> Sums:
        return reduce(add, [sums_of(self.blocks[k], labels[k], self.weights[k], theta, hessian) for k in blocks])

    def _labels(self, positive: NDArray[np.bool_]) -> list[Floats]:
        """Share of positives of each block's rows, shape (r,); of several sets of labels (k, n), shape (r, k)."""
        both = (np.concatenate([positive[..., rows], ~positive[..., rows]], axis=-1) for rows in self.test)
        out = []
        for labels, place, weight in zip(both, self.places, self.weights, strict=True):
            one = csr_array((np.ones(len(place)), (place, np.arange(len(place)))), shape=(len(weight), len(place)))
            out.append(np.asarray((one @ labels.T.astype(np.float64)).T / weight).T)
        return out


def _each_once(stamp: NDArray[Any], ctrl: NDArray[Any]) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Different rows of both classes, float64; where each of stamps, then controls, is among them; how many each is."""
    both = np.ascontiguousarray(np.concatenate([stamp, ctrl]))
    keys = [xxhash.xxh3_128_intdigest(row.data) for row in both]
    place_of = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    place = np.array([place_of[key] for key in keys], np.int64)
    first = np.unique(place, return_index=True)[1]
    return both[first].astype(np.float64), place, np.bincount(place, minlength=len(first)).astype(np.float64)


def _scale(counts: Floats, means: Floats, within: Floats, level: Floats) -> Floats:
    """Standard deviations over blocks of given means and squares within; 1 for a feature constant to rounding.

    Constancy is judged at ``level``, the features' size before they were centred.
    """
    n, eps = counts.sum(), np.finfo(np.float64).eps
    mean = counts @ means / n
    variance = (within.sum(axis=0) + counts @ (means - mean) ** 2) / n
    return np.where(variance <= n * eps * variance + (n * level * eps) ** 2, 1.0, np.sqrt(variance))


def _blocks_of(train: NDArray[np.int64], test: list[NDArray[np.int64]]) -> list[int]:
    """Return the folds whose test pairs a fold trains on: they must be whole."""
    some = [k for k, rows in enumerate(test) if np.isin(rows, train).any()]
    if sum(len(test[k]) for k in some) != len(train):
        raise GateError("a fold trains on a part of another's test pairs")
    return some
