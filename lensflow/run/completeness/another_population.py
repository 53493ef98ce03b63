"""Completeness of another population, from a published set of injections or a measured completeness."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lensflow.config import PlanConfig
from lensflow.config.completeness import band_of
from lensflow.config.yaml_text import parse_yaml
from lensflow.errors import ConfigError, StaleStoreError
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.injection_set import InjectionSet, injections_beside, read_injection_set
from lensflow.measure.completeness.population.reweight import AnotherPopulation, reweight_rows
from lensflow.measure.completeness.population.reweight_cells import reweight_cells
from lensflow.measure.completeness.population.reweight_table import reweight_table
from lensflow.measure.completeness.population.target_population import TargetPopulation, as_target
from lensflow.run.selection import Selection, open_selection
from lensflow.store.results import read_results


def reweight(
    injections: InjectionSet | Selection | str | Path | Any,
    target: TargetPopulation | Mapping[str, Any] | str,
    *,
    by: Literal["row", "cell"] | None = None,
    threshold: int | None = None,
    curve: str = "all",
    min_hosts: int = 10,
    min_rows: int = 20,
    seed: int = 0,
) -> AnotherPopulation:
    """Completeness of another population of lenses, with what it rests on.

    Injections are drawn from the prior q of a plan; the target is another prior p of some parameters. All parameters
    that it does not name keep q.

    Parameters
    ----------
    injections : InjectionSet, Selection, str, path or Completeness
        Published injections (``lensflow completeness RUN SCORER --publish``), their file, or a completeness beside
        whose results they are. Or a selection function or its ``.zarr``: by cell, with an interval that is wider,
        because the table does not say which hosts its cells share.
    target : TargetPopulation, mapping or str
        Of :func:`target_population`, :func:`lens_catalogue` or :func:`read_lenspop`; parameter -> density; or a YAML
        file.
    by : str, optional
        ``row`` weighs each row by p / q; ``cell`` weighs the cells of the axes that the target names, which is coarser
        and needs no density q. Default: by row, a catalogue by cell.
    threshold : int, optional
        Number of the threshold; needed if there are several.
    curve : str
        ``all``, ``clean`` or ``no_psf_fallback``.
    min_hosts, min_rows : int
        By cell: hosts and rows that a cell needs to be used.
    seed : int
        Of the 100,000 draws that tell, by row, how much of the target was not injected.

    Returns
    -------
    AnotherPopulation
        Completeness of the covered part with its interval over hosts, the uncovered share U and the bounds for all,
        N_det, N_eff, and a verdict: NOT_TESTABLE if U > 0.2, N_det < 10, or all rows share one host.

    Raises
    ------
    ConfigError
        If the plan has no density of a parameter, draws it from a list that the target does not keep to, or the target
        names what is no axis (by cell).
    CompletenessError
        If there is no such file, or no row carries weight.

    Examples
    --------
    >>> import lensflow as lf
    >>> from scipy import stats
    >>> radii = lf.target_density(stats.expon(scale=0.5), support=(0.5, 2.5))
    >>> lf.reweight("finder.val.injections.parquet", {"theta_e_arcsec": radii})
    """
    if by not in (None, "row", "cell"):
        raise ConfigError(f"by: row or cell, not {by!r}")
    population = as_target(target)
    if isinstance(injections, str | Path) and str(injections).rstrip("/").endswith(".zarr"):
        injections = open_selection(injections)
    if isinstance(injections, Selection):
        if by == "row":
            raise ConfigError(f"by: row: {injections.path} has cells and no rows: give the published injections")
        of, taus = injections.table.attrs, injections.table["tau"].values
        if threshold is None and len(taus) > 1:
            raise ConfigError(f"{injections.path}: threshold: name one by its number, of the {len(taus)}")
        k = threshold or 0
        weighed = reweight_table(injections.table, population, _prior_of(injections), k, curve)
        whose = _whose(injections.scorer, float(taus[k]), injections.split, curve)
        return weighed.of_scorer(whose, str(of["scorer_kind"]), str(of["verdict"]), str(of["reason"]))
    found = injection_set(injections)
    k = found.threshold(threshold)
    rows = found.at(k, curve)
    if by == "cell" or (by is None and population.catalogue):
        weighed = reweight_cells(rows, population, found.axes, min_hosts, min_rows)
    else:
        weighed = reweight_rows(rows, population, seed)
    about = found.about
    whose = _whose(str(about.get("scorer", "")), about["thresholds"][k]["tau"], str(about.get("split", "")), curve)
    return weighed.of_scorer(whose, *(str(about.get(name, "")) for name in ("kind", "verdict", "reason")))


def _whose(scorer: str, tau: float, split: str, curve: str) -> str:
    return f"{scorer} at tau {tau:.6g} on split {split}, {curve} rows"


def _prior_of(selection: Selection) -> InjectedPrior | None:
    """Prior of the plan that a selection function was made with; None where a table gave the values."""
    plan = PlanConfig.model_validate(parse_yaml(selection.table.attrs["prior"], f"{selection.path}: prior"))
    bands = tuple(dict.fromkeys(b for name in selection.axes if (b := band_of(name)))) or ("r",)
    return None if plan.design == "table" else InjectedPrior(plan, bands)


def injection_set(injections: InjectionSet | str | Path | Any) -> InjectionSet:
    """Read a published set of injections: every injection of a split, its density, and what a scorer recovered.

    Parameters
    ----------
    injections : str, path, Completeness or InjectionSet
        A parquet file (``summaries/completeness/<scorer>.<split>.injections.parquet`` of a run), a completeness beside
        whose results it is, or the set itself.

    Returns
    -------
    InjectionSet

    Raises
    ------
    ConfigError
        If it is something else.
    CompletenessError
        If there is no such file, or it is no set that this version reads.
    StaleStoreError
        If the set beside a completeness is not of its settings.
    """
    if isinstance(injections, InjectionSet):
        return injections
    if isinstance(injections, str | Path):
        return read_injection_set(str(injections))
    kept = getattr(injections, "path", "")
    if not kept:
        raise ConfigError(
            f"injections: a parquet file, a set of them or a completeness, not {type(injections).__name__}"
        )
    found, results = read_injection_set(injections_beside(str(kept))), read_results(str(kept))
    source = None if results is None else results.results.get("source")
    if results is None or (found.about.get("key"), found.about.get("source")) != (results.key, source):
        raise StaleStoreError(
            f"{found.path}: of other settings, pixels or code than {kept}. `lensflow completeness RUN SCORER "
            "--publish` writes both again"
        )
    return found
