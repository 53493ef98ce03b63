"""The pictures of rows: a page of thumbnails with captions, drawn on a canvas, where no name can become HTML."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.events import Tap
from bokeh.layouts import column, row
from bokeh.models import Button, ColumnDataSource, Div, RadioButtonGroup, Slider
from bokeh.plotting import figure
from numpy.typing import NDArray

from lensflow.errors import LensflowError
from lensflow.show.composite import colour_note
from lensflow.show.numbers import number
from lensflow.show.plain import visible
from lensflow.view.linked import Linked
from lensflow.view.stamps import KINDS, MEANINGS, Stamp, picture, split_name

ACROSS, DOWN = 4, 4
ALL_KINDS = "all four"
# Heights in units of a picture's side: the picture, and its caption of two lines.
_SIDE, _STEP = 0.96, 1.27
_BAR_ARCSEC = 5.0


class Grid:
    """Thumbnails of rows, some at a time.

    Parameters
    ----------
    page : Linked
    width : int
        Pixels.
    """

    def __init__(self, page: Linked, width: int):
        self._page, self._side = page, width // ACROSS - 4
        self._places: NDArray[np.int64] = np.empty(0, np.int64)
        self._first = 0
        self.kind = RadioButtonGroup(labels=[*KINDS, ALL_KINDS], active=0, width=330, name="kinds")
        self.stretch = Slider(
            title="Stretch, faint to bright light", start=-1.0, end=1.5, step=0.05, value=0.0, show_value=False,
            width=200,
        )  # fmt: skip
        self.back, self.on = Button(label="◀", width=36), Button(label="▶", width=36)
        self.where = Div(text="", disable_math=True, width=280, name="where")
        self.legend = Div(text="", disable_math=True, width=width)
        height = int(width / ACROSS * _STEP * DOWN)
        self.figure = figure(
            width=width, height=height, x_range=(0, ACROSS), y_range=(-DOWN * _STEP, 0), tools="",
            toolbar_location=None, min_border=0, outline_line_color=None, background_fill_color="#fafafa", name="grid",
        )  # fmt: skip
        self.figure.axis.visible = self.figure.grid.visible = False
        self._images = ColumnDataSource({"image": [], "x": [], "y": []})
        self._texts = ColumnDataSource({"text": [], "x": [], "y": []})
        self._frames = ColumnDataSource({"x": [], "y": [], "colour": []})
        self._bars = ColumnDataSource({"x0": [], "x1": [], "y": [], "x": [], "text": []})
        draw = self.figure
        draw.image_rgba(image="image", x="x", y="y", dw=_SIDE, dh=_SIDE, source=self._images)
        draw.rect(x="x", y="y", width=_SIDE, height=_SIDE, fill_alpha=0, line_color="colour", line_width=3,
                  source=self._frames)  # fmt: skip
        draw.text(x="x", y="y", text="text", text_font_size="11px", text_baseline="top", text_color="#222222",
                  source=self._texts)  # fmt: skip
        draw.segment(x0="x0", x1="x1", y0="y", y1="y", line_color="white", line_width=2, source=self._bars)
        draw.text(x="x", y="y", text="text", text_font_size="10px", text_color="white", y_offset=-2, source=self._bars)
        draw.on_event(Tap, self._tapped)
        page.on_change(self.kind, "active", lambda: self.start(self._places, self._first))
        page.on_change(self.stretch, "value_throttled", self.show)
        self.back.on_click(page.guarded(lambda: self.start(self._places, self._first - self._per_page)))
        self.on.on_click(page.guarded(lambda: self.start(self._places, self._first + self._per_page)))
        self.layout = column(
            row(self.kind, self.stretch), row(self.back, self.on, self.where, page.clear), self.legend, self.figure
        )

    @property
    def _per_page(self) -> int:
        return DOWN if self._all_kinds else ACROSS * DOWN

    @property
    def _all_kinds(self) -> bool:
        return bool(self.kind.active == len(KINDS))

    @property
    def shown(self) -> NDArray[np.int64]:
        """Rows whose pictures are on the page."""
        return self._places[self._first : self._first + self._per_page]

    def start(self, places: NDArray[np.int64], first: int = 0) -> None:
        """Show the pictures of these rows, from one on."""
        self._places = places
        self._first = max(0, min(first, len(places) - 1)) // self._per_page * self._per_page
        self.show()
        self._page.plots.mark_page()

    def show(self) -> None:
        """Draw the pictures again."""
        page, shown = self._page, self.shown
        rows, n = page.rows, len(self._places)
        kinds = [*KINDS] if self._all_kinds else [KINDS[self.kind.active or 0]]
        stamps = page.stamps.read(shown.tolist(), kinds)
        strength = 10.0**self.stretch.value
        drawn = [(s, k) for s in stamps for k in kinds]
        scale = rows.pixel_scale_arcsec
        pictures = [picture(s, k, rows.bands, scale, strength, self._side) for s, k in drawn]
        x, y = np.arange(len(drawn)) % ACROSS, -(np.arange(len(drawn)) // ACROSS) * _STEP
        self._images.data = {"image": pictures, "x": x + 0.02, "y": y - _SIDE - 0.02}
        captions = self._captions(shown, stamps)
        each = len(kinds)
        if self._all_kinds:
            captions = [c if k == 0 else kinds[k] for c in captions for k in range(each)]
        self._texts.data = {"text": captions, "x": x + 0.03, "y": y - _SIDE - 0.04}
        self._scale_bars(x, y, drawn)
        for name, end in ((self.back, self._first == 0), (self.on, self._first + self._per_page >= n)):
            name.disabled = end
        last = self._first + len(shown)
        self.where.text = f"{self._first + 1:,} to {last:,} of {n:,} rows" if n else "No row passes the filters."
        note = MEANINGS[kinds[0]] if not self._all_kinds else "stamp, host, arc, stamp minus host (these brighter)"
        self.legend.text = f"{note}. {colour_note(rows.bands, ())}; stretch fixed in nMgy."
        lost = [s.problem for s in stamps if s.problem]
        if lost:
            page.problem = f"{len(lost)} row(s) of this page cannot be read. {lost[0]}"
        self.mark()

    def mark(self) -> None:
        """Frame the row whose card is shown."""
        shown, current, each = self.shown.tolist(), self._page.current, len(KINDS) if self._all_kinds else 1
        at = [shown.index(current) * each + k for k in range(each)] if current in shown else []
        place = np.array(at, dtype=int)
        x, y = place % ACROSS + 0.5, -(place // ACROSS) * _STEP - _SIDE / 2 - 0.02
        self._frames.data = {"x": x, "y": y, "colour": ["#d9482b"] * len(at)}

    def _captions(self, shown: NDArray[np.int64], stamps: list[Stamp]) -> list[str]:
        page, rows = self._page, self._page.rows
        tags = page.shared.tags.every()
        try:
            known = rows.read(["theta_e_arcsec", "snr_matched"])
        except LensflowError as error:  # pictures without numbers are better than none
            page.problem = str(error)
            known = {n: np.full(len(rows), np.nan) for n in ("theta_e_arcsec", "snr_matched")}
        hosts, out = rows.host_ids(shown).tolist(), []
        for place, host, stamp in zip(shown.tolist(), hosts, stamps, strict=True):
            theta_e, snr = (float(known[n][place]) for n in ("theta_e_arcsec", "snr_matched"))
            first = "control" if rows.is_control[place] else f"θE {number(theta_e)}″  SNR {number(snr)}"
            tag = tags.get(int(rows.row_id[place]))
            second = f"[{tag.tag}] {host}" if tag else f"{split_name(int(rows.split[place]))} {host}"
            if stamp.problem:
                first = "cannot be read"
            out.append(f"{_short(first)}\n{_short(second)}")
        return out

    def _scale_bars(self, x: NDArray, y: NDArray, drawn: list[Any]) -> None:
        """A bar of 5 arcsec in the first picture."""
        some = [k for k, (s, _) in enumerate(drawn) if not s.problem][:1]
        if not some:
            self._bars.data = {"x0": [], "x1": [], "y": [], "x": [], "text": []}
            return
        k = some[0]
        side = drawn[k][0].image(drawn[k][1]).shape[-1]
        length = _SIDE * _BAR_ARCSEC / (self._page.rows.pixel_scale_arcsec * side)
        left, low = float(x[k]) + 0.07, float(y[k]) - _SIDE + 0.05
        fits = length < 0.8
        self._bars.data = {
            "x0": [left] * fits, "x1": [left + length] * fits, "y": [low] * fits, "x": [left] * fits,
            "text": [f"{_BAR_ARCSEC:g}″"] * fits,
        }  # fmt: skip

    def _tapped(self, event: Tap) -> None:
        if event.x is None or event.y is None:
            return
        cell = int(event.x) + ACROSS * int(-event.y / _STEP)
        cell = cell // len(KINDS) if self._all_kinds else cell
        shown = self.shown
        if 0 <= event.x < ACROSS and 0 <= cell < len(shown):
            self._page.guarded(lambda: self._page.pick(int(shown[cell])))()


def _short(text: str, most: int = 22) -> str:
    text = visible(text).replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"
