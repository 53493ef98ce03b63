"""The gates of two runs in one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lensflow.measure.gate import GateResult
from lensflow.show.change import Change
from lensflow.show.figures import INK, MUTED, Picture, error_reach, label, legend, new_figure, picture

# Two runs are no verdicts: neither is red.
_A, _B = "#7a8590", "#7b5ea7"


def gates(changes: Sequence[Change], results: Sequence[GateResult]) -> Picture:
    """AUC of each gate in both runs with their intervals, and the threshold of each."""
    figure, (axes,) = new_figure(1.3 + 0.5 * len(changes))
    y = np.arange(len(changes))[::-1].astype(float)
    for name, colour, shift, sides in (
        ("A", _A, 0.13, [c.a for c in changes]),
        ("B", _B, -0.13, [c.b for c in changes]),
    ):
        value, low, high = np.array([(e.value, e.low, e.high) for e in sides]).T
        axes.errorbar(
            value, y + shift, xerr=error_reach(value, low, high), fmt="o", ms=5, lw=1.6, color=colour, label=name
        )
    thresholds = {g.name: g.threshold for g in results}
    for k, c in zip(y, changes, strict=True):
        if c.what in thresholds:
            axes.plot([thresholds[c.what]] * 2, [k - 0.32, k + 0.32], color=INK, lw=1.2)
        if all(math.isnan(v) for v in (c.a.value, c.b.value)):
            axes.text(0.505, k, "not measured in either", fontsize=8, color=MUTED, va="center")
    axes.axvline(0.5, color=MUTED, lw=0.8, ls="--")
    axes.set_yticks(y, [c.what for c in changes])
    axes.set_ylim(-0.6, len(changes) - 0.4)
    label(axes, "AUC, stamp against control (bar: passes below)", "")
    legend(axes, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    words = "; ".join(f"{c.what}: A {c.a.value:.3f}, B {c.b.value:.3f}" for c in changes)
    return picture(
        figure, "comparison-gates", f"AUC of each gate in both runs. {words}.",
        "AUC of each gate in both runs, with 95 % intervals over hosts. The upright bar is the gate's threshold.",
    )  # fmt: skip
