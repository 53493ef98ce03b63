"""Tables of a reference training: verdicts, results by property, views that it uses, the history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from lensflow.measure.gate import GateResult
from lensflow.show.numbers import count, interval
from lensflow.show.table import Cell, Column, Table, words
from lensflow.show.tables_gates import verdict
from lensflow.stats.estimate import Estimate

_BY = {
    "all": "all",
    "snr": "SNR of the arc",
    "theta_e_over_psfsize": "θE / PSF size",
    "host_mag": "host magnitude",
}
# Epochs that a table shows.
_MOST_EPOCHS = 12


class KeptTraining(NamedTuple):
    """A training as it is stored.

    Attributes
    ----------
    scorer, file : str
        The network, and the file that holds the numbers.
    gates : tuple of GateResult
        Verdicts, nulls among them.
    tables : dict of Dataset
        ``by_property``, ``used``, ``history``.
    numbers : dict
        Model, classes, device.
    """

    scorer: str
    file: str
    gates: tuple[GateResult, ...]
    tables: Mapping[str, xr.Dataset]
    numbers: Mapping[str, Any]


def sentence(kept: KeptTraining) -> str:
    """Say what was trained on what, and what may be claimed.

    Parameters
    ----------
    kept : KeptTraining

    Returns
    -------
    str
    """
    n = kept.numbers
    area = next((g.area for g in kept.gates if g.name == "synthetic_auroc"), None)
    beside = f", with {', '.join(n['features'])} beside the pixels" if n.get("features") else ""
    reached = f"AUROC {area:.3f} on injections of this prior in val. " if area is not None else ""
    return (
        f"{n['model']} ({count(n['n_parameters'])} parameters; pretrained: {n['pretrained']}), {n['epochs']} epochs on "
        f"{n['classes']}{beside}, on {n['device']}, {count(n['rows_per_s'])} samples/s. {reached}{n['experience']}."
    )


def tables(kept: KeptTraining) -> list[Table]:
    """Every table of a training, the verdicts first.

    Parameters
    ----------
    kept : KeptTraining

    Returns
    -------
    list of Table
    """
    every = [verdict_table(kept.gates), properties(kept.tables["by_property"])]
    every.append(used(kept.tables["used"]))
    return [*every, history(kept.tables["history"])]


class Section(NamedTuple):
    """What the page shows of a training.

    Attributes
    ----------
    sentence, scorer, file : str
    tables : list of Table
        The first two are open.
    """

    sentence: str
    scorer: str
    file: str
    tables: list[Table]


def section(kept: KeptTraining) -> Section:
    """Make the page's section of a training.

    Parameters
    ----------
    kept : KeptTraining

    Returns
    -------
    Section
    """
    return Section(sentence(kept), kept.scorer, kept.file, tables(kept))


def verdict_table(gates: tuple[GateResult, ...]) -> Table:
    """Verdicts with their numbers and reasons."""
    rows = [(g.name, verdict(g), g.area, g.reason) for g in gates]
    return Table(
        "Verdicts on the trained network",
        [words("verdict on"), words("verdict"), Column("measured", write=3), words("why", wrap=True)],
        rows,
        "Measured: AUC, share of pairs, or difference of two AUC, with the 95 % interval over hosts.",
    )


def properties(by: xr.Dataset) -> Table:
    """AUROC and paired accuracy by SNR, resolution and host magnitude."""
    rows = []
    for k in range(by.sizes["bin"]):
        at = by.isel(bin=k)
        name, low, high = str(at["by"].values), float(at["low"]), float(at["high"])
        ends = "" if name == "all" else _range(low, high)
        one = [Estimate.from_fields({f: float(at[f]) for f in (n, f"{n}_low", f"{n}_high")}, n) for n in _MEASURED]
        if name == "all" or int(at["n"]):
            rows.append((_BY.get(name, name), ends, int(at["n"]), int(at["n_hosts"]), *one))
    return Table(
        "What the network finds",
        [words("by"), words("from – below"), "pairs", "hosts", Column("AUROC", write=3), Column("paired", write=3)],
        rows,
        "Paired: share of pairs whose stamp scores above its own control. A dash: too few pairs or hosts. Faint arcs "
        "are here, whatever the training was given.",
        groups=True,
    )


_MEASURED = ("auc", "paired")


def used(found: xr.Dataset) -> Table:
    """Views of the gates, and what the network loses where stamps equal their controls in each."""
    rows = []
    for k in range(found.sizes["view"]):
        at = found.isel(view=k)
        drop = Estimate.from_fields({f: float(at[f]) for f in ("drop", "drop_low", "drop_high")}, "drop")
        use, gate = str(at["use"].values), str(at["gate"].values)
        style = "bad" if use == "used" and gate == "FAIL" else ""
        rows.append((str(at["view"].values), drop, Cell(use, style), gate or None, str(at["what"].values)))
    return Table(
        "Used or unused: what the network loses where stamps equal their controls in a gate's view",
        [words("view"), Column("loss of AUROC", "%", 1), words("the network"), words("gate"),
         words("made equal", wrap=True)],
        rows,
        "Arcs are in most views, and their light there is theirs by right: a loss is a leak only where the view's gate "
        "says FAIL. Used: the whole interval of the loss is above 1 %.",
    )  # fmt: skip


def history(found: xr.Dataset) -> Table:
    """Losses and AUROC by epoch."""
    n = found.sizes["epoch"]
    few = np.unique(np.linspace(0, n - 1, min(n, _MOST_EPOCHS)).round().astype(int)).tolist()
    names = [k for k in ("loss", "bce", "val_bce", "val_auc", "learning_rate", "seconds") if k in found]
    rows = [(k, *(float(found[name].values[k]) for name in names)) for k in few]
    columns = ["epoch", *(Column(name.replace("_", " "), write=4 if "bce" in name or name == "loss" else 3)
                          if name != "learning_rate" else "learning rate" for name in names)]  # fmt: skip
    return Table("History", columns, rows, "The last epoch is the one that is kept; none is chosen by val.")


def _range(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {high:g}"
    return f"{low:g} and more" if math.isinf(high) else interval(low, high)
