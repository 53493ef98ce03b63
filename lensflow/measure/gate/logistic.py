"""Exact L2-penalised logistic regression for arrays in memory and for Dask arrays of row blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from numbers import Integral, Real
from operator import add
from typing import Any, Self

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lensflow.stats.newton import Floats, Sums, minimise, sums_of

# Partial results that one task adds up.
FAN_IN = 8


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

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012  (scikit-learn's own name and form)
        "C": [Interval(Real, 0, None, closed="right")],
        "standardize": ["boolean"],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

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
        self._validate_params()
        blocks = self._dask_blocks(X, y, sample_weight) if _is_dask(X) else self._blocks(X, y, sample_weight)
        p = self.n_features_in_
        centre, scale = np.zeros(p), np.ones(p)
        if self.standardize:
            centre, scale = blocks.moments()
        blocks = blocks.prepared(centre, scale)
        solution = minimise(
            lambda theta, hessian: blocks.sums(theta, hessian, self.fit_intercept),
            np.full(p, 0.0 if np.isinf(self.C) else 1 / self.C),
            np.zeros(p + 1),
            tol=self.tol,
            max_iter=self.max_iter,
        )
        slopes = solution.theta[:-1] / scale
        self.coef_ = slopes[None]
        self.intercept_ = np.array([solution.theta[-1] - slopes @ centre])
        self.n_iter_ = np.array([solution.n_iter])
        self.gradient_norm_ = solution.gradient_norm
        return self

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

    def _blocks(self, X: Any, y: Any, sample_weight: Any) -> _Blocks:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        self.classes_ = _two_classes(np.unique(y))
        return _Blocks([_Block(X, (y == self.classes_[1]).astype(np.float64), weight)])

    def _dask_blocks(self, X: da.Array, y: Any, sample_weight: Any) -> _Blocks:
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimensions; features are (rows, features)")
        X = X.rechunk({1: -1})
        self.n_features_in_ = int(X.shape[1])
        y, weight = _beside(X, y, "y"), None if sample_weight is None else _beside(X, sample_weight, "sample_weight")
        labels = dask.compute(*[delayed(np.unique)(b) for b in _parts(y)])
        self.classes_ = _two_classes(np.unique(np.concatenate(labels)))
        weights = [None] * X.numblocks[0] if weight is None else _parts(weight)
        made = [
            delayed(_checked)(x, t, w, self.classes_, k)
            for k, (x, t, w) in enumerate(zip(_parts(X), _parts(y), weights, strict=True))
        ]
        return _Blocks(made)


@dataclass(frozen=True, eq=False)
class _Block:
    """Rows with labels 0 and 1 and their weights (None for ones)."""

    x: NDArray[Any]
    y: Floats
    weight: Floats | None

    def moments(self) -> _Moments:
        x = self.x.astype(np.float64, copy=False)
        w = np.ones(len(x)) if self.weight is None else self.weight
        mean = w @ x / max(w.sum(), np.finfo(np.float64).tiny)
        return _Moments(float(w.sum()), mean, w @ (x - mean) ** 2, len(x))

    def prepared(self, centre: Floats, scale: Floats) -> _Block:
        x = self.x.astype(np.float64, copy=False)
        if centre.any() or (scale != 1).any():
            x = (x - centre) / scale
        return _Block(x, self.y, self.weight)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Weighted mean and sum of squared deviations; merged as in Chan, Golub & LeVeque 1983."""

    weight: float
    mean: Floats
    squares: Floats
    rows: int

    def __add__(self, other: _Moments) -> _Moments:
        weight = self.weight + other.weight
        share = other.weight / weight if weight else 0.0
        apart = other.mean - self.mean
        return _Moments(
            weight,
            self.mean + apart * share,
            self.squares + other.squares + apart**2 * self.weight * share,
            self.rows + other.rows,
        )

    def scale(self) -> Floats:
        """Standard deviations; 1 for a feature that is constant to rounding (as scikit-learn's StandardScaler)."""
        variance, eps = self.squares / self.weight, np.finfo(np.float64).eps
        constant = variance <= self.rows * eps * variance + (self.rows * self.mean * eps) ** 2
        return np.where(constant, 1.0, np.sqrt(variance))


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks in memory or delayed, and sums over them."""

    blocks: list[Any]
    centre: Floats | None = None
    scale: Floats | None = None

    @property
    def lazy(self) -> bool:
        return isinstance(self.blocks[0], Delayed)

    def moments(self) -> tuple[Floats, Floats]:
        total: _Moments = _tree(_moments_of, self.blocks) if self.lazy else self.blocks[0].moments()
        return total.mean, total.scale()

    def prepared(self, centre: Floats, scale: Floats) -> _Blocks:
        if self.lazy:
            return _Blocks(self.blocks, centre, scale)
        return _Blocks([self.blocks[0].prepared(centre, scale)])

    def sums(self, theta: Floats, hessian: bool, intercept: bool) -> Sums:
        if self.lazy:
            # Reading the blocks again for the Hessian alone would cost more than always taking it along.
            total: Sums = _tree(_sums_of, self.blocks, theta, self.centre, self.scale)
        else:
            block = self.blocks[0]
            total = sums_of(block.x, block.y, block.weight, theta, hessian)
        return total if intercept else _pinned(total)


def _pinned(sums: Sums) -> Sums:
    """Without an intercept nothing depends on it: its row is that of an unrelated parabola with its minimum at 0."""
    gradient, hessian = sums.gradient.copy(), sums.hessian
    gradient[-1] = 0.0
    if hessian is not None:
        hessian = hessian.copy()
        hessian[-1], hessian[:, -1], hessian[-1, -1] = 0.0, 0.0, 1.0
    return Sums(sums.weight, sums.loss, gradient, hessian, sums.reach)


def _moments_of(block: _Block) -> _Moments:
    return block.moments()


def _sums_of(block: _Block, theta: Floats, centre: Floats, scale: Floats) -> Sums:
    block = block.prepared(centre, scale)
    return sums_of(block.x, block.y, block.weight, theta, True)


def _tree(function: Any, blocks: list[Delayed], *arguments: Any) -> Any:
    parts = [delayed(function)(b, *arguments) for b in blocks]
    while len(parts) > 1:
        parts = [delayed(_total)(parts[k : k + FAN_IN]) for k in range(0, len(parts), FAN_IN)]
    return dask.compute(parts[0])[0]


def _total(parts: list[Any]) -> Any:
    return reduce(add, parts)


def _is_dask(X: Any) -> bool:
    return isinstance(X, da.Array)


def _parts(array: da.Array) -> list[Delayed]:
    return list(array.to_delayed().ravel())


def _beside(X: da.Array, values: Any, name: str) -> da.Array:
    """Labels or weights in blocks of the same rows as the features."""
    known = not np.isnan(X.shape[0])
    if not _is_dask(values):
        values = np.asarray(values)
        if not known:
            raise ValueError(f"{name} is an array in memory but X has blocks of unknown size: X.compute_chunk_sizes()")
        values = da.from_array(values, chunks=-1)
    if values.ndim != 1 or (known and not np.isnan(values.shape[0]) and values.shape[0] != X.shape[0]):
        raise ValueError(f"{name} has shape {values.shape} for X of shape {X.shape}")
    if known and not np.isnan(values.shape[0]):
        values = values.rechunk({0: X.chunks[0]})
    if values.numblocks[0] != X.numblocks[0]:
        raise ValueError(f"{name} has {values.numblocks[0]} blocks of rows, X has {X.numblocks[0]}")
    return values


def _checked(x: Any, y: Any, weight: Any, classes: NDArray[Any], number: int) -> _Block:
    x = np.asarray(x)
    weight = None if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(x) == len(y) == (len(x) if weight is None else len(weight)):
        raise ValueError(f"block {number}: {len(x)} rows of features, {len(y)} labels")
    finite = np.isfinite(x).all(axis=1) if weight is None else np.isfinite(x).all(axis=1) & np.isfinite(weight)
    if not finite.all():
        raise ValueError(f"Input X contains NaN or infinity: row {int(np.argmin(finite))} of block {number}")
    if weight is not None and (weight < 0).any():
        raise ValueError(f"negative sample_weight in block {number}")
    return _Block(x, (y == classes[1]).astype(np.float64), weight)


def _two_classes(found: NDArray[Any]) -> NDArray[Any]:
    if found.size > 2:
        raise ValueError(f"Only binary classification is supported. {found.size} classes were found: {found[:5]}")
    if found.size < 2:
        raise ValueError(
            f"This solver needs samples of 2 classes in the data, the data contains only one class: {found}"
        )
    return found
