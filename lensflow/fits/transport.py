"""Bytes of survey files from disk or the network: many ranges at once, retried, counted, and never guessed.

A file that is not there is an answer (FileNotFoundError in the result). A connection that breaks, a server that is
busy or a disk that fails is none: it is tried again a few times and then stops the region loudly, for it says nothing
about the file. The region keeps no receipt, so the next run does it again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import aiohttp
import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from lensflow.errors import SurveyError
from lensflow.fits import reach
from lensflow.fits.checked import Answer, CheckedHTTPFileSystem, RangeMismatchError, Version

# Waits between the attempts, seconds.
RETRY_AFTER_S = (0.5, 2.0, 5.0)
CONNECT_TIMEOUT_S = 15
READ_TIMEOUT_S = 60
# Assumed cost of a range read: a typical object store, from outside its data centre.
LATENCY_S = 0.03
BANDWIDTH_BYTES_S = 50e6
CONCURRENT = 16
# Two ranges this close together are read as one: the gap costs less than another request.
MERGE_GAP_BYTES = int(LATENCY_S * BANDWIDTH_BYTES_S / CONCURRENT)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class TransportError(SurveyError):
    """A transfer failed, which says nothing about the file; run again and the region is redone."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start:stop`` of a file; ``stop`` None reads to its end."""

    path: str
    start: int = 0
    stop: int | None = None


class Transport:
    """Reads byte ranges of the files below one root; use it as a context manager.

    Attributes
    ----------
    is_remote : bool
    n_requests, bytes_moved : int
        Requests made and bytes received so far.
    """

    def __init__(self, root: str) -> None:
        self.filesystem = _filesystem(root)
        self.is_remote = not isinstance(self.filesystem, LocalFileSystem)
        self.n_requests = 0
        self.bytes_moved = 0
        self._open: dict[str, IO[bytes]] = {}
        self._versions: dict[str, Version] = {}
        # Files whose ranges a server does not serve as asked.
        self._only_whole: set[str] = set()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._open.values():
            handle.close()
        self._open.clear()

    def read(self, ranges: Sequence[ByteRange]) -> list[bytes | FileNotFoundError]:
        """Read ranges, concurrently where the filesystem can.

        Returns
        -------
        list
            The bytes of each range - fewer where the file ends before it, the whole object where a server takes
            no ranges or serves others than those asked for - or FileNotFoundError.

        Raises
        ------
        TransportError
            If a range fails for another reason, after a few attempts where a new attempt may help; if a file
            changes while this object reads it.
        """
        found: list[Any] = [None] * len(ranges)
        waiting = list(range(len(ranges)))
        for wait in (*RETRY_AFTER_S, None):
            answers = self._read_once([ranges[k] for k in waiting])
            failed = []
            for k, answer in zip(waiting, answers, strict=True):
                if isinstance(answer, _ABSENT):
                    found[k] = FileNotFoundError(ranges[k].path)
                elif is_past_end(answer):
                    found[k] = b""
                elif (
                    isinstance(answer, RangeMismatchError)
                    and ranges[k].path not in self._only_whole
                    and wait is not None
                ):
                    self._only_whole.add(ranges[k].path)
                    failed.append(k)
                elif isinstance(answer, BaseException):
                    if wait is None or not is_transient(answer):
                        raise _explain(ranges[k].path, answer, tries=len(RETRY_AFTER_S) + 1 if wait is None else 1)
                    failed.append(k)
                else:
                    self.bytes_moved += len(answer)
                    found[k] = self._checked(ranges[k], answer)
            waiting = failed
            if not waiting:
                break
            time.sleep(wait or 0)
        return found

    def _checked(self, wanted: ByteRange, answer: bytes) -> bytes:
        """Refuse an answer of another version of the file; take the range out of a whole file that is no longer."""
        if not isinstance(answer, Answer):
            return answer
        first = self._versions.setdefault(wanted.path, answer.version)
        if first.is_another(answer.version):
            raise TransportError(
                f"{wanted.path}: changed while it was read ({first} became {answer.version}). Run again when it stays "
                "as it is: the region is done again."
            )
        if answer.is_whole and wanted.stop is not None and len(answer) <= wanted.stop - wanted.start:
            return bytes(answer[wanted.start : wanted.stop])
        return answer

    def size(self, path: str) -> int | None:
        """Size of a file that was read, in bytes; None if it would cost a request."""
        if self.is_remote:
            return None
        return Path(self.local_path(path)).stat().st_size

    def local_path(self, path: str) -> str:
        """Path of a file on disk without its protocol."""
        return str(self.filesystem._strip_protocol(path))

    def _read_once(self, ranges: Sequence[ByteRange]) -> list[Any]:
        self.n_requests += len(ranges)
        if not self.is_remote:
            return [self._read_local(r) for r in ranges]
        options: dict[str, Any] = {"batch_size": CONCURRENT} if isinstance(self.filesystem, AsyncFileSystem) else {}
        paths, starts, stops = ([getattr(r, n) for r in ranges] for n in ("path", "start", "stop"))
        starts = [s if e is not None or s else None for s, e in zip(starts, stops, strict=True)]
        whole = [p in self._only_whole for p in paths]
        starts, stops = ([None if w else v for w, v in zip(whole, values, strict=True)] for values in (starts, stops))
        try:
            return list(self.filesystem.cat_ranges(paths, starts, stops, on_error="return", **options))
        except Exception as error:  # the call as a whole failed (no connection, no credentials)
            return [error] * len(ranges)

    def _read_local(self, wanted: ByteRange) -> bytes | BaseException:
        try:
            if wanted.path not in self._open:
                self._open[wanted.path] = Path(self.local_path(wanted.path)).open("rb", buffering=0)  # noqa: SIM115 - kept
            handle = self._open[wanted.path]
            handle.seek(wanted.start)
            out = handle.read(-1 if wanted.stop is None else wanted.stop - wanted.start)
        except OSError as error:
            with suppress(KeyError, OSError):
                self._open.pop(wanted.path).close()
            return error
        return out


