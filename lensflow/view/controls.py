"""Filters, sorting and tags: the widgets, and what they ask for."""

from __future__ import annotations

from html import escape

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import AutocompleteInput, Button, CheckboxButtonGroup, Div, MultiChoice, NumericInput, Select

from lensflow import schema
from lensflow.show.plain import visible
from lensflow.store.tags import Tag
from lensflow.view.filters import KINDS, Filter, Range
from lensflow.view.linked import Linked
from lensflow.view.results import Results

_SORTS = [("shuffled", "shuffled"), ("row", "row of the manifest")]
_ANY, _TAGGED = ("", "any"), ("*", "any tag")


class Controls:
    """The column of filters.

    Parameters
    ----------
    page : Linked
    width : int
        Pixels.
    """

    def __init__(self, page: Linked, width: int):
        rows, half = page.rows, width // 2 - 8

        def ends(name: str) -> tuple[NumericInput, NumericInput]:
            low, high = (NumericInput(title=f"{name} {e}", mode="float", width=half) for e in ("from", "to"))
            for end in (low, high):
                page.on_change(end, "value", page.filter)
            return low, high

        self._page, self.paused = page, False
        self.kind = Select(title="Rows", value=KINDS[0], options=[*KINDS], width=width, name="kind")
        self.theta_e, self.snr = ends("θE (arcsec)"), ends("SNR, matched")
        numbers = [(n, rows.columns[n].label) for n in rows.plotted]
        self.other = Select(title="Any column", value=numbers[0][0], options=numbers, width=width)
        self.other_ends = ends("")
        self.splits = CheckboxButtonGroup(labels=[*schema.SPLITS[:2], *_test(page)], active=[], width=width)
        self.statuses = CheckboxButtonGroup(labels=[s.name for s in schema.Status][:2], active=[], width=width)
        self.with_flags = MultiChoice(title="Flags that are set", options=rows.flags, width=width)
        self.without_flags = MultiChoice(title="Flags that are not set", options=rows.flags, width=width)
        self.worst = Select(title="Worst rows of a verdict", value="", options=[_ANY], width=width)
        self.tag = Select(title="Tagged", value="", options=[_ANY, _TAGGED], width=width)
        self.sort = Select(title="Sort by", value="shuffled", options=[*_SORTS, *numbers], width=width, name="sort")
        self.descending = CheckboxButtonGroup(labels=["largest first"], active=[], width=width, name="desc")
        self.reset = Button(label="Reset filters", width=width)
        for widget in (self.kind, self.with_flags, self.without_flags, self.worst, self.tag):
            page.on_change(widget, "value", page.filter)
        page.on_change(self.other, "value", page.filter)
        for group in (self.splits, self.statuses):
            page.on_change(group, "active", page.filter)
        page.on_change(self.sort, "value", page.order)
        page.on_change(self.descending, "active", page.order)
        self.reset.on_click(self._reset)
        self.show_tags()
        self.layout = column(
            self.kind, row(*self.theta_e), row(*self.snr), self.other, row(*self.other_ends), _title("Split"),
            self.splits, _title("Host's status"), self.statuses, self.with_flags, self.without_flags, self.worst,
            self.tag, self.sort, self.descending, self.reset, width=width, name="controls",
        )  # fmt: skip

    def filter(self) -> Filter:
        """What the widgets ask for."""
        ranges = [("theta_e_arcsec", self.theta_e), ("snr_matched", self.snr), (self.other.value, self.other_ends)]
        return Filter(
            self.kind.value,
            tuple(Range(n, low.value, high.value) for n, (low, high) in ranges),
            tuple(self.splits.labels[k] for k in self.splits.active),
            tuple(self.statuses.labels[k] for k in self.statuses.active),
            tuple(self.with_flags.value),
            tuple(self.without_flags.value),
            self.worst.value,
            self.tag.value,
        )

    def sorting(self) -> tuple[str, bool]:
        """Column to sort by, and whether the largest comes first."""
        return self.sort.value, bool(self.descending.active)

    def show_worst(self, found: Results) -> None:
        """Offer the verdicts that name rows."""
        verdicts = dict(found.verdicts)
        self.worst.options = [_ANY, *((n, f"{n}: {verdicts[n]}") for n in found.worst)]

    def show_tags(self) -> None:
        """Offer the tags in use."""
        self.tag.options = [_ANY, _TAGGED, *((n, visible(n)) for n in self._page.shared.tags.names)]

    def _reset(self) -> None:
        self.paused = True  # once is enough
        try:
            self.kind.value, self.worst.value, self.tag.value = KINDS[0], "", ""
            for low, high in (self.theta_e, self.snr, self.other_ends):
                low.value = high.value = None
            self.splits.active, self.statuses.active = [], []
            self.with_flags.value, self.without_flags.value = [], []
        finally:
            self.paused = False
        self._page.guarded(self._page.filter)()


