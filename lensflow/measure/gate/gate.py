"""The gates: can a classifier on given features distinguish stamps from their unlensed controls?

Everything is grouped by host: folds (a host, hence a pair, is never in training and test at once), comparisons (a
stamp with controls of other hosts only), intervals (bootstrap over hosts) and swaps. The same machinery is run where
the answer is known: labels swapped at random within pairs must give 0.5, and a known leak must be found. A gate that
fails either says nothing about the data.

The classifier is a logistic regression, or trees where the gate's name ends in ``+trees``: everything else is the same,
but trees have no coefficients and no permutation test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import DiagnosticsConfig, GateConfig, fingerprint
from lensflow.errors import ConvergenceError, GateError
from lensflow.measure.gate import controls
from lensflow.measure.gate.crossfit import CrossFit, Linear
from lensflow.measure.gate.estimators import Estimator, estimator_of
from lensflow.measure.gate.family import worst_of
from lensflow.measure.gate.features import features_of, sources_of
from lensflow.measure.gate.machine import Machine, choose_hosts, host_folds, interval_in_words
from lensflow.measure.gate.recipes import Recipe, box_shape
from lensflow.measure.gate.regions import Region
from lensflow.measure.gate.strata import ORIGINAL_EDGES, SNR_EDGES, conditions_of, strata, worst_rows
from lensflow.measure.gate.verdicts import MIN_PAIRS, GateResult, Verdict, decide
from lensflow.measure.lens_light import LIGHT
from lensflow.stats.estimate import Estimate

Floats = NDArray[np.float64]

INTERVAL = "gates.core.interval"


def pixel_gate(
    block: xr.Dataset,
    recipe: Recipe,
    config: GateConfig,
    band_names: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
) -> GateResult:
    """Run one gate of stamps against their own controls; parameters as ``lensflow.measure.gates.run_gates``."""
    name, bands = recipe.name, [band_names[b] for b in recipe.bands]
    if recipe.source not in sources_of(block):
        raise GateError(f"gate {name}: the rows hold {', '.join(sources_of(block))}, not {recipe.source}")
    estimator = estimator_of(recipe.estimator, config, seed)
    sources = [
        recipe.source,
        *(k for k in sources_of(block) if k.startswith("core@") and k.endswith(f"_{recipe.view}")),
    ]
    sources = sources if recipe.kind == "core" else sources[:1]
    description = _recipe(recipe, estimator, config, bands, seed, edges, len(sources))
    shape = box_shape(recipe, features_of(block, recipe.source).stamp)
    regions = [Region.of(k.partition("_")[0]).describe() for k in sources[1:]]
    if shape:
        own = f"box of {shape[1]} x {shape[2]} pixels about the geometric centre"
        description["region"] = f"core {own}" if not regions else "; ".join([own, *regions]) + "; the worst counts"
        regions = [own, *regions]
    blank = GateResult(
        name=name,
        recipe=description,
        recipe_hash=fingerprint(description),
        threshold=config.threshold_of(name),
        verdict=Verdict.ERROR,
        reason="not run",
        box_shape=shape,
    )
    if not block.sizes["sample"]:
        return blank.decided(Verdict.NOT_TESTABLE, "no injection rows: one of the two classes is missing")
    used = rows_of_gate(block, recipe.bands, config, seed)
    sky_sigma = np.full(len(band_names), np.nan)
    if used.sizes["sample"]:
        sky_sigma = np.median(used["sky_sigma"].values.astype(np.float64), axis=0)
    softening = sky_sigma if recipe.view in ("raw", *LIGHT) else np.ones_like(sky_sigma)
    parts = []
    for source, region in zip(sources, regions or [""], strict=True):
        found = features_of(used, source)
        stamp, ctrl = recipe.features(found.stamp, softening), recipe.features(found.ctrl, softening)
        expected = None if found.expected is None else recipe.features(found.expected, softening)
        leak = recipe.leak_unit(ctrl, sky_sigma)
        parts.append(Part(region, stamp, ctrl, expected, *leak, shape if source == recipe.source else ()))
    conditions = conditions_of(used, recipe.bands) if recipe.kind == "core" else None
    return measure_parts(blank, used, parts, estimator, config, seed, edges, conditions)


@dataclass(frozen=True, eq=False)
class Part:
    """One set of features of a gate.

    Attributes
    ----------
    what : str
        In words.
    stamp, ctrl, expected : ndarray, shape (n, p)
        Features of both classes, and of control plus noiseless arc where that is known.
    unit : ndarray, shape (p,)
        Shift of each feature for a leak of one sigma.
    leak : str
        That leak in words.
    box_shape : tuple of int
        (band, y, x) where the features are pixels of the core box, else ().
    """

    what: str
    stamp: Floats
    ctrl: Floats
    expected: Floats | None
    unit: Floats
    leak: str
    box_shape: tuple[int, ...] = ()


def rows_of_gate(block: xr.Dataset, bands: Sequence[int], config: GateConfig, seed: int) -> xr.Dataset:
    """Rows that a gate uses: covered in its bands, of whole hosts, in an order independent of the input's."""
    row_id, host = block["row_id"].values, block["host_index"].values
    rows = np.flatnonzero(block["covered"].values[:, list(bands)].all(axis=1))
    rows = rows[np.lexsort((row_id[rows], host[rows]))]
    return block.isel(sample=rows[choose_hosts(host[rows], config.max_pairs, seed)])


