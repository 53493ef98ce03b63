"""The verdict ``realism``: can the readable features tell real lenses from injections on matched hosts?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RealismConfig, fingerprint
from lensflow.errors import ConvergenceError, RealismError
from lensflow.measure.gate.verdicts import GateResult, Verdict, judge
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.measure.realism import controls
from lensflow.measure.realism.compare import areas_of, compare
from lensflow.measure.realism.energy import energy_distance
from lensflow.measure.realism.matching import HIDDEN_SD, hidden_in_words
from lensflow.measure.realism.power import power
from lensflow.measure.realism.probe import Probe, filled, probe, recipe
from lensflow.measure.realism.samples import Floats, MatchedRows
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.hostsums import named

NAME = "realism"
# Features of the host that matching must balance: they are compared, and not given to the probe.
CONTROL_FEATURES = "host_"
HONEST = (
    "A passing comparison says that these tests, with this many lenses, could not tell; not that a search will "
    "transfer."
)
# Readable features of sets that are matched by the catalogue's values.
OTHER_MATCHING = "readable, other matching"
VARIANCE_RATIO = (0.5, 2.0)
NAMED_FEATURES = 3
# Feature of the visibility cut; and the share of hosts without an arc that pass it, above which it shows no arc.
VISIBLE_BY, MOST_ARCLESS = "arc_snr", 0.1


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is compared.

    Attributes
    ----------
    rows : MatchedRows
        Readable features of visible real lenses and injections; names that begin with ``host_`` are controls.
    second : ndarray, shape (injection, feature), optional
        The same features of a second draw of injections on the same hosts, NaN where there is none.
    brightened : ndarray, shape (injection, feature), optional
        The same of the injections with arcs brightened by 1 mag.
    arcless : ndarray, shape (injection, feature), optional
        The same of the injections' hosts without an arc.
    hosts : MatchedRows, optional
        Matched hosts without arc (as ``is_real``) beside hosts drawn at random from the run.
    advisory : mapping of MatchedRows
        Other inputs of the probe: ``pixels``, ``embedding``.
    balance : Dataset, dim covariate, optional
        ``smd`` (standardised difference of the means) and ``variance_ratio`` of the host covariates after matching.
    other_road : str
        What shows that the real stamps were not cut as the hosts were; empty where nothing does.
    broken : str
        What is wrong with an input (an encoder whose features are not finite); empty where nothing is.
    recipe : dict
        More of what the numbers depend on.
    """

    rows: MatchedRows
    second: Floats | None = None
    brightened: Floats | None = None
    arcless: Floats | None = None
    hosts: MatchedRows | None = None
    advisory: Mapping[str, MatchedRows] = field(default_factory=dict)
    balance: xr.Dataset | None = None
    other_road: str = ""
    broken: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compared:
    """What was found.

    Attributes
    ----------
    gate : GateResult
        The verdict, with all controls.
    tables : dict of Dataset
        ``features`` (:func:`lensflow.measure.realism.compare.compare`); ``areas``, dim probe; ``scores``, dim row:
        ``set``, ``is_real`` and out-of-fold ``score`` in the order of ``Comparison.rows``; ``balance`` if there is one.
    """

    gate: GateResult
    tables: dict[str, xr.Dataset]

    @property
    def sentence(self) -> str:
        """First line of every report: how many lenses, the verdict, and what would have been seen."""
        return sentence_of(self.gate)


