"""The core gate: can a logistic regression on the core's pixels tell stamps from their unlensed controls?

Everything is grouped by host: folds (a host, hence a pair, is never in training and test at once) and intervals
(bootstrap over hosts). The same machinery is run where the answer is known: labels swapped at random within
pairs must give 0.5, and a known leak must be found. A gate that fails either says nothing about the data.
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
from lensflow.diagnostics.hostsums import flat_rows
from lensflow.errors import ConvergenceError, GateError
from lensflow.gates.auc import roc_points
from lensflow.gates.controls import LEAK_SIGMA, null_control, positive_control
from lensflow.gates.features import FeatureBlock
from lensflow.gates.machine import (
    MAX_ITERATIONS,
    TOLERANCE,
    Machine,
    choose_hosts,
    fit,
    gradient_of,
    host_folds,
    training_share,
)
from lensflow.gates.verdicts import GateResult, Verdict, judge

Floats = NDArray[np.float64]

MIN_PAIRS = 10
# Below these a control that goes wrong says that there are too few rows, not that the gate is broken.
FEW_PAIRS, FEW_HOSTS = 50, 20
SNR_EDGES = (0.0, 5.0, 10.0, 20.0, 50.0)


def core_gate(
    block: FeatureBlock,
    config: GateConfig,
    band_names: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
) -> list[GateResult]:
    """Run the core gate once for each entry of ``config.bands``.

    Parameters
    ----------
    block : FeatureBlock
        Core boxes with bands ``band_names``; the order of rows does not matter.
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
        If ``band_names`` does not match the block.
    """
    if block.stamp.shape[1] != len(band_names):
        raise GateError(f"core gate: {block.stamp.shape[1]} bands in the features, named {', '.join(band_names)}")
    return [_gate(block, config, list(band_names), which, seed, tuple(edges)) for which in config.bands]


def _gate(
    block: FeatureBlock, config: GateConfig, bands: list[str], which: str, seed: int, edges: tuple[float, ...]
) -> GateResult:
    pick = list(range(len(bands))) if which == "all" else [bands.index("r") if "r" in bands else 0]
    recipe = _recipe(block, config, [bands[b] for b in pick], seed, edges)
    undecided = GateResult(
        name=f"core_{which}",
        recipe=recipe,
        recipe_hash=fingerprint(recipe),
        threshold=config.max_auc,
        verdict=Verdict.ERROR,
        reason="not run",
        box_shape=(len(pick), *block.stamp.shape[2:]),
    )
    rows = np.flatnonzero(block.covered[:, pick].all(axis=1))
    # One order whatever order the rows came in: sums and random choices then agree.
    rows = rows[np.lexsort((block.row_id[rows], block.host_index[rows]))]
    rows = rows[choose_hosts(block.host_index[rows], config.max_pairs, seed)]
    used = block.take(rows)
    stamp, ctrl = (flat_rows(v[:, pick]).astype(np.float64) for v in (used.stamp, used.ctrl))
    hosts, groups = np.unique(used.host_index, return_inverse=True)
    undecided = replace(undecided, n_rows=len(used), n_hosts=hosts.size)

    finite = np.isfinite(stamp).all(axis=1) & np.isfinite(ctrl).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        return undecided.decided(
            Verdict.ERROR,
            f"row {int(used.row_id[first])} (host {int(used.host_index[first])}) and {int((~finite).sum()) - 1} others "
            "have core pixels that are not finite: mend or drop them",
        )
    if len(used) < MIN_PAIRS or hosts.size < config.folds:
        return undecided.decided(
            Verdict.NOT_TESTABLE,
            f"{len(used)} pairs of {hosts.size} hosts covered in {', '.join(recipe['bands'])}: at least {MIN_PAIRS} "
            f"pairs of {config.folds} hosts (gate.folds) are needed",
        )
    if (stamp == ctrl).all():
        return undecided.decided(
            Verdict.NOT_TESTABLE,
            "stamp and control are the same in every pixel of the core box (a mask that blanks it, or arcs without "
            "flux): nothing there could differ",
        )
    machine = Machine(groups, host_folds(groups, config.folds, seed), config.c, config.bootstrap, seed)
    try:
        return _measure(undecided, used, pick, machine, stamp, ctrl, edges)
    except ConvergenceError as error:
        return undecided.decided(Verdict.ERROR, str(error))


def _measure(
    undecided: GateResult,
    used: FeatureBlock,
    pick: list[int],
    machine: Machine,
    stamp: Floats,
    ctrl: Floats,
    edges: tuple[float, ...],
) -> GateResult:
    positive, negative, main = machine.area(stamp, ctrl, "gates.core.interval")
    controls = {
        "null": null_control(machine, stamp, ctrl),
        "positive": positive_control(machine, used, pick, ctrl, undecided.threshold),
        "share_of_rows_unchanged": float((stamp == ctrl).all(axis=1).mean()),
    }
    labels = np.repeat([True, False], len(positive))
    both = np.concatenate([stamp, ctrl])
    final = fit(both, len(stamp), machine.c)
    result = replace(
        undecided,
        auc=main["auc"],
        auc_low=main["auc_low"],
        auc_high=main["auc_high"],
        strata=tuple(
            _strata(machine, used, positive, negative, (stamp != ctrl).any(axis=1), edges, undecided.threshold)
        ),
        controls=controls,
        coef=tuple(final["lr"].coef_[0].tolist()),
        roc=tuple((x, y) for x, y in roc_points(labels, np.concatenate([positive, negative])).tolist()),
        fit={"iterations": int(final["lr"].n_iter_[0]), "gradient_max": gradient_of(final, both, labels, machine.c)},
    )
    return result.decided(*_verdict(result))


def _verdict(result: GateResult) -> tuple[Verdict, str]:
    """Judge the area, unless the controls say that the gate cannot."""
    verdict, text = judge(result.auc, result.auc_low, result.auc_high, result.threshold)
    null, leak = result.controls["null"], result.controls["positive"]
    few = result.n_rows < FEW_PAIRS or result.n_hosts < FEW_HOSTS
    rows = f"{result.n_rows} pairs of {result.n_hosts} hosts"
    broken = ""
    if not null["holds_half"]:
        broken = (
            f"labels swapped within pairs give AUC {null['auc']:.3f} [{null['auc_low']:.3f}, {null['auc_high']:.3f}], "
            "not 0.5"
        )
    elif leak["testable"] and not any(t["found"] for t in leak["tried"]):
        largest = leak["tried"][-1]
        broken = f"even a leak of {largest['leak_sigma']:g} sky sigma is not found (AUC {largest['auc']:.3f})"
    if broken:
        if few:
            return Verdict.NOT_TESTABLE, f"{rows} are too few: {broken}"
        return Verdict.ERROR, f"the gate itself is broken: {broken}"
    if verdict is not Verdict.FAIL and not leak["found"]:
        why = (
            f"a leak of {LEAK_SIGMA:g} sky sigma would pass with {rows} (the smallest found has "
            f"{leak['smallest_found_sigma']:g})"
            if leak["testable"]
            else "the controls have no sky noise to scale a known leak by"
        )
        return Verdict.NOT_TESTABLE, f"{text}. But {why}: a pass would mean nothing"
    if verdict is not Verdict.FAIL and result.auc_high < 0.5:
        return Verdict.INCONCLUSIVE, (
            f"{text}, and below 0.5: the classes differ in a way that changes from host to host, which this "
            "classifier learns the wrong way round"
        )
    if verdict is Verdict.PASS:
        text += (
            f"; a leak of {LEAK_SIGMA:g} sky sigma per pixel reads {leak['auc']:.3f}, the smallest one that would "
            f"not pass has {leak['smallest_found_sigma']:g}"
        )
    return verdict, text


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
            verdict, reason = Verdict.NOT_TESTABLE, "stamp and control are the same in every pixel of the core box"
        else:
            purpose = f"gates.core.strata.{name}.{low:g}"
            found = machine.interval_of(positive[rows], negative[rows], machine.groups[rows], purpose)
            verdict, reason = judge(found["auc"], found["auc_low"], found["auc_high"], threshold)
        place = {"by": name, "low": low, "high": high if high < np.inf else math.nan, "n_rows": n, "n_hosts": n_hosts}
        out.append({**place, **found, "verdict": str(verdict), "reason": reason})
    return out


def _recipe(
    block: FeatureBlock, config: GateConfig, bands: list[str], seed: int, edges: tuple[float, ...]
) -> dict[str, Any]:
    return {
        "region": f"core box of {block.stamp.shape[-1]} x {block.stamp.shape[-1]} pixels about the geometric centre",
        "bands": bands,
        "view": "raw",
        "classes": "1: stamps of injection rows; 0: each row's own unlensed control",
        "estimator": f"StandardScaler, LogisticRegression(newton-cholesky, C={config.c:g}, tol={TOLERANCE:g}, "
        f"max_iter={MAX_ITERATIONS})",
        "score": "pooled out-of-fold decision function",
        "folds": config.folds,
        "grouping": "host",
        "interval": f"95 % expanded percentile of {config.bootstrap} bootstrap draws of hosts, widened by "
        f"{training_share(config.folds):.4g} for training sets that overlap (Nadeau & Bengio 2003)",
        "max_pairs": config.max_pairs,
        "theta_e_edges": list(edges),
        "snr_edges": list(SNR_EDGES),
        "leak_sigma": LEAK_SIGMA,
        "seed": seed,
    }
