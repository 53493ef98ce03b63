"""The gate on a completeness: what ``completeness.require`` asks for, counted, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.config import fingerprint
from lensflow.config.completeness import CompletenessConfig, CompletenessThresholdConfig, RequireConfig
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import CURVES, Counted
from lensflow.measure.completeness.set_thresholds import set_by
from lensflow.measure.completeness.table import INTERVALS, shown, table
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.completeness.variables import values_of
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.hostsums import named

GATE = "completeness"
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.NOT_TESTABLE, Verdict.INCONCLUSIVE)
_STATUS = {Verdict.PASS: Status.OK, Verdict.FAIL: Status.ALARM}
_NUMBERS = ("min", "tau", "n_valid", "n_hosts", "n_recovered", "completeness", "completeness_low", "completeness_high")


def required(counted: Counted, rows: xr.Dataset, negatives: ArrayLike, config: CompletenessConfig) -> xr.Dataset:
    """Count the rows of each requirement, at each of its thresholds.

    Parameters
    ----------
    counted : Counted
    rows : Dataset
        The same rows.
    negatives : array_like, shape (n,)
        Scores of images without an arc.
    config : CompletenessConfig

    Returns
    -------
    Dataset with dim requirement
        ``where`` and ``at`` in words, ``min``, ``tau``, rows, hosts, recovered rows, completeness with the interval
        that is judged by (the attrs say which), and ``problem``: why it cannot be judged; empty where it can.
    """
    lines = [line for wanted in config.require for line in _lines(wanted, counted, rows, negatives, config)]
    texts = {k: (["requirement"], np.array([line[k] for line in lines])) for k in ("where", "at", "problem")}
    numbers = {k: named(["requirement"], np.array([line[k] for line in lines]), "1", k) for k in _NUMBERS}
    attrs = {"interval": config.interval, "interval_is": INTERVALS[config.interval][1]}
    return xr.Dataset({**texts, **numbers}, attrs=attrs)


def _lines(
    wanted: RequireConfig, counted: Counted, rows: xr.Dataset, negatives: ArrayLike, config: CompletenessConfig
) -> Iterator[dict[str, Any]]:
    inside = np.ones(len(counted.row_id), bool)
    for name, ends in wanted.where.items():
        bins = Ranges.of(name, ends)
        inside &= bins.is_inside[bins.place(values_of(name, rows))]
    where = ", ".join(f"{name} {a:g} to {b:g}" for name, (a, b) in wanted.where.items()) or "all rows"
    line = {"where": where, "min": wanted.min}
    threshold = wanted.at or config.threshold
    assert threshold is not None  # the config has one
    at = _in_words(threshold)
    try:
        taus = set_by(threshold, negatives)
    except CompletenessError as error:
        nothing: dict[str, Any] = dict.fromkeys(_NUMBERS, math.nan)
        yield nothing | line | {"at": at, "problem": str(error), "n_valid": 0, "n_hosts": 0, "n_recovered": 0}
        return
    for tau in taus:
        yield line | {"at": _rate(tau, at)} | _counted(counted, inside, tau, config)


def _counted(counted: Counted, inside: NDArray[np.bool_], tau: Threshold, config: CompletenessConfig) -> dict[str, Any]:
    cells = counted.cells(inside.astype(np.int64), (2,), [tau.tau], sorted_by_host=True)
    tables = table(cells, ("curve", "inside"), config.min_hosts, config.min_rows, {"curve": list(CURVES)},
                   config.interval)  # fmt: skip
    cell = tables.sel(curve="all").isel(threshold=0, inside=1)
    found, few = shown(cell), ""
    n, hosts = int(cell["n_valid"]), int(cell["n_hosts"])
    if not bool(cell["tested"]):
        few = f"{n:,} rows on {hosts:,} hosts: at least {config.min_rows} on {config.min_hosts} are needed"
    elif not found.is_measured:
        few = f"{n:,} rows on {hosts:,} hosts have no interval"
    return {
        "problem": few, "tau": tau.tau, "n_valid": n, "n_hosts": hosts, "n_recovered": int(cell["n_recovered"]),
        "completeness": found.value, "completeness_low": found.low, "completeness_high": found.high,
    }  # fmt: skip


def _in_words(threshold: CompletenessThresholdConfig) -> str:
    if threshold.fpr is not None:
        return "a false-positive rate of " + ", ".join(f"{a:g}" for a in threshold.fpr)
    if threshold.false_positives is not None:
        return f"{threshold.false_positives:,} false positives"
    return f"a score of {threshold.value:g}"


def _rate(tau: Threshold, at: str) -> str:
    return f"a false-positive rate of {tau.rate:g}" if tau.source == "fpr" else at


@dataclass(frozen=True)
class Asked:
    """Whose completeness is judged, and what speaks against judging it.

    Attributes
    ----------
    scorer, source : str
        Name and fingerprint.
    split : str
    truth : bool
        Whether it reads what was injected.
    unbound : str
        Why its scores may be of other pixels than these; empty where they are known to be of these.
    data : str
        What is wrong with the data's own gates; empty where all required ones passed, or none need to.
    """

    scorer: str
    source: str
    split: str
    truth: bool = False
    unbound: str = ""
    data: str = ""


def judge_required(found: Mapping[str, xr.Dataset], asked: Asked, config: CompletenessConfig, seed: int) -> GateResult:
    """Judge a completeness by ``completeness.require``.

    Parameters
    ----------
    found : mapping of Dataset
        As :func:`lensflow.measure.completeness.summary.completeness` gave them.
    asked : Asked
    config : CompletenessConfig
    seed : int
        Of the run, for the recipe.

    Returns
    -------
    GateResult
        The worst verdict of the requirements, each a finding. PASS: the whole interval of each is above its ``min``;
        FAIL: all of one's is at or below. NOT_TESTABLE whatever the numbers are for scorers that read what was
        injected, restated cuts, scores that are not known to be of these pixels, and data whose gates did not pass.
    """
    recipe = _recipe(found, asked, config, seed)
    lines = found.get("require")
    findings = [] if lines is None else [_judge(lines.isel(requirement=k)) for k in range(lines.sizes["requirement"])]
    verdict, reason = _overall(found, asked, findings)
    least = {w.min for w in config.require}
    return GateResult(
        GATE, recipe, fingerprint(recipe), least.pop() if len(least) == 1 else math.nan, verdict, reason,
        n_rows=int(found["funnel"]["n_valid"]),
        n_hosts=int(found["curves"]["n_hosts"].sel(curve="all")) if "curves" in found else 0,
        findings=tuple(f.to_dict() for _, f in findings),
    )  # fmt: skip


def _judge(line: xr.Dataset) -> tuple[Verdict, Finding]:
    share, low, high = (float(line[k]) for k in _NUMBERS[-3:])
    value = Estimate(share, low, high, int(line["n_hosts"]))
    least, place = float(line["min"]), f"{line['where'].item()} at {line['at'].item()}"
    verdict, text = Verdict.NOT_TESTABLE, str(line["problem"].item())
    if not text:
        text = f"completeness {value:.3f} of {int(line['n_valid']):,} rows on {value.n_hosts:,} hosts"
        if value.low > least:
            verdict, text = Verdict.PASS, f"{text}: the whole interval is above {least:g}"
        elif value.high <= least:
            verdict, text = Verdict.FAIL, f"{text}: the whole interval is at or below {least:g}"
        else:
            verdict, text = Verdict.INCONCLUSIVE, f"{text}: the interval crosses {least:g}; more hosts would decide"
    shown_value = value if value.is_measured else NOT_MEASURED
    status = _STATUS.get(verdict, Status.NOT_TESTED)
    return verdict, Finding(GATE, GATE, status, place, shown_value, least, f"{place}: {text}", "1")


def _overall(
    found: Mapping[str, xr.Dataset], asked: Asked, findings: list[tuple[Verdict, Finding]]
) -> tuple[Verdict, str]:
    funnel = found["funnel"].attrs
    if funnel["verdict"]:
        return Verdict(funnel["verdict"]), str(funnel["reason"])
    against = [str(funnel["reason"])] if asked.truth else []
    against += [text for text in (asked.unbound, asked.data) if text]
    if against:
        return Verdict.NOT_TESTABLE, "; ".join(against)
    if not findings:
        return Verdict.ERROR, "nothing was counted for completeness.require"
    for verdict in _WORST_FIRST:
        worst = [f.text for v, f in findings if v is verdict]
        if worst:
            return verdict, worst[0]
    return Verdict.PASS, "; ".join(f.text for _, f in findings)


def _recipe(found: Mapping[str, xr.Dataset], asked: Asked, config: CompletenessConfig, seed: int) -> dict[str, Any]:
    negatives = found["thresholds"].attrs if "thresholds" in found else {}
    return {
        "check": GATE,
        "scorer": asked.scorer,
        **({"scorer_source": asked.source} if asked.source else {}),
        "reads": "what was injected" if asked.truth else "images",
        "split": asked.split,
        "require": [_asked_for(w) for w in config.require],
        "threshold": {} if config.threshold is None else config.threshold.model_dump(mode="json", exclude_none=True),
        "negatives": str(negatives.get("negatives", "")),
        "negatives_fingerprint": str(negatives.get("negatives_fingerprint", "")),
        "interval": INTERVALS[config.interval][1],
        "measured": "rows with a score at the threshold or above over valid rows; passes if the whole interval of "
        "every requirement lies above its min",
        "require_data_gates": config.require_data_gates,
        "seed": seed,
    }


def _asked_for(wanted: RequireConfig) -> dict[str, Any]:
    return wanted.model_dump(mode="json", exclude_none=True)
