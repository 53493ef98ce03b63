"""The gate on metadata: do a row's columns beside its pixels show whether it is an injection or a control?

A pair shares its host's PSF, noise and position, so a stamp cannot be told from its own control by these. What can go
wrong is the choice of rows: controls on hosts of better seeing, say, teach a network the seeing. The classes are here
the dataset's own rows, injections against control rows: they come unpaired and in unequal numbers, and are weighted so
that both count alike. Folds, comparisons and intervals are by host as in the other gates.

Where injections and controls have exactly the same distribution of metadata, as when every host carries both in the
same proportion, no function of it can tell them apart: the area is 0.5 whatever the classifier. That is counted over
all rows, and is then the proof; nothing is fitted.

**Null control.** Labels of rows are not exchangeable: rows of one host share their metadata, and a permutation of rows
would take host differences for the noise of independent rows. A swap within hosts is exact but moves nothing that the
gate looks at. What is exchangeable, if metadata says nothing about the class, is which host's metadata goes with which
host's labels. So the metadata moves between hosts, all of a host's together, and every host keeps its labels: exact
where a host's rows are alike, whether classes share hosts or live on hosts of their own. A host whose rows differ
(stamps rounded one by one) gives each row of the other host one of its own at random, so that no class stays with it.

**Positive control.** After such a move, every column of the injections is shifted by a fraction of its scatter over all
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import GateConfig, fingerprint
from lensflow.config.checks import GATE_KINDS
from lensflow.errors import ConvergenceError
from lensflow.measure.gate import controls
from lensflow.measure.gate.crossfit import MAX_ITERATIONS, TOLERANCE, Linear
from lensflow.measure.gate.estimators import estimator_of
from lensflow.measure.gate.machine import Machine, area_fields, choose_hosts, host_folds, interval_in_words
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.gate.trees import SETTINGS, Trees
from lensflow.measure.gate.verdicts import MIN_PAIRS, GateResult, Verdict, decide, judge
from lensflow.measure.metadata.rows import MetadataRows, names_of, one_by_one
from lensflow.measure.metadata.shares import Shares
from lensflow.stats.estimate import NOT_MEASURED, Estimate

if TYPE_CHECKING:
    from lensflow.measure.gate.logistic import LogisticRegression

Floats = NDArray[np.float64]

INTERVAL = "gates.metadata.interval"
LEAK = "every column of the injections shifted by its scatter over all rows, after {what} moved between hosts"
WHAT = {"metadata": "metadata", "host": "host pixels"}
NAMED_COLUMNS = 3


def metadata_gate(
    rows: MetadataRows, recipe: Recipe, config: GateConfig, bands: Sequence[str], seed: int
) -> GateResult:
    """Run a gate of kind ``metadata`` or ``host``: of the dataset's own injections against its own controls.

    Parameters
    ----------
    rows : MetadataRows
        Of all rows of the dataset.
    recipe : Recipe
    config : GateConfig
        At most ``max_pairs`` rows, of whole hosts, are fitted; the exact balance is counted over all.
    bands : sequence of str
        Names of the bands that ``recipe`` uses.
    seed : int

    Returns
    -------
    GateResult
        PASS by proof where the classes are exactly balanced; NOT_TESTABLE where one of them is missing or too small.
    """
    rows = rows.of_bands(bands)
    shares = rows.shares
    description = _recipe(names_of(rows.rows), config, bands, seed, recipe)
    blank = GateResult(
        name=recipe.name,
        recipe=description,
        recipe_hash=fingerprint(description),
        threshold=config.threshold_of(recipe.name),
        verdict=Verdict.ERROR,
        reason="not run",
        n_rows=sum(shares.n_rows),
        n_hosts=shares.n_hosts,
    )
    for n, name in zip(shares.n_rows, ("injection", "control"), strict=True):
        if not n:
            return blank.decided(Verdict.NOT_TESTABLE, f"no {name} rows: one of the two classes is missing")
    if shares.infinite:
        host, name = shares.infinite
        return blank.decided(Verdict.ERROR, f"{name} of host {host} is infinite: correct or drop its rows")
    if rows.is_balanced:
        return _proven(blank, shares, WHAT[recipe.kind])
    used = one_by_one(rows.rows)
    used = used.isel(sample=choose_hosts(used["host_index"].values, config.max_pairs, seed))
    try:
        return _measure(blank, used, config, seed, recipe)
    except ConvergenceError as error:
        return blank.decided(Verdict.ERROR, f"{error}. {used.sizes['sample']} rows; gate.c is {config.c:g}")


def _proven(blank: GateResult, shares: Shares, what: str) -> GateResult:
    injections, of_controls = shares.n_rows
    strata = []
    for s in shares.splits.tolist():
        cut = shares.of_split(s)
        known = all(cut.n_rows)
        area = Estimate(0.5, 0.5, 0.5, sd=0.0) if known else NOT_MEASURED
        verdict, reason = (
            (Verdict.PASS, "exactly balanced") if known else (Verdict.NOT_TESTABLE, "one of the two classes is missing")
        )
        place = _place(s, sum(cut.n_rows), cut.n_hosts)
        strata.append({**place, **area_fields(area), "verdict": verdict, "reason": reason})
    return blank.decided(
        Verdict.PASS,
        f"AUC 0.5 by construction: counted over all rows ({injections} injections, {of_controls} controls of "
        f"{blank.n_hosts} hosts), both classes have exactly the same distribution of {what}, overall and in "
        "every split, so that it cannot distinguish them",
        area=Estimate(0.5, 0.5, 0.5, blank.n_hosts),
        strata=tuple(strata),
    )


def _measure(blank: GateResult, used: xr.Dataset, config: GateConfig, seed: int, recipe: Recipe) -> GateResult:
    what = WHAT[recipe.kind]
    x, names = _filled(used)
    positive = ~used["is_control"].values
    hosts, groups = np.unique(used["host_index"].values, return_inverse=True)
    fewest = min(np.unique(groups[positive == c]).size for c in (False, True))
    blank = replace(blank, n_rows=len(x), n_hosts=int(hosts.size))
    smallest = min(int(positive.sum()), int((~positive).sum()))
    if smallest < MIN_PAIRS or fewest < config.folds:
        return blank.decided(
            Verdict.NOT_TESTABLE,
            f"the smaller class has {smallest} rows, of {fewest} hosts: at least {MIN_PAIRS} rows of {config.folds} "
            f"hosts (gate.folds) are needed, of whole hosts within gate.max_pairs ({config.max_pairs} rows)",
        )
    estimator = estimator_of(recipe.estimator, config, seed)
    machine = Machine(groups, host_folds(groups, config.folds, seed), estimator, config.bootstrap, seed)
    if any(len(np.unique(positive[train])) < 2 for train, _ in machine.folds):
        return blank.decided(Verdict.NOT_TESTABLE, "a fold trains on one class only: more hosts of both are needed")

    def area(values: Floats, purpose: str) -> Estimate:
        return machine.interval_of_rows(positive, _scores(values, positive, machine), groups, fewest, purpose)[0]

    scores = _scores(x, positive, machine)
    main, areas = machine.interval_of_rows(positive, scores, groups, fewest, INTERVAL)
    draws = rng.generator(seed, "gates.metadata.null")
    n_moves = machine.estimator.null_swaps
    moved = [x[_moved(groups, draws)] for _ in range(n_moves)]
    nulls = [area(v, "gates.metadata.null.interval") for v in moved]
    # An area that is far from 0.5 by chance scatters less than one at 0.5, and with few hosts of a class that would
    # make every fiftieth healthy gate call itself broken: all are judged by the mean scatter.
    scatter = float(np.mean([v.sd for v in nulls]))
    # A column that is the same in all rows has rounding for a scatter, and no unit.
    unit = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 0.0)
    weight, fit = np.empty(0), {"iterations": SETTINGS["max_iter"]}
    if isinstance(estimator, Linear):
        whole = _fit(x, positive, config.c)
        weight = whole.coef_[0] * unit
        fit = {"iterations": int(whole.n_iter_[0]), "gradient_max": float(whole.gradient_norm_)}
    known: dict[str, Any] = {
        "null": controls.judged_null(
            [replace(v, sd=scatter) for v in nulls],
            fewest,
            f"{what} moved between hosts at random, {n_moves} times",
        ),
        "positive": controls.known_leaks(
            (lambda size: area(moved[0] + size * np.outer(positive, unit), "gates.metadata.positive.interval"))
            if unit.any()
            else None,
            LEAK.format(what=what),
            blank.threshold,
            len(x),
        ),
        "columns": names,
    }
    result = replace(
        blank.with_area(main),
        strata=tuple(_strata(machine, used, positive, scores, blank.threshold)),
        controls=known,
        coef=tuple(weight.tolist()),
        drawn=machine.drawn(hosts, areas, INTERVAL),
        **machine.roc_of_rows(positive, scores, groups, fewest, INTERVAL),
        fit=fit,
    )
    verdict, reason = decide(
        result,
        rows="rows",
        null_done=f"{what} moved between hosts",
        no_unit="no column varies, so that there is nothing to scale a known leak by",
        fewest_hosts=fewest,
    )
    if verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) and weight.size:
        largest = np.argsort(-np.abs(weight), kind="stable")[:NAMED_COLUMNS]
        terms = ", ".join(f"{names[k]} ({weight[k]:+.2f})" for k in largest if weight[k])
        reason += f"; injections differ most in {terms} (log odds per standard deviation)"
    return result.decided(verdict, reason)


def _strata(
    machine: Machine, used: xr.Dataset, positive: NDArray[np.bool_], scores: Floats, threshold: float
) -> list[dict[str, Any]]:
    """Areas of the same out-of-fold scores within splits; controls have no theta_E and no SNR."""
    out = []
    split = used["split"].values
    for s in np.unique(split):
        rows = split == s
        area = NOT_MEASURED
        n, n_hosts = (
            min(f(rows & (positive == c)) for c in (False, True))
            for f in (lambda v: int(v.sum()), lambda v: np.unique(machine.groups[v]).size)
        )
        if n < MIN_PAIRS or n_hosts < len(machine.folds):
            verdict, reason = Verdict.NOT_TESTABLE, f"the smaller class has {n} rows of {n_hosts} hosts: too few"
        else:
            purpose = f"gates.metadata.strata.split.{s:g}"
            area, _ = machine.interval_of_rows(positive[rows], scores[rows], machine.groups[rows], n_hosts, purpose)
            verdict, reason = judge(area, threshold)
        place = _place(s, int(rows.sum()), int(np.unique(used["host_index"].values[rows]).size))
        out.append({**place, **area_fields(area), "verdict": str(verdict), "reason": reason})
    return out


def _place(split: int, n_rows: int, n_hosts: int) -> dict[str, Any]:
    return {"by": "split", "low": float(split), "high": float(split), "n_rows": n_rows, "n_hosts": n_hosts}


def _fit(x: Floats, positive: NDArray[np.bool_], c: float) -> LogisticRegression:
    from lensflow.measure.gate.logistic import LogisticRegression  # with scikit-learn, where gates are run

    share = positive.mean()
    weight = np.where(positive, 0.5 / share, 0.5 / (1 - share))
    model = LogisticRegression(C=c, standardize=True, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    return model.fit(x, positive, sample_weight=weight)


def _scores(x: Floats, positive: NDArray[np.bool_], machine: Machine) -> Floats:
    """Out-of-fold decision functions."""
    out = np.empty(len(x))
    for train, test in machine.folds:
        if isinstance(machine.estimator, Trees):
            out[test] = machine.estimator.row_scores(x[train], positive[train], x[test])
        else:
            assert isinstance(machine.estimator, Linear)
            out[test] = _fit(x[train], positive[train], machine.estimator.c).decision_function(x[test])
    return out


def _moved(groups: NDArray[np.int64], draws: np.random.Generator) -> NDArray[np.int64]:
    """Row whose metadata each row gets, of rows sorted by host: those of a host get them of one host at random."""
    count = np.bincount(groups)
    donor = draws.permutation(len(count))[groups]
    first = np.cumsum(count) - count
    picked: NDArray[np.int64] = first[donor] + (draws.random(len(groups)) * count[donor]).astype(np.int64)
    return picked


def _filled(rows: xr.Dataset) -> tuple[Floats, list[str]]:
    """Values with missing ones replaced by the mean, and an indicator column for each that is sometimes missing.

    How many bands a row is covered in is the sum of such columns.
    """
    values, names = rows["value"].values, names_of(rows)
    gone = np.isnan(values)
    held = (~gone).sum(axis=0)
    mean = np.where(gone, 0.0, values).sum(axis=0) / np.maximum(held, 1)
    some = np.flatnonzero(gone.any(axis=0) & (held > 0))
    x = np.concatenate([np.where(gone, mean, values), gone[:, some].astype(np.float64)], axis=1)
    return x, [*names, *(f"{names[k]} missing" for k in some)]


def _recipe(names: list[str], config: GateConfig, bands: Sequence[str], seed: int, recipe: Recipe) -> dict[str, Any]:
    estimator = estimator_of(recipe.estimator, config, seed)
    return {
        "features": GATE_KINDS[recipe.kind],
        "columns": names,
        "missing": "the column's mean, and a column that says so",
        "bands": list(bands),
        "classes": "1: injection rows; 0: control rows of the dataset; weighted so that both count alike",
        "estimator": estimator.describe(),
        "score": "pooled out-of-fold decision function; rows are compared with rows of other hosts",
        "folds": config.folds,
        "grouping": "host",
        "interval": interval_in_words(config.folds, config.bootstrap),
        "max_pairs": config.max_pairs,
        "leak_sigma": controls.LEAK_SIGMA,
        "null_swaps": estimator.null_swaps,
        "seed": seed,
    }
