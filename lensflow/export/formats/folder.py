"""The folder of an export while it is written: its plan, a receipt for each file, and what appears at the end.

On a disk everything is written into ``OUT.writing``, which is renamed when it is whole and checked. An object store
cannot rename a folder: there the files are written in place, and ``export.json``, without which no reader opens the
folder, comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lensflow.config.place import like
from lensflow.errors import ExportError, InUseError, StoreError
from lensflow.store import paths
from lensflow.store.lease import hold

INDEX = "export.json"
WORK = ".export"
WRITING, FAILED, LOCK = ".writing", ".failed", ".lock"


def is_export(place: str) -> bool:
    """Whether a folder is a finished export."""
    return paths.exists(paths.join(place, INDEX))


def run_of(record: Mapping[str, Any], out: str) -> str:
    """Folder or URL of the run that an export is of; empty if it names none.

    Parameters
    ----------
    record : mapping
        Content of ``export.json``.
    out : str
        Folder of the export, from which a run on the same machine is named.

    Returns
    -------
    str
    """
    named = record.get("run")
    path = str((named.get("path") if isinstance(named, Mapping) else named) or "")
    return _from_export(path, out)


def settings_of(record: Mapping[str, Any], out: str) -> dict[str, Any]:
    """Settings of an export's view, with the place of its file of tags.

    Parameters
    ----------
    record : mapping
        Content of ``export.json``.
    out : str
        Folder of the export.

    Returns
    -------
    dict
    """
    settings = dict(record.get("settings") or {})
    return settings | ({"tags": _from_export(settings["tags"], out)} if settings.get("tags") else {})


def _from_export(path: str, out: str) -> str:
    """Place of what an export names by the way from its folder ``out``."""
    # A path that begins at the root is one of an older export, or of a run that was named by hand.
    if not path or "://" in path or path.startswith("/") or not paths.is_local(out):
        return path
    return os.path.normpath(paths.local_path(out) / path)


@dataclass(frozen=True)
class FileRecord:
    """A file of an export.

    Attributes
    ----------
    path : str
        Below the export.
    split : str
        Empty if it is of all.
    rows, positives : int
    sha256 : str
    bytes : int
    index : int
        Its number in the plan.
    first : int
        Position of its first sample among those of the split.
    """

    path: str
    split: str
    rows: int
    positives: int
    sha256: str
    bytes: int
    index: int = -1
    first: int = 0


@dataclass(frozen=True)
class Folder:
    """A place where an export is made.

    Attributes
    ----------
    out : str
        Path or URL of the finished export.
    """

    out: str

    @property
    def root(self) -> str:
        """Where the files are written."""
        return like(self.out, f"{self.out}{WRITING}") if paths.is_local(self.out) else self.out

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the place alone: two exports that write the same files would publish a mixture.

        The lease is beside the export (``OUT.lock``), so that nothing of it is in what is published.

        Raises
        ------
        ExportError
            If another export is at work there; the message names its process.
        """
        beside = like(self.out, f"{self.out}{LOCK}")
        try:
            with hold(beside):
                yield
        except InUseError as error:
            raise ExportError(str(error).replace(f"{LOCK}: another run", ": another export", 1)) from error
        finally:
            with contextlib.suppress(OSError, StoreError):
                # Of whoever leaves last: a folder in which another has a lease is not empty.
                if paths.is_local(beside):
                    paths.local_path(beside).rmdir()

    @property
    def failed(self) -> str:
        """Where an export ends whose check fails."""
        return like(self.out, f"{self.out}{FAILED}")

    def path(self, *parts: str) -> str:
        """Path below :attr:`root`."""
        return paths.join(self.root, *parts)

    def refuse_taken(self) -> None:
        """Refuse a place where another export ended.

        Raises
        ------
        ExportError
        """
        if not paths.is_local(self.out):
            return
        if paths.list_names(self.out):
            raise ExportError(f"{self.out}: is not empty. Choose another folder, or delete it.")
        if paths.list_names(self.failed):
            raise ExportError(
                f"{self.failed}: an export that failed its check is there. Read its export_check.json, then delete it."
            )

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Start, or continue what the same plan began.

        Parameters
        ----------
        plan : mapping
            Everything that the files depend on, as plain JSON.

        Raises
        ------
        ExportError
            If something else is there.
        """
        self.refuse_taken()
        at = self.path(WORK, "plan.json")
        if paths.exists(at):
            found = paths.read_json(at)
            if found != plan:
                differing = sorted(k for k in {*found, *plan} if found.get(k) != plan.get(k))
                raise ExportError(
                    f"{self.root}: holds an unfinished export that differs in {', '.join(differing)}. Delete it, or "
                    "choose another folder."
                )
            return
        if names := paths.list_names(self.root):
            raise ExportError(f"{self.root}: {names[0]} is there already. Choose another folder, or delete it.")
        paths.write_json(at, plan)

    def add(self, path: str, write: Callable[[Path], None], **about: Any) -> FileRecord:
        """Write a file, which appears under its name when it is whole.

        Parameters
        ----------
        path : str
            Below the export.
        write : callable
            Gets a local temporary path.
        **about
            Fields of the record.

        Returns
        -------
        FileRecord
        """
        with paths.replacing(self.path(path)) as temporary:
            write(temporary)
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = temporary.stat().st_size
        filled = {"split": "", "rows": 0, "positives": 0, **about}
        return FileRecord(path=path, sha256=digest, bytes=size, **filled)

    def receipt(self, index: int, path: str) -> FileRecord | None:
        """Record of a file that is finished and unchanged; None where it is to be written."""
        try:
            found = FileRecord(**paths.read_json(self._receipt(index)))
        except (StoreError, TypeError, FileNotFoundError):
            return None
        if found.path != path or found.index != index or paths.sha256(self.path(path)) != found.sha256:
            return None
        return found

    def keep(self, record: FileRecord) -> FileRecord:
        """Write a file's receipt, after the file."""
        paths.write_json(self._receipt(record.index), asdict(record))
        return record

    def _receipt(self, index: int) -> str:
        return self.path(WORK, "receipts", f"{index:06d}.json")

    def publish(self, passed: bool = True) -> str:
        """Give the export its name; one that failed its check gets the suffix ``.failed``.

        Returns
        -------
        str
            Where it is.
        """
        if paths.is_local(self.out):
            end = self.out if passed else self.failed
            if (there := paths.local_path(end)).is_dir() and not any(there.iterdir()):
                there.rmdir()
            with paths.explain_errors(end):
                shutil.move(paths.local_path(self.root), paths.local_path(end))
            # After the move: an export that is interrupted here is whole, and its plan does no harm.
            paths.remove_folder(paths.join(end, WORK))
            return end
        paths.remove_folder(self.path(WORK))
        if not passed:
            content = paths.read_object(self.path(INDEX))
            paths.write_bytes(self.path(INDEX + FAILED), content or b"")
            paths.remove(self.path(INDEX))
        return self.out
