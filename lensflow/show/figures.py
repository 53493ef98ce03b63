"""Common style of all figures, and images for embedding in a page.

Figures are made with matplotlib's objects alone: no pyplot, no global state, any thread.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

INK, MUTED, RULE = "#22262b", "#5f6872", "#d5d9de"
WIDTH = 10.44  # inches: the page's text width at 100 CSS pixels an inch
DPI = 150
# Colours that also differ for colour-blind readers (Okabe & Ito 2008), in the bands' familiar order.
BAND_COLOURS = {"u": "#7b5ea7", "g": "#009e73", "r": "#d55e00", "i": "#b34700", "z": "#3a5fa8", "y": "#444444"}
_OTHER_COLOURS = ("#009e73", "#d55e00", "#3a5fa8", "#cc79a7", "#a07c00", "#56b4e9")
VERDICT_COLOURS = {
    "PASS": "#1a7f4b",
    "EXPLAINED": "#b87503",
    "FAIL": "#c0362c",
    "INCONCLUSIVE": "#b87503",
    "NOT_TESTABLE": "#b87503",
    "ERROR": "#7a3fa0",
}


# In addition to colour, for colour-blind readers.
VERDICT_SIGNS = {"PASS": "✓", "EXPLAINED": "≈", "FAIL": "✕", "INCONCLUSIVE": "?", "NOT_TESTABLE": "–", "ERROR": "!"}


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it.

    Attributes
    ----------
    name : str
        File name without ending, unique on the page.
    png : bytes
        The PNG file.
    alt : str
        What it shows, for readers who do not see it.
    caption : str
        How to read it.
    width : int
        CSS pixels.
    """

    name: str
    png: bytes
    alt: str
    caption: str = ""
    width: int = 0


def band_colour(band: str, place: int = 0) -> str:
    """Colour of a band, the same in every figure."""
    return BAND_COLOURS.get(band, _OTHER_COLOURS[place % len(_OTHER_COLOURS)])


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **grid: Any
) -> tuple[Figure, list[Axes]]:
    """Figure of the page's width (inches) with a grid of axes in the common style."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.03, hspace=0.05)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    flat = [a for line in axes for a in line]
    for a in flat:
        style(a)
    return figure, flat


def style(axes: Axes) -> None:
    """Thin grey frame without top and right, small muted ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=MUTED, linewidth=0.7)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8.5, width=0.7, length=3)
    axes.grid(True, color=RULE, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)


def label(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Axis labels with units, and a title at the left."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    if title:
        axes.set_title(title, loc="left", fontsize=9.5, color=INK, fontweight="bold", pad=8)


def legend(axes: Axes, **options: Any) -> None:
    """Legend without a box; none if nothing is labelled."""
    if "handles" not in options and not axes.get_legend_handles_labels()[0]:
        return
    axes.legend(**{"fontsize": 8, "frameon": False, "labelcolor": INK, "handlelength": 1.6, **options})


def log_axis(axes: Axes, side: str) -> None:
    """Make the ``x`` or ``y`` axis logarithmic, with plain numbers at 1, 2 and 5 (1 alone over many decades)."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    axes.set(**{f"{side}scale": "log"})
    wide = low > 0 and high / low > (50 if side == "x" else 1000)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def error_reach(value: Any, low: Any, high: Any) -> np.ndarray:
    """Lengths of asymmetric error bars, shape (2, n); 0 if the interval is unknown."""
    middle = np.asarray(value, dtype=float)
    reach = np.stack([middle - np.asarray(low, dtype=float), np.asarray(high, dtype=float) - middle])
    return np.nan_to_num(np.maximum(reach, 0.0), nan=0.0)


def picture(figure: Figure, name: str, alt: str, caption: str) -> Picture:
    """Render a figure to PNG (no date inside: the same data give the same bytes)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(name, buffer.getvalue(), alt, caption, round(100 * figure.get_figwidth()))


def strata_colours(count: int) -> Sequence[Any]:
    """Colours of ordered strata, dark to light."""
    return [colormaps["viridis"](v) for v in np.linspace(0.05, 0.85, max(count, 1))]
