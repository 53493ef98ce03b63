"""The completeness of each scorer on a run's page: sentence, figures, tables. Every number is in the kept results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import xarray as xr

from lensflow.measure.gate.verdicts import GateResult
from lensflow.show import figures_completeness as figures
from lensflow.show.begin import Start, here
from lensflow.show.completeness import required, sentence, tables, tells_of_sky, threshold_names
from lensflow.show.figures import Picture
from lensflow.show.table import Table


class KeptCompleteness(NamedTuple):
    """Stored completeness of one scorer, of these pixels.

    Attributes
    ----------
    scorer, split : str
        Whose, and of which rows.
    file : str
        Name of the file that holds the numbers, from the run's folder.
    title : str
        Completeness, or what else it is, of whom.
    gate : GateResult or None
        The verdict on what is required; None where nothing is.
    tables : dict of Dataset
        As :func:`lensflow.measure.completeness.summary.completeness`.
    """

    scorer: str
    split: str
    file: str
    title: str
    gate: GateResult | None
    tables: Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class Section:
    """What the page shows of one scorer.

    Attributes
    ----------
    anchor, title, sentence, file : str
    funnel, roc : Picture or None
    by_threshold : sequence of (str, list of Picture)
        What set each threshold, and its figures; the first is shown, the others are folded.
    tables : sequence of Table
        What is required, thresholds, ROC and averages over the sky, which are shown, then those that are folded.
    n_open : int
        How many tables are shown.
    """

    anchor: str
    title: str
    sentence: str
    file: str
    funnel: Picture
    roc: Picture | None
    by_threshold: Sequence[tuple[str, list[Picture]]]
    tables: Sequence[Table]
    n_open: int


def section(kept: KeptCompleteness, number: int, start: Start = here) -> Callable[[], Section]:
    """Begin the section of one scorer, each figure by itself; what is given waits for it.

    Parameters
    ----------
    kept : KeptCompleteness
    number : int
        Its place on the page; part of the pictures' names.
    start : callable, optional
        Begins to make a part; by default it is made when it is waited for.
    """
    found, name = kept.tables, f"completeness-{number}"
    names = threshold_names(found) if "thresholds" in found else []
    # What takes longest first, each with the tables that it shows.
    of = {
        make: [start(make, _only(found, shown), name, k) for k in range(len(names))]
        for make, shown in ((figures.strata, "stratum_"), (figures.curves, "resolution"), (figures.plane, "plane"))
    }
    every = start(tables, found)
    roc = start(figures.roc, _only(found, "roc", "curves"), name)
    funnel = start(figures.funnel, _only(found, "funnel"), name)

    def made() -> Section:
        shown = [(what, [p for make in (figures.curves, figures.plane, figures.strata) if (p := of[make][k]())])
                 for k, what in enumerate(names)]  # fmt: skip
        rows = every()
        verdict = required(kept.gate) if kept.gate else None
        extra = ("roc" in found, "area" in found, tells_of_sky(found), "populations" in found)
        n_first = 2 + sum(extra) if "thresholds" in found else 1
        first = [t for t in (verdict, *rows[1:n_first]) if t is not None]
        return Section(
            name, f"{kept.title}, split {kept.split}", sentence(kept.scorer, kept.split, found), kept.file,
            funnel(), roc(), shown, [*first, rows[0], *rows[n_first:]], len(first),
        )  # fmt: skip

    return made


def _only(found: Mapping[str, xr.Dataset], *beginnings: str) -> dict[str, xr.Dataset]:
    """The tables whose names begin so, and the thresholds: little is sent."""
    return {name: table for name, table in found.items() if name.startswith((*beginnings, "thresholds"))}
