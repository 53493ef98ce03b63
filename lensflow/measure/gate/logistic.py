"""Exact L2-penalised logistic regression for arrays in memory and for Dask arrays of row blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from operator import add
from typing import Any, Self

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lensflow.errors import ConvergenceError
from lensflow.stats.newton import Floats, Sums, minimise, sums_of

# Partial results that one task adds up.
FAN_IN = 8
# Of at least so many blocks a few are fitted first, to this gradient.
LEAST_BLOCKS, FEW, ROUGHLY = 12, 3, 1e-4


class LogisticRegression(ClassifierMixin, BaseEstimator):
    """Binary logistic regression with an L2 penalty, solved exactly by Newton's method.

    Minimises ``C * sum(weight * log loss) + ||coef||^2 / 2`` as scikit-learn's does, with the intercept left
    unpenalised, to a gradient of rounding size; anything less is a :class:`~lensflow.errors.ConvergenceError`, never a
    warning. Dask arrays are read once per iteration, block by block where the blocks lie; only sums (a vector and a
    matrix of features x features) travel, added up in a tree in float64. Persist ``X`` first if it fits the cluster's
    memory: otherwise every iteration computes its blocks again.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty, > 0; ``inf`` for none.
    standardize : bool
        Divide each feature by its (weighted) standard deviation for the fit, so that the penalty treats all alike;
        ``coef_`` and ``intercept_`` are for the features as given. As a ``StandardScaler`` in a ``Pipeline``, which
        does the same for arrays in memory; Dask arrays take one more read.
    fit_intercept : bool
        Whether there is an intercept.
    tol : float
        Aim for the largest component of the gradient of the mean loss, and for the Newton decrement.
    max_iter : int
        Newton steps at most.

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
        The labels, sorted; the second is the positive class.
    coef_ : ndarray, shape (1, p)
    intercept_ : ndarray, shape (1,)
    n_iter_ : ndarray, shape (1,)
    gradient_norm_ : float
        Largest component of the gradient of the mean loss at the end.
    n_features_in_ : int

    Notes
    -----
    A constant feature has coefficient 0. Of features that depend on each other, with a penalty each carries its
    share and the optimum is unique; without one (``C=inf``) the decision function is unique and, without
    ``standardize``, ``coef_`` is the solution of the smallest norm. Separable classes are fitted with a penalty and
    refused without. More than two classes are refused, and sparse matrices too.

    Examples
    --------
    >>> model = LogisticRegression(C=1.0, standardize=True).fit(features, labels)
    >>> model.decision_function(features)
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        standardize: bool = False,
        fit_intercept: bool = True,
        tol: float = 1e-9,
        max_iter: int = 100,
    ):
        self.C = C
        self.standardize = standardize
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    def __sklearn_tags__(self) -> Tags:
        """Two classes only."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array_like or dask array, shape (n, p)
        y : array_like or dask array, shape (n,)
            Two distinct labels.
        sample_weight : array_like or dask array, shape (n,), optional
            >= 0.

        Raises
        ------
        ConvergenceError
            If the optimum was not reached.
        ValueError
            If shapes do not fit, a value is not finite or there are not two classes.
        """
        for name in ("C", "tol", "max_iter"):
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.number) and value > 0):
                raise ValueError(f"The {name!r} parameter must be a number > 0, not {value!r}")
        blocks = self._dask_blocks(X, y, sample_weight) if _is_dask(X) else self._blocks(X, y, sample_weight)
        p = self.n_features_in_
        centre, scale = _moments(blocks) if self.standardize else (np.zeros(p), np.ones(p))
        blocks = [delayed(_scaled)(b, centre, scale) if _is_lazy(blocks) else _scaled(b, centre, scale) for b in blocks]
        penalty = np.full(p, 0.0 if np.isinf(self.C) else 1 / self.C)
        solution = minimise(
            partial(_sums, blocks, self.fit_intercept),
            penalty,
            self._start(blocks, penalty),
            tol=self.tol,
            max_iter=self.max_iter,
            dear_reads=_is_lazy(blocks),
        )
        slopes = solution.theta[:-1] / scale
        self.coef_ = slopes[None]
        self.intercept_ = np.array([solution.theta[-1] - slopes @ centre])
        self.n_iter_ = np.array([solution.n_iter])
        self.gradient_norm_ = solution.gradient_norm
        return self

    def _start(self, blocks: list[Any], penalty: Floats) -> Floats:
        """Where to start: the optimum of a few of many blocks, near which two or three steps are enough for all.

        Those few are read once and kept on the workers. Where they have no optimum of their own (one class only, no
        penalty), or the blocks are in memory or few, the fit starts at 0; the optimum is the same.
        """
        nothing = np.zeros(len(penalty) + 1)
        if not _is_lazy(blocks) or len(blocks) < LEAST_BLOCKS or not penalty.all():
            return nothing
        some = list(dask.persist(*blocks[:: len(blocks) // FEW]))
        try:
            return minimise(
                partial(_sums, some, self.fit_intercept),
                penalty * len(some) / len(blocks),
                nothing,
                tol=ROUGHLY,
                max_iter=self.max_iter,
                dear_reads=True,
            ).theta
        except (ConvergenceError, ValueError):
            return nothing

    def decision_function(self, X: Any) -> Any:
        """Log odds of the second class, shape (n,); lazy for a Dask array."""
        check_is_fitted(self)
        if _is_dask(X):
            return self._lazily(X, "decision_function", np.float64)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return X @ self.coef_[0] + self.intercept_[0]

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of both classes, shape (n, 2); lazy for a Dask array."""
        check_is_fitted(self)
        if _is_dask(X):
            return self._lazily(X, "predict_proba", np.float64, 2)
        margin = self.decision_function(X)
        return np.stack([expit(-margin), expit(margin)], axis=1)

    def predict(self, X: Any) -> Any:
        """Label of the likelier class, shape (n,); lazy for a Dask array."""
        check_is_fitted(self)
        if _is_dask(X):
            return self._lazily(X, "predict", self.classes_.dtype)
        return self.classes_[(self.decision_function(X) > 0).astype(np.int64)]

    def _lazily(self, X: da.Array, method: str, dtype: Any, columns: int = 0) -> da.Array:
        X = X.rechunk({1: -1})
        shape: dict[str, Any] = {"chunks": (X.chunks[0], (columns,))} if columns else {"drop_axis": 1}
        return X.map_blocks(
            getattr(self, method), dtype=dtype, meta=np.empty((0,) * (1 + bool(columns)), dtype), **shape
        )

    def _blocks(self, X: Any, y: Any, sample_weight: Any) -> list[_Block]:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_ = _two_classes(np.unique(y))
        return [_checked(X, y, None if sample_weight is None else column_or_1d(sample_weight), self.classes_, 0)]

    def _dask_blocks(self, X: da.Array, y: Any, sample_weight: Any) -> list[Delayed]:
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimensions; features are (rows, features)")
        X = X.rechunk({1: -1})
        self.n_features_in_ = int(X.shape[1])
        labels = _beside(X, y, "y")
        weights = None if sample_weight is None else _beside(X, sample_weight, "sample_weight")
        rows = _delayed(X, *(v for v in (labels, weights) if v is not None))
        labels = rows[1]
        weights = [None] * X.numblocks[0] if weights is None else rows[2]
        found = dask.compute(*[delayed(np.unique)(b) for b in labels])
        self.classes_ = _two_classes(np.unique(np.concatenate(found)))
        parts = zip(rows[0], labels, weights, strict=True)
        return [delayed(_checked)(*part, self.classes_, k) for k, part in enumerate(parts)]


# Features, labels 0 and 1, weights (None for ones) of some rows.
_Block = tuple[NDArray[Any], Floats, Floats | None]


def _checked(x: Any, y: Any, weight: Any, classes: NDArray[Any], number: int) -> _Block:
    x, weight = np.asarray(x), None if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(x) == len(y) == (len(x) if weight is None else len(weight)):
        raise ValueError(f"block {number}: {len(x)} rows of features, {len(y)} labels")
    # A sum is finite only of finite numbers, and fast; where it is not, the numbers may still be.
    with np.errstate(over="ignore", invalid="ignore"):
        doubtful = not np.isfinite(x.sum())
    if doubtful and not (finite := np.isfinite(x).all(axis=1)).all():
        raise ValueError(f"Input X contains NaN or infinity: row {int(np.argmin(finite))} of block {number}")
    if weight is not None and not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"Negative, NaN or infinite values in sample_weight, block {number}")
    return x, (y == classes[1]).astype(np.float64), weight


def _scaled(block: _Block, centre: Floats, scale: Floats) -> _Block:
    x, y, weight = block
    x = x.astype(np.float64, copy=False)
    return (x - centre) / scale if centre.any() or (scale != 1).any() else x, y, weight


def _moments(blocks: list[Any]) -> tuple[Floats, Floats]:
    """Weighted means and standard deviations; 1 for a feature that is constant to rounding, as in StandardScaler."""
    weight, rows, *total = _total(blocks, _first_moments)
    weight = max(weight, np.finfo(np.float64).tiny)  # weights of nothing but 0 are refused further on
    mean = np.array(total) / weight
    variance, eps = _total(blocks, _second_moments, mean) / weight, np.finfo(np.float64).eps
    constant = variance <= rows * eps * variance + (rows * mean * eps) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _first_moments(block: _Block) -> Floats:
    x, _, weight = block
    w = np.ones(len(x)) if weight is None else weight
    return np.concatenate([[w.sum(), len(x)], w @ x.astype(np.float64, copy=False)])


def _second_moments(block: _Block, mean: Floats) -> Floats:
    x, _, weight = block
    w = np.ones(len(x)) if weight is None else weight
    return np.asarray(w @ (x.astype(np.float64, copy=False) - mean) ** 2)


def _sums(blocks: list[Any], intercept: bool, theta: Floats, hessian: bool) -> Sums:
    sums: Sums = _total(blocks, _sums_of, theta, hessian)
    if intercept:
        return sums
    # Nothing depends on it: its row is that of an unrelated parabola with its minimum at 0.
    gradient, curvature = sums.gradient.copy(), sums.hessian
    gradient[-1] = 0.0
    if curvature is not None:
        curvature = curvature.copy()
        curvature[-1], curvature[:, -1], curvature[-1, -1] = 0.0, 0.0, 1.0
    return replace(sums, gradient=gradient, hessian=curvature)


def _sums_of(block: _Block, theta: Floats, hessian: bool) -> Sums:
    return sums_of(*block, theta, hessian)


def _total(blocks: list[Any], function: Any, *arguments: Any) -> Any:
    """Sum of a function over the blocks, where they lie: of delayed ones in a tree."""
    if not _is_lazy(blocks):
        return function(blocks[0], *arguments)
    parts = [delayed(function)(b, *arguments) for b in blocks]
    while len(parts) > 1:
        parts = [delayed(_add)(parts[k : k + FAN_IN]) for k in range(0, len(parts), FAN_IN)]
    return dask.compute(parts[0])[0]


def _add(parts: list[Any]) -> Any:
    return reduce(add, parts)


def _is_dask(X: Any) -> bool:
    return isinstance(X, da.Array)


def _is_lazy(blocks: list[Any]) -> bool:
    return isinstance(blocks[0], Delayed)


def _delayed(*arrays: da.Array) -> list[list[Delayed]]:
    """Blocks of rows of arrays, each optimised by itself unless they share work: what is shared is then done once."""
    layers: list[set[str]] = [{*a.__dask_graph__().layers} for a in arrays]
    shared = len(set.union(*layers)) < sum(len(own) for own in layers)
    return [list(a.to_delayed(optimize_graph=not shared).ravel()) for a in arrays]


def _beside(X: da.Array, values: Any, name: str) -> da.Array:
    """Labels or weights in blocks of the same rows as the features."""
    values = values if _is_dask(values) else da.from_array(np.asarray(values), chunks=-1)
    known = not np.isnan([X.shape[0], *values.shape]).any()
    if values.ndim != 1 or (known and values.shape[0] != X.shape[0]):
        raise ValueError(f"{name} has shape {values.shape} for X of shape {X.shape}")
    values = values.rechunk({0: X.chunks[0]}) if known else values
    if values.numblocks[0] != X.numblocks[0]:
        raise ValueError(
            f"{name} has {values.numblocks[0]} blocks of rows, X has {X.numblocks[0]}, of unknown lengths: "
            "compute_chunk_sizes() of both"
        )
    return values


def _two_classes(found: NDArray[Any]) -> NDArray[Any]:
    if found.size > 2:
        raise ValueError(f"Only binary classification is supported. {found.size} classes were found: {found[:5]}")
    if found.size < 2:
        raise ValueError(
            f"This solver needs samples of 2 classes in the data, the data contains only one class: {found}"
        )
    return found
