"""Loaded by local worker processes: the client handles Ctrl-C, errors are printed only once, draws are its own.

A terminal sends the interrupt to every process in the foreground. Workers killed by it would each print a traceback
over the client's message; the client closes them in order anyway. Workers that are forked from one process
(:mod:`lensflow.cluster.forked`) begin with the same state of numpy's global generator: a measurement that draws from it
would draw the same in all of them.
"""

from __future__ import annotations

import signal
from typing import Any

import numpy as np

from lensflow.cluster import quiet


def dask_setup(worker: Any) -> None:
    """Ignore the interrupt in this worker process, and seed numpy's global generator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet.install()
    # Code of others may draw from it.
    np.random.seed()  # noqa: NPY002
