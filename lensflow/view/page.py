"""The page in bokeh: widgets and plots around the model of this room; no numbers are computed here."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column, row
from bokeh.models import Button, Div, RadioButtonGroup
from numpy.typing import NDArray

from lensflow.errors import LensflowError
from lensflow.show.pages import commands
from lensflow.show.plain import visible
from lensflow.view.controls import Controls, TagBar
from lensflow.view.filters import among, ordered
from lensflow.view.grid import Grid
from lensflow.view.maps import Maps
from lensflow.view.plots import Plots
from lensflow.view.results import Results
from lensflow.view.rows import Opened, Rows
from lensflow.view.shared import Look, Shared
from lensflow.view.stamps import Stamps

_log = logging.getLogger(__name__)
_CARD = """
table { border-collapse: collapse; font: 12px system-ui, sans-serif; } caption { text-align: left; padding: 2px 0 6px; }
td, th { padding: 1px 10px 1px 0; vertical-align: top; text-align: left; border-bottom: 1px solid #e4e4e4; }
td:not(.words) { text-align: right; } td.wrapped { white-space: normal; } .dash { color: #666; }
.note { background: #fff4d6; border-left: 4px solid #d98324; padding: 4px 8px; margin: 2px 0; }
h1 { font: 600 16px system-ui, sans-serif; margin: 4px 0; }
p, details { margin: 3px 0; font: 13px system-ui, sans-serif; }
summary { color: #8a5a00; cursor: pointer; }
"""
WIDTH_LEFT, WIDTH_MIDDLE, WIDTH_RIGHT = 222, 560, 510


def text_div(**kwargs: Any) -> Div:
    """A piece of HTML whose text is never taken for mathematics."""
    return Div(disable_math=True, stylesheets=[_CARD], **kwargs)


class Page:
    """One page of a run; a tab of the browser has its own.

    Parameters
    ----------
    shared : Shared
    document : Document
    """

    def __init__(self, shared: Shared, document: Document):
        self.shared, self.document = shared, document
        try:
            look = shared.look()
        except LensflowError as error:
            look = Look(Opened(shared.config, None, (str(error),), is_final=False), None, shared.pool)
        self.look, self.opened = look, look.opened
        self.results = Results()
        self.current: int | None = None
        self.chosen: NDArray[np.bool_] | None = None
        self.chosen_by = ""
        self.passing: NDArray[np.int64] = np.empty(0, np.int64)
        self.problem = ""
        self.head = text_div(sizing_mode="stretch_width", name="head")

    @property
    def rows(self) -> Rows:
        """Rows of the page."""
        assert self.opened.rows is not None
        return self.opened.rows

    @property
    def stamps(self) -> Stamps:
        """Reader of the rows' pixels."""
        assert self.look.stamps is not None
        return self.look.stamps

    def build(self) -> None:
        """Put the page into the document; where there is nothing to show, it says why."""
        self.document.title = f"lensflow view: {visible(self.opened.config.name)}"
        if self.opened.rows is None:
            self._say_head()
            self.document.add_root(self.head)
            return
        self.clear = Button(label="Clear selection", width=130, disabled=True, name="clear")
        self.clear.on_click(self.guarded(lambda: self.choose(None, "")))
        self.grid = Grid(self, WIDTH_MIDDLE)
        self.plots = Plots(self, WIDTH_RIGHT)
        self.maps = Maps(self, WIDTH_RIGHT)
        self.controls = Controls(self, WIDTH_LEFT)
        self.tag_bar = TagBar(self, WIDTH_RIGHT)
        self.card = text_div(
            text="<p>Click a picture or a point to see all that is known of its row.</p>", width=WIDTH_RIGHT - 20,
            height=300, styles={"overflow": "auto"}, name="card",
        )  # fmt: skip
        # Not bokeh's Tabs: plots that are made inside them have no height.
        self.parts = RadioButtonGroup(labels=["Row", "Completeness"], active=0, width=220, name="parts")
        self._row = column(self.tag_bar.layout, self.card, width=WIDTH_RIGHT)
        self.on_change(self.parts, "active", self._show_part)
        self._show_part()
        middle = column(self.grid.layout, width=WIDTH_MIDDLE)
        right = column(self.plots.layout, self.parts, self._row, self.maps.layout, width=WIDTH_RIGHT)
        self.document.add_root(
            column(self.head, row(self.controls.layout, middle, right, spacing=12), sizing_mode="stretch_width")
        )
        self.guarded(self.filter)()
        # Not before the page is drawn: results need half of the library, and its import would hold up the page.
        self.document.on_event(DocumentReady, lambda event: self._ask_for_results())

    def _ask_for_results(self) -> None:
        self.look.when_results(
            lambda found: self.document.add_next_tick_callback(self.guarded(lambda: self.show_results(found)))
        )

    def _show_part(self) -> None:
        shows_map = self.parts.active == 1
        self._row.visible, self.maps.layout.visible = not shows_map, shows_map
        self.plots.histograms.visible = not shows_map  # the map takes their place: all of it fits on a screen

    def guarded(self, do: Callable[[], None]) -> Callable[[], None]:
        """A callback that shows what went wrong instead of ending the page."""

        def run() -> None:
            try:
                self.problem = ""
                do()
            except LensflowError as error:
                self.problem = str(error)
            except Exception as error:
                _log.error("lensflow view: %s", traceback.format_exc())
                self.problem = f"{type(error).__name__}: {error}. The terminal has the traceback; please report it."
            self._say_head()

        return run

    def on_change(self, widget: Any, name: str, do: Callable[[], None]) -> None:
        """Do something whenever a property of a widget changes."""
        guarded = self.guarded(do)
        widget.on_change(name, lambda attr, old, new: guarded())

    def filter(self) -> None:
        """Apply the filters, and show what passes."""
        if self.controls.paused:
            return
        mask = self.controls.filter().mask(self.rows, self.results.worst, self.shared.tags)
        self.passing = np.flatnonzero(mask)
        self._either(self.plots.show)
        self._either(self.order)

    def _either(self, do: Callable[[], None]) -> None:
        """Say what cannot be read, and go on with the rest of the page."""
        try:
            do()
        except LensflowError as error:
            self.problem = str(error)

    def order(self) -> None:
        """Sort what passes and is selected, and show its first pictures."""
        by, descending = self.controls.sorting()
        worst = self.controls.worst.value
        places = self.shown_places()
        if by == "shuffled" and worst in self.results.worst:  # the verdict has an order of its own
            of_verdict = self.results.worst[worst]
            self.grid.start(of_verdict[among(len(self.rows), places)[of_verdict]])
        else:
            self.grid.start(ordered(self.rows, places, by, descending))

    def shown_places(self) -> NDArray[np.int64]:
        """Rows that pass and, where there is a selection, are in it."""
        return self.passing if self.chosen is None else self.passing[self.chosen[self.passing]]

    def choose(self, mask: NDArray[np.bool_] | None, by: str) -> None:
        """Select rows: the pictures are then theirs alone."""
        self.chosen, self.chosen_by = mask, by
        self.clear.disabled = mask is None
        self.plots.mark_chosen()
        self.maps.mark(by)
        self.order()

    def pick(self, place: int) -> None:
        """Show the card of a row, and mark it everywhere."""
        from lensflow.view.card import card_html  # with matplotlib and Dask, which a first page does not wait for

        self.current = place
        self.plots.mark_page()
        self.grid.mark()
        self.tag_bar.show(place)
        self.parts.active = 0
        real = self.opened.config.survey.synthetic is None
        self.card.text = self.tag_bar.line(place) + card_html(self.rows, place, real)

    def show_results(self, found: Results) -> None:
        """Add verdicts and completeness once they are read."""
        self.results = found
        self.controls.show_worst(found)
        self.maps.show_maps(found)

    def _say_head(self) -> None:
        config, name = self.opened.config, visible(self.opened.config.name)
        lines = [f"<h1>{escape(name)} <small>{escape(visible(config.out))}</small></h1>"]
        if self.opened.rows is not None:
            n, sealed = len(self.rows), self.rows.n_sealed
            line = f"{n:,} rows; {len(self.passing):,} pass the filters"
            if self.chosen is not None:
                line += f"; {len(self.shown_places()):,} of them {self.chosen_by}"
            if sealed:
                line += f". The test split is sealed: its {sealed:,} rows are left out of everything here"
            lines.append(f"<p>{escape(line)}.</p>")
        urgent = [m for m in dict.fromkeys([self.problem, *self.opened.messages, self.shared.tags.message]) if m]
        lines += [f'<div class="note">{commands(visible(n))}</div>' for n in urgent]
        if said := [commands(visible(n)) for n in self.results.messages]:
            lines.append(f"<details><summary>{len(said)} note(s) on results</summary>{'<br>'.join(said)}</details>")
        self.head.text = "".join(lines)