def measure_parts(
    blank: GateResult,
    used: xr.Dataset,
    parts: Sequence[Part],
    estimator: Estimator,
    config: GateConfig,
    seed: int,
    edges: Sequence[float],
    conditions: Mapping[str, Floats] | None = None,
) -> GateResult:
    """Measure each set of features by itself; the worst counts (:mod:`lensflow.measure.gate.family`)."""
    hosts, groups = np.unique(used["host_index"].values, return_inverse=True)
    blank = replace(blank, n_rows=used.sizes["sample"], n_hosts=hosts.size)
    machine = None
    results = []
    for part in parts:
        result = replace(blank, box_shape=part.box_shape)
        refused = _refused(result, used, part.stamp, part.ctrl, config)
        if refused:
            results.append((part.what, result.decided(*refused)))
            continue
        machine = machine or Machine(
            groups, host_folds(groups, config.folds, seed), estimator, config.bootstrap, seed, len(parts)
        )
        try:
            result = _measure(result, used, machine, part, tuple(edges), conditions)
        except ConvergenceError as error:
            result = result.decided(
                Verdict.ERROR,
                f"{error}. {part.stamp.shape[1]} features of {used.sizes['sample']} pairs; gate.c is {config.c:g}",
            )
        results.append((part.what, result))
    return worst_of(results)


def _refused(
    blank: GateResult, used: xr.Dataset, stamp: Floats, ctrl: Floats, config: GateConfig
) -> tuple[Verdict, str] | None:
    """Verdict for rows that cannot be measured, with advice."""
    finite = np.isfinite(stamp).all(axis=1) & np.isfinite(ctrl).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        return Verdict.ERROR, (
            f"row {int(used['row_id'][first])} (host {int(used['host_index'][first])}) and {int((~finite).sum()) - 1} "
            "others have pixels or features that are not finite: correct or drop them"
        )
    n, n_hosts, bands = used.sizes["sample"], blank.n_hosts, ", ".join(blank.recipe["bands"])
    if n < MIN_PAIRS or n_hosts < config.folds:
        one = "one host only" if n_hosts == 1 else f"{n_hosts} hosts"
        return Verdict.NOT_TESTABLE, (
            f"{n} pairs of {one} covered in {bands}: at least {MIN_PAIRS} pairs of {config.folds} hosts "
            f"(gate.folds) are needed, of whole hosts within gate.max_pairs ({config.max_pairs})"
        )
    if (stamp == ctrl).all():
        where = "pixel of the core box" if blank.box_shape else "feature"
        return Verdict.NOT_TESTABLE, (
            f"stamp and control are the same in every {where} (a mask that blanks it, or arcs without flux): nothing "
            "there could differ"
        )
    return None


