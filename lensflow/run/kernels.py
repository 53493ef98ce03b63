"""Whether the kernels of a run are compiled on this machine already."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from lensflow.stats import auc


def are_compiled(last: Any = auc._compare) -> bool:
    """Whether code of the present sources is on disk for the last kernel that a run needs, its gates'.

    Parameters
    ----------
    last : compiled function, optional
    """
    cache_file: Any = getattr(getattr(last, "_cache", None), "_cache_file", None)
    if cache_file is None:  # nowhere to keep it: every process compiles for itself
        return False
    try:
        with Path(cache_file._index_path).open("rb") as index:
            # numba's index begins with the version that it belongs to; lensflow.jit makes the sources a part of it.
            return bool(pickle.load(index) == cache_file._version)
    except (OSError, EOFError, pickle.UnpicklingError):
        return False
