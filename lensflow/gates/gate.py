"""The gates: can a logistic regression on given features tell stamps from their unlensed controls?

Everything is grouped by host: folds (a host, hence a pair, is never in training and test at once), comparisons (a
stamp with controls of other hosts only), intervals (bootstrap over hosts) and swaps. The same machinery is run where
the answer is known: labels swapped at random within pairs must give 0.5, and a known leak must be found. A gate that
fails either says nothing about the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.config import DiagnosticsConfig, GateConfig, fingerprint
from lensflow.errors import ConvergenceError, GateError
from lensflow.gates import controls
from lensflow.gates.crossfit import MAX_ITERATIONS, TOLERANCE
from lensflow.gates.features import FeatureBlock
from lensflow.gates.machine import Machine, choose_hosts, host_folds, training_share
from lensflow.gates.recipes import Recipe, box_shape
from lensflow.gates.verdicts import GateResult, Verdict, judge

Floats = NDArray[np.float64]

MIN_PAIRS = 10
# Below these a control that goes wrong says that there are too few rows, not that the gate is broken.
FEW_PAIRS, FEW_HOSTS = 50, 20
SNR_EDGES = (0.0, 5.0, 10.0, 20.0, 50.0)
INTERVAL = "gates.core.interval"
WORST_ROWS = 12


def run_gates(
    block: FeatureBlock,
    config: GateConfig,
    band_names: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
) -> list[GateResult]:
    """Run every gate of a config, required ones first.

    Parameters
    ----------
    block : FeatureBlock
        The features of all ``config.every``, with bands ``band_names``; the order of rows does not matter.
    config : GateConfig
    band_names : sequence of str
        Names of the block's bands.
    seed : int
        Seed of the choice of hosts, folds, bootstrap and controls.
    edges : sequence of float
        Strata of theta_E, arcsec.

    Returns
    -------
    list of GateResult
        A fit that does not converge and features that are not finite give the verdict ERROR; too few rows, or
        rows that carry nothing that could differ, give NOT_TESTABLE.

    Raises
    ------
    GateError
        If ``band_names`` does not match the block, or it lacks a gate's features.
    """
    return [run_gate(block, name, config, band_names, seed, edges) for name in config.every]


def run_gate(
    block: FeatureBlock,
    name: str,
    config: GateConfig,
    band_names: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
) -> GateResult:
    """Run one gate, as :func:`run_gates` does."""
    if block.covered.shape[1] != len(band_names):
        raise GateError(f"gate {name}: {block.covered.shape[1]} bands in the features, named {', '.join(band_names)}")
    look = Recipe.of(name, band_names)
    if look.source not in block.numbers:
        raise GateError(f"gate {name}: the block holds {', '.join(block.numbers)}, not {look.source}")
    recipe = _recipe(look, config, [band_names[b] for b in look.bands], seed, edges)
    shape = box_shape(look, block.numbers[look.source].stamp)
    if shape:
        recipe["region"] = f"core box of {shape[1]} x {shape[2]} pixels about the geometric centre"
    undecided = GateResult(
        name=name,
        recipe=recipe,
        recipe_hash=fingerprint(recipe),
        threshold=config.threshold_of(name),
        verdict=Verdict.ERROR,
        reason="not run",
        box_shape=shape,
    )
    if not len(block):
        return undecided.decided(Verdict.NOT_TESTABLE, "no injection rows: one of the two classes is missing")
    rows = np.flatnonzero(block.covered[:, look.bands].all(axis=1))
    # One order whatever order the rows came in: sums and random choices then agree.
    rows = rows[np.lexsort((block.row_id[rows], block.host_index[rows]))]
    rows = rows[choose_hosts(block.host_index[rows], config.max_pairs, seed)]
    used = block.take(rows)
    sky_sigma = np.median(used.sky_sigma.astype(np.float64), axis=0) if len(used) else np.full(len(band_names), np.nan)
    softening = sky_sigma if look.view == "raw" else np.ones_like(sky_sigma)
    numbers = used.numbers[look.source]
    stamp, ctrl = look.features(numbers.stamp, softening), look.features(numbers.ctrl, softening)
    expected = None if numbers.expected is None else look.features(numbers.expected, softening)
    hosts, groups = np.unique(used.host_index, return_inverse=True)
    undecided = replace(undecided, n_rows=len(used), n_hosts=hosts.size)
    refused = _refused(undecided, used, stamp, ctrl, config)
    if refused:
        return undecided.decided(*refused)
    machine = Machine(groups, host_folds(groups, config.folds, seed), config.c, config.bootstrap, seed)
    leak = look.leak_unit(ctrl, sky_sigma)
    try:
        return _measure(undecided, used, machine, (stamp, ctrl, expected), leak, tuple(edges))
    except ConvergenceError as error:
        return undecided.decided(
            Verdict.ERROR, f"{error}. {stamp.shape[1]} features of {len(used)} pairs; gate.c is {config.c:g}"
        )


def _refused(
    undecided: GateResult, used: FeatureBlock, stamp: Floats, ctrl: Floats, config: GateConfig
) -> tuple[Verdict, str] | None:
    """Verdict on rows that cannot be measured, with what to do about it."""
    finite = np.isfinite(stamp).all(axis=1) & np.isfinite(ctrl).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        return Verdict.ERROR, (
            f"row {int(used.row_id[first])} (host {int(used.host_index[first])}) and {int((~finite).sum()) - 1} others "
            "have pixels or features that are not finite: mend or drop them"
        )
    n_hosts, bands = undecided.n_hosts, ", ".join(undecided.recipe["bands"])
    if len(used) < MIN_PAIRS or n_hosts < config.folds:
        one = "one host only" if n_hosts == 1 else f"{n_hosts} hosts"
        return Verdict.NOT_TESTABLE, (
            f"{len(used)} pairs of {one} covered in {bands}: at least {MIN_PAIRS} pairs of {config.folds} hosts "
            f"(gate.folds) are needed, of whole hosts within gate.max_pairs ({config.max_pairs})"
        )
    if (stamp == ctrl).all():
        where = "pixel of the core box" if undecided.box_shape else "feature"
        return Verdict.NOT_TESTABLE, (
            f"stamp and control are the same in every {where} (a mask that blanks it, or arcs without flux): nothing "
            "there could differ"
        )
    return None


def _measure(
    undecided: GateResult,
    used: FeatureBlock,
    machine: Machine,
    features: tuple[Floats, Floats, Floats | None],
    leak: tuple[Floats, str],
    edges: tuple[float, ...],
) -> GateResult:
    stamp, ctrl, expected = features
    fit = machine.crossfit(stamp, ctrl)
    positive, negative = fit.scores(np.ones(len(stamp), dtype=bool))
    main, draws = machine.interval_of(positive, negative, machine.groups, INTERVAL)
    known: dict[str, Any] = {
        "null": controls.null_control(machine, fit),
        "positive": controls.positive_control(machine, used.host_index, ctrl, *leak, undecided.threshold),
        "permutation": controls.permutation_test(machine, fit),
        "share_of_rows_unchanged": float((stamp == ctrl).all(axis=1).mean()),
    }
    whole = fit.whole
    del fit  # its blocks are as large as all features; the reference makes its own
    if expected is not None and np.isfinite(expected).all():
        known["reference"] = controls.reference(machine, expected, ctrl, main["auc"], draws, INTERVAL)
    changed = (stamp != ctrl).any(axis=1)
    result = replace(
        undecided,
        auc=main["auc"],
        auc_low=main["auc_low"],
        auc_high=main["auc_high"],
        strata=tuple(_strata(machine, used, positive, negative, changed, edges, undecided.threshold)),
        controls=known,
        coef=tuple(whole.theta[:-1].tolist()),
        **machine.roc_of(positive, negative, INTERVAL),
        fit={"iterations": whole.n_iter, "gradient_max": whole.gradient_norm},
        worst=tuple(_worst(used, positive - negative)),
    )
    return result.decided(*_verdict(result))


def _verdict(result: GateResult) -> tuple[Verdict, str]:
    """Judge the area, unless the controls say that the gate cannot."""
    verdict, text = judge(result.auc, result.auc_low, result.auc_high, result.threshold)
    null, leak, physics = result.controls["null"], result.controls["positive"], result.controls.get("reference")
    if physics:
        text += (
            f" (noiseless arcs of the renderer read {physics['auc']:.3f}, the excess is {physics['excess']:+.3f} "
            f"[{physics['excess_low']:+.3f}, {physics['excess_high']:+.3f}])"
        )
    few = result.n_rows < FEW_PAIRS or result.n_hosts < FEW_HOSTS
    rows = f"{result.n_rows} pairs of {result.n_hosts} hosts"
    broken = ""
    if not null["holds_half"]:
        broken = (
            "labels swapped within pairs give AUC " + ", ".join(f"{a:.3f}" for a in null["swaps"]) + ", not 0.5 "
            f"(within {null['judged_low']:.3f} to {null['judged_high']:.3f})"
        )
    elif leak["testable"] and not any(t["found"] for t in leak["tried"]):
        largest = leak["tried"][-1]
        broken = f"even a leak of {largest['leak_sigma']:g} sigma is not found (AUC {largest['auc']:.3f})"
    if broken:
        if few:
            return Verdict.NOT_TESTABLE, f"{rows} are too few: {broken}"
        return Verdict.ERROR, f"the gate itself is broken: {broken}"
    if verdict is not Verdict.FAIL and not leak["found"]:
        why = (
            f"a leak of {controls.LEAK_SIGMA:g} sigma would pass with {rows} (the smallest found has "
            f"{leak['smallest_found_sigma']:g})"
            if leak["testable"]
            else "the controls have no noise to scale a known leak by"
        )
        return Verdict.NOT_TESTABLE, f"{text}. But {why}: a pass would mean nothing"
    if verdict is not Verdict.FAIL and result.auc_high < 0.5:
        return Verdict.INCONCLUSIVE, (
            f"{text}, and below 0.5: the classes differ in a way that changes from host to host, which this "
            "classifier learns the wrong way round"
        )
    if verdict is Verdict.PASS:
        text += (
            f"; a leak of {controls.LEAK_SIGMA:g} sigma reads {leak['auc']:.3f}, the smallest one that would "
            f"not pass has {leak['smallest_found_sigma']:g}"
        )
    return verdict, text


def _worst(used: FeatureBlock, margin: Floats) -> list[dict[str, Any]]:
    """Rows with the largest margins, at most one of each host: neighbours in the sky would say the same twice."""
    order = np.lexsort((used.row_id, -margin))
    _, first = np.unique(used.host_index[order], return_index=True)
    return [
        {
            "row_id": int(used.row_id[k]),
            "host_index": int(used.host_index[k]),
            "theta_e_arcsec": float(used.theta_e_arcsec[k]),
            "arc_snr": float(used.arc_snr[k]),
            "margin": float(margin[k]),
        }
        for k in order[np.sort(first)[:WORST_ROWS]]
    ]


def _strata(
    machine: Machine,
    used: FeatureBlock,
    positive: Floats,
    negative: Floats,
    changed: NDArray[np.bool_],
    edges: tuple[float, ...],
    threshold: float,
) -> list[dict[str, Any]]:
    """Areas of the pooled out-of-fold scores within ranges of theta_E and SNR, and within splits."""
    cuts: list[tuple[str, float, float, NDArray[np.bool_]]] = []
    for name, values, bounds in (
        ("theta_e_arcsec", used.theta_e_arcsec, edges),
        ("arc_snr", used.arc_snr, (*SNR_EDGES, np.inf)),
    ):
        for low, high in pairwise(bounds):
            cuts.append((name, low, high, (values >= low) & (values < high)))
    cuts += [("split", float(s), float(s), used.split == s) for s in np.unique(used.split)]
    out = []
    for name, low, high, rows in cuts:
        n, n_hosts = int(rows.sum()), np.unique(machine.groups[rows]).size
        found = {"auc": math.nan, "auc_low": math.nan, "auc_high": math.nan, "sd": math.nan}
        if n < MIN_PAIRS or n_hosts < len(machine.folds):
            verdict, reason = Verdict.NOT_TESTABLE, f"{n} pairs of {n_hosts} hosts are too few"
        elif not changed[rows].any():
            verdict, reason = Verdict.NOT_TESTABLE, "stamp and control are the same in every feature"
        else:
            purpose = f"gates.core.strata.{name}.{low:g}"
            found, _ = machine.interval_of(positive[rows], negative[rows], machine.groups[rows], purpose)
            verdict, reason = judge(found["auc"], found["auc_low"], found["auc_high"], threshold)
        place = {"by": name, "low": low, "high": high if high < np.inf else math.nan, "n_rows": n, "n_hosts": n_hosts}
        out.append({**place, **found, "verdict": str(verdict), "reason": reason})
    return out


def _recipe(look: Recipe, config: GateConfig, bands: list[str], seed: int, edges: Sequence[float]) -> dict[str, Any]:
    return {
        **look.describe(),
        "bands": bands,
        "classes": "1: stamps of injection rows; 0: each row's own unlensed control",
        "estimator": f"logistic regression on standardised features, exact optimum (Newton, C={config.c:g}, "
        f"tol={TOLERANCE:g}, max_iter={MAX_ITERATIONS})",
        "score": "pooled out-of-fold decision function; stamps are compared with controls of other hosts",
        "folds": config.folds,
        "grouping": "host",
        "interval": f"95 % expanded percentile of {config.bootstrap} bootstrap draws of hosts, widened by "
        f"{training_share(config.folds):.4g} for training sets that overlap (Nadeau & Bengio 2003)",
        "max_pairs": config.max_pairs,
        "theta_e_edges": list(edges),
        "snr_edges": list(SNR_EDGES),
        "leak_sigma": controls.LEAK_SIGMA,
        "null_swaps": controls.NULL_SWAPS,
        "permutations": controls.PERMUTATIONS,
        "seed": seed,
    }