def _measure(
    blank: GateResult,
    used: xr.Dataset,
    machine: Machine,
    part: Part,
    edges: tuple[float, ...],
    conditions: Mapping[str, Floats] | None,
) -> GateResult:
    stamp, ctrl = part.stamp, part.ctrl
    leak = part.unit, part.leak
    differs = stamp != ctrl
    changed = differs.any(axis=1)
    fit = machine.crossfit(stamp, ctrl)
    positive, negative = fit.scores(np.ones(len(stamp), dtype=bool))
    main, draws = machine.interval_of(positive, negative, machine.groups, INTERVAL)
    # What the arcs alone read needs features of its own, so it is measured beside the controls.
    with ThreadPoolExecutor(1) as aside:
        by_arcs = aside.submit(_by_arcs, blank, used, machine, part, main, draws)
        known: dict[str, Any] = {
            "null": controls.null_control(machine, fit),
            "positive": controls.positive_control(machine, used["host_index"].values, ctrl, *leak, blank.threshold),
            **({"permutation": controls.permutation_test(machine, fit)} if isinstance(fit, CrossFit) else {}),
            "share_of_rows_unchanged": float((~changed).mean()),
            "share_of_features_open": float(differs.any(axis=0).mean()),
        }
        coef, numbers = fit.summary()
        known |= by_arcs.result()
    result = replace(
        blank.with_area(main),
        strata=tuple(strata(machine, used, positive, negative, changed, edges, blank.threshold, conditions)),
        controls=known,
        coef=coef,
        **machine.roc_of(positive, negative, INTERVAL),
        fit=numbers,
        worst=tuple(worst_rows(used, positive - negative)),
        drawn=machine.drawn(used["host_index"].values, draws, INTERVAL),
    )
    return result.decided(*decide(result))


def _by_arcs(
    blank: GateResult, used: xr.Dataset, machine: Machine, part: Part, main: Estimate, draws: Floats
) -> dict[str, Any]:
    """AUC of the renderer's noiseless arcs, and the excess beyond them; {} if their features are unknown."""
    expected = part.expected
    if expected is None or not np.isfinite(expected).all():
        return {}
    out = {"reference": controls.reference(machine, expected, part.ctrl, main.value, draws, INTERVAL)}
    # Only a gate that the arcs themselves shut needs to know what else there is.
    if isinstance(machine.estimator, Linear) and main.low >= blank.threshold:
        hosts = used["host_index"].values
        out["beyond_arcs"] = controls.beyond_arcs(machine, hosts, part.stamp, expected, part.unit, part.leak)
    return out


def _recipe(
    recipe: Recipe,
    estimator: Estimator,
    config: GateConfig,
    bands: list[str],
    seed: int,
    edges: Sequence[float],
    family: int,
) -> dict[str, Any]:
    classes = "1: stamps of injection rows; 0: each row's own unlensed control"
    return {**recipe.describe(), "classes": classes, **recipe_of_fit(estimator, config, bands, seed, edges, family)}


def recipe_of_fit(
    estimator: Estimator, config: GateConfig, bands: list[str], seed: int, edges: Sequence[float], family: int
) -> dict[str, Any]:
    """Everything that a gate's numbers depend on besides its features and the data."""
    return {
        "bands": bands,
        "estimator": estimator.describe(),
        "score": "pooled out-of-fold decision function; stamps are compared with controls of other hosts",
        "folds": config.folds,
        "grouping": "host",
        "interval": interval_in_words(config.folds, config.bootstrap, family),
        "max_pairs": config.max_pairs,
        "theta_e_edges": list(edges),
        "snr_edges": list(SNR_EDGES),
        "leak_sigma": controls.LEAK_SIGMA,
        "theta_e_original": list(ORIGINAL_EDGES),
        "null_swaps": estimator.null_swaps,
        "permutations": controls.PERMUTATIONS if isinstance(estimator, Linear) else 0,
        "seed": seed,
    }
