"""Tags of rows, written: a CSV file that other pages, programs and people may change at the same time."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lensflow.config.plan import TAG_PLAN
from lensflow.errors import TagError
from lensflow.store.tags import COLUMNS, Tag, check_plan, parse_tags


class Tags:
    """Tags in a file, one a row. Every change reads the file first: another page or program may have changed it.

    Parameters
    ----------
    path : str or path
        On this machine; need not exist yet.

    Attributes
    ----------
    plan : str
        That of the page's rows (:func:`lensflow.store.tags.plan_of_rows`), once they are known: tags of another one's
        are refused, and what is written says it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self.plan = ""
        self._known: tuple[tuple[int, int, int], dict[int, Tag]] | None = None

    def every(self) -> dict[int, Tag]:
        """Tags by row_id, in the order of the file; none without a file.

        Raises
        ------
        TagError
            If the file is none of tags (names the line), or its tags are of another plan's rows.
        """
        try:
            about = self.path.stat()
            now = (about.st_ino, about.st_size, about.st_mtime_ns)
            if self._known is None or self._known[0] != now:
                self._known = (now, parse_tags(self.path.read_text(encoding="utf-8"), str(self.path)))
            check_plan(self._known[1], self.plan, str(self.path))
            return dict(self._known[1])
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise TagError(f"{self.path}: cannot be read ({error}). --tags names another file.") from error

    @property
    def message(self) -> str:
        """What is wrong with the file, or to be said of it; empty if nothing."""
        try:
            return check_plan(self.every(), self.plan, str(self.path))
        except TagError as error:
            return str(error)

    def put(self, rows: Mapping[int, Tag]) -> int:
        """Tag rows, in place of the tags that they have; returns the number of tagged rows."""
        with self._locked():
            found = {**self.every(), **{r: replace(t, plan=self.plan) for r, t in rows.items()}}
            self._write(found)
            return len(found)

    def remove(self, row_ids: Sequence[int]) -> int:
        """Take the tags off rows; returns how many had one."""
        with self._locked():
            found = self.every()
            gone = [r for r in row_ids if found.pop(r, None) is not None]
            if gone:
                self._write(found)
            return len(gone)

    @property
    def names(self) -> list[str]:
        """Tags in use, sorted."""
        return sorted({t.tag for t in self.every().values()})

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self.path.absolute().parent, os.O_RDONLY)  # the folder: no lock file is left behind
        except OSError as error:
            raise self._cannot(error) from error
        try:
            with contextlib.suppress(OSError):  # a filesystem without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, tags: Mapping[int, Tag]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*COLUMNS, TAG_PLAN))
        writer.writerows((row_id, t.host_id, t.tag, t.note, t.plan) for row_id, t in tags.items())
        temporary = None
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.absolute().parent)
            temporary = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
            temporary.chmod(0o644)
            temporary.replace(self.path)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise self._cannot(error) from error

    def _cannot(self, error: OSError) -> TagError:
        return TagError(f"{self.path}: cannot be written ({error.strerror}). --tags names another file.")


def file_for(run_name: str) -> str:
    """Name of a run's file of tags where none is given: in the present folder, for a run may be read-only."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in run_name).strip("-.")
    return f"{plain or 'run'}-tags.csv"
