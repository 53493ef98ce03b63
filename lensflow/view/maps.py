"""Maps of completeness: a click on a cell shows the stamps that it was counted from."""

from __future__ import annotations

import numpy as np
from bokeh.events import Tap
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, Div, FactorRange, LinearColorMapper, Select
from bokeh.plotting import figure

from lensflow.show.pages import commands
from lensflow.show.plain import visible
from lensflow.view.filters import among
from lensflow.view.linked import Linked
from lensflow.view.results import CURVE, Map, Results

# Of no colour of the map's own.
CHOSEN_CELL = "#d9482b"
_NONE = "No completeness is stored for these pixels. `lensflow completeness RUN SCORER` measures it."


class Maps:
    """Completeness over two variables.

    Parameters
    ----------
    page : Linked
    width : int
        Pixels.
    """

    def __init__(self, page: Linked, width: int):
        self._page = page
        self._maps: tuple[Map, ...] = ()
        self._tapped_cell: tuple[str, str, str] = ("", "", "")  # how the page says it, and its bins
        self.which = Select(title="Scorer and threshold", options=[], width=width - 20, visible=False)
        self.note = Div(text="Reading the results ...", disable_math=True, width=width - 20, name="map-note")
        self.figure = figure(
            width=width, height=290, x_range=FactorRange(), y_range=FactorRange(), tools="", toolbar_location=None,
            visible=False, name="map",
        )  # fmt: skip
        self._cells = ColumnDataSource({k: [] for k in ("x", "y", "value", "text", "ink")})
        colours = LinearColorMapper(palette="Viridis256", low=0, high=1, nan_color="#eeeeee")
        self.figure.rect("x", "y", width=1, height=1, source=self._cells, line_color="white",
                         fill_color={"field": "value", "transform": colours})  # fmt: skip
        self.figure.text("x", "y", text="text", text_color="ink", text_align="center", text_baseline="middle",
                         text_font_size="10px", source=self._cells)  # fmt: skip
        self._frame = ColumnDataSource({"x": [], "y": []})
        self.figure.rect("x", "y", width=0.94, height=0.94, source=self._frame, fill_alpha=0, line_color=CHOSEN_CELL,
                         line_width=3)  # fmt: skip
        self.figure.grid.visible = False
        self.figure.xaxis.major_label_orientation = 0.5
        self.figure.on_event(Tap, self._tapped)
        page.on_change(self.which, "value", self._show)
        self.layout = column(self.which, self.figure, self.note)

    def show_maps(self, found: Results) -> None:
        """Offer the maps that there are."""
        self._maps = found.maps
        self.note.text = str(commands(_NONE))
        if found.maps:
            self.which.options = [(str(k), visible(m.title)) for k, m in enumerate(found.maps)]
            self.which.value = "0"
            self.which.visible = self.figure.visible = True
            self._show()

    def _show(self) -> None:
        of = self._maps[int(self.which.value)]
        self.mark("")
        x, y = ([*labels] for labels in of.labels)
        self.figure.x_range.factors, self.figure.y_range.factors = x, y
        columns = self._page.rows.columns
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = (
            columns[a].label if a in columns else a for a in of.axes
        )
        flat = [(a, b) for a in range(len(x)) for b in range(len(y))]
        share = [float(of.completeness[c]) for c in flat]
        self._cells.data = {
            "x": [x[a] for a, _ in flat],
            "y": [y[b] for _, b in flat],
            "value": share,
            "text": [f"{s:.2f} of {of.n_valid[c]}" if np.isfinite(s) else "" for s, c in zip(share, flat, strict=True)],
            "ink": ["#111111" if s > 0.6 else "#ffffff" for s in share],
        }
        said = f"The rows of cells cannot be shown: {of.problem}" if of.problem else "Click a cell to see its stamps"
        about = f"Share of valid injections that are recovered (curve {CURVE}), and how many are valid."
        self.note.text = str(commands(f"{about} {visible(said)}; filters apply on top."))

    def _tapped(self, event: Tap) -> None:
        if event.x is None or event.y is None or not self._maps:
            return
        of = self._maps[int(self.which.value)]
        x, y = int(np.floor(event.x)), int(np.floor(event.y))  # categories are drawn around k + 0.5
        if not (0 <= x < len(of.labels[0]) and 0 <= y < len(of.labels[1])) or of.problem:
            return
        places = of.rows_of(x, y)
        mask = among(len(self._page.rows), places)
        bins = of.labels[0][x], of.labels[1][y]
        by = f"in the cell {of.axes[0]} {bins[0]}, {of.axes[1]} {bins[1]}"
        self._tapped_cell = (by, *bins)
        self._page.guarded(lambda: self._page.choose(mask, by))()

    def mark(self, by: str) -> None:
        """Frame the cell whose rows are selected; none where something else is, or nothing."""
        said, x, y = self._tapped_cell
        is_cell = bool(by) and by == said
        self._frame.data = {"x": [x] * is_cell, "y": [y] * is_cell}
