"""Parts of a page that are begun before they are waited for, elsewhere or here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

# Begins to make a part of the page, given a function and what it takes; what it gives waits for the result.
Start = Callable[..., Callable[[], Any]]
# Nothing begins before it is waited for.
here: Start = partial


def made_now(make: Callable[..., Any], *given: Any) -> Any:
    """Make a part, and draw it if it is a figure: else it would be drawn when it is shown, or sent."""
    made = make(*given)
    if getattr(made, "is_drawn", False):
        _ = made.svg
    return made
