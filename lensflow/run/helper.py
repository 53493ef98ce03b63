"""Parts of a report are made by workers of this machine and by the client, whoever is free.

A part is a function and small results; what comes back is an element of the page.
"""

from __future__ import annotations

import gc
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from dask.base import tokenize
from distributed import Client, Future, secede

from lensflow.run.execute import local_processes
from lensflow.show.begin import made_now

# Imported by name: what draws takes half a second, in the process that draws; and what most saved scorers are made of.
PAGE, SCORERS = "lensflow.show.page", "sklearn.ensemble"
# A part takes a second at the most; one that a lost worker held is then made here.
MADE_IN_S = 60.0
# The longest part takes a sixth of the time of all, and the client's own as long as a third.
MOST_DRAW = 4
# Objects made between two searches for garbage in a worker that draws; Python's 700 suits programs that make few.
NEW_OBJECTS = 10_000


def begun_on_workers() -> OnWorkers | None:
    """What begins to make parts on worker processes of this machine.

    Returns
    -------
    OnWorkers or None
        None where the client in force has no such worker.
    """
    client = local_processes()
    return OnWorkers(client) if client is not None and client.nthreads() else None


class OnWorkers:
    """Begins to make parts on worker processes of this machine: a :class:`lensflow.show.begin.Start`.

    Parts are made in the order they are given in, each by one of the workers that draw; a client that has to wait makes
    the last ones itself. A part is made once: what was given before, the same function and equal values, is not begun
    again. One that fails on its worker is made here, with its errors.
    """

    def __init__(self, client: Client):
        self._client = client
        self._parts: dict[str, _Part] = {}
        self._next: list[_Part] = []  # nobody has begun them
        self._at_work, self._is_beside, self._lock = 0, False, threading.RLock()

    def __call__(self, make: Callable[..., Any], *given: Any) -> Callable[[], Any]:
        """Begin, and give what waits for the result."""
        return self._begin(make, given, beside=False)

    def beside(self, make: Callable[..., Any], *given: Any) -> Callable[[], Any]:
        """Begin while other steps are at work: one part at a time, none of which takes a worker's thread from them."""
        return self._begin(make, given, beside=True)

    def _begin(self, make: Callable[..., Any], given: tuple[Any, ...], beside: bool) -> Callable[[], Any]:
        with self._lock:
            self._is_beside = beside
            name = f"report-{make.__name__}-{tokenize(make, given)}"
            if (part := self._parts.get(name)) is None:
                part = self._parts[name] = _Part(name, make, given)
                self._next.append(part)
            self._go_on()
        return partial(self._wait, part)

    def _go_on(self) -> None:
        """Give workers that are free their next parts."""
        with self._lock, suppress(Exception):  # the client is closed: whoever waits for a part makes it
            workers = drawing(self._client)
            workers, task = (workers[:1], _beside) if self._is_beside else (workers, made_now)
            while self._next and self._at_work < len(workers):
                part = self._next[0]
                key, given = f"{part.name}-{uuid.uuid4().hex}", (part.make, *part.given)
                part.begun = self._client.submit(task, *given, key=key, workers=workers, allow_other_workers=True)
                del self._next[0]
                self._at_work += 1
                part.begun.add_done_callback(self._ended)

    def _ended(self, _: Future) -> None:
        with self._lock:
            self._at_work -= 1
            self._go_on()

    def _wait(self, part: _Part) -> Any:
        while not part.is_made and (mine := self._taken(part)) is not None:
            mine.make_here()
        return part.result()

    def _taken(self, wanted: _Part) -> _Part | None:
        """A part that nobody has begun, for the client to make: the wanted one, else the last."""
        with self._lock:
            if not self._next:
                return None
            return self._next.pop(self._next.index(wanted) if wanted in self._next else -1)


@dataclass(eq=False)
class _Part:
    name: str
    make: Callable[..., Any]
    given: tuple[Any, ...]
    begun: Future | None = None
    made: list[Any] = field(default_factory=list)

    @property
    def is_made(self) -> bool:
        """Whether :meth:`result` need not wait."""
        return bool(self.made) or (self.begun is not None and self.begun.done())

    def make_here(self) -> None:
        """Make it in this process."""
        self.made.append(made_now(self.make, *self.given))

    def result(self) -> Any:
        """Wait for it."""
        if not self.made and self.begun is not None:
            with suppress(Exception):  # a lost worker; an error of the part's own comes again below
                self.made.append(self.begun.result(timeout=MADE_IN_S))
        if not self.made:
            self.make_here()
        return self.made[0]


def drawing(client: Client) -> list[str]:
    """Workers that draw, the same each time as long as they live: few, for each has to import what draws.

    One processor is the client's, which makes parts of the page itself.
    """
    return sorted(client.nthreads())[: min(max(1, (os.cpu_count() or 1) - 1), MOST_DRAW)]


def make_ready(scores: bool = False) -> list[Future]:
    """Have workers import what draws while they wait; the results say nothing, what needs it imports it too.

    Parameters
    ----------
    scores : bool
        Whether all workers are to import what scores, before.
    """
    client = local_processes()
    if client is None:
        return []
    wanted: list[tuple[Callable[[], object], str]] = [(_import_page, worker) for worker in drawing(client)]
    wanted += [(partial(import_module, SCORERS), worker) for worker in client.nthreads()] if scores else []
    return [
        client.submit(make, key=f"ready-{uuid.uuid4().hex}", workers=[worker], allow_other_workers=True)
        for make, worker in reversed(wanted)
    ]


def _import_page() -> None:
    """Import, and draw words and a formula: fonts and grammar are read at the first."""
    # Figures are many small objects: to look for garbage among all that is imported took a seventh of the time.
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    import_module(PAGE)
    figures: Any = import_module("lensflow.show.figures")
    figure, (axes,) = figures.new_figure(1.0)
    figures.label(axes, "θ$_E$ (arcsec)", "words")
    figures.draw_svg(figure, "ready", "")


def _beside(make: Callable[..., Any], *given: Any) -> Any:
    """Make a part while the worker's thread takes other tasks."""
    secede()
    return made_now(make, *given)
