"""Completeness of another population: rows weighted by how much more, or less, of them it holds.

Weights are what they are to the target population over what they are to the injections. What matters for the interval
is how many *recovered* rows carry them: the ordinary effective size may look comfortable while a handful decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import CompletenessError
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Floats, named
from lensflow.stats.proportions import clopper_pearson, from_variance

# Effective numbers of recovered rows: below the first nothing is claimed, below the second it is marked.
TOO_FEW, ROUGH = 10, 30
# Share of a target that may be outside of what was injected.
MOST_UNCOVERED = 0.2
TESTED, NOT_TESTABLE = "TESTED", "NOT_TESTABLE"


@dataclass(frozen=True)
class Reweighted:
    """Completeness of another population, and how much it rests on.

    Attributes
    ----------
    completeness : Estimate
        Of the part of the population that injections cover, 95 % interval over hosts.
    uncovered : float
        U: share of the population outside of what was injected.
    low_bound, high_bound : float
        Completeness of the whole population if none, or all, of the uncovered part were recovered.
    n_det : float
        Effective number of recovered rows, (sum_rec w)^2 / sum_rec w^2.
    n_eff : float
        C^2 / v: effective number in the sense of Farr (2019).
    kish : float
        Effective number of all rows, (sum w)^2 / sum w^2. It says little about the recovered ones.
    most_lenses : float
        Observed lenses that a population fit may have with this set: n_eff / 4 (Farr 2019).
    most_lenses_strict : float
        The same for a log-likelihood with a variance below 1: sqrt(n_eff).
    top_share : float
        Share of the weight in the heaviest 1 % of rows.
    verdict : str
        ``TESTED`` or ``NOT_TESTABLE``.
    reason : str
        Why it is not testable; empty otherwise.
    rough : bool
        Whether n_det is below 30: the interval is then too narrow more often than it says.
    """

    completeness: Estimate
    uncovered: float
    low_bound: float
    high_bound: float
    n_det: float
    n_eff: float
    kish: float
    most_lenses: float
    most_lenses_strict: float
    top_share: float
    verdict: str
    reason: str
    rough: bool

    def to_dataset(self) -> xr.Dataset:
        """Write the numbers as a Dataset.

        Returns
        -------
        Dataset
            Without dimensions; ``completeness`` with ``_low`` and ``_high``, verdict and reason in its attrs.
        """
        plain = {f.name: named([], getattr(self, f.name), "1", f.name.replace("_", " ")) for f in fields(self)
                 if f.name not in ("completeness", "verdict", "reason")}  # fmt: skip
        ends = {k: named([], v, "1", k.replace("_", " ")) for k, v in self.completeness.fields("completeness").items()}
        hosts = {"n_hosts": named([], self.completeness.n_hosts, "1", "hosts")}
        return xr.Dataset({**ends, **hosts, **plain}, attrs={"verdict": self.verdict, "reason": self.reason})


def by_row(
    weights: ArrayLike,
    recovered: ArrayLike,
    hosts: ArrayLike,
    uncovered: float = 0.0,
    parameters: Mapping[str, ArrayLike] | None = None,
) -> Reweighted:
    """Weigh every row: C = sum w d / sum w.

    Parameters
    ----------
    weights : array_like, shape (n,)
        Density of the target over that of the injections at each valid row; any constant factor.
    recovered : array_like of bool, shape (n,)
    hosts : array_like, shape (n,)
        Host of each row.
    uncovered : float
        Share of the target outside of what was injected.
    parameters : mapping, optional
        Name -> values, for messages about a row.

    Returns
    -------
    Reweighted

    Raises
    ------
    CompletenessError
        If a weight is negative or not finite (names the first row and its parameters), if all are 0, if there is no
        row, or if ``uncovered`` is no share.
    """
    w, d = _checked(weights, recovered, parameters)
    if not 0 <= uncovered <= 1:
        raise CompletenessError(f"uncovered: a share lies in 0 to 1, not {uncovered:g}")
    value = float(w @ d / w.sum())
    return _reweighted(value, w * (d - value), w, d, hosts, uncovered)


def by_cell(
    shares: ArrayLike, cells: ArrayLike, recovered: ArrayLike, hosts: ArrayLike, covered: ArrayLike | None = None
) -> Reweighted:
    """Weigh every cell (post-stratification): C = sum share c.

    Parameters
    ----------
    shares : array_like, shape (cells,)
        Share of the target in each cell; what is missing to 1 is outside of the table.
    cells : array_like of int, shape (n,)
        Flat index of the cell of each valid row.
    recovered : array_like of bool, shape (n,)
    hosts : array_like, shape (n,)
        Host of each row.
    covered : array_like of bool, shape (cells,), optional
        Cells that may be used (tested ones); by default those with rows.

    Returns
    -------
    Reweighted
        Its variance is that of the rows about their own cell's completeness, hosts held together over cells.

    Raises
    ------
    CompletenessError
        If shares are negative or sum to more than 1, or no covered cell has a share.
    """
    share, cell = np.asarray(shares, dtype=np.float64), np.asarray(cells, dtype=np.int64)
    d = np.asarray(recovered, dtype=np.float64)
    if not np.isfinite(share).all() or (share < 0).any() or share.sum() > 1 + 1e-6:
        raise CompletenessError(f"shares of cells: from 0 on, with a sum of 1 at most, not {share.sum():.6g}")
    n = np.bincount(cell, minlength=share.size)
    usable = n > 0 if covered is None else np.asarray(covered, dtype=bool) & (n > 0)
    kept = np.where(usable, share, 0.0)
    if kept.sum() <= 0:
        raise CompletenessError("shares of cells: the target has no share in a cell with rows")
    of_row = usable[cell]
    completeness = np.bincount(cell, weights=d, minlength=share.size) / np.maximum(n, 1)
    w = (kept / np.maximum(n, 1))[cell]
    value = float(kept @ completeness / kept.sum())
    residual = (w * (d - completeness[cell]))[of_row]
    outside = max(0.0, 1 - float(kept.sum()))
    return _reweighted(value, residual, w[of_row], d[of_row], np.asarray(hosts)[of_row], outside)


def outside_share(is_inside: ArrayLike) -> Estimate:
    """U from draws of the target: the share that is outside of what was injected.

    Parameters
    ----------
    is_inside : array_like of bool, shape (draws,)
        Whether each draw lies where injections were planned.

    Returns
    -------
    Estimate
        With the exact binomial interval of the draws.
    """
    outside = ~np.asarray(is_inside, dtype=bool)
    low, high = clopper_pearson(outside.sum(), outside.size)
    return Estimate(float(outside.mean()), float(low), float(high))


def heaviest(weights: ArrayLike, parameters: Mapping[str, ArrayLike], share: float = 0.01) -> xr.Dataset:
    """Where weights blow up: the range of each parameter over the heaviest rows.

    Parameters
    ----------
    weights : array_like, shape (n,)
    parameters : mapping
        Name -> values, shape (n,).
    share : float
        Of the rows.

    Returns
    -------
    Dataset
        ``low`` and ``high`` over ``parameter``, and ``weight_share``.
    """
    w = np.asarray(weights, dtype=np.float64)
    top = _top(w, share)
    values = [np.asarray(v, dtype=np.float64)[top] for v in parameters.values()]
    ends = {name: named(["parameter"], [f(v) for v in values], "", f"{name}est value among the heaviest rows")
            for name, f in (("low", np.nanmin), ("high", np.nanmax))}  # fmt: skip
    weight = named([], w[top].sum() / w.sum(), "1", f"share of the weight in the heaviest {share:.0%} of rows")
    return xr.Dataset({**ends, "weight_share": weight}, coords={"parameter": np.array([*parameters])})


def _reweighted(value: float, residual: Floats, w: Floats, d: Floats, hosts: ArrayLike, uncovered: float) -> Reweighted:
    _, host = np.unique(np.asarray(hosts), return_inverse=True)
    count = int(host.max()) + 1
    kish = w.sum() ** 2 / (w @ w)
    variance = math.nan
    if count > 1:
        of_host = np.bincount(host, weights=residual)
        variance = count / (count - 1) * float(of_host @ of_host) / w.sum() ** 2
    value = min(max(value, 0.0), 1.0)
    made = from_variance(value, variance, len(w), count, min(count, kish))
    carried = w[d > 0]
    n_det = float(carried.sum() ** 2 / (carried @ carried)) if carried.sum() > 0 else 0.0
    sd = math.sqrt(variance) if variance >= 0 else math.nan
    estimate = Estimate(value, float(made.low), float(made.high), count, sd)
    return judged(estimate, uncovered, n_det, float(kish), float(w[_top(w, 0.01)].sum() / w.sum()))


def judged(completeness: Estimate, uncovered: float, n_det: float, kish: float, top_share: float) -> Reweighted:
    """Judge whether a completeness of another population rests on enough.

    Parameters
    ----------
    completeness : Estimate
        With its standard deviation and hosts.
    uncovered : float
        Share of the population outside of what was injected.
    n_det, kish : float
        Effective numbers of recovered and of all rows.
    top_share : float
        Share of the weight in the heaviest rows.

    Returns
    -------
    Reweighted
    """
    value, variance, count = completeness.value, completeness.sd**2, completeness.n_hosts
    n_eff = value**2 / variance if variance > 0 else (0.0 if value == 0 else math.inf if variance == 0 else math.nan)
    reasons = [
        f"{uncovered:.0%} of the population is outside of what was injected, at most {MOST_UNCOVERED:.0%} may be"
    ]
    reasons = reasons if uncovered > MOST_UNCOVERED else []
    if n_det < TOO_FEW:
        reasons.append(
            f"the weight of the recovered rows is that of {n_det:.3g} rows (N_det), at least {TOO_FEW} needed"
        )
    if count < 2:
        reasons.append("all rows share one host")
    return Reweighted(
        completeness,
        uncovered,
        (1 - uncovered) * value,
        (1 - uncovered) * value + uncovered,
        n_det,
        n_eff,
        kish,
        n_eff / 4,
        math.sqrt(n_eff),
        top_share,
        NOT_TESTABLE if reasons else TESTED,
        "; ".join(reasons),
        n_det < ROUGH,
    )


def _top(w: Floats, share: float) -> NDArray[np.int64]:
    """Heaviest rows: a share of them, at least one."""
    return np.argsort(-w, kind="stable")[: max(1, math.ceil(share * len(w)))]


def _checked(
    weights: ArrayLike, recovered: ArrayLike, parameters: Mapping[str, ArrayLike] | None
) -> tuple[Floats, Floats]:
    w, d = np.asarray(weights, dtype=np.float64), np.asarray(recovered, dtype=bool).astype(np.float64)
    if w.shape != d.shape or w.ndim != 1 or w.size == 0:
        raise CompletenessError(f"weights: one for each row, and at least one row, not {w.shape} for {d.shape}")
    wrong = ~np.isfinite(w) | (w < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        of = ", ".join(f"{name} {np.asarray(v)[row]}" for name, v in (parameters or {}).items())
        raise CompletenessError(
            f"weights: {int(wrong.sum()):,} are negative or not finite, the first is {w[row]:g} of row {row}"
            + (f" ({of})" if of else "")
        )
    if w.sum() <= 0:
        raise CompletenessError("weights: all are 0: the population has nothing where injections were put")
    return w, d
