"""Run one task per region on Dask: hand on each result as it comes, or add them all up on the workers."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
from distributed import Client, LocalCluster, default_client
from distributed.system import MEMORY_LIMIT

from lensflow.cluster.announce import announcer_of
from lensflow.cluster.local import BASE_BYTES, REGION_COPIES
from lensflow.config import RunConfig
from lensflow.errors import ClusterError, LensflowWarning
from lensflow.run.cluster_tasks import FILLED, IN_FLIGHT, Beside, Done, Each, Summed, is_of_cluster, on_cluster
from lensflow.run.tree import Tree
from lensflow.store.paths import is_local
from lensflow.store.run_folder import largest_region_bytes

if TYPE_CHECKING:
    from lensflow.measure.gate import GateResult
    from lensflow.store.receipts import Receipt


# Tasks of one region each, for every thread of the workers, that end a reduction whose others take several.
LAST_ALONE = 8


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

    def restart(self) -> None:
        """Leave out the time since the last lap."""
        self._last = time.perf_counter()


def peak_rss_mb() -> float:
    """Peak resident memory of this process so far, MB."""
    # Not getrusage: its peak of a started process includes the parent's at the time of the fork.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024
    except (OSError, StopIteration):  # not Linux: the present value is the best there is
        return float(psutil.Process().memory_info().rss) / 2**20


@dataclass
class Several:
    """Receipts of a stage whose tasks give several each, and which may come twice: a task may be done again.

    Attributes
    ----------
    total : int
        Regions in all.
    seen : set of int
        Regions whose receipts were handed on; a stage of several kinds of tasks goes on with them.
    """

    total: int
    seen: set[int] = field(default_factory=set)

    def new(self, receipts: Iterable[Receipt]) -> Iterator[Receipt]:
        """Receipts of regions that were not seen yet."""
        for receipt in receipts:
            if receipt.region not in self.seen:
                self.seen.add(receipt.region)
                yield receipt


def run_tasks(
    task: Callable[[int], Any],
    indices: Sequence[int],
    stage: str,
    progress: Progress = silent,
    region_bytes: float | None = None,
    several: Several | None = None,
) -> Iterator[Any]:
    """Yield ``task(i)`` for every index, in order of completion: one Dask task each.

    Tasks return receipts or short lists, never pixels; what grows with their number is for :func:`reduce_tasks`. No
    more than a few thousand are with the scheduler at a time, so that its memory does not grow with their number. Uses
    the Dask client in force, or threads where there is none. At the first failure nothing new is started; what is
    finished keeps its receipt.

    Parameters
    ----------
    task : callable
    indices : sequence of int
    stage : str
    progress : callable, optional
    region_bytes : float, optional
        Memory that a task takes, if tasks mostly wait for an object store: then two are at work at a time on each
        thread, as far as a worker's memory allows.
    several : Several, optional
        If each task gives a tuple of receipts: then these are counted, and yielded one by one.

    Raises
    ------
    LensflowError
        The task's own error, a StoreError that explains a lost worker, a ClusterError for a lost scheduler.
    """
    if not len(indices):
        return
    every, done = (len(indices), 0) if several is None else (several.total, len(several.seen))
    progress(stage, done, every)
    client = active_client()
    if client is None:
        results = _in_threads(task, indices, 1 if region_bytes is None else IN_FLIGHT)
    else:
        work = Each(task if region_bytes is None else Beside(task, region_bytes))
        results = on_cluster(client, work, indices, stage)
    announced = _announced(client, stage, every, done)
    with contextlib.closing(results):
        for result in results:
            for value in (result,) if several is None else several.new(result):
                done += 1
                progress(stage, done, every)
                announced(value)
                yield value


def reduce_tasks(
    task: Callable[[int], Any],
    indices: Sequence[int],
    join: Callable[[list[Any]], Any],
    stage: str,
    progress: Progress = silent,
    region_bytes: float | None = None,
    together: bool = False,
) -> Any:
    """Add up ``task(i)`` over every index on the workers: this process only gets the sum.

    Values are joined in a tree (:class:`lensflow.run.tree.Tree`) whose shape is that of the number of indices, so the
    result has the same bits on any number of workers, in whatever order they finish, and if some of them die: then
    their values are made again, and no others.

    Parameters
    ----------
    task : callable
        As for :func:`run_tasks`; its values are small.
    indices : sequence of int
        At least one.
    join : callable
        Values of neighbours, in the order of the indices, to one value.
    stage, progress, region_bytes
        As for :func:`run_tasks`, with its errors.
    together : bool
        Whether neighbours may be made by one task on a cluster, where there are many more of them than workers: for
        values that are large beside the work that makes them.
    """
    progress(stage, 0, len(indices))
    client = active_client()
    tree = Tree(len(indices), join)
    if client is None:
        # Values come in any order; the tree knows their places.
        in_flight = 1 if region_bytes is None else IN_FLIGHT
        placed = _in_threads(lambda place: (place, task(int(indices[place]))), range(len(indices)), in_flight)
        with contextlib.closing(placed):
            for done, (place, value) in enumerate(placed, start=1):
                tree.add(place, value)
                progress(stage, done, len(indices))
        return tree.root
    found: Any = None
    announced = _announced(client, stage, len(indices))
    beside = task if region_bytes is None else Beside(task, region_bytes)
    threads = sum(client.nthreads().values()) if together and region_bytes is None else 0
    # The last ones are single tasks, so that no worker waits long for another at the end.
    work = Summed(beside, len(indices), join, len(indices) - LAST_ALONE * threads if threads else 0)
    with contextlib.closing(on_cluster(client, work, indices, stage)) as results:
        done = 0
        for value in results:
            if isinstance(value, Done):
                done += value.count
                progress(stage, done, len(indices))
                for _ in range(value.count):
                    announced(None)
            else:
                found = value
    return found


def side_by_side(
    task: Callable[..., Any],
    count: int,
    stage: str,
    shared: Mapping[str, Any],
    task_bytes: float = 0.0,
    here: bool = False,
) -> Generator[tuple[int, Any], None, None]:
    """Yield i and ``task(i, **shared)`` for i from 0 to count - 1, as they are done: work on what the client holds.

    Local worker processes do it, which are idle then; threads of this process where there are none, and what is left
    once workers are lost: what the client sent to them cannot be sent again by Dask.

    Parameters
    ----------
    task : callable
    count : int
    stage : str
    shared : mapping
        What every task needs; it is sent once to each worker.
    task_bytes : float
        Memory that a task takes. Workers with less do none of it.
    here : bool
        Whether no worker may do it.

    Raises
    ------
    LensflowError
        As :func:`run_tasks`.
    """
    client = None if here else local_processes()
    # Of more threads in a worker each would set how many BLAS has.
    alone = client is not None and set(client.nthreads().values()) == {1}
    left, placed = set(range(count)), _Placed(task)
    if client is not None and alone and task_bytes + BASE_BYTES <= (task_memory_bytes() or 0.0):
        try:
            with contextlib.closing(_on_processes(client, placed, count, stage, shared)) as results:
                for index, value in results:
                    left.remove(index)
                    yield index, value
        except Exception as error:
            if not is_of_cluster(error):
                raise
            warnings.warn(
                f"{stage}: workers died, most likely for lack of memory (cluster.memory_limit). What is left of this "
                "stage is done by this process.",
                LensflowWarning,
                stacklevel=2,
            )
    with contextlib.closing(_in_threads(lambda index: placed(index, **shared), sorted(left))) as results:
        yield from results


@dataclass(frozen=True)
class _Placed:
    """A task whose value comes with its index."""

    task: Callable[..., Any]

    def __call__(self, index: int, **shared: Any) -> tuple[int, Any]:
        return index, self.task(index, **shared)


def _on_processes(
    client: Client, task: Callable[..., Any], count: int, stage: str, shared: Mapping[str, Any]
) -> Generator[Any, None, None]:
    # As a list: a dict's own names would be Dask's keys, the same for the next call.
    there = client.scatter([*shared.values()], broadcast=True, hash=False)
    # Nothing that it does may pass: an error comes at once, as in this process.
    work = Each(task, dict(zip(shared, there, strict=True)), retries=0)
    del there
    yield from on_cluster(client, work, range(count), stage)


def local_processes() -> Client | None:
    """Return the Dask client in force if its workers are processes that it started on this machine."""
    client = active_client()
    of_here = client is not None and isinstance(client.cluster, LocalCluster) and client.cluster.processes
    return client if of_here else None


def _announced(client: Client | None, stage: str, total: int, done: int = 0) -> Callable[[Any], None]:
    """Announce a stage on the dashboard's page, unless it goes on; gives what takes each finished region."""
    if client is None:
        return lambda value: None
    announcer = announcer_of(client)
    if not done:
        announcer.begin(stage, total)
    return lambda value: announcer.advance(stage, value)


