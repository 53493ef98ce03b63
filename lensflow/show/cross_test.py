"""The completeness of scorers on runs as a table."""

from __future__ import annotations

import xarray as xr

from lensflow.show.table import Cell, Column, Table, words
from lensflow.stats.estimate import Estimate


def cross_table(found: xr.Dataset) -> Table:
    """Show a cross test: a row for each scorer, a column for each run.

    Parameters
    ----------
    found : Dataset
        As :func:`lensflow.cross_test`.

    Returns
    -------
    Table
        Completeness with its interval; marked where a verdict speaks against it, where too few negatives set the
        threshold, and where the scorer reads what was injected.
    """
    rows: list[list[object]] = []
    for scorer in found["scorer"].values:
        of = found.sel(scorer=scorer)
        truth = str(of["kind"].values) == "truth"
        cells: list[object] = [Cell(str(scorer), note="(truth)" if truth else "")]
        for run in found["run"].values:
            here = of.sel(run=run)
            value, low, high = (float(here[k]) for k in ("completeness", "low", "high"))
            verdict = str(here["verdict"].values).replace("_", " ")
            note = verdict or ("unsure" if bool(here["unsure"]) else "")
            shown = Estimate(value, low, high, int(here["n_hosts"]))
            cells.append(Cell(shown, "warn" if note else "", note))
        rows.append(cells)
    every = {k: f"{int(found[k].min()):,} to {int(found[k].max()):,}" for k in ("n", "n_hosts", "n_negatives")}
    notes = (
        f"All valid rows of split {found.attrs['split']}, at {found.attrs['threshold']}. {every['n']} rows on "
        f"{every['n_hosts']} hosts, {every['n_negatives']} negatives. Truth: detectability by definition."
    )
    heads = [Column(str(run), write=3) for run in found["run"].values]
    return Table(found.attrs["title"], [words("scorer", wrap=True), *heads], rows, notes)
