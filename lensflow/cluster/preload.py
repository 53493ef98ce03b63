"""Loaded by local worker processes: Ctrl-C is the client's to handle, and what the client says is said once.

A terminal sends the interrupt to every process in the foreground. Workers that die of it each print a traceback over
the client's one clear line; the client closes them in order anyhow.
"""

from __future__ import annotations

import signal
from typing import Any

from lensflow.cluster import quiet


def dask_setup(worker: Any) -> None:
    """Ignore the interrupt in this worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet.install()
