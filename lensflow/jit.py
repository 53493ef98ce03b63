"""How lensflow compiles: one decorator, with an on-disk cache that notices every change of what it calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

_ROOT = Path(__file__).parent
# What compiled code of any folder may call or take constants from, beside its own folder.
_BELOW = (
    *(_ROOT / name for name in ("geometry.py", "jit.py", "rng.py", "schema.py", "units.py")),
    _ROOT / "lensing",
    _ROOT / "lensing" / "engine",
)


@lru_cache(maxsize=16)
def sources_stamp(folder: Path) -> str:
    """Digest of the sources of all that a compiled function in a folder may call."""
    digest = hashlib.sha256()
    files = {f for place in _BELOW for f in (place.glob("*.py") if place.is_dir() else [place])}
    for path in sorted(files | (set(folder.glob("*.py")) if folder != _ROOT else set())):
        digest.update(f"{path.parent.name}/{path.name}".encode() + path.read_bytes())
    return digest.hexdigest()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` without the GIL, with numpy's error model, cached on disk where any folder can be written.

    numba looks for ``NUMBA_CACHE_DIR``, then ``__pycache__``, then the user's cache; where none can be written (a
    read-only image), every process compiles for itself. numba's cache looks only at the file of the function that is
    called, not at the functions that it calls: an edit or an upgrade of one of those would go unnoticed, and old code
    would run. The digest of its folder, of ``lensing`` and of the ground takes that file's time stamp's place.

    The digest is part of the version, too, that numba compares before it unpickles the rest of an index: an index that
    names a record (a NamedTuple) of other sources, which may be gone or have moved, is left alone (numba issue 6018).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        common = {"error_model": "numpy", "nogil": True, **options}
        try:
            dispatcher = numba.njit(cache=True, **common)(function)
        except RuntimeError:  # "cannot cache function: no locator available"
            return numba.njit(**common)(function)
        cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
        if cache_file is not None:
            stamp = sources_stamp(Path(function.__code__.co_filename).parent)
            cache_file._source_stamp = stamp
            cache_file._version = f"{numba.__version__} {stamp}"
        return dispatcher

    return decorate
