"""Region tasks to which something happens."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np

from lensflow.run.cut_task import StripTask
from lensflow.run.inject import InjectTask
from lensflow.store import paths
from lensflow.store.receipts import Receipt


class KilledWhileWriting(InjectTask):
    """Its worker is killed once, with the first array of region 1 written and the others not."""

    def __call__(self, index: int) -> Receipt:
        mark = Path(f"{self.config.out}.killed")
        if index == 1 and not mark.exists():
            mark.touch()
            publish, asked = paths.publish, itertools.count()
            paths.publish = lambda *a: publish(*a) if next(asked) == 0 else os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(index)


class KilledWhileCutting(StripTask):
    """Its worker is killed once, with all of a strip written and nothing handed on."""

    def __call__(self, index: int) -> tuple[Receipt, ...]:
        mark, first = Path(f"{self.cut.config.out}.killed"), False
        with contextlib.suppress(FileExistsError):
            mark.touch(exist_ok=False)
            first = True
        done = super().__call__(index)
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


class Slow(InjectTask):
    """Takes a second."""

    def __call__(self, index: int) -> Receipt:
        time.sleep(1)
        return super().__call__(index)


class Greedy(InjectTask):
    """Region 1 takes more and more memory."""

    def __call__(self, index: int) -> Receipt:
        taken = []
        while index == 1:
            taken.append(np.ones(4_000_000))
            time.sleep(0.02)
        return super().__call__(index)
