"""AUC of the gates against the brightness of the sources: figure and table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from lensflow.measure.gate.brightness import BrightnessBin
from lensflow.show.figures import INK, MUTED, Picture, error_reach, label, legend, new_figure, picture
from lensflow.show.numbers import count, number
from lensflow.show.table import Column, Table, words
from lensflow.show.tables_gates import area

_COLOURS = ("#3a5fa8", "#009e73", "#c0362c", "#222222", "#d98324", "#7b5ea7")


def figure(bins: Sequence[BrightnessBin]) -> Picture:
    """Draw AUC with its interval over hosts, per gate, and the arcs' light beside their hosts' below.

    Parameters
    ----------
    bins : sequence of BrightnessBin
        From :func:`lensflow.gate_by_magnitude`.

    Returns
    -------
    Picture
        ``png`` holds the bytes; a notebook shows it.
    """
    names = [g.name for g in bins[0].gates]
    middle = np.array([0.5 * (b.low + b.high) for b in bins])
    width = np.array([b.high - b.low for b in bins])
    drawn, (top, bottom) = new_figure(5.4, 2)
    step = 0.5 / max(len(names), 1)
    for k, name in enumerate(names):
        gates = [b.gate(name) for b in bins]
        auc = np.array([g.auc for g in gates])
        x = middle + width * step * (k - (len(names) - 1) / 2)
        reach = error_reach(auc, [g.auc_low for g in gates], [g.auc_high for g in gates])
        colour = _COLOURS[k % len(_COLOURS)]
        top.errorbar(x, auc, reach, fmt="o-", ms=4, lw=1.1, color=colour, label=name)
    for threshold in sorted({g.threshold for g in bins[0].gates}):
        top.axhline(threshold, color=INK, lw=0.9)
        top.text(bins[0].low, threshold + 0.01, f"passes below {threshold:g}", fontsize=7.5, color=INK)
    top.axhline(0.5, color=MUTED, lw=0.8, ls="--")
    label(top, "", "AUC, stamp against control", "What the galaxy's core reveals, by the brightness of the source")
    legend(top)
    bottom.semilogy(middle, [b.arc_over_host for b in bins], "s-", ms=4, color=INK, label="arc over host, r")
    bottom.semilogy(middle, [b.snr for b in bins], "^-", ms=4, color=MUTED, label="matched SNR of the arc")
    bottom.set_xlim(top.get_xlim())
    bottom.axhline(1, color=INK, lw=0.6, ls=":")
    label(bottom, "r magnitude of the source before lensing", "median", "")
    legend(bottom)
    return picture(
        drawn,
        "arc-brightness",
        f"AUC of {', '.join(names)} against the source's magnitude, with the arcs' flux over their hosts' below",
        "Each bin is a run of its own: the same hosts, all their controls, sources of these magnitudes only. "
        "Intervals: 95 %, bootstrap over hosts.",
    )


def table(bins: Sequence[BrightnessBin]) -> Table:
    """One row per bin: gates with interval and verdict, and how bright the arcs are."""
    names = [g.name for g in bins[0].gates]
    rows = [
        (f"{number(b.low)} to {number(b.high)}", *(area(b.gate(n)) for n in names), b.arc_over_host,
         100 * b.outshining, b.snr, b.n_rows)
        for b in bins
    ]  # fmt: skip
    hosts = max(g.n_hosts for b in bins for g in b.gates)
    two = partial(number, digits=2)
    return Table(
        "Gates by the brightness of the source",
        [words("source r"), *(Column(n, write=3) for n in names), Column("arc / host", write=two),
         Column("brighter", "%", 0), Column("SNR", write=two), "rows"],
        rows,
        f"AUC of each gate with its 95 % interval over {count(hosts)} hosts, by the unlensed r of the source: "
        "median flux of the arc over its host's within 5 arcsec in r, share of arcs brighter than that, median matched "
        "signal to noise in the best band.",
    )  # fmt: skip
