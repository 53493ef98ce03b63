"""The core gate: can a logistic regression on the core's pixels tell stamps from their unlensed controls?

Everything is grouped by host: folds (a host, hence a pair, is never in training and test at once) and intervals
(bootstrap over hosts). The same machinery is run where the answer is known: labels swapped at random within
pairs must give 0.5, and a known leak must be found. A gate that fails either says nothing about the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from lensflow import rng
from lensflow.config import DiagnosticsConfig, GateConfig, fingerprint
from lensflow.diagnostics.hostsums import flat_rows, interval, spread
from lensflow.errors import ConvergenceError, GateError
from lensflow.gates.auc import auc, host_bootstrap, roc_points
from lensflow.gates.features import FeatureBlock
from lensflow.gates.verdicts import GateResult, Verdict, judge

Floats = NDArray[np.float64]

MIN_PAIRS = 10
# Below these a control that goes wrong says that there are too few rows, not that the gate is broken.
FEW_PAIRS, FEW_HOSTS = 50, 20
LEAK_SIGMA = 1.0
SMALLER_LEAKS_SIGMA = (0.3, 0.1)
# Tried when the first is not found: a gate that sees none of them is broken, not merely weak.
LARGER_LEAKS_SIGMA = (10.0, 100.0)
# The positive control uses no more: what is found with these is found with all, and leaks take most of the time.
LEAK_PAIRS = 5000
# The null control is judged at 99.9 %: at 95 % one healthy gate in twenty would call itself broken.
NULL_LEVEL = 0.999
TOLERANCE, MAX_ITERATIONS = 1e-8, 200
ACCEPTED_GRADIENT = 1e-7
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


def choose_hosts(host_index: NDArray[np.int64], max_pairs: int, seed: int) -> NDArray[np.bool_]:
    """Rows to use when there are more than ``max_pairs``: whole hosts, in an order that only the seed decides.

    A host's place in the order depends on its index alone, so a caller may choose among all rows of the manifest
    before any pixel is read.
    """
    hosts, place, count = np.unique(host_index, return_inverse=True, return_counts=True)
    order = np.argsort(rng.uniform(seed, hosts.astype(np.uint64), "gates.core.hosts")[:, 0], kind="stable")
    chosen = np.zeros(hosts.size, dtype=bool)
    chosen[order] = np.cumsum(count[order]) <= max_pairs
    return chosen[place]


@dataclass(frozen=True)
class _Machine:
    """What all fits of one gate share."""

    groups: NDArray[np.int64]  # host of each pair
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]  # training and test pairs
    c: float
    bootstrap: int
    seed: int

    def area(self, positive: Floats, negative: Floats, purpose: str) -> tuple[Floats, Floats, dict[str, float]]:
        """Out-of-fold scores of both classes, and the pooled area with its interval."""
        scores = np.empty((2, len(self.groups)))
        for train, test in self.folds:
            model = fit(np.concatenate([positive[train], negative[train]]), len(train), self.c)
            scores[0, test] = model.decision_function(positive[test])
            scores[1, test] = model.decision_function(negative[test])
        return scores[0], scores[1], self.interval_of(scores[0], scores[1], self.groups, purpose)

    def interval_of(self, positive: Floats, negative: Floats, hosts: Any, purpose: str) -> dict[str, float]:
        labels = np.repeat([True, False], [len(positive), len(negative)])
        scores, both = np.concatenate([positive, negative]), np.concatenate([hosts, hosts])
        n_hosts = np.unique(hosts).size
        draws = host_bootstrap(labels, scores, both, self.bootstrap, self.seed, purpose)
        low, high = interval(draws, n_hosts)
        found, wider = float(auc(labels, scores)), training_share(len(self.folds))
        return {
            "auc": found,
            "auc_low": max(0.0, found - wider * (found - float(low))),
            "auc_high": min(1.0, found + wider * (float(high) - found)),
            "sd": wider * float(spread(draws, n_hosts)),
        }


def training_share(folds: int) -> float:
    """Factor by which an interval of out-of-fold scores must grow, because the folds' training sets overlap.

    A bootstrap of the scores takes the fitted models as given. But a host that chance makes look odd moves both
    its own scores and, through training, all others: the folds err together. The factor is that of Nadeau &
    Bengio 2003 (Machine Learning 52, 239), sqrt(1 + K n_test / n_train) = sqrt(1 + K / (K - 1)), 1.5 for 5 folds.
    Measured on pure noise, 31 hosts x 100 features: the area scatters 1.6 times as much as its bootstrap says and
    the bare interval holds 0.5 in 78 % of cases; widened, in 93 to 97 % for 10 to 200 hosts, 100 or 300 features.
    """
    return math.sqrt(1 + folds / (folds - 1))


def fit(features: Floats, n_positive: int, c: float) -> Pipeline:
    """Fit the gate's logistic regression; the first ``n_positive`` rows are the positives.

    Raises
    ------
    ConvergenceError
        If the solver stops before its gradient is small enough.
    """
    labels = np.arange(len(features)) < n_positive
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("lr", LogisticRegression(solver="newton-cholesky", C=c, tol=TOLERANCE, max_iter=MAX_ITERATIONS)),
        ]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(features, labels)
    doubts = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    # The solver also warns when it starts at the optimum and cannot go down any further: the gradient decides.
    if doubts and not (gradient := _gradient(model, features, labels, c)) <= ACCEPTED_GRADIENT:
        raise ConvergenceError(
            f"core gate: logistic regression did not converge on {features.shape[0]} rows x {features.shape[1]} "
            f"features (gradient {gradient:.1e}): {doubts[-1]} A smaller gate.c (now {c:g}) makes that easier."
        )
    return model


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
    machine = _Machine(groups, host_folds(groups, config.folds, seed), config.c, config.bootstrap, seed)
    try:
        return _measure(undecided, used, pick, machine, stamp, ctrl, edges)
    except ConvergenceError as error:
        return undecided.decided(Verdict.ERROR, str(error))


def host_folds(groups: NDArray[np.int64], folds: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test pairs of each fold; every host is in one test fold, whole."""
    state = int(rng.generator(seed, "gates.core.folds").integers(2**31))
    return list(GroupKFold(folds, shuffle=True, random_state=state).split(groups, groups=groups))


