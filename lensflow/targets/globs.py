"""Names and patterns of files: ``*`` and ``?`` are wildcards, except in names that exist literally."""

from __future__ import annotations

import glob
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lensflow.config.place import like
from lensflow.fits.reach import options

WILD = "*?["


def expand(pattern: str) -> list[str]:
    """Files matched by a path or a pattern, sorted; a path without wildcards is returned unchanged.

    An existing file (or parent folder) whose name contains ``*``, ``?`` or ``[`` is taken literally. In the rest ``*``
    and ``?`` are wildcards, and so is ``[...]`` if nothing matches it as plain text.

    Parameters
    ----------
    pattern : str
        Path or URL.

    Returns
    -------
    list of str
        As the pattern has them: URLs for a URL, paths for a path. Empty if nothing matches.
    """
    if not any(c in pattern for c in WILD):
        return [pattern]
    is_local = "://" not in pattern
    fs: Any = LocalFileSystem() if is_local else fsspec.core.url_to_fs(pattern, **options(pattern))[0]
    if fs.exists(pattern):
        return [pattern]
    start, rest = _literal_start(pattern, fs)
    for brackets in (True, False):
        inner = start + (rest.replace("[", "[[]") if brackets else rest)
        if is_local:
            found = glob.glob(inner, recursive=True)  # noqa: PTH207 (a pattern may be absolute)
        else:
            found = [like(pattern, fs.unstrip_protocol(p)) for p in fs.glob(inner)]
        if found:
            return sorted(found)
    return []


def _literal_start(pattern: str, fs: Any) -> tuple[str, str]:
    """Split a pattern into the leading folders that exist literally, escaped for a glob, and the rest."""
    scheme, separator, path = pattern.rpartition("://")
    parts = path.split("/")
    kept = 0
    for k in range(1, len(parts)):
        if any(c in parts[k - 1] for c in WILD) and not fs.exists(scheme + separator + "/".join(parts[:k])):
            break
        kept = k
    start = "/".join(parts[:kept])
    return scheme + separator + glob.escape(start) + ("/" if kept else ""), "/".join(parts[kept:])
