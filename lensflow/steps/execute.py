"""Run one task per region on Dask, and hand on each result as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed as futures_as_completed
from dataclasses import dataclass, field
from typing import Any, Protocol

import dask
import dask.array as da
import numpy as np
import psutil
from dask.system import CPU_COUNT
from distributed import Client, KilledWorker, as_completed, default_client, futures_of
from numpy.typing import NDArray

from lensflow.errors import LensflowError, StoreError


class Progress(Protocol):
    """Called as work proceeds: stage, units done, units in all."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report progress."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing: the default progress."""


def active_client() -> Client | None:
    """Return the Dask client in force, or None."""
    try:
        return default_client()
    except ValueError:
        return None


@dataclass
class Stopwatch:
    """Seconds by phase, for receipts."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Add the time since the last lap to ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def peak_rss_mb() -> float:
    """Resident memory of this process at its peak so far, MB."""
    info = psutil.Process().memory_info()
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    except ImportError:  # not a Unix: the present value is the best there is
        return info.rss / 2**20


def run_tasks(
    task: Callable[[int], Any], indices: Sequence[int], stage: str, progress: Progress = silent
) -> Iterator[Any]:
    """Yield ``task(i)`` for every index, in order of completion: one Dask task each.

    The graph is a ``map_blocks`` over the region ids, so that it stays at one task per region; tasks return
    receipts or summaries, never pixels. Uses the Dask client in force, or threads where there is none. At the
    first failure nothing new is started; what is finished keeps its receipt.

    Raises
    ------
    LensflowError
        The task's own error, or a StoreError that explains a lost worker.
    """
    if not len(indices):
        return
    total, done = len(indices), 0
    progress(stage, 0, total)
    client = active_client()
    if client is None:
        # Not results.compute: that hands on nothing before the last task has ended, and could not be stopped early.
        with ThreadPoolExecutor(dask.config.get("num_workers", None) or CPU_COUNT) as pool:
            waiting = [pool.submit(task, int(i)) for i in indices]
            try:
                for ended in futures_as_completed(waiting):
                    done += 1
                    progress(stage, done, total)
                    yield ended.result()
            finally:
                for future in waiting:
                    future.cancel()
        return
    ids = da.from_array(np.asarray(indices, dtype=np.int64), chunks=1, name=False)
    results = ids.map_blocks(_call, task=task, dtype=object, name=f"{stage}-{time.time_ns()}", meta=np.empty(0, object))
    futures = futures_of(client.persist(results, retries=2))
    try:
        for future in as_completed(futures):
            value = _result(future, stage)
            done += 1
            progress(stage, done, total)
            yield value
    finally:
        client.cancel(futures)


def _call(block: NDArray[np.int64], task: Callable[[int], Any]) -> NDArray[np.object_]:
    out = np.empty(1, dtype=object)
    out[0] = task(int(block[0]))
    return out


def _result(future: Any, stage: str) -> Any:
    try:
        return future.result()[0]
    except LensflowError:
        raise
    except KilledWorker as error:
        raise StoreError(
            f"{stage}: a worker died several times on the same region, most likely for lack of memory ({error}). "
            "Raise cluster.memory_limit, or lower store.samples_per_region in a new out; finished regions are kept."
        ) from error
