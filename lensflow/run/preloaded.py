"""All that the tasks of a run need, made ready: imported by the process that local workers are forked from.

:mod:`lensflow.cluster.forked` starts that process. What is missing here, every worker imports for itself.
"""

from __future__ import annotations

import gc

import distributed.nanny  # noqa: F401
import numpy as np

import lensflow.cluster.preload
import lensflow.run.completeness
import lensflow.run.cut
import lensflow.run.inject
import lensflow.run.measure
import lensflow.run.score
import lensflow.run.sources  # noqa: F401
from lensflow import rng


def make_ready() -> None:
    """Let numba set itself up, which takes a third of a second at the first call; leave imports to no collector."""
    rng.uniform(0, np.zeros(1, dtype=np.uint64), "preloaded")
    # Else the first collection in each worker would write to, and thus copy, the memory that they share.
    gc.collect()
    gc.freeze()


make_ready()
