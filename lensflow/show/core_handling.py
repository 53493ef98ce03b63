"""Core handlings in the report: the cost curve, the table, the recommendation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lensflow.measure.core.sweep import HandlingResult
from lensflow.measure.core.tuning import CoreTuning
from lensflow.measure.gate import Verdict
from lensflow.measure.gate.family import first_alone
from lensflow.show.figures import INK, MUTED, Picture, error_reach, label, legend, new_figure, picture
from lensflow.show.numbers import count
from lensflow.show.table import Column, Table, words
from lensflow.show.tables import stratum_label
from lensflow.show.tables_gates import area

_COLOURS = ("#c0362c", "#d98324", "#3a5fa8", "#009e73", "#7b5ea7", "#444444")


def tables(tuning: CoreTuning) -> tuple[Table, Table]:
    """Handlings on the hosts that report, and on those that chose."""
    held, chose = tuning.reported_on, tuning.chosen_on
    return (
        table(held, f"Core handlings on held-out hosts ({count(_hosts(held))}), which had no part in the choice"),
        table(chose, f"Core handlings on the hosts that chose ({count(_hosts(chose))})"),
    )


def _hosts(results: Sequence[HandlingResult]) -> int:
    return max((r.n_hosts for r in results), default=0)


def table(
    results: Sequence[HandlingResult], title: str = "Core handlings", published: Mapping[str, float] | None = None
) -> Table:
    """One row per handling: gates with interval and verdict, light hidden, testability.

    Parameters
    ----------
    results : sequence of HandlingResult
    title : str
    published : mapping, optional
        Handling -> AUC of the core gate ``core_all`` to show beside what its box alone reads.
    """
    names = gate_names(results)
    rows = []
    for r in results:
        beside = () if published is None else (published.get(r.name), area(first_alone(r.gate("core_all"))))
        small = 100 * r.cost[0]["removed"] if r.cost else None
        name = r.name + (" (experiment)" if r.is_experiment else "")
        gates = (area(r.by_name.get(n)) for n in names)
        rows.append(
            (name, *beside, *gates, 100 * r.removed, small, 100 * r.open_share, r.core_excess_pct, r.n_rows)
        )  # fmt: skip
    lowest = _bin(results[0].cost[0]) if results and results[0].cost else "smallest θE"
    compared = () if published is None else ("published core_all", "core_all in its box alone")
    return Table(
        title,
        [
            words("handling", wrap=True), *(Column(n, write=3, wrap=True) for n in (*compared, *names)),
            Column("light hidden", "%", 0), Column(f"θE {lowest}", "%", 0, optional=True), Column("open", "%", 0),
            Column("excess", "%", "{:+.1f}".format, optional=True), Column("rows", optional=True),
        ],
        rows,
        "AUC of each gate with its 95 % interval over hosts; light hidden: mean share of the arcs' light that a "
        f"handling hides or leaves out, of all arcs and of those of θE {lowest}; open: share of the core box that "
        "could differ at all; excess: by how much the stamps' cores outshine their negatives'. Under a mask core "
        "gates look at boxes and discs beyond it too, and the worst counts; mask_edge tests whether the mask can be "
        "seen. "
        "A gate that could not be tested does not pass.",
    )  # fmt: skip


def gate_names(results: Sequence[HandlingResult]) -> list[str]:
    """Every gate of any handling: that of a mask's edge is run for handlings with one."""
    return list(dict.fromkeys(g.name for r in results for g in r.gates))


