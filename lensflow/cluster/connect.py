"""One context manager for every kind of cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import dask
from distributed import Client, LocalCluster

from lensflow.config import ClusterConfig
from lensflow.errors import LensflowError

_ENVIRONMENT = {
    # Every worker runs one task at a time on one thread: the kernels and BLAS must not multiply that.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), 1),
    # Dask's default gives every freed megabyte back to the system at once; tasks that use and free the same tens of
    # megabytes for every stamp then spend a third of their time in page faults. Bounded by the memory limit anyhow.
    "MALLOC_TRIM_THRESHOLD_": 268435456,
    "MALLOC_MMAP_THRESHOLD_": 268435456,
}


@contextlib.contextmanager
def connect(config: ClusterConfig | None = None) -> Iterator[Client]:
    """Give a Dask client for the configured cluster; whatever was started here is closed on leaving.

    Parameters
    ----------
    config : ClusterConfig, optional
        ``kind: local`` starts one process per core (or ``workers``), ``threads`` stays in this process,
        ``address`` joins a running scheduler.

    Yields
    ------
    distributed.Client

    Raises
    ------
    LensflowError
        If the scheduler at ``address`` does not answer within 15 seconds.
    """
    config = config or ClusterConfig()
    if config.kind == "address":
        try:
            client = Client(config.address, timeout="15s")
        except OSError as error:
            raise LensflowError(
                f"cluster.address: no Dask scheduler answers at {config.address} ({error}). Is it running, and is the "
                "port open from here?"
            ) from error
        with client:
            yield client
        return
    workers = config.workers or os.cpu_count() or 1
    with (
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
                "distributed.worker.preload": ["lensflow.cluster.preload"] if config.kind == "local" else [],
            }
        ),
        LocalCluster(
            n_workers=1 if config.kind == "threads" else workers,
            threads_per_worker=workers if config.kind == "threads" else 1,
            processes=config.kind == "local",
            memory_limit=None if config.kind == "threads" else config.memory_limit,
            dashboard_address=config.dashboard or ":0",
            scheduler_kwargs={"dashboard": config.dashboard is not None},
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
