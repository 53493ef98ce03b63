"""Looks at the workers while a client waits for them: none there, all full, or dying one after the other.

Dask waits for workers for ever and starts a worker that was killed again for ever. The work of a run is then at a
stand without a word; here it is said, and ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import dask
from distributed import Client

from lensflow.errors import LensflowWarning

SAY_AFTER_S = 10.0
LOOK_EVERY_S = 1.0
# Workers that are lost without any result in between, for each that is there at a time.
LOST_PER_WORKER = 3
# Every worker full and nothing done for so long: the memory is held by what is no task's.
FULL_FOR_S = 120.0


class Watch:
    """A thread that looks at the workers; on a stand it sets ``problem`` and cancels the work.

    Parameters
    ----------
    client : distributed.Client
    stage : str
        Named in messages.
    cancel : callable
        Ends the wait.

    Attributes
    ----------
    problem : str or None
        Why nothing will be done.
    """

    def __init__(self, client: Client, stage: str, cancel: Callable[[], Any]):
        self.problem: str | None = None
        self._client, self._stage, self._cancel = client, stage, cancel
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lensflow-watch", daemon=True)
        self._seen: set[str] = set()
        self._most = 0
        self.progress()

    def progress(self) -> None:
        """Note a result: whatever was lost before it does not count."""
        self._since = time.monotonic()
        self._seen = set()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        alone_since: float | None = None
        warned = False
        patience = dask.config.get("lensflow.no-workers-timeout", 600.0)
        while not self._end.wait(LOOK_EVERY_S):
            try:
                workers = self._client.scheduler_info(n_workers=-1)["workers"]
            except Exception:
                continue  # a scheduler that is gone is said by the futures
            now = time.monotonic()
            if workers:
                alone_since, warned = None, False
            elif alone_since is None:
                alone_since = now
            if alone_since is not None and not warned and now - alone_since >= SAY_AFTER_S:
                warned = True
                limit = "" if patience is None else f" It gives up after {patience:g} s (cluster.no_workers_timeout_s)."
                warnings.warn(
                    f"{self._stage}: the Dask cluster at {self._client.scheduler.address} has no worker, so nothing "
                    f"is done. Start some (dask worker ADDRESS, or cluster.scale(n)).{limit}",
                    LensflowWarning,
                    stacklevel=2,
                )
            if alone_since is not None and patience is not None and now - alone_since >= patience:
                self._give_up(f"no worker joined the Dask cluster within {patience:g} s (cluster.no_workers_timeout_s)")
            elif (lost := self._lost(workers)) >= LOST_PER_WORKER * max(self._most, 1):
                self._give_up(
                    f"{lost} workers died one after the other and no region was finished, most likely for lack of "
                    "memory. Raise cluster.memory_limit, take fewer workers (--workers), or lower store.shard_mb in a "
                    "new out"
                )
            elif self._full(workers) and now - self._since >= FULL_FOR_S:
                self._give_up(
                    f"every worker has been out of memory for {FULL_FOR_S:g} s and no region was finished. Raise "
                    "cluster.memory_limit, take fewer workers (--workers), or lower store.shard_mb in a new out"
                )
            if self.problem:
                return

    def _lost(self, workers: dict[str, Any]) -> int:
        """Workers that were here since the last result and are gone."""
        self._most = max(self._most, len(workers))
        self._seen |= set(workers)
        return len(self._seen - set(workers))

    def _full(self, workers: dict[str, Any]) -> bool:
        return bool(workers) and all(str(w.get("status")) == "paused" for w in workers.values())

    def _give_up(self, why: str) -> None:
        self.problem = f"{self._stage}: {why}. Finished regions are kept: the same command continues."
        with contextlib.suppress(Exception):
            self._cancel()
