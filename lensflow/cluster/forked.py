"""Local workers are forked from one process that has imported what they need: once, not once in every worker.

Imports take a process four seconds. Dask can start workers by Python's own ``forkserver``
(``distributed.worker.multiprocessing-method``); here that server is started beforehand, with the modules of a run's
tasks, and ends with the cluster. It has one thread, which is what makes forking safe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from typing import Any

import psutil

METHOD = "distributed.worker.multiprocessing-method"
# By name: what it imports builds on this package.
IMPORTED = "lensflow.run.preloaded"

WORKER_ENVIRONMENT = {
    # Every worker runs one task at a time on one thread: the kernels and BLAS must not multiply that.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), 1),
    # Dask's default returns every freed megabyte to the system at once; tasks that use and free the same tens of
    # megabytes for every stamp then spend a third of their time in page faults. The memory limit bounds it anyway.
    "MALLOC_TRIM_THRESHOLD_": 268435456,
    "MALLOC_MMAP_THRESHOLD_": 268435456,
}


@contextlib.contextmanager
def forking() -> Iterator[dict[str, Any]]:
    """Have a process to fork workers from for the duration of the block.

    Blocks may lie in each other: the outer one's process serves the inner one, which thus finds it warm. A command
    opens one first of all: the process imports while the command does so itself.

    Workers have the environment of now, and ``WORKER_ENVIRONMENT`` as far as it is not set.

    Yields
    ------
    dict
        Settings of Dask that use it; none on systems where forking a process that has imported much is not safe.
    """
    if sys.platform != "linux":
        yield {}
        return
    server = _start() if _running() is None else None
    try:
        yield {METHOD: "forkserver"}
    finally:
        if server is not None:
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                server.terminate()
                # Its exit status is left for the module that started it, which asks when it starts the next one.
                os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def _start() -> psutil.Process | None:
    """Start the server; it imports on its own."""
    resource_tracker.ensure_running()
    command = ["lensflow.cli"] if "lensflow.cli" in sys.modules else []
    multiprocessing.set_forkserver_preload([IMPORTED, *command])
    added = {name: str(value) for name, value in WORKER_ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        forkserver.ensure_running()
    finally:
        for name in added:
            del os.environ[name]
        multiprocessing.set_forkserver_preload(["__main__"])  # Python's default
    return _running()


def _running() -> psutil.Process | None:
    """The server of this process, where it has one."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and _is_server(process):
                return process
    return None


def _is_server(process: psutil.Process) -> bool:
    return any(part.startswith("from multiprocessing.forkserver import main") for part in process.cmdline())