def announce_verdict(gate: GateResult) -> None:
    """Show a verdict on the dashboard's page, where there is a client."""
    if (client := active_client()) is not None:
        announcer_of(client).verdict(gate.name, str(gate.verdict).replace("_", " "), gate.reason)


def n_threads() -> int:
    """Tasks that are at work at a time: of all workers, or of this machine where there is no client."""
    client = active_client()
    return (os.cpu_count() or 1) if client is None else sum(client.nthreads().values())


def task_memory_bytes() -> float | None:
    """Memory that a task may fill, bytes: of the smallest worker, or of this machine; None while there is no worker."""
    client = active_client()
    if client is None:
        return FILLED * MEMORY_LIMIT / (os.cpu_count() or 1)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((FILLED * (w["memory_limit"] or math.inf) / w["nthreads"] for w in workers), default=None)


def waiting_bytes(config: RunConfig, copies: float = REGION_COPIES) -> float | None:
    """Memory that a region of a run takes, bytes, where its tasks wait for an object store; None on a local disk.

    Parameters
    ----------
    config : RunConfig
    copies : float
        Arrays of a region's size that a task holds at a time.
    """
    return None if is_local(config.out) else copies * largest_region_bytes(config)


def _in_threads(task: Callable[[int], Any], indices: Sequence[int], in_flight: int = 1) -> Generator[Any, None, None]:
    threads = in_flight * (os.cpu_count() or 1)
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
