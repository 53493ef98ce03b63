"""Completeness of another population from injection rows, each weighed by p / q."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng
from lensflow.errors import CompletenessError, ConfigError, LensflowWarning
from lensflow.measure.completeness.population.densities import Density
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.reweighting import (
    NOT_TESTABLE,
    Reweighted,
    by_row,
    heaviest,
    outside_share,
)
from lensflow.measure.completeness.population.target_population import TargetPopulation
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Floats, named

# Draws of a target that tell how much of it was injected.
DRAWS = 100_000
# Weights of draws of q have the mean 1 - U: further off than this, and than 6 of its standard errors, is a warning.
_MEAN_WITHIN, _SIGMAS = 0.05, 6.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Injection rows of one scorer at one threshold.

    Attributes
    ----------
    rows : Dataset
        Columns of the manifest and of hosts, over ``sample`` and ``band``; all planned injections.
    prior : InjectedPrior
        That they were drawn from.
    valid, recovered : ndarray of bool, shape (n,)
    log_q : mapping
        Parameter -> logarithm of its density at each row, where a published set has it.
    """

    rows: xr.Dataset
    prior: InjectedPrior
    valid: NDArray[np.bool_]
    recovered: NDArray[np.bool_]
    log_q: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class AnotherPopulation:
    """Completeness of another population, with what it rests on.

    Attributes
    ----------
    result : Reweighted
        Its numbers and verdict.
    method : str
        ``row`` or ``cell``.
    target : str
        The population in words.
    uncovered : Estimate
        U, with the interval of its draws; exact by cell.
    heaviest : Dataset
        Range of each parameter over the heaviest 1 % of rows, and their share of the weight.
    notes : tuple of str
        What was cut, normalised or noticed.
    whose : str
        Scorer, threshold and split; empty where not known.
    """

    result: Reweighted
    method: str
    target: str
    uncovered: Estimate
    heaviest: xr.Dataset
    notes: tuple[str, ...] = ()
    whose: str = ""

    @property
    def completeness(self) -> Estimate:
        """Of the part of the population that injections cover."""
        return self.result.completeness

    @property
    def verdict(self) -> str:
        """``TESTED`` or ``NOT_TESTABLE``."""
        return self.result.verdict

    def of_scorer(self, whose: str, kind: str, verdict: str, reason: str) -> AnotherPopulation:
        """Return it with what is known of the scorer: weighing makes nothing of what cannot be measured.

        Parameters
        ----------
        whose : str
            Scorer, threshold and split.
        kind : str
            ``truth`` for one that reads what was injected.
        verdict, reason : str
            Of its completeness; empty where it can be measured.

        Returns
        -------
        AnotherPopulation
        """
        notes = (
            *self.notes,
            *(["detectability by definition: the scorer reads what was injected"] * (kind == "truth")),
        )
        if not verdict:
            return replace(self, notes=notes, whose=whose)
        why = "; ".join(filter(None, (reason, self.result.reason)))
        return replace(self, result=replace(self.result, verdict=NOT_TESTABLE, reason=why), notes=notes, whose=whose)

    def __str__(self) -> str:
        found = self.result
        mark = f" {found.verdict}: {found.reason}." if found.reason else " rough." if found.rough else ""
        whose = f" of {self.whose}" if self.whose else ""
        size = f"N_det {found.n_det:.0f}, N_eff {found.n_eff:.0f}"
        return (
            f"completeness {found.completeness:.3g}{whose} for {self.target} (by {self.method}; {size}); "
            f"{found.uncovered:.1%} outside of what was injected, so {found.low_bound:.3g} to {found.high_bound:.3g} "
            f"for all of it.{mark}"
        )

    def to_dataset(self) -> xr.Dataset:
        """Write it as a Dataset.

        Returns
        -------
        Dataset
            As :meth:`Reweighted.to_dataset`, with the interval of U, ``heaviest_low`` and ``heaviest_high`` over
            ``parameter``, and method, target and notes in the attrs.
        """
        ends = self.uncovered.fields("uncovered")
        more: dict[str, Any] = {f"heaviest_{k}": self.heaviest[k] for k in ("low", "high", "weight_share")}
        more |= {k: named([], v, "1", "share of the population outside of what was injected") for k, v in ends.items()}
        attrs = {"method": self.method, "target": self.target, "notes": list(self.notes), "whose": self.whose}
        return self.result.to_dataset().assign(more).assign_attrs(attrs)