def judge_realism(found: Comparison, config: RealismConfig, seed: int) -> Compared:
    """Compare, and judge by the interval of the readable features' area.

    Parameters
    ----------
    found : Comparison
    config : RealismConfig
    seed : int

    Returns
    -------
    Compared
        PASS: the whole interval lies below ``max_auc``. FAIL: at or above it. NOT_TESTABLE: too few sets, stamps of
        another road, no power, or a positive control that is not found. INCONCLUSIVE: hosts are not matched, or the
        interval crosses the limit. ERROR: equals do not read 0.5, or a fit does not converge.
    """
    rows = found.rows
    readable = rows.only(n for n in rows.names if not n.startswith(CONTROL_FEATURES))
    description = {"check": NAME, "features": list(readable.names), **recipe(config), "min_sets": config.min_sets,
                   "max_balance_sd": config.max_balance_sd, "min_arc_snr": config.min_arc_snr,
                   "seed": seed, **found.recipe}  # fmt: skip
    blank = GateResult(
        NAME, description, fingerprint(description), config.max_auc, Verdict.ERROR, "not run",
        n_rows=len(rows.values), n_hosts=rows.n_sets,
    )  # fmt: skip
    tables = {"features": compare(rows, config, seed)} if rows.n_sets else {}
    if found.balance is not None:
        tables["balance"] = found.balance
    few = f"{rows.n_sets} matched sets of visible lenses: at least {config.min_sets} are needed (realism.min_sets)"
    if rows.n_sets < max(config.folds, 2):
        return Compared(blank.decided(Verdict.NOT_TESTABLE, few), tables)
    if not filled(readable)[1]:
        same = "every readable feature has one value in all rows: there is nothing to compare"
        return Compared(blank.decided(Verdict.NOT_TESTABLE, same), tables)
    try:
        main = probe(readable, config, seed, "realism.probe")
        known, areas = _known(found, readable, main, config, seed)
    except ConvergenceError as error:
        return Compared(blank.decided(Verdict.ERROR, str(error)), tables)
    tables |= {"areas": _areas(areas, known), "scores": _scores(main)}
    result = blank.decided(
        blank.verdict, blank.reason, area=main.area, controls=known, coef=tuple(main.coef.tolist()),
        findings=tuple(f.to_dict() for f in _findings(tables["features"])),
    )  # fmt: skip
    too_few = few if rows.n_sets < config.min_sets else ""
    verdict, reason = _decide(result, too_few, tables, config, found.broken, found.other_road)
    return Compared(result.decided(verdict, reason), tables)


def decided_again(gate: GateResult, tables: Mapping[str, xr.Dataset], config: RealismConfig) -> Verdict:
    """Verdict that follows from a stored result's own area, controls and balance.

    Parameters
    ----------
    gate : GateResult
        ``realism``, as it was stored.
    tables : mapping of Dataset
        As :class:`Compared` has them.
    config : RealismConfig

    Returns
    -------
    Verdict
        ERROR where numbers are missing. What is wrong with an input is not among the numbers, so that a verdict can
        follow from worse inputs than these.
    """
    few = "too few" if gate.n_hosts < max(config.min_sets, config.folds, 2) else ""
    try:
        return _decide(gate, few, tables, config)[0]
    except (KeyError, TypeError, ValueError):
        return Verdict.ERROR


def sentence_of(gate: GateResult) -> str:
    """Make the first line of a report from the verdict alone."""
    seen = gate.controls.get("power", {}).get("sentence", "")
    area = f", AUC {gate.area:.3f}" if gate.area.is_measured else ""
    counts = gate.controls.get("counts", {})
    n_real = counts.get("n_real", gate.n_hosts)
    text = f"{n_real:,} real lenses, {gate.n_hosts:,} of them visible and matched: {gate.verdict}{area}"
    return f"{text}. {seen}." if seen else f"{text}."


