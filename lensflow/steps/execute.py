"""Run one task per region on Dask, and hand on each result as it comes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import psutil
from distributed import Client, KilledWorker, as_completed, default_client, span
from distributed.metrics import context_meter

from lensflow.cluster import quiet
from lensflow.cluster.watch import Watch
from lensflow.config import StorageConfig
from lensflow.errors import ClusterError, LensflowError, StoreError
from lensflow.store import s3
from lensflow.survey.transport import TransportError

# Tasks that the scheduler knows of at a time: enough for every worker and for adaptive scaling to see a backlog.
MIN_WINDOW, TASKS_PER_THREAD = 2000, 20


class Progress(Protocol):
    """Called as work proceeds: stage, units done, units in all."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report progress."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing: the default progress."""


def active_client() -> Client | None:
    """Return the Dask client in force, or None.

    Raises
    ------
    ClusterError
        If it is an asynchronous one.
    """
    try:
        client = default_client()
    except ValueError:
        return None
    if client.asynchronous:
        raise ClusterError(
            "the Dask client in force is asynchronous (Client(asynchronous=True)), which a run cannot wait for. Make "
            "one without asynchronous=True, or close it: lensflow.cluster.connect() gives a client that fits."
        )
    return client


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
    # Not getrusage: what it calls the peak of a started process includes its parent's at the time of the fork.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024
    except (OSError, StopIteration):  # not Linux: the present value is the best there is
        return float(psutil.Process().memory_info().rss) / 2**20


def run_tasks(
    task: Callable[[int], Any], indices: Sequence[int], stage: str, progress: Progress = silent
) -> Iterator[Any]:
    """Yield ``task(i)`` for every index, in order of completion: one Dask task each.

    Tasks return receipts or summaries, never pixels. No more than a few thousand are with the scheduler at a time, so
    that its memory does not grow with their number. Uses the Dask client in force, or threads where there is none.
    At the first failure nothing new is started; what is finished keeps its receipt.

    Raises
    ------
    LensflowError
        The task's own error, a StoreError that explains a lost worker, a ClusterError for a lost scheduler.
    """
    if not len(indices):
        return
    progress(stage, 0, len(indices))
    client = active_client()
    results = _in_threads(task, indices) if client is None else _on_cluster(client, task, indices, stage)
    with contextlib.closing(results):
        for done, value in enumerate(results, start=1):
            progress(stage, done, len(indices))
            yield value


def _in_threads(task: Callable[[int], Any], indices: Sequence[int]) -> Generator[Any, None, None]:
    threads = os.cpu_count() or 1
    waiting = iter(indices)
    with ThreadPoolExecutor(threads) as pool:
        pending = {pool.submit(task, int(i)) for i in islice(waiting, 2 * threads)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    # New tasks start when the caller has seen this result: one that has had enough stops them.
                    yield future.result()
                    pending |= {pool.submit(task, int(i)) for i in islice(waiting, 1)}
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Refused:
    """An error of ours on its way to the client."""

    error: LensflowError


def _may_pass(error: LensflowError) -> bool:
    """Whether another attempt may succeed: bytes that could not be moved, a store that did not answer."""
    return isinstance(error, TransportError) or (isinstance(error, StoreError) and isinstance(error.__cause__, OSError))


@dataclass(frozen=True)
class _Placed:
    """A task that reaches the stores as this process does, in another one."""

    task: Callable[[int], Any]
    storage: dict[str, StorageConfig]

    def __call__(self, index: int) -> Any:
        s3.use(self.storage)
        quiet.install()
        try:
            result = self.task(index)
        except LensflowError as error:
            # What another attempt cannot change comes back as a value: raised, Dask would try it twice more and log a
            # traceback for each.
            if _may_pass(error):
                raise
            return _Refused(error)
        # Shown as they come on the dashboard's page "Fine Performance Metrics", by stage: rows, statuses, reasons.
        for name, number in getattr(result, "counts", {}).items():
            context_meter.digest_metric(name, number, "rows")
        return result


def _on_cluster(
    client: Client, task: Callable[[int], Any], indices: Sequence[int], stage: str
) -> Generator[Any, None, None]:
    window = max(MIN_WINDOW, TASKS_PER_THREAD * sum(client.nthreads().values()))
    waiting, pending = iter(indices), set()
    placed = _Placed(task, s3.in_use())
    completed = as_completed(with_results=True)

    def submit(number: int) -> None:
        some = [int(i) for i in islice(waiting, number)]
        if some:
            # map sends the task itself once, whatever the number of calls.
            name = stage.replace(" ", "-")
            with span("lensflow", name):
                futures = client.map(placed, some, key=name, pure=False, retries=2, batch_size=None)
            pending.update(futures)
            completed.update(futures)

    watch = Watch(client, stage, lambda: client.cancel(list(pending), force=True))
    try:
        submit(window)
        watch.start()
        while pending:
            try:
                future, value = next(completed)
            except KilledWorker as error:
                raise StoreError(
                    f"{stage}: a worker died several times on the same region, most likely for lack of memory "
                    f"({error}). Raise cluster.memory_limit, or lower store.shard_mb in a new out; finished regions "
                    "are kept."
                ) from error
            if isinstance(value, CancelledError) and watch.problem:
                raise ClusterError(watch.problem)
            if isinstance(value, _Refused):
                raise value.error
            watch.progress()
            if isinstance(value, CancelledError):  # handed on as if it were a result
                raise ClusterError(
                    f"{stage}: the scheduler is gone, or somebody cancelled the tasks ({value}). Finished regions are "
                    "kept: start the cluster again and run the same command."
                )
            pending.discard(future)
            if len(pending) <= window // 2:
                submit(window - len(pending))
            yield value
    finally:
        watch.stop()
        if client.status == "running":
            client.cancel(list(pending))
