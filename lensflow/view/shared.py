"""What all pages of one ``lensflow view`` share: the opened run, its pixels read last, its results, the tags."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from lensflow.config import RunConfig
from lensflow.view.results import Results, results_of
from lensflow.view.rows import Opened, open_rows
from lensflow.view.stamps import Stamps
from lensflow.view.tags import Tags


@dataclass(eq=False)
class Look:
    """One opening of the run: pages that share it have the same rows.

    Attributes
    ----------
    opened : Opened
    stamps : Stamps or None
        Reader of the pixels; None where there are no rows.
    """

    opened: Opened
    stamps: Stamps | None
    _pool: ThreadPoolExecutor
    _results: Future[Results] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def when_results(self, do: Callable[[Results], None]) -> None:
        """Read verdicts and completeness, which takes seconds, beside the page; then call ``do`` in that thread."""
        rows = self.opened.rows
        assert rows is not None
        with self._lock:
            if self._results is None:
                self._results = self._pool.submit(results_of, self.opened.config, rows)
        self._results.add_done_callback(lambda done: do(_result(done)))


class Shared:
    """The run behind the pages; opened again for every new page until it is finished.

    Parameters
    ----------
    config : RunConfig
    tags : Tags
    unseal_test : str, optional
        Why the test split is shown; logged once for each opening.
    """

    def __init__(self, config: RunConfig, tags: Tags, unseal_test: str | None = None):
        self.config, self.tags, self._unseal = config, tags, unseal_test
        self._look: Look | None = None
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="lensflow-view")
        self._lock = threading.Lock()

    def look(self) -> Look:
        """The run's rows as they are now.

        Raises
        ------
        StoreError
            If the opening of the test split cannot be logged.
        """
        with self._lock:
            if self._look is None or not self._look.opened.is_final:
                opened = open_rows(self.config, self._unseal)
                stamps = None if opened.rows is None else Stamps(opened.rows)
                self.tags.plan = "" if opened.rows is None else opened.rows.plan
                self._look = Look(opened, stamps, self.pool)
            return self._look

    def close(self) -> None:
        """End its thread."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _result(done: Future[Results]) -> Results:
    if done.cancelled():
        return Results()
    error = done.exception()
    return done.result() if error is None else Results(messages=(f"Results cannot be read: {error}",))