def _known(
    found: Comparison, readable: MatchedRows, main: Probe, config: RealismConfig, seed: int
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Controls, and the areas by probe."""
    columns = [found.rows.names.index(n) for n in readable.names]
    second = None if found.second is None else found.second[:, columns]
    size = power(readable.n_real, readable.n_injected, len(main.names), config.folds, seed)
    energy = energy_distance(readable, config, seed)
    known: dict[str, Any] = {
        "null": _made(lambda: controls.null_of_injections(readable, second, config, seed)),
        "null_lenses": _made(lambda: controls.null_of_lenses(readable, config, seed)),
        "permutation": {
            "what": "another row of each set taken as the real lens, every fit done again", "p": main.p,
            "n_swaps": config.permutations, "sd": main.null_sd, "high": main.null_high,
        },
        "energy": {"what": "energy distance of standardised features; p by relabelling within sets", **asdict(energy)},
        "power": {**{k: v for k, v in asdict(size).items() if k not in ("delta", "power", "read")},
                  "sentence": size.sentence},
        "constant": list(main.constant),
        "missing": main.missing,
        "columns": list(main.names),
    }  # fmt: skip
    areas = {"readable": {**main.fields(), "advisory": False}}
    if (brightened := found.brightened) is not None:
        known["positive"] = _made(
            lambda: controls.positive_control(readable, brightened[:, columns], config, seed), found=False
        )
    if (arcless := found.arcless) is not None:
        snr = arcless[:, found.rows.names.index(VISIBLE_BY)] if VISIBLE_BY in found.rows.names else None
        passing = snr >= config.min_arc_snr if snr is not None else np.ones(len(arcless), bool)
        known["arcless"] = _made(
            lambda: controls.against_arcless(readable, arcless[:, columns], passing, config, seed),
            share=float(passing.mean()) if passing.size else math.nan,
        )
    if (hosts := found.hosts) is not None:
        known["hosts"] = _made(lambda: controls.host_part(hosts, config, seed))
    for name, rows in found.advisory.items():
        # As many components as a quarter of the lenses: more directions than lenses can show nothing.
        few = rows.n_real // 4
        kept = few if len(rows.names) > few else 0
        try:
            other = probe(rows, config, seed, f"realism.probe.{name}", components=max(kept, 0))
        except (RealismError, ConvergenceError) as error:  # it has no say, so it takes none from the others
            areas[name] = {"advisory": True}
            known.setdefault("left_out", {})[name] = str(error)
            continue
        areas[name] = {**other.fields(), "advisory": True}
    return known, areas


def _made(control: Callable[[], dict[str, Any]], **otherwise: Any) -> dict[str, Any]:
    """A control, or why there is none: with one injection a set there is nothing to hold it against."""
    try:
        return control()
    except RealismError as error:
        return {"not_made": str(error), **otherwise}


def _decide(
    result: GateResult,
    few: str,
    tables: Mapping[str, xr.Dataset],
    config: RealismConfig,
    broken: str = "",
    other_road: str = "",
) -> tuple[Verdict, str]:
    known, area = result.controls, result.area
    verdict, text = judge(area, config.max_auc)
    text = text.replace("more hosts", "more lenses")
    if broken:
        return Verdict.ERROR, broken
    if other_road:
        return Verdict.NOT_TESTABLE, f"the real stamps were not cut as the hosts were: {other_road}"
    if few:
        return Verdict.NOT_TESTABLE, f"{few}; {text}"
    for name in ("null", "null_lenses"):
        null = known[name]
        if "not_made" in null:
            return Verdict.NOT_TESTABLE, f"{text}. But equals could not be compared: {null['not_made']}"
        if not null["holds_half"]:
            swaps = ", ".join(f"{a:.3f}" for a in null["swaps"])
            return Verdict.ERROR, (
                f"the comparison itself is broken: {null['what'].partition(';')[0]} give AUC {swaps}, not 0.5 (within "
                f"{null['judged_low']:.3f} to {null['judged_high']:.3f})"
            )
    if unbalanced := unmatched(tables.get("balance"), config.max_balance_sd):
        return Verdict.INCONCLUSIVE, f"hosts are not matched: {unbalanced}. {text}"
    if verdict is Verdict.FAIL:
        return verdict, f"{text}: real lenses and injections on matched hosts are told apart; {_largest(tables)}"
    positive = known.get("positive")
    if positive is None:
        return Verdict.NOT_TESTABLE, f"{text}. But no injections with brighter arcs were there as a positive control"
    if "not_made" in positive:
        return Verdict.NOT_TESTABLE, f"{text}. But there is no positive control: {positive['not_made']}"
    if not positive["found"]:
        read = Estimate.from_fields(positive, "auc")
        return Verdict.NOT_TESTABLE, (
            f"{text}. But arcs brighter by {controls.BRIGHTER_MAG:g} mag are not found either (AUC {read:.3f}): a pass "
            "would mean nothing"
        )
    bare = known.get("arcless", {})
    if bare.get("share", 0.0) > MOST_ARCLESS and not bare.get("found", True):
        read = Estimate.from_fields(bare, "auc")
        return Verdict.NOT_TESTABLE, (
            f"{text}. But real lenses are not told from hosts without an arc either (AUC {read:.3f}), of which "
            f"{bare['share']:.0%} pass the visibility cut: nothing shows that their arcs are seen (realism.min_arc_snr)"
        )
    seen = known["power"]
    powerful = math.isfinite(seen["smallest_delta"]) and seen["read_auc"] < config.max_auc
    # What was seen was seen: power matters where nothing was.
    if not powerful and area.low <= 0.5:
        return Verdict.NOT_TESTABLE, f"{text}. But there is no power: {seen['sentence']}"
    if area.high < 0.5:
        return Verdict.INCONCLUSIVE, (
            f"{text}, and below 0.5: the sides differ in a way that changes from set to set, which this classifier "
            "learns the wrong way round"
        )
    if verdict is Verdict.INCONCLUSIVE:
        return verdict, f"{text}; {_largest(tables)}"
    return verdict, f"{text}; {seen['sentence']}"


def unmatched(balance: xr.Dataset | None, limit: float) -> str:
    """Covariates of the hosts that differ after matching, in words; empty where all are balanced."""
    if balance is None:
        return ""
    out = []
    for name in balance["covariate"].values:
        apart, spread = (float(balance[k].sel(covariate=name)) for k in ("smd", "variance_ratio"))
        if math.isfinite(apart) and abs(apart) >= limit:
            out.append(f"{name} differs by {abs(apart):.2f} sd")
        elif math.isfinite(spread) and not VARIANCE_RATIO[0] <= spread <= VARIANCE_RATIO[1]:
            out.append(f"{name} has {spread:.2f} times the variance")
        elif not math.isfinite(apart):
            out.append(f"{name} is not known on both sides")
        elif not math.isfinite(spread):
            # Not passed over: a constant on the hosts' side, or a single set, says nothing of how they scatter.
            out.append(f"{name} has no variance to compare")
        elif "hidden" in balance and not float(balance["hidden"].sel(covariate=name)) < HIDDEN_SD:
            out.append(hidden_in_words(balance.sel(covariate=name)))
    return ", ".join(out)


def _largest(tables: Mapping[str, xr.Dataset]) -> str:
    words = [
        f"{name} (AUC {area.value:.2f}, p {p:.2g})" for name, area, p in areas_of(tables["features"])[:NAMED_FEATURES]
    ]
    return f"they differ most in {', '.join(words)}" if words else "no feature could be compared alone"


def _findings(features: xr.Dataset) -> list[Finding]:
    out = []
    for name in map(str, features["feature"].values):
        one = features.sel(feature=name)
        area = Estimate.in_dataset(one, "auc")
        if not area.is_measured:
            out.append(Finding(NAME, name, Status.NOT_TESTED, "", NOT_MEASURED, 0.5, str(one["note"].item()), "1"))
            continue
        p, real, other = float(one["p_holm"]), *(float(v) for v in one["quantiles"].sel(quantile=0.5))
        status = Status.ALARM if p < 0.05 else Status.OK
        text = f"median {real:.3g} in real lenses, {other:.3g} in injections; p {p:.2g} (Holm)"
        out.append(Finding(NAME, name, status, "all matched sets", area, 0.5, text, "1"))
    return out


def _areas(areas: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any]) -> xr.Dataset:
    """Areas of the probes and controls, dim probe."""
    lines = dict(areas)
    for name, key in (("null: injections", "null"), ("null: lenses", "null_lenses"), ("hosts", "hosts"),
                      ("arcs 1 mag brighter", "positive"), ("lenses against no arc", "arcless")):  # fmt: skip
        if key in known and "auc" in known[key]:
            lines[name] = {**known[key], "advisory": True}
    texts = {
        "auc": "area under the ROC curve", "auc_low": "lower end of its 95 % interval over matched sets",
        "auc_high": "upper end of its 95 % interval over matched sets", "sd": "its standard deviation",
        "p": "p-value by relabelling within sets", "null_sd": "standard deviation of relabelled areas",
        "n_features": "columns that were fitted", "n_sets": "matched sets",
    }  # fmt: skip
    data = {
        k: named(["probe"], np.array([float(line.get(k, math.nan)) for line in lines.values()]), "1", v)
        for k, v in texts.items()
    }
    data["advisory"] = named(
        ["probe"], np.array([bool(line["advisory"]) for line in lines.values()]), "1", "no verdict"
    )
    return xr.Dataset(data, coords={"probe": list(lines)})


def with_area(areas: xr.Dataset, name: str, rows: MatchedRows, config: RealismConfig, seed: int) -> xr.Dataset:
    """Areas with that of the readable features of other matched sets added; advisory, without a p-value."""
    readable = rows.only(n for n in rows.names if not n.startswith(CONTROL_FEATURES))
    found = probe(readable, config, seed, f"realism.probe.{name}", permutations=0)
    return xr.concat([areas, _areas({name: {**found.fields(), "advisory": True}}, {})], dim="probe")


def _scores(main: Probe) -> xr.Dataset:
    rows = main.rows
    return xr.Dataset(
        {
            "set": named(["row"], rows.sets, "1", "number of the matched set"),
            "is_real": named(["row"], rows.is_real, "1", "whether the row is a real lens"),
            "score": named(["row"], main.score, "1", "out-of-fold log odds of being real"),
        }
    )
