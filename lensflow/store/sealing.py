"""The log of openings of the test split: one small object beside the pairs store for each."""

from __future__ import annotations

import getpass
import socket
import uuid
from datetime import UTC, datetime
from typing import Any

from lensflow.errors import StoreError
from lensflow.store import paths

FOLDER = "test-access"


def log_access(pairs_url: str, why: str, rows: int) -> None:
    """Log that the test split is opened: who, when, why, number of rows.

    Raises
    ------
    StoreError
        If it cannot be written; then the split must not be opened.
    """
    now = datetime.now(UTC)
    entry = {"who": _who(), "when": now.isoformat(timespec="seconds"), "why": why, "rows": rows}
    # Objects are only added: nothing to lock, and no opening can overwrite another's entry.
    name = f"{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json"
    try:
        paths.write_json(paths.join(_folder(pairs_url), name), entry)
    except (StoreError, OSError) as error:
        raise StoreError(
            f"{pairs_url}: the test split stays sealed, because its opening cannot be logged in "
            f"{_folder(pairs_url)} ({error}). Get write permission there, or open a copy of the run."
        ) from error


def read_test_accesses(pairs_url: str) -> list[dict[str, Any]]:
    """Return every logged opening of the test split (who, when, why, rows), oldest first."""
    folder = _folder(pairs_url)
    return [paths.read_json(paths.join(folder, n)) for n in paths.list_names(folder) if n.endswith(".json")]


def _folder(pairs_url: str) -> str:
    return paths.join(paths.parent(pairs_url), FOLDER)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
