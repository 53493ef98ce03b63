"""Scorers against runs: the stored completeness of each scorer on each run, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow.errors import CompletenessError, StaleStoreError
from lensflow.measure.completeness.table import shown
from lensflow.run.completeness.stored import StoredCompleteness, stored_of_scorer
from lensflow.run.open_run import Run, open_run
from lensflow.stats.hostsums import named

Runs = Mapping[str, str | Path | Run] | Sequence[str | Path | Run]
# Tables of scores and of negatives are the same for all runs only if they are the same file.
_OWN_NEGATIVES = ("controls", "cutouts")
_SHOWN = 3
_MEANINGS = {
    "completeness": "n_recovered / n_valid",
    "low": "lower end of its interval",
    "high": "upper end of its interval",
    "n": "valid rows",
    "n_hosts": "hosts of the valid rows",
    "tau": "a row is recovered if its score is at least this",
    "false_positives": "negatives at the threshold or above; -1: no negatives",
    "n_negatives": "images without arc",
    "unsure": "fewer than ten false positives set the threshold",
    "verdict": "NOT_TESTABLE or ERROR; empty where nothing speaks against it",
}


def cross_test(runs: Runs, scorers: Sequence[str], *, fpr: float | None = None, split: str = "val") -> xr.Dataset:
    """Put the stored completeness of several scorers on several runs side by side.

    Nothing is scored: each must have been measured with :func:`lensflow.completeness`, by this code, on the pixels that
    are there now, and all alike.

    Parameters
    ----------
    runs : mapping or sequence
        Folders of runs, or opened ones; a mapping names them. Without names they are called by their last folder.
    scorers : sequence of str
        Named as when they were measured.
    fpr : float, optional
        Which of the stored thresholds. Without it each result must have one threshold only.
    split : {"val", "test"}, optional
        Whose rows.

    Returns
    -------
    Dataset
        Over ``scorer`` and ``run``: ``completeness`` of all valid rows with its interval ``low`` and ``high``, ``n``
        valid rows, ``n_hosts``, ``tau``, ``false_positives`` of ``n_negatives``, ``unsure``, and ``verdict`` (empty
        where nothing speaks against it). Attributes say what is the same in all: threshold, split, interval.

    Raises
    ------
    CompletenessError
        If a result is missing, or two were measured in different ways: other thresholds, negatives, weights or
        intervals, or other code or weights of one scorer.
    StaleStoreError
        If a result belongs to other pixels or settings, or to other code of lensflow.
    StoreError, ConfigError
        If a folder is no run, or a file is damaged.
    """
    opened = _opened(runs)
    names = [*scorers]
    if not opened or not names or len(set(names)) < len(names):
        raise CompletenessError(f"cross test: needs runs and scorers, each once, not {len(opened)} and {names}")
    found = {(s, r): stored_of_scorer(run.config, s, split, fpr) for s in names for r, run in opened.items()}
    _refuse_missing(found, opened, fpr, split)
    every = {k: v for k, v in found.items() if v is not None}
    _refuse_stale(every)
    places = {k: _threshold(v, k, fpr) for k, v in every.items()}
    _refuse_different(every, fpr)
    cells = {k: _cell(v, places[k]) for k, v in every.items()}

    def grid(name: str) -> np.ndarray:
        return np.array([[cells[s, r][name] for r in opened] for s in names])

    data = {k: named(["scorer", "run"], grid(k), "", text) for k, text in _MEANINGS.items()}
    first = next(iter(every.values()))
    about = {
        "title": "Completeness of scorers on runs", "split": split, "threshold": _in_words(first, fpr),
        "negatives": first.settings.negatives, "interval": first.settings.interval,
    }  # fmt: skip
    kinds = [every[s, next(iter(opened))].kind for s in names]
    coords = {"scorer": names, "run": [*opened], "kind": ("scorer", kinds)}
    return xr.Dataset(data, coords=coords, attrs=about)


def _opened(runs: Runs) -> dict[str, Run]:
    pairs: list[tuple[str, Any]]
    if isinstance(runs, Mapping):
        pairs = [*runs.items()]
    else:
        places = [run.path if isinstance(run, Run) else str(run).rstrip("/") for run in runs]
        short = [p.rsplit("/", 1)[-1] for p in places]
        names = short if len(set(short)) == len(short) else places
        if len(set(names)) < len(names):
            raise CompletenessError(f"cross test: a run is named twice: {', '.join(names)}")
        pairs = [*zip(names, runs, strict=True)]
    return {name: run if isinstance(run, Run) else open_run(run) for name, run in pairs}


def _refuse_missing(
    found: Mapping[tuple[str, str], StoredCompleteness | None], opened: Mapping[str, Run], fpr: float | None, split: str
) -> None:
    rate = "" if fpr is None else f" --fpr {fpr:g}"
    missing = [f"lensflow completeness {opened[r].path} {s}{rate}" for (s, r), v in found.items() if v is None]
    if missing:
        raise CompletenessError(
            f"cross test: {len(missing)} of {len(found)} results are not there on split {split}. Measure them: "
            f"{_some([f'`{m}`' for m in missing])}"
        )


def _refuse_stale(every: Mapping[tuple[str, str], StoredCompleteness]) -> None:
    stale = [v for v in every.values() if not (v.is_current and v.is_of_this_code)]
    if stale:
        why = "other code of lensflow" if stale[0].is_current else "other pixels or settings"
        raise StaleStoreError(
            f"cross test: {len(stale)} of {len(every)} results are stale, the first belongs to {why}. Measure them "
            f"again: {_some([f'`{v.renew}`' for v in stale])}"
        )


def _threshold(stored: StoredCompleteness, place: tuple[str, str], fpr: float | None) -> int | None:
    """Number of the threshold; None where nothing could be measured."""
    if "thresholds" not in stored.kept.tables:
        return None
    rates = stored.kept.tables["thresholds"]["rate_wanted"].values
    if fpr is None:
        if len(rates) == 1:
            return 0
        raise CompletenessError(
            f"cross test: {place[0]} on {place[1]} has thresholds at {', '.join(f'{r:g}' for r in rates)}: say which "
            "(fpr)"
        )
    same = np.flatnonzero(np.isclose(rates, fpr, rtol=1e-9, atol=0))
    if same.size != 1:
        has = ", ".join(f"{r:g}" for r in rates if np.isfinite(r)) or "none"
        raise CompletenessError(
            f"cross test: {place[0]} on {place[1]} has no threshold of a false-positive rate of {fpr:g}; there is {has}"
        )
    return int(same[0])


def _refuse_different(every: Mapping[tuple[str, str], StoredCompleteness], fpr: float | None) -> None:
    """Refuse numbers that differ in more than scorer and run."""
    definitions = {k: _definition(v, fpr) for k, v in every.items()}
    keys = [*definitions]
    for key in keys[1:]:
        for name, value in definitions[key].items():
            if value != (first := definitions[keys[0]][name]):
                raise CompletenessError(
                    f"cross test: {name} differs: {first} for {keys[0][0]} on {keys[0][1]}, {value} for {key[0]} on "
                    f"{key[1]}. Measure both alike"
                )
    of_scorer: dict[str, tuple[str, str]] = {}
    for (scorer, run), v in every.items():
        source, where = of_scorer.setdefault(scorer, (v.source, run))
        if v.kind != "table" and v.source != source:
            raise CompletenessError(
                f"cross test: {scorer} is not the same on {where} and {run}: its code or weights changed between. "
                f"`{v.renew}` measures it again"
            )


def _definition(stored: StoredCompleteness, fpr: float | None) -> dict[str, str]:
    """What must be the same in all cells."""
    settings, negatives, tables = stored.settings, stored.settings.negatives, stored.kept.tables
    if negatives not in _OWN_NEGATIVES and "thresholds" in tables:
        negatives = f"a table ({tables['thresholds'].attrs['negatives_fingerprint']})"
    return {
        "the threshold": _in_words(stored, fpr), "the negatives": negatives, "the weights": settings.weights,
        "the interval": settings.interval,
    }  # fmt: skip


def _cell(stored: StoredCompleteness, place: int | None) -> dict[str, Any]:
    tables = stored.kept.tables
    verdict = str(tables["funnel"].attrs.get("verdict", ""))
    if place is None:
        nothing = dict.fromkeys(("completeness", "low", "high", "tau"), np.nan)
        return {**nothing, "n": 0, "n_hosts": 0, "false_positives": -1, "n_negatives": 0, "unsure": False,
                "verdict": verdict}  # fmt: skip
    cell = tables["curves"].sel(curve="all").isel(threshold=place)
    at, value = tables["thresholds"].isel(threshold=place), shown(cell)
    return {
        "completeness": value.value, "low": value.low, "high": value.high, "n": int(cell["n_valid"]),
        "n_hosts": int(cell["n_hosts"]), "tau": float(at["tau"]), "false_positives": int(at["false_positives"]),
        "n_negatives": int(at["n_negatives"]), "unsure": bool(at["unsure"]), "verdict": verdict,
    }  # fmt: skip


def _in_words(stored: StoredCompleteness, fpr: float | None) -> str:
    threshold = stored.settings.threshold
    given = {} if threshold is None else {k: v for k, v in threshold.model_dump().items() if v is not None}
    if "fpr" in given:
        given["fpr"] = ", ".join(f"{rate:g}" for rate in (given["fpr"] if fpr is None else [fpr]))
    names = {"fpr": "false-positive rate", "value": "score", "false_positives": "false positives"}
    return ", ".join(f"{names[k]} {v}" for k, v in given.items())


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
