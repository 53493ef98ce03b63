"""Loaded by local worker processes: the client handles Ctrl-C, and errors are printed only once.

A terminal sends the interrupt to every process in the foreground. Workers killed by it would each print a traceback
over the client's message; the client closes them in order anyway.
"""

from __future__ import annotations

import signal
from typing import Any

from lensflow.cluster import quiet


def dask_setup(worker: Any) -> None:
    """Ignore the interrupt in this worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet.install()