def reweight_rows(injected: Rows, target: TargetPopulation, seed: int = 0) -> AnotherPopulation:
    """Weigh every valid row by p / q of the parameters that the target names; all others keep the injected prior.

    Parameters
    ----------
    injected : Rows
    target : TargetPopulation
        Of densities.
    seed : int
        Of the draws that tell what was not injected.

    Returns
    -------
    AnotherPopulation

    Raises
    ------
    ConfigError
        If the target is a catalogue, a parameter has no known density in the plan, or a density is asked of a
        parameter that the plan draws from a list (a grid), or masses of one that it draws from a range.
    CompletenessError
        If no row carries weight, or a row is not of the plan.
    """
    if target.catalogue:
        raise ConfigError(f"{target.name}: a catalogue has no density at a row: reweight by cell (by='cell')")
    prior, names = injected.prior, target.parameters
    prior.refuse_twice(names)
    refuse_other_kind({name: prior.density(name) for name in names}, target)
    some = np.flatnonzero(injected.valid)
    rows = injected.rows.isel(sample=some)
    values = {name: prior.values(name, rows) for name in names}
    log_q = _log_q(injected, names, rows, some)
    with np.errstate(divide="ignore"):
        log_p = sum((np.log(target.densities[k].p(v)) for k, v in values.items()), np.zeros(len(some)))
        weights = np.exp(log_p - log_q)
    uncovered = _uncovered(injected, target, seed)
    found = by_row(weights, injected.recovered[some], rows["host_index"].values, uncovered.value, values)
    notes = (*target.all_notes, *_notes_of_mean(weights, rows["host_index"].values, uncovered))
    return AnotherPopulation(found, "row", target.words, uncovered, heaviest(weights, values), notes)


def refuse_other_kind(densities: Mapping[str, Density], target: TargetPopulation) -> None:
    """Refuse a density over a list of the plan, and masses over a range of it.

    Parameters
    ----------
    densities : mapping
        Parameter -> density of the plan.
    target : TargetPopulation

    Raises
    ------
    ConfigError
    """
    for name, of in densities.items():
        discrete = name in target.densities and target.densities[name].is_discrete
        if of.is_discrete and not discrete:
            raise ConfigError(
                f"{target.name}: {name}: the plan draws {of.words}, and a list (a grid) can only be weighed onto its "
                "own values: give masses at them ({value: mass}), or inject a range"
            )
        if discrete and not of.is_discrete:
            raise ConfigError(
                f"{target.name}: {name}: the plan draws {of.words}; masses at single values are no density: give one"
            )


def _log_q(injected: Rows, names: Sequence[str], rows: xr.Dataset, some: NDArray[np.int64]) -> Floats:
    """Density of the plan; where a set was published with its own, both must agree."""
    computed = injected.prior.log_q(names, rows)
    if all(name in injected.log_q for name in names):
        stored = sum((injected.log_q[name][some] for name in names), np.zeros(len(some)))
        if not np.allclose(stored, computed, rtol=0, atol=1e-6):
            row = int(np.argmax(~np.isclose(stored, computed, rtol=0, atol=1e-6)))
            raise CompletenessError(
                f"row_id {int(rows['row_id'].values[row])}: log q of {', '.join(names)} is {stored[row]:.6g} in the "
                f"set, {computed[row]:.6g} by its plan: another version of lensflow made it. Publish it again"
            )
    return computed


def _uncovered(injected: Rows, target: TargetPopulation, seed: int) -> Estimate:
    """U by draws of the target; what a density is conditional on is taken from rows, or from the draw itself."""
    ids = np.arange(DRAWS, dtype=np.uint64)
    drawn = {k: d.draw(rng.uniform(seed, ids, f"reweight: {k}")[:, 0]) for k, d in target.densities.items()}
    densities = {k: injected.prior.density(k) for k in drawn}
    conditions = sorted({c for d in densities.values() for c in d.given})
    given: dict[str, Floats] = {}
    if conditions:
        n = injected.rows.sizes["sample"]
        pick = (rng.uniform(seed, ids, "reweight: rows")[:, 0] * n).astype(np.int64)
        given = {k: v[pick] for k, v in injected.prior.conditions(conditions, injected.rows).items()}
        given |= {k: v for k, v in drawn.items() if k in given}
    inside = np.ones(DRAWS, bool)
    for name, of in densities.items():
        inside &= of.inside(drawn[name], given)
    return outside_share(inside)


def _notes_of_mean(weights: Floats, hosts: NDArray[np.int64], uncovered: Estimate) -> tuple[str, ...]:
    """Tell of weights whose mean is not what it must be: p or q is another than was thought."""
    _, host = np.unique(hosts, return_inverse=True)
    count = int(host.max()) + 1
    mean, expected = float(weights.mean()), 1 - uncovered.value
    of_host = np.bincount(host, weights=weights - mean)
    sd = float(np.sqrt(count / max(count - 1, 1) * (of_host @ of_host))) / len(weights)
    if abs(mean - expected) <= max(_MEAN_WITHIN * expected, _SIGMAS * sd):
        return ()
    note = (
        f"the mean of the weights is {mean:.3g}, not {expected:.3g} (1 less the share outside): valid rows are not a "
        "fair sample of the plan, or few rows hold most of the weight"
    )
    warnings.warn(note, LensflowWarning, stacklevel=4)
    return (note,)