def cost_curve(
    results: Sequence[HandlingResult], chosen_on: Sequence[HandlingResult] = (), name: str = "core-handling"
) -> Picture:
    """Draw the AUC of every gate under every handling, above the light that the handling hides by theta_E.

    Parameters
    ----------
    results : sequence of HandlingResult
        Drawn with their intervals: those of the held-out hosts.
    chosen_on : sequence of HandlingResult, optional
        The same handlings on the hosts that chose, drawn faintly.
    name : str
        File name of the picture.

    Returns
    -------
    Picture
        ``png`` holds the bytes; a notebook shows it.
    """
    ordered = sorted(range(len(results)), key=lambda k: results[k].is_experiment)
    shown, faint = [results[k] for k in ordered], [chosen_on[k] for k in ordered] if chosen_on else []
    figure, (top, bottom) = new_figure(6.6, rows=2, sharex=True, height_ratios=(3, 1.5))
    _draw_gates(top, shown, faint)
    _draw_cost(bottom, shown)
    split = sum(not r.is_experiment for r in shown) - 0.5
    if split < len(shown) - 1:
        for axes in (top, bottom):
            axes.axvline(split, color=MUTED, lw=0.8, ls=":")
        top.text(split + 0.08, 1.0, "experiments", fontsize=8, color=MUTED, va="top")
    bottom.set_xticks(
        range(len(shown)), [r.name.replace("+", "\n+") for r in shown], rotation=40, ha="right", fontsize=8
    )
    alt = "; ".join(f"{r.name}: " + ", ".join(f"{g.name} {_short(g.auc)}" for g in r.gates) for r in shown)
    whose = "held-out hosts, faint points the hosts that chose" if faint else "all hosts"
    return picture(
        figure,
        name,
        f"AUC of the gates and light hidden by theta_E for each core handling. {alt}.",
        f"Above: what each gate still reads under each handling, with its 95 % interval over hosts ({whose}); crosses "
        "at the bottom mark gates that could not be tested: a mask that blanks the whole box passes nothing. Below: "
        "mean share of the arcs' light that the handling hides, or leaves out with its row, by θE; and the share of "
        "the core gate's features that could differ at all.",
    )


def _short(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "not measured"


def _draw_gates(axes: Axes, shown: Sequence[HandlingResult], faint: Sequence[HandlingResult]) -> None:
    names = gate_names(shown)
    step = min(0.18, 0.7 / max(len(names), 1))
    handles = []
    floor = min([0.4, *(g.auc_low for r in shown for g in r.gates if math.isfinite(g.auc_low))]) - 0.05
    for k, name in enumerate(names):
        colour = _COLOURS[k % len(_COLOURS)]
        x = np.arange(len(shown)) + step * (k - (len(names) - 1) / 2)
        gates = [r.by_name.get(name) for r in shown]
        auc, low, high = (
            np.array([math.nan if g is None else getattr(g, end) for g in gates])
            for end in ("auc", "auc_low", "auc_high")
        )
        axes.errorbar(x, auc, error_reach(auc, low, high), fmt="o", ms=4, lw=1.3, color=colour)
        if faint:
            others = [r.by_name[name].auc if name in r.by_name else math.nan for r in faint]
            axes.plot(x, others, "o", ms=3, mfc="none", color=colour, alpha=0.45)
        untested = np.array([g is not None and g.verdict in (Verdict.NOT_TESTABLE, Verdict.ERROR) for g in gates])
        axes.plot(x[untested], np.full(untested.sum(), floor + 0.02), "x", ms=5, color=colour)
        handles.append(Line2D([], [], color=colour, marker="o", ms=4, lw=1.3, label=name))
    for threshold in sorted({g.threshold for r in shown for g in r.gates}):
        axes.axhline(threshold, color=INK, lw=0.9)
        axes.text(-0.65, threshold + 0.008, f"passes below {threshold:g}", fontsize=7.5, color=INK, va="bottom")
    axes.axhline(0.5, color=MUTED, lw=0.8, ls="--")
    axes.set(ylim=(floor, 1.01), xlim=(-0.7, len(shown) - 0.3))
    handles.append(Line2D([], [], color=MUTED, marker="x", ms=5, lw=0, label="not testable"))
    label(axes, "", "AUC, stamp against control", "What the gates still see")
    legend(axes, handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0.22, 1.0))


def _draw_cost(axes: Axes, shown: Sequence[HandlingResult]) -> None:
    bins = shown[0].cost
    share = np.array([[c["removed"] for c in r.cost] for r in shown]).T
    opened = np.array([[r.open_share for r in shown]])
    grid = np.concatenate([opened, share])
    colours = np.concatenate([np.full_like(opened, np.nan), share])
    axes.imshow(np.ma.masked_invalid(colours), aspect="auto", cmap="OrRd", vmin=0, vmax=1.25, interpolation="nearest")
    for (i, k), value in np.ndenumerate(grid):
        text = "–" if math.isnan(value) else f"{100 * value:.0f}"
        ink = "white" if i and value > 0.85 else INK
        axes.text(k, i, text, ha="center", va="center", fontsize=7.5, color=ink)
    axes.set_yticks(range(len(grid)), ["gate open", *(f"θ$_E$ {_bin(c)}" for c in bins)], fontsize=8)
    axes.grid(False)
    axes.axhline(0.5, color="white", lw=2)
    label(axes, "", "", "Light hidden, % of the arc, and core gate's features open, %")


def _bin(cost: dict[str, float]) -> str:
    return stratum_label(cost["low"], cost["high"])
