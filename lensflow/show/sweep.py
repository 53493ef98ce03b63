"""A sweep for readers: one line per arm with difference and interval, strata, gates, and the proof."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lensflow.measure.realism.sweep.result import ArmResult, Line, SweepResult
from lensflow.show.numbers import count, number
from lensflow.show.table import Cell, Column, Table, words
from lensflow.stats.estimate import Estimate

if TYPE_CHECKING:
    from lensflow.show.figures import Picture

HONEST = (
    "A difference is that of this scorer at this threshold, on these rows and hosts. It says which factor moves the "
    "scores of injections, not that real lenses would follow."
)
STALE = "{name}: its arms have other pixels than those that were compared. Run that sweep again."
_SURE = 0.05


def sentence(sweep: SweepResult) -> str:
    """Say what was changed, what was proved, and what moved most.

    Parameters
    ----------
    sweep : SweepResult
    """
    what = ", ".join(dict.fromkeys(sweep.titles)) or "nothing (null arm)"
    rows = sweep.null.n_rows
    proved = f"the null arm is bit-equal in {count(rows)} rows"
    arms = [a for a in sweep.arms if a.proof is not None]
    if arms:
        equal = sum(int((a.proof["role"] == "equal").sum()) for a in arms) // len(arms)
        proved += f"; {equal} arrays are declared equal and are, by hash"
    if not sweep.scorer:
        return f"Sweep of {what} ({sweep.name}): {proved}. No scorer was named, so nothing was counted."
    at = f" at {sweep.thresholds[0]}" if sweep.thresholds else ""
    return f"Sweep of {what} ({sweep.name}), {sweep.scorer}, split {sweep.split}{at}: {proved}."


def lines_table(sweeps: Sequence[SweepResult], threshold: int = 0) -> Table:
    """One line per arm of one or several sweeps, the largest difference first.

    Parameters
    ----------
    sweeps : sequence of SweepResult
    threshold : int
        Number of the threshold.

    Returns
    -------
    Table
    """
    every = [x for s in sweeps for x in _lines(s, threshold)]
    every.sort(key=lambda x: (math.isnan(x.difference.value), -_plain(x.difference.value)))
    real = any(math.isfinite(x.realism.value) for x in every)
    of_real = [Column("AUC against real lenses", write=3), Column("its change", write=3)] if real else []
    heads: list[Column | str] = [
        words("factor", wrap=True), words("from", wrap=True), words("to", wrap=True),
        Column("difference", write=_points), Column("gained"), Column("lost"), Column("p (Holm)"),
        Column("score", write=number, optional=True), words("gates", wrap=True, optional=True),
        Column("rendered", optional=True), words("setting", optional=True), *of_real,
    ]  # fmt: skip
    rows = [
        (
            x.title, x.reference, x.value, _loud(x), x.gained if _is_known(x) else None,
            x.lost if _is_known(x) else None, x.p_holm, x.score_difference, x.gates or None, x.n_rendered, x.factor,
            *((x.realism, x.realism_change) if real else ()),
        )
        for x in every
    ]  # fmt: skip
    return Table(
        "What each factor changes", heads, rows,
        "Recovered share of the arm (to) less that of the reference (from), in points of 100, with its 95 % interval "
        "over hosts; rows that only the arm (gained) or only the reference (lost) recovers; p of McNemar's test by "
        "host, corrected for the number of arms; mean score difference; gates whose verdict is another; rows that were "
        "rendered for the arm (0: noise, rounding or the view alone changed). " + HONEST,
    )  # fmt: skip


def strata_table(arm: ArmResult, threshold: int = 0) -> Table | None:
    """Strata of one arm; None without a scorer.

    Parameters
    ----------
    arm : ArmResult
    threshold : int
    """
    if arm.numbers is None:
        return None
    one = arm.numbers.isel(threshold=threshold)
    rows = []
    for k in range(one.sizes["stratum"]):
        at = one.isel(stratum=k)
        difference, p = Estimate.in_dataset(at, "difference"), float(at["p_holm"])
        sure = k > 0 and p < _SURE
        rows.append(
            (
                str(at["variable"].values) or "all",
                str(at["bin"].values),
                int(at["n_rows"]),
                int(at["n_hosts"]),
                float(at["recovered_reference"]),
                float(at["recovered_arm"]),
                Cell(difference, "warn" if sure else ""),
                int(at["gained"]),
                int(at["lost"]),
                p,
            )
        )
    return Table(
        f"{arm.label}, by stratum",
        [words("stratum", wrap=True), words("bin"), Column("rows"), Column("hosts", optional=True),
         Column("was", write=3), Column("is", write=3), Column("difference", write=_points),
         Column("gained", optional=True), Column("lost", optional=True), Column("p (Holm)")],
        rows,
        "Bins of the reference's manifest, so that no row moves; p corrected for the number of strata (of all rows: "
        "as it is).",
        groups=True,
    )  # fmt: skip


def gates_table(arm: ArmResult) -> Table | None:
    """Gates of one arm beside the reference's; None where they were not run.

    Parameters
    ----------
    arm : ArmResult
    """
    if arm.gates is None:
        return None
    rows = []
    for k, name in enumerate(arm.gates["gate"].values):
        at = arm.gates.isel(gate=k)
        was, now = (str(at[f"verdict_{s}"].values) for s in ("reference", "arm"))
        areas = [Estimate.in_dataset(at, n) for n in ("auc_reference", "auc_arm", "change")]
        # Sweeps of older versions do not say.
        paired = "" if not areas[2].is_measured else "yes" if bool(at.get("paired", False)) else "no"
        rows.append((str(name), was, Cell(now, "warn" if was != now else ""), *areas, paired or None))
    return Table(
        f"{arm.label}, gates",
        [words("gate"), words("was"), words("is"), Column("AUC was", write=3), Column("AUC is", write=3),
         Column("change", write=3), words("paired")],
        rows,
        "Paired: hosts that both arms share move both areas alike, which cancels in the change. Without, the arms are "
        "taken as independent, and the interval is wider than it need be.",
    )  # fmt: skip


def proof_table(arm: ArmResult, null: bool = False) -> Table:
    """Every array compared between an arm and the reference, those that differ first.

    Parameters
    ----------
    arm : ArmResult
    null : bool
        Whether it is the null arm.
    """
    proof = arm.proof
    order = np.lexsort((np.arange(proof.sizes["array"]), -proof["n_differ"].values))
    rows = []
    for k in order:
        at = proof.isel(array=int(k))
        rows.append(
            (
                str(at["array"].values),
                _ROLES[str(at["role"].values)],
                int(at["n_differ"]),
                int(at["n_rows"]),
                str(at["hash_a"].values)[:12],
                str(at["hash_b"].values)[:12],
            )
        )
    differ = ", ".join(arm.differs) or "nothing"
    return Table(
        "Null arm" if null else f"{arm.label}, proof",
        [words("array"), words("role"), Column("rows that differ"), Column("rows", optional=True),
         words("hash of the reference", optional=True), words("hash of the arm", optional=True)],
        rows,
        f"Against {arm.against or 'the reference'}. The config differs from the reference's in {differ}. Hashes of all "
        "rows.",
    )  # fmt: skip


def interaction_table(sweep: SweepResult) -> Table | None:
    """The interaction of two factors; None without.

    Parameters
    ----------
    sweep : SweepResult
    """
    if sweep.interaction is None:
        return None
    rows = []
    for k in range(sweep.interaction.sizes["threshold"]):
        at = sweep.interaction.isel(threshold=k)
        rows.append(
            (sweep.thresholds[k] if k < len(sweep.thresholds) else str(k), Estimate.in_dataset(at, "interaction"),
             float(at["p"]), str(at["test"].values), Estimate.in_dataset(at, "score_interaction"))
        )  # fmt: skip
    return Table(
        f"Interaction of {' and '.join(sweep.name.split('+'))}",
        [words("threshold", wrap=True), Column("interaction", write=_points), Column("p"), words("test"),
         Column("of the mean score")],
        rows,
        "Both changed, less each alone, plus the reference; in points of 100, with intervals over hosts.",
    )  # fmt: skip


def write_page(sweeps: Sequence[SweepResult], stale: Sequence[str] = ()) -> str:
    """HTML of the sweeps of a run, with the figure inside.

    Parameters
    ----------
    sweeps : sequence of SweepResult
    stale : sequence of str
        Names of sweeps whose arms have other pixels by now; they are named and not shown.
    """
    from lensflow.show.pages import page_template

    parts = []
    for s in sweeps:
        tables = [t for a in s.arms for t in (strata_table(a), gates_table(a), proof_table(a)) if t is not None]
        crossed = interaction_table(s)
        parts.append((s, sentence(s), [*([crossed] if crossed else []), *tables, proof_table(s.null, null=True)]))
    return page_template("sweep.html.j2").render(
        run=sweeps[0].run if sweeps else "this run",
        parts=parts,
        lines=lines_table(sweeps),
        figure=_figure(sweeps),
        honest=HONEST,
        stale=[STALE.format(name=n) for n in stale],
    )


def _figure(sweeps: Sequence[SweepResult]) -> Picture | None:
    """Differences with their intervals; None where nothing was counted."""
    every = [x for s in sweeps for x in _lines(s, 0) if math.isfinite(x.difference.value)]
    if not every:
        return None
    from lensflow.show.figures import MUTED, error_reach, label, new_figure, picture

    every.sort(key=lambda x: x.difference.value)
    figure, (axes,) = new_figure(1.2 + 0.42 * len(every))
    value, low, high = 100 * np.array([(x.difference.value, x.difference.low, x.difference.high) for x in every]).T
    y = np.arange(len(every))
    axes.errorbar(value, y, xerr=error_reach(value, low, high), fmt="o", ms=5, lw=1.6, color="#3a5fa8")
    axes.axvline(0.0, color=MUTED, lw=0.8, ls="--")
    axes.set_yticks(y, [f"{x.factor}: {x.reference} to {x.value}" for x in every])
    axes.set_ylim(-0.6, len(every) - 0.4)
    label(axes, "recovered, arm less reference (points)", "")
    return picture(
        figure,
        "sweep",
        "Differences of the recovered share of every arm, with intervals",
        "Recovered share of each arm less that of its reference, with 95 % intervals over hosts.",
    )


_ROLES = {"equal": "declared equal", "owned": "the factor's own", "relation": "must hold", "free": "may follow"}


def _lines(sweep: SweepResult, threshold: int) -> list[Line]:
    return sweep.lines(min(threshold, max(len(sweep.thresholds) - 1, 0)))


def _points(value: float) -> str:
    return number(100 * value)


def _plain(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _is_known(line: Line) -> bool:
    return math.isfinite(line.difference.value)


def _loud(line: Line) -> Cell:
    sure = math.isfinite(line.p_holm) and line.p_holm < _SURE
    return Cell(line.difference, "warn" if sure else "")