def _measure(
    undecided: GateResult,
    used: FeatureBlock,
    pick: list[int],
    machine: _Machine,
    stamp: Floats,
    ctrl: Floats,
    edges: tuple[float, ...],
) -> GateResult:
    positive, negative, main = machine.area(stamp, ctrl, "gates.core.interval")
    controls = {
        "null": _null_control(machine, stamp, ctrl),
        "positive": _positive_control(machine, used, pick, ctrl, undecided.threshold),
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
        fit={"iterations": int(final["lr"].n_iter_[0]), "gradient_max": _gradient(final, both, labels, machine.c)},
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


def _null_control(machine: _Machine, stamp: Floats, ctrl: Floats) -> dict[str, Any]:
    """Swap the labels of half of the pairs of each fold, at random: nothing is left to learn."""
    draws = rng.generator(machine.seed, "gates.core.null")
    swap = np.zeros(len(stamp), dtype=bool)
    for _, test in machine.folds:
        # Half of each fold, not a coin per pair: a chance excess in training would otherwise meet the same arcs
        # in the test fold, and the area would scatter more than its bootstrap says.
        half = len(test) // 2 + int(draws.integers(2)) * (len(test) % 2)
        swap[draws.permutation(test)[:half]] = True
    first, second = np.where(swap[:, None], ctrl, stamp), np.where(swap[:, None], stamp, ctrl)
    *_, found = machine.area(first, second, "gates.core.null.interval")
    n_hosts = np.unique(machine.groups).size
    reach = float(stdtrit(n_hosts - 1, 0.5 + NULL_LEVEL / 2)) * found["sd"]
    return {
        **found,
        "what": "labels swapped at random within half of the pairs of each fold",
        "holds_half": bool(abs(found["auc"] - 0.5) <= reach),
        "judged_low": found["auc"] - reach,
        "judged_high": found["auc"] + reach,
        "judged_level": NULL_LEVEL,
    }


def _positive_control(
    machine: _Machine, used: FeatureBlock, pick: list[int], ctrl: Floats, threshold: float
) -> dict[str, Any]:
    """Add a known constant to copies of the controls and look for it; then for smaller ones, or larger ones.

    A leak shares its control's noise, so even a tiny one is told from 0.5. What counts is whether the gate would
    have let it pass.
    """
    sigma = np.median(used.sky_sigma[:, pick].astype(np.float64), axis=0)
    testable = bool(np.isfinite(sigma).all() and (sigma > 0).all())
    tried: list[dict[str, Any]] = []
    if len(used) > LEAK_PAIRS:
        rows = np.flatnonzero(choose_hosts(used.host_index, LEAK_PAIRS, machine.seed))
        groups, folds = machine.groups[rows], len(machine.folds)
        testable = testable and np.unique(groups).size >= folds
        if testable:
            machine = replace(machine, groups=groups, folds=host_folds(groups, folds, machine.seed))
            ctrl = ctrl[rows]

    def look_for(size: float) -> bool:
        per_pixel = np.repeat(size * sigma, ctrl.shape[1] // len(pick))
        *_, found = machine.area(ctrl + per_pixel, ctrl, "gates.core.positive.interval")
        tried.append({"leak_sigma": size, **found, "found": found["auc_low"] > 0.5 and found["auc_high"] >= threshold})
        return bool(tried[-1]["found"])

    if testable:
        found = look_for(LEAK_SIGMA)
        # Down to the smallest that is still found (the power), or up to the first that is.
        for size in SMALLER_LEAKS_SIGMA if found else LARGER_LEAKS_SIGMA:
            if look_for(size) != found:
                break
    first = tried[0] if tried else {"found": False, "auc": math.nan, "auc_low": math.nan, "auc_high": math.nan}
    return {
        "what": "a constant added to every core pixel of unlensed copies of the controls; found: "
        "told from 0.5 (auc_low > 0.5) and not passed (auc_high >= threshold)",
        "leak_sigma": LEAK_SIGMA,
        **{k: first[k] for k in ("found", "auc", "auc_low", "auc_high")},
        "n_rows": len(ctrl),
        "sky_sigma_nmgy": sigma.tolist(),
        "testable": testable,
        "tried": tried,
        "smallest_found_sigma": min((t["leak_sigma"] for t in tried if t["found"]), default=math.nan),
    }


def _strata(
    machine: _Machine,
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


def _gradient(model: Pipeline, features: Floats, labels: NDArray[np.bool_], c: float) -> float:
    """Largest component of the gradient of the mean loss: what the solver's tolerance is about."""
    x = model["scale"].transform(features)
    excess = expit(model["lr"].decision_function(x)) - labels
    slopes = (x.T @ excess + model["lr"].coef_[0] / c) / len(x)
    return float(max(np.abs(slopes).max(), abs(excess.mean())))


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
