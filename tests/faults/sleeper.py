"""A run that is stopped by SIGSTOP in the middle of region 1, whose bytes would be others than those of any other run.

Called as ``python -m tests.faults.sleeper config.yaml where``, where is one of ``rendering`` (its bytes are not ready)
and ``publishing`` (they are ready, and the guard has let them pass).
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from lensflow.config import load_config
from lensflow.run.inject import InjectTask, inject_step
from lensflow.store import paths


def stop_here() -> None:
    """Stop the process at once: a signal to the process may reach another thread first, and this one goes on."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class Sleeper(InjectTask):
    """Makes other bytes of region 1, and falls asleep over it."""

    def make(self, rows: Any, *rest: Any) -> Any:
        """Add light that is nobody's."""
        block, broken = super().make(rows, *rest)
        if rows.index == 1:
            block = block.assign(stamp=block["stamp"] + 1)
            if sys.argv[2] == "rendering":
                stop_here()
            else:
                publish, mine = paths.publish, threading.get_ident()

                def stop_first(*a: Any) -> None:
                    if threading.get_ident() == mine:  # not while another region is published
                        stop_here()
                    publish(*a)

                paths.publish = stop_first
        return block, broken


if __name__ == "__main__":
    sys.modules["lensflow.run.inject"].InjectTask = Sleeper  # type: ignore[attr-defined]
    inject_step(load_config(Path(sys.argv[1])))
