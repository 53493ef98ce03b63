"""What a scorer recovers of other populations of lenses: those that ``completeness.populations`` names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.config.completeness import default_axes
from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.reweight import (
    AnotherPopulation,
    Rows,
    refuse_other_kind,
    reweight_rows,
)
from lensflow.measure.completeness.population.reweight_cells import axes_of_target, reweight_cells
from lensflow.measure.completeness.population.reweighting import NOT_TESTABLE
from lensflow.measure.completeness.population.target_population import TargetPopulation, read_target
from lensflow.stats.hostsums import named
from lensflow.store import paths
from lensflow.store.open import read_attrs
from lensflow.store.run_folder import RunFolder

_NUMBERS = {
    "completeness": "of the part that was injected", "completeness_low": "lower end of its 95 % interval over hosts",
    "completeness_high": "upper end of it", "n_hosts": "hosts of the valid rows",
    "uncovered": "share of the population outside of what was injected",
    "uncovered_low": "lower end of its 95 % interval", "uncovered_high": "upper end of it",
    "low_bound": "completeness of all of it if nothing of the rest were recovered",
    "high_bound": "completeness of all of it if all of the rest were recovered",
    "n_det": "effective number of recovered rows", "n_eff": "effective number in the sense of Farr (2019)",
    "kish": "effective number of all rows", "most_lenses": "observed lenses that a population fit may have",
    "most_lenses_strict": "the same for a log-likelihood with a variance below 1",
    "top_share": "share of the weight in the heaviest 1 % of rows", "rough": "fewer than 30 effective recovered rows",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A population that was read.

    Attributes
    ----------
    target : TargetPopulation
    by : str
        ``row`` where the plan has a density of every parameter that it names, ``cell`` otherwise and for catalogues.
    """

    target: TargetPopulation
    by: Literal["row", "cell"]


def populations_source(config: RunConfig) -> str:
    """Fingerprint of the files of the populations, and of the catalogues that they name; empty without any."""
    files = config.completeness.populations
    return fingerprint([[paths.content(f), _catalogue(f)] for f in files]) if files else ""


def _catalogue(file: str) -> str:
    target = read_target(file)
    return "" if not target.catalogue else fingerprint({k: v.tolist() for k, v in target.catalogue.items()})


def populations_of(config: RunConfig) -> list[Wanted]:
    """Read the populations, and refuse before any work those that these injections cannot be weighed onto.

    Parameters
    ----------
    config : RunConfig
        Of a finished run.

    Returns
    -------
    list of Wanted

    Raises
    ------
    ConfigError
        If a file is no population, two have one name, a density is asked of a list of the plan, or a parameter has
        neither a density in the plan nor an axis of the selection function.
    """
    files = config.completeness.populations
    if not files:
        return []
    prior = InjectedPrior.of(config, read_attrs(RunFolder.of(config).manifest, "manifest"))
    found = [_wanted(read_target(f), str(f), prior, _axes(config, prior)) for f in files]
    names = [w.target.name for w in found]
    if len(set(names)) < len(names):
        raise ConfigError(f"completeness.populations: names tell them apart, and one stands twice: {', '.join(names)}")
    return found


def _wanted(target: TargetPopulation, file: str, prior: InjectedPrior, axes: Sequence[Ranges]) -> Wanted:
    unknown = ""
    if not target.catalogue:
        try:
            prior.refuse_twice(target.parameters)
            densities = {name: prior.density(name) for name in target.parameters}
        except ConfigError as error:
            unknown = str(error)
        else:
            refuse_other_kind(densities, target)
            return Wanted(target, "row")
    try:
        axes_of_target(axes, target, prior)
    except ConfigError as error:
        raise ConfigError(f"completeness.populations: {file}: {'; by cell: '.join(filter(None, (unknown, str(error))))}"
                          ) from None  # fmt: skip
    return Wanted(target, "cell")


def _axes(config: RunConfig, prior: InjectedPrior) -> list[Ranges]:
    axes = config.completeness.axes or default_axes(prior.reference_band)
    return [Ranges.of(a.variable, a.edges) for a in axes]


def populations_table(
    config: RunConfig, wanted: Sequence[Wanted], scored: xr.Dataset, prior: InjectedPrior, kind: str,
    found: dict[str, xr.Dataset],
) -> dict[str, xr.Dataset]:  # fmt: skip
    """Weigh the rows of the curve ``all`` at every threshold.

    Parameters
    ----------
    config : RunConfig
    wanted : sequence of Wanted
    scored : Dataset
        Rows of the split with their scores.
    prior : InjectedPrior
        That they were drawn from.
    kind : str
        Of the scorer.
    found : dict of Dataset
        Tables of the completeness, with thresholds.

    Returns
    -------
    dict of Dataset
        ``populations``, over ``population`` and ``threshold``; nothing where none is wanted.
    """
    if not wanted:
        return {}
    counted = Counted.from_rows(scored)
    rows = scored.isel(sample=counted.rows)
    recovered = counted.recovered(found["thresholds"]["tau"].values.tolist())
    verdict, reason = (str(found["funnel"].attrs[k]) for k in ("verdict", "reason"))
    axes, of = _axes(config, prior), config.completeness
    lines: list[list[dict[str, Any]]] = []
    for want in wanted:
        lines.append([])
        for here in recovered:
            injected = Rows(rows, prior, counted.valid, here, {})
            try:
                if want.by == "row":
                    weighed = reweight_rows(injected, want.target, config.seed)
                else:
                    weighed = reweight_cells(injected, want.target, axes, of.min_hosts, of.min_rows)
                lines[-1].append(_line(weighed.of_scorer("", kind, verdict, reason)))
            except CompletenessError as error:
                lines[-1].append(_nothing(want, str(error)))
    over = ["population", "threshold"]

    def grid(name: str) -> np.ndarray:
        return np.array([[line[name] for line in of_target] for of_target in lines])

    texts = {"method": "by row or by cell", "target": "the population in words", "verdict": "TESTED or NOT_TESTABLE",
             "reason": "why it is not testable", "notes": "what was cut, normalised or noticed"}  # fmt: skip
    data = {k: named(over, grid(k), "1", text) for k, text in _NUMBERS.items()}
    data |= {k: named(over, grid(k).astype(str), "", text) for k, text in texts.items()}
    return {"populations": xr.Dataset(data, coords={"population": [w.target.name for w in wanted]})}


def _line(weighed: AnotherPopulation) -> dict[str, Any]:
    ds = weighed.to_dataset()
    return {
        **{k: ds[k].item() for k in _NUMBERS}, "method": weighed.method, "target": weighed.target,
        "verdict": weighed.verdict, "reason": weighed.result.reason, "notes": "; ".join(weighed.notes),
    }  # fmt: skip


def _nothing(want: Wanted, reason: str) -> dict[str, Any]:
    numbers = dict.fromkeys(_NUMBERS, np.nan) | {"n_hosts": 0, "rough": False, "low_bound": 0.0, "high_bound": 1.0}
    return {
        **numbers, "method": want.by, "target": want.target.words, "verdict": NOT_TESTABLE, "reason": reason,
        "notes": "",
    }  # fmt: skip
