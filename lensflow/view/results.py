"""Results of a run for a page: worst rows of verdicts, maps of completeness with the rows of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import LensflowError
from lensflow.view.rows import TEST, Rows

# Which of completeness's three curves a map shows.
CURVE = "all"


@dataclass(frozen=True, eq=False)
class Map:
    """Completeness of one scorer over two variables, at one threshold.

    Attributes
    ----------
    title : str
        Scorer, split and threshold.
    axes : (str, str)
        Variables along x and y.
    labels : (tuple of str, tuple of str)
        Of the bins inside the edges.
    completeness, n_valid, n_recovered : ndarray, shape (x, y)
        NaN where no row is valid.
    place : ndarray of int64, shape (n,)
        Flat cell (x, y) of each row of the page; -1 for rows of no cell: controls, other splits, outside the edges.
    problem : str
        Why the rows of cells cannot be shown; empty if they can.
    """

    title: str
    axes: tuple[str, str]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    completeness: NDArray[np.float64]
    n_valid: NDArray[np.int64]
    n_recovered: NDArray[np.int64]
    place: NDArray[np.int64]
    problem: str = ""

    def rows_of(self, x: int, y: int) -> NDArray[np.int64]:
        """Places of the rows that a cell was made of."""
        return np.flatnonzero(self.place == x * len(self.labels[1]) + y)


@dataclass(frozen=True, eq=False)
class Results:
    """What a page shows of a run's results.

    Attributes
    ----------
    verdicts : tuple of (str, str)
        Name and verdict of each gate.
    worst : dict
        Name of a gate -> places of the rows that it tells most clearly from their controls, the worst first.
    maps : tuple of Map
    messages : tuple of str
        What is missing or left out, and why.
    """

    verdicts: tuple[tuple[str, str], ...] = ()
    worst: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    maps: tuple[Map, ...] = ()
    messages: tuple[str, ...] = ()


def results_of(config: RunConfig, rows: Rows) -> Results:
    """Read the results of a run; what cannot be read becomes a message.

    Parameters
    ----------
    config : RunConfig
    rows : Rows
        Those of the page: rows that it does not show are in no cell and among no worst ones.

    Returns
    -------
    Results
    """
    from lensflow.run.open_run import Run, open_run

    messages: list[str] = []
    verdicts: list[tuple[str, str]] = []
    worst: dict[str, NDArray[np.int64]] = {}
    try:
        opened: Run = open_run(rows.folder.root)
        messages += opened.results.notes
        for gate in opened.results.gates:
            verdicts.append((gate.name, str(gate.verdict).replace("_", " ")))
            places = rows.places_of([w["row_id"] for w in gate.worst or ()])
            if len(places):
                worst[gate.name] = places
    except LensflowError as error:
        if str(error) not in messages:
            messages.append(str(error))
    maps, said = _maps(config, rows)
    return Results(tuple(verdicts), worst, maps, tuple(dict.fromkeys([*messages, *said])))


def _maps(config: RunConfig, rows: Rows) -> tuple[tuple[Map, ...], list[str]]:
    from lensflow.run.completeness.stored import stored_completeness

    maps: list[Map] = []
    messages: list[str] = []
    try:
        found = stored_completeness(config)
    except LensflowError as error:
        return (), [str(error)]
    for stored in found:
        kept = stored.kept
        if kept.split == schema.SPLITS[TEST] and not (rows.split == TEST).any():
            messages.append(f"{kept.title}, split test: sealed, as its rows are.")
        elif not stored.is_current:
            messages.append(f"{kept.title} belongs to other pixels or settings: `{stored.renew}` renews it.")
        elif "plane" in kept.tables:
            maps += _of_plane(f"{kept.title}, split {kept.split}", kept.split, kept.tables, rows)
    return tuple(maps), messages


def _of_plane(title: str, split: str, tables: Mapping[str, xr.Dataset], rows: Rows) -> list[Map]:
    """One map a threshold, over the two axes of the table ``plane``."""
    table = tables["plane"].sel(curve=CURVE)
    x, y = (str(d) for d in table["n_valid"].dims)
    inside = [np.flatnonzero(table[f"{v}_is_inside"].values) for v in (x, y)]
    labels = tuple(tuple(str(s) for s in table[v].values[k]) for v, k in zip((x, y), inside, strict=True))
    try:
        place, problem = cells_of(table, (x, y), inside, split, rows), ""
    except LensflowError as error:
        place, problem = np.full(len(rows), -1), str(error)

    def cut(name: str, threshold: int | None = None) -> NDArray:
        values = table[name] if threshold is None else table[name].isel(threshold=threshold)
        return np.asarray(values.transpose(x, y).values[np.ix_(*inside)])

    out = []
    for k in range(table.sizes["threshold"]):
        shown = f"{title}, {_threshold(tables, k)}"
        out.append(Map(shown, (x, y), (labels[0], labels[1]), cut("completeness", k), cut("n_valid"),
                       cut("n_recovered", k), place, problem))  # fmt: skip
    return out


def _threshold(tables: Mapping[str, xr.Dataset], k: int) -> str:
    from lensflow.show.figures_completeness import threshold_names

    return threshold_names(tables)[k]


def cells_of(table: xr.Dataset, axes: tuple[str, str], inside: list[NDArray], split: str, rows: Rows) -> NDArray:
    """Flat cell of each row among the bins inside the edges, as completeness counted them; -1 for none.

    Raises
    ------
    LensflowError
        If an axis is made of what the page does not know (pixels, text).
    """
    from lensflow.measure.completeness.bins import Bins, Ranges, Values

    index = []
    for axis, within in zip(axes, inside, strict=True):
        bins: Bins
        if f"{axis}_edges" in table.variables:
            bins = Ranges.of(axis, table[f"{axis}_edges"].values.tolist())
        else:
            bins = Values(axis, tuple(float(v) for v in table[axis].values[within]))
        values = rows.values(axis)
        number = np.full(len(bins.labels), -1)
        number[within] = np.arange(len(within))
        index.append(number[bins.place(values)])
    flat = index[0] * len(inside[1]) + index[1]
    counted = ~rows.is_control & (rows.split == schema.SPLITS.index(split))
    return np.where((index[0] < 0) | (index[1] < 0) | ~counted, -1, flat).astype(np.int64)
