"""Watch the workers while a client waits for them: none present, all full, or dying repeatedly.

Dask waits for workers forever and restarts killed workers forever. The run would then stall silently; here it is
reported, and ended.
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
# Lost workers without a result in between, per worker present.
LOST_PER_WORKER = 3
# All workers full and nothing done for this long: the memory is not held by tasks.
FULL_FOR_S = 120.0


class Watch:
    """A thread that checks the workers; if the work stalls it sets ``problem`` and cancels the work.

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
        Why the work stalled.
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
        """Note a result: workers lost before it do not count."""
        self._since = time.monotonic()
        self._seen = set()

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
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
                continue  # the futures report a missing scheduler
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
        """Workers lost since the last result."""
        self._most = max(self._most, len(workers))
        self._seen |= set(workers)
        return len(self._seen - set(workers))

    def _full(self, workers: dict[str, Any]) -> bool:
        return bool(workers) and all(str(w.get("status")) == "paused" for w in workers.values())

    def _give_up(self, why: str) -> None:
        self.problem = f"{self._stage}: {why}. Finished regions are kept: the same command continues."
        with contextlib.suppress(Exception):
            self._cancel()
