"""Names and patterns of files: ``*`` and ``?`` are wild, and whatever is there under its very name is that."""

from __future__ import annotations

import glob
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

WILD = "*?["


def expand(pattern: str) -> list[str]:
    """Files behind a path or a pattern, sorted; one without wild characters is handed on as it is.

    A file (or a folder on the way) whose name holds ``*``, ``?`` or ``[`` is taken by its name where it exists. In
    what is left ``*`` and ``?`` are wild, and so is ``[...]`` where nothing matches it as plain text.

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
    fs: Any = LocalFileSystem() if is_local else fsspec.core.url_to_fs(pattern)[0]
    if fs.exists(pattern):
        return [pattern]
    start, rest = _literal_start(pattern, fs)
    for brackets in (True, False):
        inner = start + (rest.replace("[", "[[]") if brackets else rest)
        if is_local:
            found = glob.glob(inner, recursive=True)  # noqa: PTH207 (a pattern may be absolute)
        else:
            found = [str(fs.unstrip_protocol(p)) for p in fs.glob(inner)]
        if found:
            return sorted(map(str, found))
    return []


def _literal_start(pattern: str, fs: Any) -> tuple[str, str]:
    """The folders at the start of a pattern that exist by their names, made safe for a glob, and the rest."""
    scheme, separator, path = pattern.rpartition("://")
    parts = path.split("/")
    kept = 0
    for k in range(1, len(parts)):
        if any(c in parts[k - 1] for c in WILD) and not fs.exists(scheme + separator + "/".join(parts[:k])):
            break
        kept = k
    start = "/".join(parts[:kept])
    return scheme + separator + glob.escape(start) + ("/" if kept else ""), "/".join(parts[kept:])
