"""Bytes of one object of a store: from a file, or from an object store in few requests.

A request takes tens of milliseconds however little it brings. So an object that is small, or of which half is wanted,
is read whole; of another one its index and then one range. What was written with the store (a manifest's columns) is
read by region after region: its pieces are kept, within ``KEPT_BYTES`` of a process.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lensflow.errors import DamagedStoreError
from lensflow.store import paths
from lensflow.store.pieces import size_of

# Objects of at most so many bytes are read whole.
WHOLE_BYTES = 1_000_000
# Pieces that are kept in a process, in all and each.
KEPT_BYTES, KEPT_PIECE_BYTES = 16_000_000, 1_000_000


class ObjectBytes(Protocol):
    """One object of a store, open for reading."""

    def want(self, places: Sequence[tuple[int, int]]) -> None:
        """Say which pieces are read next: first byte of each, and the byte after its last."""

    def read(self, at: int, length: int) -> bytes:
        """Bytes of a piece; fewer where the object ends before."""

    def checked(self, at: int, data: bytes) -> None:
        """Say that a piece is what was written."""


@contextmanager
def file_bytes(url: str, key: str, size: int) -> Iterator[ObjectBytes]:
    """Object of a store on a local disk.

    Parameters
    ----------
    url : str
        Of the store.
    key : str
    size : int
        Bytes that it must have.

    Raises
    ------
    DamagedStoreError
        If it is missing, or has another size.
    """
    try:
        file = os.open(paths.local_path(paths.join(url, key)), os.O_RDONLY)
    except FileNotFoundError:
        raise DamagedStoreError(url, key, "is missing") from None
    try:
        _require_size(url, key, os.fstat(file).st_size, size)
        yield _File(file)
    finally:
        os.close(file)


class _File:
    def __init__(self, file: int):
        self._file = file

    def want(self, places: Sequence[tuple[int, int]]) -> None:
        """Nothing: the system reads ahead."""

    def read(self, at: int, length: int) -> bytes:
        return os.pread(self._file, length, at)

    def checked(self, at: int, data: bytes) -> None:
        """Nothing: the system keeps what was read."""


class RequestedBytes:
    """Object of a store behind a network.

    Parameters
    ----------
    url : str
        Of the store.
    key : str
    pieces : str
        That it must have (:mod:`lensflow.store.pieces`).
    share : float
        Of the object, that is wanted.
    keep : bool
        Whether other readers of this process will want the same pieces.
    """

    def __init__(self, url: str, key: str, pieces: str, share: float, keep: bool):
        self._url, self._key, self._pieces, self._keep = url, key, pieces, keep
        self._spans: list[tuple[int, bytes]] = []
        self._size = size_of(pieces)
        self._whole = self._size <= WHOLE_BYTES or 2 * share >= 1

    def want(self, places: Sequence[tuple[int, int]]) -> None:
        """Request pieces that are not here, in one range; all of the object where that takes no longer."""
        lacking = [(at, end) for at, end in places if self._kept(at) is None and self._held(at, end) is None]
        if lacking:
            low, high = min(at for at, _ in lacking), max(end for _, end in lacking)
            low, high = (0, self._size) if self._whole else (low, high)
            self._spans.append((low, self._request(low, high)))

    def read(self, at: int, length: int) -> bytes:
        """Bytes of a piece, requested now if they are not here yet."""
        if (kept := self._kept(at)) is not None:
            return kept
        self.want([(at, at + length)])
        held = self._held(at, at + length)
        assert held is not None
        return held

    def checked(self, at: int, data: bytes) -> None:
        """Keep a piece that is what was written."""
        if self._keep:
            _kept.put((self._url, self._key, self._pieces, at), data)

    def _kept(self, at: int) -> bytes | None:
        return _kept.get((self._url, self._key, self._pieces, at)) if self._keep else None

    def _held(self, at: int, end: int) -> bytes | None:
        for low, data in self._spans:
            if low <= at and end <= low + len(data):
                return data[at - low : end - low]
        return None

    def _request(self, low: int, high: int) -> bytes:
        whole = (low, high) == (0, self._size)
        try:
            data = paths.get_object(self._url, self._key, None if whole else (low, high))
        except Exception as error:
            # Reading past the end of an object is an error of its own in every library.
            there = paths.size(paths.join(self._url, self._key))
            if there is not None and there < self._size:
                what = f"is truncated: {there} of {self._size} bytes"
                raise DamagedStoreError(self._url, self._key, what) from error
            raise
        if data is None:
            raise DamagedStoreError(self._url, self._key, "is missing")
        if not whole and len(data) == self._size:  # a server that serves no ranges
            return data[low:high]
        if whole:
            _require_size(self._url, self._key, len(data), self._size)
        elif len(data) != high - low:
            raise DamagedStoreError(self._url, self._key, f"is truncated: it ends before byte {high} of {self._size}")
        return data


def require_absent(url: str, key: str, keep: bool) -> None:
    """Refuse an object in a place where nothing was stored: a shard of zeros.

    Parameters
    ----------
    url : str
        Of the store.
    key : str
    keep : bool
        As of :class:`RequestedBytes`: then an object store is asked once.

    Raises
    ------
    DamagedStoreError
    """
    place = (url, key, "", 0)
    if keep and _kept.get(place) is not None:
        return
    if paths.object_exists(url, key):
        raise DamagedStoreError(url, key, "is an object that nothing vouches for")
    if keep:
        _kept.put(place, b"")


def _require_size(url: str, key: str, there: int, size: int) -> None:
    if there != size:
        what = f"is truncated: {there} of {size} bytes" if there < size else "has more bytes than were written"
        raise DamagedStoreError(url, key, what)


_Place = tuple[str, str, str, int]


class _Kept:
    """Pieces of objects, those that were asked for last; of which object, and what it must be, is part of the name."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[_Place, bytes] = OrderedDict()
        self._lock, self._bytes = threading.Lock(), 0

    def get(self, place: _Place) -> bytes | None:
        with self._lock:
            found = self._pieces.get(place)
            if found is not None:
                self._pieces.move_to_end(place)
            return found

    def put(self, place: _Place, data: bytes) -> None:
        if len(data) > KEPT_PIECE_BYTES:
            return
        with self._lock:
            self._bytes += len(data) - len(self._pieces.pop(place, b""))
            self._pieces[place] = data
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._pieces.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._pieces.clear()
            self._bytes = 0


_kept = _Kept()


def forget() -> None:
    """Forget the pieces that are kept."""
    _kept.clear()
