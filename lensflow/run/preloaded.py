"""All that the tasks of a run need, made ready: imported by the process that local workers are forked from.

:mod:`lensflow.cluster.forked` starts that process. What is missing here, every worker imports for itself.
"""

from __future__ import annotations

import gc
from importlib import import_module

import numpy as np

from lensflow import rng

# Without scikit-learn and scipy.stats, three quarters of a second: few tasks need them, and those import them.
MODULES = (
    "dask.array",  # xarray imports it for the first variable that it makes
    "distributed.nanny",
    "lensflow.cluster.preload",
    "lensflow.run.completeness",
    "lensflow.run.cut",
    "lensflow.run.inject",
    "lensflow.run.measure",
    "lensflow.run.score",
    "lensflow.run.sources",
)


def make_ready() -> None:
    """Import, and let numba set itself up, which takes a third of a second at the first call."""
    # What is imported is never garbage: looking through it again and again takes a seventh of the time.
    gc.disable()
    for module in MODULES:
        import_module(module)
    rng.uniform(0, np.zeros(1, dtype=np.uint64), "preloaded")
    # Else the first collection in each worker would write to, and thus copy, the memory that they share.
    gc.collect()
    gc.freeze()
    gc.enable()


make_ready()
