"""Scatter and histograms of two columns, linked with the pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.events import SelectionGeometry, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    BoxSelectTool,
    CheckboxButtonGroup,
    ColorBar,
    ColumnDataSource,
    Div,
    LogColorMapper,
    Range1d,
    Select,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from lensflow.view.binning import Histogram, Scatter, histogram, in_box, in_outline, nearest, scaled, scatter
from lensflow.view.linked import Linked

ALL, CHOSEN, HERE = "#9aa5b1", "#2166ac", "#d9482b"
# How near a click must be to a point: share of what an axis shows.
_REACH = 0.02
_CORNERS = np.deg2rad(30 + 60 * np.arange(6))


class Plots:
    """Two columns against each other, and each alone.

    Parameters
    ----------
    page : Linked
    width : int
        Pixels.
    """

    def __init__(self, page: Linked, width: int):
        self._page, rows = page, page.rows
        options = [(n, rows.columns[n].label) for n in rows.plotted]
        half = width // 2 - 10
        self.x = Select(
            title="Across", value="theta_e_arcsec", options=options, width=width // 2 - 75, name="scatter-x"
        )
        self.y = Select(title="Up", value="snr_matched", options=options, width=width // 2 - 75)
        self.logs = CheckboxButtonGroup(labels=["log x", "log y"], active=[1], width=110, margin=(22, 5, 5, 5))
        self.note = Div(text="", disable_math=True, width=width, name="plotted")
        self.figure = figure(
            width=width, height=265, tools="box_select,lasso_select,tap,pan,wheel_zoom,reset,save",
            active_drag="box_select", x_range=Range1d(0, 1), y_range=Range1d(0, 1), name="scatter",
        )  # fmt: skip
        self._points = ColumnDataSource({"x": [], "y": []})
        self._chosen = ColumnDataSource({"x": [], "y": []})
        self._here = ColumnDataSource({"x": [], "y": []})
        self._current = ColumnDataSource({"x": [], "y": []})
        self._hexagons = ColumnDataSource({"xs": [], "ys": [], "count": []})
        self._colours = LogColorMapper(palette=_blues(), low=1, high=10)
        self._draw()
        self.histograms_of = [self._histogram(half, k) for k in range(2)]
        for widget, name in ((self.x, "value"), (self.y, "value"), (self.logs, "active")):
            page.on_change(widget, name, self.show)
        self.figure.on_event(SelectionGeometry, self._outlined)
        self.figure.on_event(Tap, self._tapped)
        self.histograms = row(*(f for f, _, _ in self.histograms_of))
        self.layout = column(row(self.x, self.y, self.logs), self.figure, self.note, self.histograms)

    def _draw(self) -> None:
        draw = self.figure
        hexagons = draw.patches("xs", "ys", source=self._hexagons, line_color=None,
                                fill_color={"field": "count", "transform": self._colours})  # fmt: skip
        points = draw.scatter("x", "y", source=self._points, size=4, color=ALL, alpha=0.5, line_color=None)
        draw.scatter("x", "y", source=self._chosen, size=4, color=CHOSEN, alpha=0.7, line_color=None)
        draw.scatter("x", "y", source=self._here, size=7, fill_alpha=0, line_color=CHOSEN, line_width=1.5)
        draw.scatter("x", "y", source=self._current, size=12, fill_alpha=0, line_color=HERE, line_width=2.5)
        for renderer in (hexagons, points):  # what is selected is drawn by us, of all rows
            renderer.nonselection_glyph = renderer.selection_glyph = None
        self._bar = ColorBar(color_mapper=self._colours, title="rows", width=8, visible=False)
        draw.add_layout(self._bar, "right")

    def _histogram(self, width: int, axis: int) -> tuple[Any, ColumnDataSource, ColumnDataSource]:
        drawn = figure(width=width, height=150, tools="reset", toolbar_location=None, name=f"histogram-{axis}")
        drag = BoxSelectTool(dimensions="width")
        drawn.add_tools(drag)
        drawn.toolbar.active_drag = drag
        every, chosen = (ColumnDataSource({"left": [], "right": [], "top": []}) for _ in range(2))
        for source, colour, alpha in ((every, ALL, 0.8), (chosen, CHOSEN, 0.8)):
            bars = drawn.quad(left="left", right="right", top="top", bottom=0, source=source, fill_color=colour,
                              fill_alpha=alpha, line_color="white", line_width=0.5)  # fmt: skip
            bars.nonselection_glyph = bars.selection_glyph = None
        drawn.yaxis.axis_label = "rows"
        drawn.y_range.start = 0
        drawn.on_event(SelectionGeometry, lambda event: self._cut(axis, event))
        return drawn, every, chosen

    def values(self, places: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Both columns of some rows as the plots have them."""
        names = [self.x.value, self.y.value]
        known = self._page.rows.read(names)
        return [scaled(known[n][places], k in self.logs.active) for k, n in enumerate(names)]

    def show(self) -> None:
        """Draw both columns of the rows that pass."""
        page, places = self._page, self._page.passing
        x, y = self.values(places)
        self._shown: Scatter = scatter(places, x, y)
        found = self._shown
        points = found.x if not found.count.size else found.x[:0]
        self._points.data = {"x": points, "y": found.y[: len(points)]}
        self._hexagons.data = _outlines(found)
        self._colours.high = max(int(found.count.max(initial=1)), 2)
        self._bar.visible = bool(found.count.size)
        self.note.text = f"{found.note}. Drag in a plot to select (blue); click a point for its card."
        labels = [self._label(k) for k in range(2)]
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = labels
        for range_, values in ((self.figure.x_range, found.x), (self.figure.y_range, found.y)):
            low, high = _ends(values)
            range_.update(start=low, end=high, reset_start=low, reset_end=high)
        self._histograms_of: list[Histogram] = []
        for k, ((drawn, every, _), values) in enumerate(zip(self.histograms_of, (x, y), strict=True)):
            of = histogram(values)
            self._histograms_of.append(of)
            every.data = {"left": of.edges[:-1], "right": of.edges[1:], "top": of.count}
            drawn.xaxis.axis_label = labels[k]
        if page.chosen is not None:
            self.mark_chosen()
        self.mark_page()

    def _label(self, axis: int) -> str:
        label = self._page.rows.columns[(self.x, self.y)[axis].value].label
        return f"log10 {label}" if axis in self.logs.active else label

    def mark_chosen(self) -> None:
        """Draw the selected rows in blue."""
        none: list[float] = []
        page = self._page
        if page.chosen is None:
            self._chosen.data = {"x": none, "y": none}
            for _, _, chosen in self.histograms_of:
                chosen.data = {"left": none, "right": none, "top": none}
            return
        x, y = self.values(page.shown_places())
        as_points = not self._shown.count.size
        self._chosen.data = {"x": x if as_points else none, "y": y if as_points else none}
        for (_, _, chosen), values, every in zip(self.histograms_of, (x, y), self._histograms_of, strict=True):
            of = histogram(values, every.edges)
            chosen.data = {"left": of.edges[:-1], "right": of.edges[1:], "top": of.count}

    def mark_page(self) -> None:
        """Circle the rows whose pictures are shown, and the one whose card is."""
        x, y = self.values(self._page.grid.shown)
        self._here.data = {"x": x, "y": y}
        current = self._page.current
        x, y = self.values(np.array([] if current is None else [current], dtype=np.int64))
        self._current.data = {"x": x, "y": y}

    def _outlined(self, event: SelectionGeometry) -> None:
        if not event.final:
            return
        geometry = event.geometry
        if geometry["type"] == "rect":
            box = [geometry[k] for k in ("x0", "x1", "y0", "y1")]
            self._choose(lambda x, y: in_box(x, y, *box))
        elif geometry["type"] == "poly":
            self._choose(lambda x, y: in_outline(x, y, geometry["x"], geometry["y"]))

    def _cut(self, axis: int, event: SelectionGeometry) -> None:
        if event.final and event.geometry["type"] == "rect":
            low, high = event.geometry["x0"], event.geometry["x1"]
            self._choose(lambda *xy: in_box(xy[axis], xy[axis], low, high, low, high))

    def _choose(self, inside: Any) -> None:
        def do() -> None:
            mask = np.zeros(len(self._page.rows), bool)
            places = self._page.passing
            mask[places[inside(*self.values(places))]] = True
            self._page.choose(mask, "selected in the plot")

        self._page.guarded(do)()

    def _tapped(self, event: Tap) -> None:
        if event.x is None or event.y is None:
            return

        def do() -> None:
            places = self._page.shown_places()
            x, y = self.values(places)
            across, up = (_REACH * abs(r.end - r.start) for r in (self.figure.x_range, self.figure.y_range))
            best = nearest(x, y, (event.x, event.y), (across, 2 * up))  # the plot is about twice as wide as high
            if best is not None:
                self._page.pick(int(places[best]))

        self._page.guarded(do)()


def _blues() -> list[str]:
    """From light to dark blue, never white: a hexagon with one row is seen."""
    low, high = np.array([214, 222, 232]), np.array([12, 32, 74])
    return ["#{:02x}{:02x}{:02x}".format(*(low + (high - low) * k / 63).astype(int)) for k in range(64)]


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = 0.04 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - room, high + room


def _outlines(found: Scatter) -> dict[str, Any]:
    if not found.count.size:
        return {"xs": [], "ys": [], "count": []}
    wide, high = found.size
    # Corners on top: the width is between two sides, the height of a corner two thirds of a step.
    corners_x, corners_y = wide / np.sqrt(3) * np.cos(_CORNERS), high * 2 / 3 * np.sin(_CORNERS)
    return {
        "xs": list(found.x[:, None] + corners_x), "ys": list(found.y[:, None] + corners_y), "count": found.count
    }  # fmt: skip
