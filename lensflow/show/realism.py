"""Tables of a comparison with real lenses: verdicts, areas, features, balance, lenses that are left out or missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from lensflow.measure.gate import GateResult
from lensflow.measure.realism.verdict import HONEST, sentence_of
from lensflow.show.table import Cell, Column, Table, words
from lensflow.show.tables_gates import verdict
from lensflow.stats.estimate import Estimate

PROBES = {
    "readable": "readable features (the verdict)",
    "readable, other matching": "readable, hosts matched by catalogue",
    "pixels": "pixels of the residual",
    "embedding": "embedding",
    "null: injections": "null: injections against injections",
    "null: lenses": "null: halves of the real lenses",
    "hosts": "matched hosts against random ones",
    "arcs 1 mag brighter": "control: arcs 1 mag brighter",
    "lenses against no arc": "control: real lenses against hosts without arc",
}
# Missed lenses that a table names.
_MOST_NAMES = 8


class KeptRealism(NamedTuple):
    """A comparison as it is stored.

    Attributes
    ----------
    table, scorer : str
        Of the real lenses; whose recall was measured, empty where nobody's was.
    file : str
        That keeps the numbers, from the run's folder.
    gates : tuple of GateResult
        ``realism`` first.
    tables : dict of Dataset
        ``features``, ``areas``, ``scores``, ``balance``, ``sets``, ``rows``; of a scorer ``real_recall``,
        ``real_fpr``, ``gap``, ``thresholds``, ``lenses``.
    numbers : dict
        ``n_table``, ``left_out`` (reason -> lenses), ``notes`` (pairs of text: about what, and what).
    """

    table: str
    scorer: str
    file: str
    gates: tuple[GateResult, ...]
    tables: Mapping[str, xr.Dataset]
    numbers: Mapping[str, Any]


def sentence(kept: KeptRealism) -> str:
    """Say how many lenses, the verdict, the smallest difference that would have been seen, and what a pass is not.

    Parameters
    ----------
    kept : KeptRealism

    Returns
    -------
    str
    """
    return f"{sentence_of(kept.gates[0])} {HONEST}"


def tables(kept: KeptRealism) -> list[Table]:
    """Every table of a comparison, the verdicts first.

    Parameters
    ----------
    kept : KeptRealism

    Returns
    -------
    list of Table
    """
    found = kept.tables
    every = [verdicts(kept.gates)]
    every += [areas(found["areas"])] if "areas" in found else []
    every += [features(found["features"])] if "features" in found else []
    for name, title in (("balance", "Are the hosts alike?"), ("other_balance", "And by the catalogue's values?")):
        every += [balance(found[name], title)] if name in found else []
    every += [left_out(kept.numbers)] if kept.numbers.get("left_out") else []
    every += [recall(found["real_recall"])] if "real_recall" in found else []
    every += [false_positives(found["real_fpr"])] if "real_fpr" in found and found["real_fpr"]["n"].any() else []
    every += [gaps(found["gap"])] if "gap" in found else []
    every += [notes(kept.numbers["notes"])] if kept.numbers.get("notes") else []
    return every


def verdicts(gates: tuple[GateResult, ...]) -> Table:
    """Verdicts with their numbers and reasons."""
    rows = [(g.name.replace("_", " "), verdict(g), g.reason) for g in gates]
    return Table("Against real lenses", [words("verdict on"), words("verdict"), words("why", wrap=True)], rows)


def areas(found: xr.Dataset) -> Table:
    """Areas of the probes and of the comparisons whose answer is known."""
    rows = []
    for k, name in enumerate(found["probe"].values.tolist()):
        at = found.isel(probe=k)
        p = float(at["p"])
        size = float(at["n_features"])
        rows.append((
            PROBES.get(name, name), Estimate.in_dataset(at, "auc"), p if np.isfinite(p) else None,
            int(size) if np.isfinite(size) else None,
        ))  # fmt: skip
    return Table(
        "Can a classifier tell?",
        [words("of what"), Column("AUC", write=3), Column("p", write=_p), "features"],
        rows,
        "0.5: cannot tell. 95 % intervals over matched sets. p: share of relabellings within sets that read as much. "
        "Nulls must hold 0.5 and the control must not. With many features the probe reads less than the true area.",
    )


def features(found: xr.Dataset) -> Table:
    """Each feature of both sides."""
    rows = []
    for name in found["feature"].values.tolist():
        at = found.sel(feature=name)
        real, other = (float(at["quantiles"].sel(side=s, quantile=0.5)) for s in ("real", "injected"))
        p, missing = float(at["p_holm"]), at["n_missing"].values
        style = "bad" if p < 0.05 else ""
        rows.append((
            name.replace("_", " "), real, other, Cell(Estimate.in_dataset(at, "auc"), style), float(at["ks"]),
            Cell(p, style), f"{missing[0]}, {missing[1]}" if missing.any() else "",
        ))  # fmt: skip
    return Table(
        "Features of real lenses and of injections on matched hosts",
        [words("feature"), "median, real", "median, inj.", Column("AUC", write=2),
         Column("KS", write=2, optional=True), Column("p (Holm)", write=_p), words("missing", optional=True)],
        rows,
        "AUC: probability that a real lens has the larger value. Features that begin with host are controls of the "
        "matching. Missing: real lenses, injections without a value.",
    )  # fmt: skip


def balance(found: xr.Dataset, title: str = "Are the hosts alike?") -> Table:
    """Covariates of the hosts before and after matching."""
    rows = []
    for name in found["covariate"].values.tolist():
        at = found.sel(covariate=name)
        ok = bool(at["balanced"]) if "balanced" in found else True
        before, after, ratio = (
            float(at[k]) if k in found else float("nan") for k in ("smd_before", "smd", "variance_ratio")
        )
        hidden = [float(at["hidden"])] if "hidden" in found else []
        rows.append((name, before, Cell(after, "" if ok else "bad"), Cell(ratio, "" if ok else "bad"), *hidden))
    return Table(
        title,
        [words("covariate"), Column("before matching", "sd", 2), Column("after", "sd", 2),
         Column("variance ratio", write=2), *([Column("hidden by arcs", "sd", 2)] if "hidden" in found else [])],
        rows,
        "Standardised differences of real lenses and hosts; after matching below 0.1, and variances within a factor of "
        "two, or there is no verdict. Hidden by arcs: by how much the hosts may still differ, since both sides are "
        "measured with their arcs; below 0.25.",
    )  # fmt: skip


def left_out(numbers: Mapping[str, Any]) -> Table:
    """Lenses of the table that are not compared, by reason."""
    rows = [(reason, int(n)) for reason, n in numbers["left_out"].items()]
    return Table(
        f"Lenses that are not compared, of {int(numbers['n_table']):,} in the table",
        [words("reason", wrap=True), "lenses"],
        rows,
    )


def notes(found: Sequence[Sequence[str]]) -> Table:
    """What was left out or could not be made, so that nobody takes its absence for agreement."""
    rows = [(about, text) for about, text in found]
    return Table("Notes on the comparison", [words("about"), words("note", wrap=True)], rows)


def recall(found: xr.Dataset) -> Table:
    """Recall of real lenses by threshold, tier and visibility, with the names of missed ones."""
    return _shares(found, "Real lenses that the scorer recovers", "recall", "missed")


def false_positives(found: xr.Dataset) -> Table:
    """Known non-lenses taken for lenses, by kind."""
    return _shares(found, "Known non-lenses that the scorer takes for lenses", "rate", "taken for lenses")


def gaps(found: xr.Dataset) -> Table:
    """Completeness of injections less recall of real lenses like them."""
    rows = [
        (float(at["tau"]), float(at["completeness"]), float(at["recall"]), Estimate.in_dataset(at, "share"),
         int(at["n"]), int(at["beyond"]))
        for at in (found.isel(line=k) for k in range(found.sizes["line"]))
    ]  # fmt: skip
    return Table(
        "Is synthetic completeness a guide to real recall?",
        ["threshold", Column("completeness", write=3), Column("recall", write=3), Column("difference", write=3),
         "lenses", Column("beyond all injections", optional=True)],
        rows,
        "Completeness of the injections nearest to the visible lenses of tier A in theta_E, arc magnitude and seeing.",
    )  # fmt: skip


def _shares(found: xr.Dataset, title: str, what: str, listed: str) -> Table:
    rows = []
    for k in range(found.sizes["line"]):
        at = found.isel(line=k)
        if int(at["n"]):
            rows.append((str(at["where"].item()), float(at["tau"]), int(at["n"]), Estimate.in_dataset(at, "share"),
                         _few(str(at["names"].item()))))  # fmt: skip
    columns: list[Column | str] = [
        words("of"),
        Column("threshold"),
        "n",
        Column(what, write=3),
        words(listed, wrap=True, optional=True),
    ]
    return Table(title, columns, rows, "Exact binomial 95 % intervals.")


def _few(names: str) -> str:
    every = [n for n in names.split(", ") if n]
    if len(every) <= _MOST_NAMES:
        return ", ".join(every)
    return f"{', '.join(every[:_MOST_NAMES])} and {len(every) - _MOST_NAMES} more"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"
