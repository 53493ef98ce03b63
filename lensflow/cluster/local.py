"""Workers on this machine: processes, or threads of this one."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dask
from dask.utils import format_bytes, parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from lensflow.cluster import quiet
from lensflow.cluster.forked import WORKER_ENVIRONMENT, forking
from lensflow.cluster.panel import ROUTES, with_page
from lensflow.cluster.security import temporary_security
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError, LensflowWarning

# Fraction of the memory for workers; the rest is for the client, the scheduler and the system.
WORKERS_SHARE = 0.9
# Imports and compiled kernels take about 300 MB of a worker, a region of the default size about as much again.
SMALLEST_BYTES = 700_000_000
# Below this no region finishes: Dask stops giving a worker tasks at 80 % of its limit.
SMALLEST_ASKED_BYTES = 500_000_000
BASE_BYTES = 400_000_000
# Arrays of a region's size that a task holds at a time: stamp, arc, control and their inputs.
REGION_COPIES = 3
THIS_MACHINE = "127.0.0.1:0"
CLOSE_SECONDS = 30
# What Dask does by the clock, whether or not there is anything to do: its default, and how often is enough here. At the
# defaults it takes scheduler and workers 7 to 9 % of two cores. The dashboard still has its pages.
BY_THE_CLOCK = {
    "distributed.worker.profile.interval": ("10ms", "100ms"),
    "distributed.worker.memory.monitor-interval": ("100ms", "250ms"),
    "distributed.admin.tick.interval": ("20ms", "500ms"),
    "distributed.admin.system-monitor.interval": ("500ms", "2s"),
}


def less_often() -> dict[str, str]:
    """Settings of Dask for what it does by the clock; what somebody has set is left as it is."""
    return {name: ours for name, (default, ours) in BY_THE_CLOCK.items() if dask.config.get(name) == default}


@contextlib.contextmanager
def start(config: ClusterConfig) -> Iterator[Client]:
    """Start a scheduler and workers on this machine for the duration of the block.

    Raises
    ------
    ClusterError
        If they do not start.
    """
    threads = config.kind == "threads"
    workers = config.workers or os.cpu_count() or 1
    most = config.workers_max or workers
    with contextlib.ExitStack() as stack:
        method = {} if threads else stack.enter_context(forking())
        stack.enter_context(
            dask.config.set(
                {
                    **method,
                    **less_often(),
                    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
                    "distributed.worker.preload": [] if threads else ["lensflow.cluster.preload"],
                    ROUTES: with_page(dask.config.get(ROUTES)),
                }
            )
        )
        limit = None if threads else memory_limit(config.memory_limit, most)
        security = temporary_security() if config.tls and not threads else None
        try:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=1 if threads else workers,
                    threads_per_worker=workers if threads else 1,
                    processes=not threads,
                    memory_limit=limit,
                    security=security,
                    # Without an explicit address each of these servers would listen on every network.
                    dashboard_address=config.dashboard or THIS_MACHINE,
                    # Worker processes have none: to import what it draws with takes each as long as all else of Dask.
                    worker_dashboard_address=THIS_MACHINE if threads else None,
                    scheduler_kwargs={"dashboard": config.dashboard is not None},
                    silence_logs=logging.ERROR,
                )
            )
            client = stack.enter_context(Client(cluster))
        except Exception as error:  # of any kind: a nanny, a port, a preload module, a TLS file
            raise ClusterError(_did_not_start(error, workers, limit)) from error
        quiet.install()
        adaptive = cluster.adapt(minimum=workers, maximum=most) if most > workers else None
        try:
            yield client
        finally:
            _close_workers(cluster, adaptive)


def _close_workers(cluster: LocalCluster, adaptive: Any) -> None:
    """Close the workers and wait for them, before client and scheduler: else they search for a missing scheduler."""
    if adaptive is not None:
        adaptive.stop()
    with contextlib.suppress(Exception):  # a cluster that is broken already is closed as it is
        cluster.scale(0)
        end = time.monotonic() + CLOSE_SECONDS
        while cluster.scheduler.workers and time.monotonic() < end:
            time.sleep(0.02)


def _did_not_start(error: BaseException, workers: int, limit: int | None) -> str:
    """Return why no cluster started: the innermost error, and its usual causes."""
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    each = "" if limit is None else f" of {format_bytes(limit)} each"
    return (
        f"cluster.kind: local: {workers} worker(s){each} did not start ({type(cause).__name__}: {cause}). Too little "
        "memory or too few processes or open files allowed (ulimit -a), or no room in dask's temporary-directory? "
        "Fewer workers (--workers), or --cluster threads, which starts no process."
    )


def check_region_fits(config: ClusterConfig, region_bytes: float) -> None:
    """Refuse local workers with too little memory for a region.

    Parameters
    ----------
    config : ClusterConfig
    region_bytes : float
        Uncompressed bytes of one pixel array in one region.

    Raises
    ------
    ClusterError
        With the memory that a worker needs.
    """
    if config.kind != "local":
        return
    workers = config.workers_max or config.workers or os.cpu_count() or 1
    limit, needed = memory_limit(config.memory_limit, workers), int(BASE_BYTES + REGION_COPIES * region_bytes)
    if limit < needed:
        region = format_bytes(int(region_bytes))
        raise ClusterError(
            f"cluster.memory_limit: a worker has {format_bytes(limit)}, and a region of {region} needs "
            f"about {format_bytes(needed)}. Take fewer workers (--workers), raise cluster.memory_limit, or lower "
            "store.shard_mb or store.samples_per_region in a new out."
        )


def memory_limit(asked: str | None, workers: int, machine_bytes: int = MEMORY_LIMIT) -> int:
    """Memory limit of each of ``workers``, bytes: as set, or an equal share of 90% of the machine's (or container's).

    Raises
    ------
    ClusterError
        If it is less than a worker needs.
    """
    share = int(WORKERS_SHARE * machine_bytes / workers)
    if asked is None:
        if share < SMALLEST_BYTES:
            raise ClusterError(
                f"{workers} workers on {format_bytes(machine_bytes)} of memory have {format_bytes(share)} each; one "
                f"needs about {format_bytes(SMALLEST_BYTES)}. Set cluster.workers (--workers) to "
                f"{max(1, int(WORKERS_SHARE * machine_bytes / SMALLEST_BYTES))} or fewer."
            )
        return share
    try:
        limit = int(parse_bytes(asked))
    except ValueError:
        raise ClusterError(f"cluster.memory_limit: {asked!r} is no size, such as '2 GiB'") from None
    if limit < SMALLEST_ASKED_BYTES:
        raise ClusterError(
            f"cluster.memory_limit: a worker of {format_bytes(limit)} finishes no region: imports and compiled kernels "
            f"alone take {format_bytes(BASE_BYTES)}. Set at least {format_bytes(SMALLEST_BYTES)}, or leave it out."
        )
    if limit * workers > machine_bytes:
        warnings.warn(
            f"cluster.memory_limit: {workers} workers of {format_bytes(limit)} may use more than the "
            f"{format_bytes(machine_bytes)} that there are; the system may kill them",
            LensflowWarning,
            stacklevel=2,
        )
    return limit
