"""Folders that take seconds to make: made once in a session of tests, by whichever of its processes asks first."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Where the processes of a session find them. Set by the one that starts the others (tests/conftest.py).
PLACE = "LENSFLOW_TESTS_SHARED"


@cache
def place() -> Path:
    """Folder of the session; outside pytest, of this process."""
    if PLACE in os.environ:
        return Path(os.environ[PLACE])
    folder = Path(tempfile.mkdtemp(prefix="lensflow-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Folder that ``make`` has filled. Whoever wants to change something there takes a copy.

    Parameters
    ----------
    name : str
        The same in every process for the same content.
    make : callable
        Gets the path of a folder that does not exist yet. The folder is moved once it is whole.
    """
    done = place() / name
    with (place() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            begun = place() / f"{name}-begun"
            shutil.rmtree(begun, ignore_errors=True)
            make(begun)
            begun.rename(done)
    return done
