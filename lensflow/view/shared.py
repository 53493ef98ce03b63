"""What all pages of one ``lensflow view`` share: the opened run, its pixels read last, its results, the tags."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lensflow.config import RunConfig
from lensflow.view.results import Results, results_of
from lensflow.view.rows import Opened, open_rows
from lensflow.view.stamps import Stamps
from lensflow.view.tags import Tags


class Shared:
    """The run behind the pages; opened again for every new page until it is finished.

    Parameters
    ----------
    config : RunConfig
    tags : Tags
    unseal_test : str, optional
        Why the test split is shown; logged once.
    """

    def __init__(self, config: RunConfig, tags: Tags, unseal_test: str | None = None):
        self.config, self.tags, self._unseal = config, tags, unseal_test
        self._opened: Opened | None = None
        self._stamps: Stamps | None = None
        self._results: Future[Results] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="lensflow-view")
        self._lock = threading.Lock()

    def opened(self) -> Opened:
        """The run's rows."""
        with self._lock:
            if self._opened is None or not self._opened.is_final:
                self._opened = open_rows(self.config, self._unseal)
                rows = self._opened.rows
                self._stamps = Stamps(rows) if rows is not None else None
                self._results = None
            return self._opened

    def stamps(self) -> Stamps:
        """Reader of its pixels."""
        assert self._stamps is not None  # asked for where there are rows
        return self._stamps

    def when_results(self, do: Callable[[Results], None]) -> None:
        """Read verdicts and completeness, which takes seconds, beside the page; then call ``do`` in that thread."""
        with self._lock:
            if self._results is None:
                assert self._opened is not None and self._opened.rows is not None
                self._results = self._pool.submit(results_of, self.config, self._opened.rows)
            self._results.add_done_callback(lambda done: do(_result(done)))

    def close(self) -> None:
        """End its thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _result(done: Future[Results]) -> Results:
    if done.cancelled():
        return Results(worst={})
    error = done.exception()
    return done.result() if error is None else Results(worst={}, messages=(f"Results cannot be read: {error}",))
