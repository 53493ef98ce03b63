"""Filesystems that check a server's answers against the request: the requested range, or an error.

A proxy or a mirror may answer a range with other bytes than requested and state that in Content-Range, which fsspec
does not read. The answers carry their status and the file's version, for :mod:`lensflow.fits.transport` to compare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsspec.implementations.http import HTTPFileSystem

_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", re.IGNORECASE)


class RangeMismatchError(OSError):
    """A server answered with other bytes than requested."""


@dataclass(frozen=True)
class Version:
    """Version tag of a file, to detect its replacement under the same name; None if the server gives none."""

    etag: str | None = None
    modified: str | None = None
    size: int | None = None

    def is_another(self, other: Version) -> bool:
        """Whether the file was surely replaced between two answers (mirrors may differ in the ETag alone)."""
        if None not in (self.size, other.size) and self.size != other.size:
            return True
        if self.etag is None or other.etag is None or self.etag == other.etag:
            return False
        return None in (self.modified, other.modified) or self.modified != other.modified


class Answer(bytes):
    """Bytes of an answer; ``is_whole``: the server sent all of the file."""

    version: Version
    is_whole: bool

    @classmethod
    def of(cls, body: bytes, start: int | None, stop: int | None, status: int, headers: Mapping[str, Any]) -> Answer:
        """Check an answer to ``start:stop`` (None, None: the whole file).

        Raises
        ------
        RangeMismatchError
            If the bytes are not those that were asked for.
        """
        asked = start is not None or stop is not None
        size: int | None = len(body)
        if status == 206:
            first, after, size = _range_of(headers.get("Content-Range"), body)
            ends = after == size if stop is None else after in (stop, size)
            if first != (start or 0) or not ends or (stop is not None and after > stop):
                wish = f"bytes {start or 0}-{'' if stop is None else stop - 1}" if asked else "the whole file"
                raise RangeMismatchError(f"asked for {wish}, was sent Content-Range {headers['Content-Range']!r}")
        elif status != 200:
            raise RangeMismatchError(f"an answer of status {status}")
        out = cls(body)
        etag = headers.get("ETag")
        out.version = Version(etag and str(etag).removeprefix("W/").strip('"'), headers.get("Last-Modified"), size)
        out.is_whole = status == 200
        return out


def _range_of(text: str | None, body: bytes) -> tuple[int, int, int | None]:
    """First byte, the byte after the last, and the file's size, of a Content-Range that fits its body."""
    found = _CONTENT_RANGE.fullmatch(str(text)) if text else None
    if found is None:
        raise RangeMismatchError(f"a part of the file (206) with Content-Range {text!r}")
    first, after = int(found[1]), int(found[2]) + 1
    if len(body) != after - first:
        raise RangeMismatchError(f"{len(body)} bytes with Content-Range {text!r}")
    return first, after, None if found[3] == "*" else int(found[3])


class CheckedHTTPFileSystem(HTTPFileSystem):
    """fsspec's, with checked answers to ``cat_file`` and ``cat_ranges``."""

    async def _cat_file(self, url: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        options = {**self.kwargs, **kwargs}
        if start is not None or end is not None:
            if start == end:
                return b""
            wish = f"bytes={start or 0}-{'' if end is None else end - 1}"
            options["headers"] = {**options.get("headers", {}), "Range": wish}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **options) as response:
            if response.status in (404, 410):
                raise FileNotFoundError(url)
            response.raise_for_status()
            return Answer.of(await response.read(), start, end, response.status, response.headers)
