"""Table of the lens finders that were scored on a run."""

from __future__ import annotations

from collections.abc import Sequence

from lensflow.measure.gate import GateResult
from lensflow.measure.scorer.gates import AUROC, CORE_DROP, DROP, EVERYWHERE, FILLED
from lensflow.show.numbers import MISSING, count, fixed, interval
from lensflow.show.tables import Table


def scorers(results: Sequence[GateResult]) -> Table:
    """One line for each scorer and split: area, area with the core filled, drop, and both verdicts."""
    every = list(dict.fromkeys((g.recipe["scorer"], g.recipe["split"]) for g in results))
    by_key = {(g.recipe["scorer"], g.recipe["split"], g.name): g for g in results}
    out = []
    for scorer, split in every:
        auroc, drop = by_key[scorer, split, AUROC], by_key[scorer, split, CORE_DROP]
        found = {f["check"]: f for f in drop.findings if f["where"] == EVERYWHERE}
        cells = [scorer, split, count(auroc.n_rows), count(auroc.n_hosts), fixed(auroc.auc)]
        cells += [interval(auroc.auc_low, auroc.auc_high, 3), _verdict(auroc)]
        cells += [fixed(found[FILLED]["value"]) if FILLED in found else MISSING]
        lost = found.get(DROP)
        cells += [fixed(lost["value"], 1), interval(lost["low"], lost["high"], 1)] if lost else [MISSING, MISSING]
        out.append((*cells, _verdict(drop)))
    limits = {g.name: g.threshold for g in results}
    return Table(
        "Scorers (lensflow score) on the stamps of a split against the controls of other hosts. AUROC: passes if its "
        f"95 % interval over hosts lies above {limits[AUROC]:g}. Core filled: r < 5 pixels of both classes replaced by "
        f"the sky around; the drop passes if its interval lies below {limits[CORE_DROP]:g} %: a finder that loses more "
        "looked at the core and not at the arc.",
        ("scorer", "split", "lenses", "hosts", "AUROC", "95 %", "", "core filled", "drop (%)", "95 %", ""),
        out,
        text_columns=2,
    )


def _verdict(gate: GateResult) -> str:
    return str(gate.verdict).replace("_", " ")
