"""Parts of a report are made by a worker of this machine while the client makes the others.

A part is a function and small results; what comes back is an element of the page. One worker is enough, and only that
one has to import what draws.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from distributed import Client, Future

from lensflow.run.execute import local_processes

# Imported by name: what draws takes half a second, in the process that draws; and what most saved scorers are made of.
PAGE, SCORERS = "lensflow.show.page", "sklearn.ensemble"
# A part takes a second at the most; one that a lost worker held is then made here.
MADE_IN_S = 60.0


def begun_on_a_worker() -> Callable[..., Callable[[], Any]] | None:
    """What begins to make a part on a worker process of this machine, as :class:`lensflow.show.page.Start`.

    Returns
    -------
    callable or None
        None where the client in force has no such worker. A part that fails there is made here, with its errors.
    """
    client = local_processes()
    if client is None or (worker := _one_of(client)) is None:
        return None

    def start(make: Callable[..., Any], *given: Any) -> Callable[[], Any]:
        begun = _submit(client, worker, make, *given)

        def wait() -> Any:
            with suppress(Exception):  # a lost worker; an error of the part's own comes again below
                return begun.result(timeout=MADE_IN_S)
            return make(*given)

        return wait

    return start


def make_ready(scores: bool = False) -> list[Future]:
    """Have that worker import what draws, while workers wait; the results say nothing, what needs it imports it too.

    Parameters
    ----------
    scores : bool
        Whether all workers are to import what scores.
    """
    client = local_processes()
    if client is None or (one := _one_of(client)) is None:
        return []
    begun = [_submit(client, w, import_module, SCORERS) for w in client.nthreads()] if scores else []
    return [*begun, _submit(client, one, _import_page)]


def _import_page() -> None:
    """Import, and draw words and a formula: fonts and grammar are read at the first."""
    import_module(PAGE)
    figures: Any = import_module("lensflow.show.figures")
    figure, (axes,) = figures.new_figure(1.0)
    figures.label(axes, "θ$_E$ (arcsec)", "words")
    figures.draw_svg(figure, "ready", "")


def _one_of(client: Client) -> str | None:
    """The same worker each time, as long as it lives."""
    return min(client.nthreads(), default=None)


def _submit(client: Client, worker: str, make: Callable[..., Any], *given: Any) -> Future:
    name = f"report-{make.__name__}-{uuid.uuid4().hex}"
    return client.submit(make, *given, key=name, workers=[worker], allow_other_workers=True)
