"""Tasks on a Dask cluster: a few thousand at a time, lensflow's errors distinguished from the cluster's."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client, Future, KilledWorker, Worker, as_completed, get_worker, secede, span
from distributed.comm import CommClosedError
from distributed.metrics import context_meter

from lensflow.cluster import quiet
from lensflow.cluster.local import BASE_BYTES
from lensflow.cluster.watch import Watch
from lensflow.errors import ClusterError, LensflowError, StoreError
from lensflow.fits.transport import TransportError
from lensflow.run.tree import FAN_IN, Tree

# Tasks submitted at a time: enough for every worker and for adaptive scaling to see a backlog.
MIN_WINDOW, TASKS_PER_THREAD = 2000, 20
# Regions at work at a time on a thread of a worker, where they wait for an object store; and the share of a worker's
# memory that they may fill: Dask gives no new task to one that has filled 0.8.
IN_FLIGHT, FILLED = 2, 0.7


@dataclass(frozen=True)
class _Refused:
    """One of lensflow's own errors, returned to the client as a value."""

    error: LensflowError


def _may_pass(error: LensflowError) -> bool:
    """Whether another attempt may succeed: bytes that could not be moved, a store that did not answer."""
    return isinstance(error, TransportError) or (isinstance(error, StoreError) and isinstance(error.__cause__, OSError))


def is_of_cluster(error: BaseException) -> bool:
    """Whether an error is one of lost workers or a lost scheduler, and none of a task's own."""
    return isinstance(error, ClusterError | CommClosedError | TimeoutError) or isinstance(error.__cause__, KilledWorker)


@dataclass(frozen=True)
class _ErrorsAsValues:
    """A task whose own errors come back as values."""

    task: Callable[..., Any]

    def __call__(self, index: Any, **shared: Any) -> Any:
        quiet.install()
        try:
            result = self.task(index, **shared)
        except LensflowError as error:
            # Errors that a retry cannot change are returned as values: if raised, Dask would retry twice and log each
            # traceback.
            if _may_pass(error):
                raise
            return _Refused(error)
        # Shown as they come on the dashboard's page "Fine Performance Metrics", by stage: rows, statuses, reasons.
        for one in result if isinstance(result, tuple) else (result,):
            for name, number in getattr(one, "counts", {}).items():
                context_meter.digest_metric(name, number, "rows")
        return result


@dataclass(frozen=True)
class Beside:
    """A task that mostly waits for an object store: its worker begins another one meanwhile.

    Every region stays a task of its own, with its own result, error and retries; only its thread no longer counts as
    busy. On each thread of a worker ``IN_FLIGHT`` regions are at work, fewer where memory does not allow it: the next
    task then waits for one of them to end.

    Attributes
    ----------
    task : callable
    region_bytes : float
        Memory that one more region takes.
    """

    task: Callable[[int], Any]
    region_bytes: float

    def __call__(self, index: int) -> Any:
        """Do the task beside others."""
        places = _places(get_worker(), self.region_bytes)
        with places.free:
            secede()
            return places.threads.submit(self.task, index).result()


@dataclass(frozen=True)
class _Places:
    """Places of a worker for regions, and the threads that work there.

    Dask starts a thread in place of each one that secedes, and memory that a thread has freed stays in an arena of its
    own: with threads that stay, a worker has as many arenas as places.
    """

    free: threading.BoundedSemaphore
    threads: ThreadPoolExecutor


