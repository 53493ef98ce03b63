"""Can a classifier tell real lenses from injections on matched hosts?

Logistic regression on standardised features, both sides with the same weight, folds by matched set. Scores of different
folds come from different fits and are compared within folds only. The interval is a bootstrap over matched sets,
widened for training sets that overlap; the p-value comes from relabelling within sets, with every fit done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.config import RealismConfig
from lensflow.errors import RealismError
from lensflow.measure.gate.machine import host_folds, interval_in_words, training_share
from lensflow.measure.realism.samples import Floats, MatchedRows
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import interval, spread
from lensflow.stats.many import fit_many
from lensflow.stats.matched import areas_within, relabelled, set_bootstrap

# A feature that fewer rows lack gets no column that says so: it would be one more for the fit to get wrong.
LEAST_MISSING = 0.02
# Scores of so many labellings are held at once.
_LABELLINGS_AT_ONCE = 250


@dataclass(frozen=True, eq=False)
class Probe:
    """What the classifier found.

    Attributes
    ----------
    area : Estimate
        Area under the ROC curve within folds, with its 95 % interval over sets and standard deviation.
    p : float
        Share of relabellings within sets whose area is at least as large; NaN without relabellings.
    null_sd, null_high : float
        Standard deviation of the relabelled areas, and their 95 % quantile.
    rows : MatchedRows
        What it was fitted on.
    score : ndarray, shape (row,)
        Out-of-fold log odds of being real; of different folds not comparable.
    names : tuple of str
        Columns that were fitted; ``x missing`` says where x is NaN, ``component k`` is a principal component.
    coef : ndarray, shape (column,)
        Log odds per standard deviation, of a fit on all rows.
    constant : tuple of str
        Features left out: one value in all rows.
    missing : dict
        Feature -> rows where it is NaN.
    """

    area: Estimate
    p: float
    null_sd: float
    null_high: float
    rows: MatchedRows
    score: Floats
    names: tuple[str, ...]
    coef: Floats
    constant: tuple[str, ...]
    missing: dict[str, int]

    @property
    def largest(self) -> list[tuple[str, float]]:
        """Columns with their log odds per standard deviation, the largest first."""
        order = np.argsort(-np.abs(self.coef), kind="stable")
        return [(self.names[k], float(self.coef[k])) for k in order]

    def fields(self) -> dict[str, Any]:
        """Numbers as controls keep them: ``auc``, its ends, ``sd``, ``p``, ``n_sets``, ``n_real``, ``n_injected``."""
        return {
            **self.area.fields("auc"), "sd": self.area.sd, "p": self.p, "null_sd": self.null_sd,
            "null_high": self.null_high, "n_sets": self.rows.n_sets, "n_real": self.rows.n_real,
            "n_injected": self.rows.n_injected, "n_features": len(self.names),
        }  # fmt: skip


def probe(
    rows: MatchedRows,
    config: RealismConfig,
    seed: int,
    purpose: str,
    *,
    permutations: int | None = None,
    components: int = 0,
) -> Probe:
    """Train on four fifths of the matched sets, test on the rest, in turn.

    Parameters
    ----------
    rows : MatchedRows
    config : RealismConfig
        ``c``, ``folds``, ``bootstrap``, ``permutations``.
    seed, purpose
        Of folds, bootstrap and relabellings.
    permutations : int, optional
        By default those of the config; 0 for no p-value.
    components : int
        Principal components that replace the features, fitted inside each fold on its training rows without labels;
        0 for none. Fewer where there are not as many.

    Returns
    -------
    Probe

    Raises
    ------
    RealismError
        If there are fewer sets than folds, or no feature differs between rows.
    ConvergenceError
        If a fit does not converge.
    """
    if rows.n_sets < config.folds:
        raise RealismError(f"{purpose}: {rows.n_sets} matched sets for {config.folds} folds (realism.folds)")
    x, names, constant, missing = filled(rows)
    if not names:
        raise RealismError(f"{purpose}: no feature differs between rows ({', '.join(constant) or 'none'} constant)")
    folds = host_folds(rows.sets, config.folds, seed)
    count = config.permutations if permutations is None else permutations
    labels = np.column_stack([rows.is_real, relabelled(rows.is_real, rows.sets, count, seed, f"{purpose}.relabel")])
    score, areas = np.empty(0), np.empty(labels.shape[1])
    tests = [test for _, test in folds]
    for first in range(0, labels.shape[1], _LABELLINGS_AT_ONCE):
        some = slice(first, first + _LABELLINGS_AT_ONCE)
        scores = crossfit(x, labels[:, some], folds, config.c, components)
        areas[some] = areas_within(labels[:, some], scores, tests)
        if first == 0:
            score = scores[:, 0].copy()
    draws = set_bootstrap(rows.is_real, score, rows.sets, tests, config.bootstrap, seed, f"{purpose}.interval")
    coef, fitted = _whole(x, rows.is_real, config.c, components, names)
    null = areas[1:]
    return Probe(
        around(float(areas[0]), draws, rows.n_sets, config.folds),
        float((1 + (null >= areas[0] - 1e-12).sum()) / (1 + count)) if count else float("nan"),
        float(null.std(ddof=1)) if count > 1 else float("nan"),
        float(np.quantile(null, 0.95)) if count else float("nan"),
        rows, score, fitted, coef, constant, missing,
    )  # fmt: skip


def crossfit(
    x: Floats,
    labels: NDArray[np.bool_],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    c: float,
    components: int = 0,
) -> Floats:
    """Out-of-fold log odds of several labellings, shape (n, k).

    Parameters
    ----------
    x : ndarray, shape (n, p)
        Finite.
    labels : ndarray of bool, shape (n, k)
    folds : sequence of (train, test)
    c : float
        Inverse strength of the penalty.
    components : int
        As of :func:`probe`.
    """
    out = np.empty(labels.shape)
    for train, test in folds:
        prepare = _Prepared.of(x[train], components)
        theta = fit_many(prepare.apply(x[train]), labels[train], _balanced(labels[train]), 1 / c)
        out[test] = prepare.apply(x[test]) @ theta[:-1] + theta[-1]
    return out


def around(found: float, draws: Floats, n_sets: int, folds: int = 0) -> Estimate:
    """Interval of an area from its draws, widened for folds whose training sets overlap (0: no training)."""
    low, high = interval(draws, n_sets)
    wider = training_share(folds) if folds else 1.0
    return Estimate(
        found,
        max(0.0, found - wider * (found - float(low))),
        min(1.0, found + wider * (float(high) - found)),
        n_sets,
        wider * float(spread(draws, n_sets)),
    )


def filled(rows: MatchedRows) -> tuple[Floats, list[str], tuple[str, ...], dict[str, int]]:
    """Values with missing ones at the feature's mean, and a column for each feature that is sometimes missing.

    Returns
    -------
    ndarray (row, column), names of the columns, names of the features that are constant, missing values by feature
    """
    gone = np.isnan(rows.values)
    held = (~gone).sum(axis=0)
    mean = np.where(gone, 0.0, rows.values).sum(axis=0) / np.maximum(held, 1)
    x = np.where(gone, mean, rows.values)
    size = np.maximum(np.abs(x).max(axis=0, initial=0.0), np.finfo(np.float64).tiny)
    varies = np.ptp(x, axis=0) > 1e-9 * size if len(x) else np.zeros(x.shape[1], dtype=bool)
    some = np.flatnonzero((gone.mean(axis=0) >= LEAST_MISSING) & (held > 0))
    # Features that are missing together share a column.
    some = some[np.sort(np.unique(gone[:, some], axis=1, return_index=True)[1])] if some.size else some
    names = [n for n, v in zip(rows.names, varies, strict=True) if v] + [f"{rows.names[k]} missing" for k in some]
    constant = tuple(n for n, v in zip(rows.names, varies, strict=True) if not v)
    missing = {n: int(k) for n, k in zip(rows.names, gone.sum(axis=0), strict=True) if k}
    return np.concatenate([x[:, varies], gone[:, some].astype(np.float64)], axis=1), names, constant, missing


def recipe(config: RealismConfig) -> dict[str, Any]:
    """What the numbers depend on, in words."""
    return {
        "estimator": "logistic regression on features standardised inside folds, exact optimum "
        f"(Newton, C={config.c:g}), both sides with the same weight",
        "missing": f"the feature's mean, and a column that says so if {LEAST_MISSING:.0%} of the rows lack it",
        "folds": config.folds,
        "grouping": "matched set",
        "score": "area within each fold, averaged over folds",
        "interval": interval_in_words(config.folds, config.bootstrap).replace("of hosts", "of matched sets"),
        "permutations": config.permutations,
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Standardisation, and principal components after it, of some training rows."""

    centre: Floats
    scale: Floats
    axes: Floats | None

    @classmethod
    def of(cls, x: Floats, components: int) -> _Prepared:
        centre, scale = x.mean(axis=0), x.std(axis=0)
        # A feature that is constant in the training rows, to rounding, has nothing to be divided by.
        scale = np.where(scale > 1e-9 * np.maximum(np.abs(x).max(axis=0), 1e-300), scale, 1.0)
        if not 0 < components < x.shape[1]:
            return cls(centre, scale, None)
        _, size, axes = np.linalg.svd((x - centre) / scale, full_matrices=False)
        kept = min(components, int((size > 1e-9 * size[0]).sum()))
        return cls(centre, scale, axes[:kept].T / (size[:kept] / np.sqrt(len(x))))

    def apply(self, x: Floats) -> Floats:
        """Features of rows as the fit takes them."""
        z = (x - self.centre) / self.scale
        return z if self.axes is None else z @ self.axes


def _balanced(labels: NDArray[np.bool_]) -> Floats:
    positive = labels.sum(axis=0)
    if ((positive == 0) | (positive == len(labels))).any():
        raise RealismError("a fold trains on one side only: more matched sets are needed")
    return np.where(labels, 0.5 * len(labels) / positive, 0.5 * len(labels) / (len(labels) - positive))


def _whole(
    x: Floats, is_real: NDArray[np.bool_], c: float, components: int, names: list[str]
) -> tuple[Floats, tuple[str, ...]]:
    prepare = _Prepared.of(x, components)
    labels = is_real[:, None]
    coef = fit_many(prepare.apply(x), labels, _balanced(labels), 1 / c)[:-1, 0]
    if prepare.axes is None:
        return coef, tuple(names)
    return coef, tuple(f"component {k + 1}" for k in range(coef.size))