class TagBar:
    """Widgets that tag a row, or all selected ones.

    Parameters
    ----------
    page : Linked
    width : int
        Pixels.
    """

    def __init__(self, page: Linked, width: int):
        self._page = page
        self.tag = AutocompleteInput(
            title="Tag", placeholder="artefact", completions=[], min_characters=1, restrict=False, width=130, name="tag"
        )
        self.note = AutocompleteInput(title="Note", completions=[], min_characters=1, restrict=False, width=190)
        self.one = Button(label="Tag this row", width=95, disabled=True, name="tag-one")
        self.all = Button(label="Tag all shown", width=105)
        self.off = Button(label="Untag", width=60, disabled=True)
        self.where = Div(text="", disable_math=True, width=width)
        self.one.on_click(page.guarded(lambda: self._put(self._current())))
        self.all.on_click(page.guarded(lambda: self._put(page.shown_places())))
        self.off.on_click(page.guarded(self._remove))
        self.layout = column(
            row(self.tag, self.note), row(self.one, self.all, self.off), self.where, width=width, name="tags"
        )
        self._say(f"Tags are saved in {page.shared.tags.path}")

    def show(self, place: int) -> None:
        """Get ready to tag a row."""
        self.one.disabled = self.off.disabled = False
        self.tag.completions = self._page.shared.tags.names

    def line(self, place: int) -> str:
        """The tag of a row, as HTML."""
        found = self._page.shared.tags.every().get(int(self._page.rows.row_id[place]))
        if found is None:
            return ""
        note = f" ({visible(found.note)})" if found.note else ""
        return f"<p><b>Tag: {escape(visible(found.tag))}</b>{escape(note)}</p>"

    def _current(self) -> np.ndarray:
        return np.array([] if self._page.current is None else [self._page.current], dtype=np.int64)

    def _put(self, places: np.ndarray) -> None:
        tag, note = (" ".join(str(w.value_input or w.value or "").split()) for w in (self.tag, self.note))
        if not tag or not len(places):
            self._say("Write a tag first." if len(places) else "No row is shown.")
            return
        rows = self._page.rows
        named = zip(rows.row_id[places].tolist(), rows.host_ids(places).tolist(), strict=True)
        total = self._page.shared.tags.put({r: Tag(h, tag, note) for r, h in named})
        self._saved(f"{len(places):,} row(s) tagged {tag}; {total:,} in {self._page.shared.tags.path}")

    def _remove(self) -> None:
        gone = self._page.shared.tags.remove([int(self._page.rows.row_id[p]) for p in self._current()])
        self._saved(f"{gone} tag(s) removed from {self._page.shared.tags.path}")

    def _saved(self, text: str) -> None:
        self._say(text)
        self._page.controls.show_tags()
        if self._page.current is not None:
            self._page.pick(self._page.current)
        self._page.grid.show()

    def _say(self, text: str) -> None:
        self.where.text = escape(visible(text))


def _title(text: str) -> Div:
    return Div(text=escape(text), margin=(2, 5, 0, 5))


def _test(page: Linked) -> list[str]:
    return [schema.SPLITS[2]] if (page.rows.split == 2).any() else []
