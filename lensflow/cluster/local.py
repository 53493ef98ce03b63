"""Workers on this machine: processes, or threads of this one."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

import dask
from dask.utils import format_bytes, parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from lensflow.cluster.security import temporary_security
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError, LensflowWarning

# The share of the memory that workers get; the rest is for the client, the scheduler and the system.
WORKERS_SHARE = 0.9
# Imports and compiled kernels take about 300 MB of a worker, a region of the default size about as much again.
SMALLEST_BYTES = 700_000_000

WORKER_ENVIRONMENT = {
    # Every worker runs one task at a time on one thread: the kernels and BLAS must not multiply that.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), 1),
    # Dask's default gives every freed megabyte back to the system at once; tasks that use and free the same tens of
    # megabytes for every stamp then spend a third of their time in page faults. Bounded by the memory limit anyhow.
    "MALLOC_TRIM_THRESHOLD_": 268435456,
    "MALLOC_MMAP_THRESHOLD_": 268435456,
}


@contextlib.contextmanager
def start(config: ClusterConfig) -> Iterator[Client]:
    """Start a scheduler and workers on this machine, for as long as the block lasts."""
    threads = config.kind == "threads"
    workers = config.workers or os.cpu_count() or 1
    most = config.workers_max or workers
    with (
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
                "distributed.worker.preload": [] if threads else ["lensflow.cluster.preload"],
            }
        ),
        LocalCluster(
            n_workers=1 if threads else workers,
            threads_per_worker=workers if threads else 1,
            processes=not threads,
            memory_limit=None if threads else memory_limit(config.memory_limit, most),
            security=temporary_security() if config.tls and not threads else None,
            dashboard_address=config.dashboard or ":0",
            scheduler_kwargs={"dashboard": config.dashboard is not None},
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        if most > workers:
            cluster.adapt(minimum=workers, maximum=most)
        yield client


def memory_limit(asked: str | None, workers: int, machine_bytes: int = MEMORY_LIMIT) -> int:
    """Bytes that each of ``workers`` may use: as asked, or an equal share of 90% of the machine's (or container's).

    Raises
    ------
    ClusterError
        If the share is less than a worker needs.
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
    limit = int(parse_bytes(asked))
    if limit * workers > machine_bytes:
        warnings.warn(
            f"cluster.memory_limit: {workers} workers of {format_bytes(limit)} may use more than the "
            f"{format_bytes(machine_bytes)} that there are; the system may kill them",
            LensflowWarning,
            stacklevel=2,
        )
    return limit