def is_remote(root: str) -> bool:
    """Whether a root is reached over a network, or in any other way than as files of this machine."""
    return "://" in root and not root.startswith("file://")


def _filesystem(root: str) -> Any:
    """Filesystem of a root; a local path is taken literally."""
    if "://" not in root:
        return LocalFileSystem()
    if root.startswith(("http://", "https://")):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        return CheckedHTTPFileSystem(client_kwargs={"timeout": timeout})
    if root.startswith(("s3://", "s3a://")):
        from lensflow.fits.checked_s3 import CheckedS3FileSystem

        return CheckedS3FileSystem(**reach.options(root))
    return fsspec.core.url_to_fs(root, **reach.options(root))[0]


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed: everything but a refusal (no permission, any 4xx but 408 and 429)."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status in (408, 429)
    if isinstance(error, PermissionError) or _lacks_credentials(error):
        return False
    return isinstance(error, OSError | asyncio.TimeoutError | aiohttp.ClientError) or type(error).__module__.startswith(
        ("fsspec", "botocore", "aiobotocore", "s3fs", "urllib3")
    )


def is_past_end(error: Any) -> bool:
    """Whether a server says that a range begins beyond the end of the object."""
    if not isinstance(error, BaseException):
        return False
    if getattr(error, "status", None) == 416 or "InvalidRange" in str(error) or "not satisfiable" in str(error):
        return True
    # s3fs has the server's message alone in its error, and some servers (Ceph) send a code without one.
    return error.__cause__ is not None and is_past_end(error.__cause__)


def merge_ranges(ranges: Sequence[tuple[int, int]], gap: int | None = None) -> list[tuple[int, int]]:
    """Merge byte ranges that overlap or are within ``gap`` bytes (default MERGE_GAP_BYTES) of each other; sorted."""
    # fsspec's merge_offset_ranges loses ranges that are given twice in some of its versions (2026.2).
    gap = MERGE_GAP_BYTES if gap is None else gap
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((int(start), int(stop)))
    return merged


def whole_is_cheaper(ranges: Sequence[tuple[int, int]], size: int) -> bool:
    """Whether reading a whole remote object of ``size`` bytes costs less time than its (merged) ranges.

    Time is latency x rounds of CONCURRENT requests + bytes / bandwidth, with the constants of this module. Equal
    times go to the ranges.
    """
    moved = sum(stop - start for start, stop in ranges)
    by_range = math.ceil(len(ranges) / CONCURRENT) * LATENCY_S + moved / BANDWIDTH_BYTES_S
    return LATENCY_S + size / BANDWIDTH_BYTES_S < by_range


def _lacks_credentials(error: BaseException) -> bool:
    return "Credential" in type(error).__name__ or "locate credentials" in str(error)


def _explain(path: str, error: BaseException, tries: int) -> TransportError:
    what = f"{type(error).__name__}: {error}"
    if _lacks_credentials(error):
        return TransportError(
            f"{path}: no credentials ({what}). A public bucket is read without any by storage.anonymous: true; for "
            "others set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role (workers too)."
        )
    if isinstance(error, RangeMismatchError):
        return TransportError(
            f"{path}: the server sends other bytes than those asked for ({error}), of the whole file too. Nothing is "
            "known of the file, so no host is marked. Another mirror, or a copy on disk, is the way out."
        )
    if not is_transient(error):
        return TransportError(
            f"{path}: access refused ({what}). A store that lets nobody list it says this of missing files too: check "
            "survey.root, and the credentials."
        )
    return TransportError(
        f"{path}: cannot be reached ({what}; tried {tries} times). Nothing is known of the file, so no host is "
        "marked. Run again when the store answers: the run continues where it stopped."
    )
