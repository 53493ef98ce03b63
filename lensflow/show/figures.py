"""Common style of all figures, and images for embedding in a page.

Figures are made with matplotlib's objects alone: no pyplot, no global state, any thread.
"""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Sequence
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

from lensflow.errors import LensflowError

INK, MUTED, RULE = "#22262b", "#5f6872", "#d5d9de"
WIDTH = 10.44  # inches: the page's text width at 100 CSS pixels an inch
DPI = 150
# Colours that also differ for colour-blind readers (Okabe & Ito 2008): one for one band, in every figure.
BAND_COLOURS = {"u": "#56b4e9", "g": "#009e73", "r": "#d55e00", "i": "#cc79a7", "z": "#0072b2", "y": "#6a4c93"}
_OTHER_COLOURS = ("#222222", "#a07c00", "#4d7c8a", "#8c2d52", "#3f7f3f", "#9c755f")
# matplotlib reads its settings for SVG from one place: one figure at a time.
_SVG_LOCK = threading.Lock()


class Picture:
    """A figure as the page shows it. A copy for another process has the drawn SVG in place of the figure.

    Attributes
    ----------
    name : str
        File name without ending, unique on the page.
    alt : str
        What it shows, for readers who do not see it.
    caption : str
        How to read it.
    width : int
        CSS pixels.
    """

    def __init__(
        self,
        name: str,
        png: bytes = b"",
        alt: str = "",
        caption: str = "",
        width: int = 0,
        figure: Figure | None = None,
    ):
        self.name, self.alt, self.caption, self.width = name, alt, caption, width
        self._png, self._figure = png, figure
        # Whether it is a figure of lines and words, for which there is an SVG; else pixels.
        self.is_drawn = figure is not None

    def __getstate__(self) -> dict[str, Any]:
        if self.is_drawn:
            _ = self.svg
        return {**self.__dict__, "_figure": None}

    @property
    def png(self) -> bytes:
        """The PNG file (no date inside: the same data give the same bytes)."""
        if not self.is_drawn:
            return self._png
        if self._figure is None:
            raise LensflowError(f"{self.name}: a figure that another process drew is an SVG (svg), not a PNG")
        buffer = io.BytesIO()
        self._figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    @property
    def html(self) -> Markup:
        """Element of a page: SVG where there is one, else an image with its content in the address."""
        if self.is_drawn:
            return Markup(self.svg)
        source = Markup("data:image/png;base64,") + base64.b64encode(self._png).decode()
        return Markup('<img src="{}" alt="{}">').format(source, self.alt)

    @property
    def file(self) -> tuple[str, bytes]:
        """Name and content of its file."""
        if not self.is_drawn:
            return f"{self.name}.png", self._png
        head = '<svg xmlns="http://www.w3.org/2000/svg" style="background: white; font-family: sans-serif" '
        return f"{self.name}.svg", self.svg.replace("<svg ", head, 1).encode()

    @cached_property
    def svg(self) -> str:
        """SVG element for a page, as :func:`draw_svg`."""
        assert self._figure is not None
        return draw_svg(self._figure, self.name, self.alt)


def draw_svg(figure: Figure, name: str, alt: str) -> str:
    """SVG element for a page: no background, its ids its own, words as words.

    Colours are those of light paper; a dark page inverts their lightness and keeps their hue.

    Parameters
    ----------
    figure : Figure
    name : str
        Unique on the page.
    alt : str
        What it shows, for readers who do not see it.
    """
    wanted = {"svg.fonttype": "none", "svg.hashsalt": name}
    with _SVG_LOCK:
        before = {k: rcParams[k] for k in wanted}
        rcParams.update(wanted)
        try:
            text = _svg_file(figure)
        finally:
            rcParams.update(before)
    return _for_a_page(text, name, alt)


def _svg_file(figure: Figure) -> str:
    """The figure without background: what its ``savefig`` gives, which draws once more to have the layout done."""
    buffer, canvas, dpi = io.BytesIO(), figure.canvas, figure.dpi
    patches = (figure.patch, *(a.patch for a in figure.axes))
    colours = [(p.get_facecolor(), p.get_edgecolor()) for p in patches]
    try:
        for patch in patches:
            patch.set(facecolor="none", edgecolor="none")
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    finally:
        for patch, (face, edge) in zip(patches, colours, strict=True):
            patch.set(facecolor=face, edgecolor=edge)
        figure.set_canvas(canvas)
        figure.dpi = dpi
    return buffer.getvalue().decode()


def _for_a_page(text: str, name: str, alt: str) -> str:
    """Body of an SVG file as an element: without a prologue, rules for the whole page, or ids that others have."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", text, flags=re.DOTALL)
    numbers: dict[str, str] = {}
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    text = re.sub(
        r' id="([^"]+)"',
        lambda m: f' id="{numbers.setdefault(m[1], f"{name}.{len(numbers)}")}"' if m[1] in used else "",
        text,
    )
    text = re.sub(r'(xlink:href="#|url\(#)([^")]+)', lambda m: m[1] + numbers.get(m[2], m[2]), text)
    # The page's own font: a family that matplotlib measured with need not be on the reader's machine.
    text = re.sub(r"(?:'[^']+'|[\w-]+)(?:, *(?:'[^']+'|[\w-]+))*, *sans-serif[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r"(\d+\.\d{2})\d+", r"\1", re.sub(r"\n\s*", "\n", text))
    head = re.match(r'<svg[^>]*viewBox="([^"]+)"[^>]*>', text)
    assert head is not None
    label = escape(alt, quote=True)
    opened = f'<svg class="drawn" viewBox="{head[1]}" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return opened + text[head.end() :].rstrip()


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
    """Keep a figure to be rendered as PNG or SVG, whichever is used."""
    return Picture(name, alt=alt, caption=caption, width=round(100 * figure.get_figwidth()), figure=figure)


def strata_colours(count: int) -> Sequence[Any]:
    """Colours of ordered strata, dark to light."""
    return [colormaps["viridis"](v) for v in np.linspace(0.05, 0.85, max(count, 1))]
