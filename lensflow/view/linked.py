"""What the widgets of a page know of each other: the page that links them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from bokeh.models import Button
from numpy.typing import NDArray

from lensflow.view.rows import Rows
from lensflow.view.shared import Shared
from lensflow.view.stamps import Stamps


class Linked(Protocol):
    """A page, as its widgets see it.

    Attributes
    ----------
    shared : Shared
    grid, plots, controls
        The other widgets.
    clear : Button
        Clears the selection.
    passing : ndarray of int64
        Places of the rows that pass the filters.
    chosen : ndarray of bool or None
        Selected rows; None where there is no selection.
    current : int or None
        Place of the row whose card is shown.
    problem : str
        What went wrong, for the head of the page.
    """

    shared: Shared
    grid: Any
    plots: Any
    controls: Any
    clear: Button
    passing: NDArray[np.int64]
    chosen: NDArray[np.bool_] | None
    current: int | None
    problem: str

    @property
    def rows(self) -> Rows:
        """Rows of the page."""
        ...

    @property
    def stamps(self) -> Stamps:
        """Reader of the rows' pixels."""
        ...

    def guarded(self, do: Callable[[], None]) -> Callable[[], None]:
        """A callback that shows what went wrong instead of ending the page."""
        ...

    def on_change(self, widget: Any, name: str, do: Callable[[], None]) -> None:
        """Do something whenever a property of a widget changes."""
        ...

    def filter(self) -> None:
        """Apply the filters, and show what passes."""
        ...

    def order(self) -> None:
        """Sort what passes and is selected, and show its first pictures."""
        ...

    def shown_places(self) -> NDArray[np.int64]:
        """Rows that pass and, where there is a selection, are in it."""
        ...

    def choose(self, mask: NDArray[np.bool_] | None, by: str) -> None:
        """Select rows: the pictures are then theirs alone."""
        ...

    def pick(self, place: int) -> None:
        """Show the card of a row, and mark it everywhere."""
        ...