def regions_in_flight(n_threads: int, memory_limit: float | None, region_bytes: float) -> int:
    """Regions that are at work in a worker at a time, at least one for each thread.

    Parameters
    ----------
    n_threads : int
    memory_limit : float or None
        Of the worker, bytes.
    region_bytes : float
        Memory that one more region takes.
    """
    wanted = IN_FLIGHT * n_threads
    if not memory_limit:
        return wanted
    fit = int((FILLED * memory_limit - BASE_BYTES) // max(region_bytes, 1.0))
    return max(n_threads, min(wanted, fit))


def _places(worker: Worker, region_bytes: float) -> _Places:
    """Places of a worker for regions of a size, the same for all of its tasks."""
    with _lock:
        of_worker = _places_of.setdefault(worker, {})
        if region_bytes not in of_worker:
            n_threads, limit = worker.state.nthreads, worker.memory_manager.memory_limit
            number = regions_in_flight(n_threads, limit, region_bytes)
            threads = ThreadPoolExecutor(number, thread_name_prefix="lensflow-region")
            of_worker[region_bytes] = _Places(threading.BoundedSemaphore(number), threads)
        return of_worker[region_bytes]


_lock = threading.Lock()
_places_of: WeakKeyDictionary[Worker, dict[float, _Places]] = WeakKeyDictionary()


class Each:
    """Every index is a task, and its value is handed on; ``shared`` futures are named arguments of all.

    ``retries`` are of a task that raises; one whose worker died is done again in any case.
    """

    def __init__(self, task: Callable[..., Any], shared: Mapping[str, Future] | None = None, retries: int = 2):
        self._task, self._shared, self._retries = _ErrorsAsValues(task), shared or {}, retries

    def start(self, client: Client, some: list[int], name: str) -> list[Future]:
        """Start some indices; the futures whose values are to be handed on."""
        # map sends the task itself only once.
        options = {"key": name, "pure": False, "retries": self._retries, "batch_size": None}
        return list(client.map(self._task, some, **options, **self._shared))

    def held(self) -> list[Future]:
        """Futures that nobody waits for."""
        return []

    def close(self) -> None:
        """Release all futures."""
        self._shared = {}


@dataclass(frozen=True)
class Done:
    """A task whose value stayed on its worker; of so many indices."""

    count: int = 1


def _done(value: Any, count: int) -> Any:
    return value if isinstance(value, _Refused) else Done(count)


@dataclass(frozen=True)
class _Several:
    """A task of neighbours, one after another, whose values are joined where they are."""

    task: Callable[[int], Any]
    join: Callable[[list[Any]], Any]

    def __call__(self, indices: Sequence[int]) -> Any:
        values = [self.task(index) for index in indices]
        return values[0] if len(values) == 1 else self.join(values)


@dataclass(frozen=True)
class _Joined:
    """Join values, unless one of them is an error."""

    join: Callable[[list[Any]], Any]

    def __call__(self, values: list[Any]) -> Any:
        return next((v for v in values if isinstance(v, _Refused)), None) or self.join(values)


class Summed:
    """Every index is a task; values are joined where they are, and the last one is handed on.

    Beside each task a second one says that it is done, so that its value can go as soon as it is joined.

    Parameters
    ----------
    task : callable
    number : int
        Indices in all.
    join : callable
    together : int
        Before this place, neighbours whose values are joined are one task: else most of their values would move to
        another worker first. After it each index is one, so that all workers are busy to the end.
    """

    def __init__(self, task: Callable[[int], Any], number: int, join: Callable[[list[Any]], Any], together: int = 0):
        self._task, self._joined, self._name = _ErrorsAsValues(_Several(task, join)), _Joined(join), ""
        self._tree: Tree[Future] | None = Tree(number, self._submit)
        self._number, self._started, self._together = number, 0, together
        self._client: Client | None = None

    def start(self, client: Client, some: list[int], name: str) -> list[Future]:
        """Start some indices, and what joins them; as :meth:`Each.start`."""
        assert self._tree is not None
        self._client, self._name = client, name
        parts = self._parts(some)
        counts = [len(part) for part in parts]
        leaves = client.map(self._task, parts, key=name, pure=False, retries=2, batch_size=None)
        out = list(client.map(_done, leaves, counts, key=f"{name}-done", pure=False, retries=2, priority=2))
        for leaf, count in zip(leaves, counts, strict=True):
            level = 1 if count > 1 else 0
            self._tree.add(self._started // FAN_IN**level, leaf, level)
            self._started += count
        return [*out, self._tree.root] if self._started == self._number else out

    def _parts(self, some: list[int]) -> list[tuple[int, ...]]:
        """Indices that are to start, those of one task side by side."""
        parts: list[tuple[int, ...]] = []
        k = 0
        while k < len(some):
            place = self._started + k
            n = FAN_IN if place % FAN_IN == 0 and k + FAN_IN <= len(some) and place + FAN_IN <= self._together else 1
            parts.append(tuple(some[k : k + n]))
            k += n
        return parts

    def held(self) -> list[Future]:
        """Values that wait for their neighbours."""
        return self._tree.waiting() if self._tree else []

    def close(self) -> None:
        """Let go of all futures: the tree knows what joins its values, which knows the tree."""
        self._tree = None

    def _submit(self, parts: list[Future]) -> Future:
        key = f"{self._name}-join-{uuid.uuid4().hex}"
        # Before new tasks, since joined values take less memory.
        assert self._client is not None
        return self._client.submit(self._joined, parts, key=key, pure=False, retries=2, priority=1)


def on_cluster(client: Client, work: Each | Summed, indices: Sequence[int], stage: str) -> Generator[Any, None, None]:
    """Yield results as they arrive; errors as :func:`lensflow.run.execute.run_tasks`."""
    window = max(MIN_WINDOW, TASKS_PER_THREAD * sum(client.nthreads().values()))
    waiting, pending = iter(indices), set()
    completed = as_completed(with_results=True)

    def submit(number: int) -> None:
        some = [int(i) for i in islice(waiting, number)]
        if some:
            name = stage.replace(" ", "-")
            with span("lensflow", name):
                futures = work.start(client, some, name)
            pending.update(futures)
            completed.update(futures)

    watch = Watch(client, stage, lambda: client.cancel([*pending, *work.held()], force=True))
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
            client.cancel([*pending, *work.held()])
        work.close()
