"""One run at a time in a folder: a small object that says who is at work there, and how lately it said so.

Leases are numbered, ``lease-000001.json`` and so on; the highest is in force. A lease is only ever created where
there is no object of that name, so of two runs that see the same state one wins. Taking over a dead one means creating
the next number.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace

import psutil

from lensflow.errors import LensflowWarning, StoreError
from lensflow.store import paths

HEARTBEAT_S, DEAD_AFTER_S = 15.0, 120.0


@dataclass(frozen=True)
class Lease:
    """Who works in a folder.

    Attributes
    ----------
    number : int
    owner : str
        Random name of the holder.
    host, pid, process_started : str, int, float
        The process; its start time (Unix seconds) tells it from a later one of the same pid.
    started, heartbeat : float
        Unix seconds: begin of the work, and its last sign of life.
    """

    number: int
    owner: str
    host: str
    pid: int
    process_started: float
    started: float
    heartbeat: float

    @property
    def is_dead(self) -> bool:
        """No sign of life for DEAD_AFTER_S, or a process of this machine that is gone."""
        if time.time() - self.heartbeat > DEAD_AFTER_S:
            return True
        return self.host == socket.gethostname() and not _lives(self.pid, self.process_started)

    def describe(self) -> str:
        """Host, process, start and age of the last sign of life."""
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started))
        ago = max(0.0, time.time() - self.heartbeat)
        return f"process {self.pid} on {self.host}, at work since {at}, last sign of life {ago:.0f} s ago"


class Held:
    """A lease in force; ``check()`` raises once somebody else has taken the folder over."""

    def __init__(self, folder: str, lease: Lease):
        self.folder, self.lease, self.lost = folder, lease, False

    def check(self) -> None:
        """Stop here if the lease is lost.

        Raises
        ------
        StoreError
        """
        if self.lost:
            raise StoreError(
                f"{self.folder}: another run took this folder over, so this one stops. Everything with a receipt is "
                "kept; run the same command again when the other has ended."
            )

    def beat(self) -> None:
        """Give a sign of life, or notice that a later lease is in force."""
        if max(_numbers(self.folder), default=0) > self.lease.number:
            self.lost = True
            return
        self.lease = replace(self.lease, heartbeat=time.time())
        paths.write_json(_url(self.folder, self.lease.number), asdict(self.lease))


# Owners of leases that this process held and gave up.
_over: set[str] = set()
_held: ContextVar[dict[str, Held] | None] = ContextVar("lensflow_held", default=None)


@contextlib.contextmanager
def hold(folder: str, force: bool = False) -> Iterator[Held]:
    """Work alone in a folder.

    Nested calls of the same thread share one lease.

    Parameters
    ----------
    folder : str
        A run's folder.
    force : bool
        Take the folder over from a run that is still at work; that one stops at its next region.

    Yields
    ------
    Held

    Raises
    ------
    StoreError
        If another run is at work there; the message names its process and its last sign of life.
    """
    folder = folder.rstrip("/")
    mine = _held.get() or {}
    if folder in mine:
        yield mine[folder]
        return
    held = Held(folder, _acquire(folder, force))
    token = _held.set({**mine, folder: held})
    stop = threading.Event()
    beating = threading.Thread(target=_keep_alive, args=(held, stop), daemon=True, name="lensflow-lease")
    beating.start()
    try:
        yield held
    finally:
        stop.set()
        beating.join()
        _held.reset(token)
        # A lease that cannot be removed now must not hide what ended the run; this process knows that it is over.
        _over.add(held.lease.owner)
        with contextlib.suppress(OSError, StoreError):
            paths.remove(_url(folder, held.lease.number))


def _keep_alive(held: Held, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S) and not held.lost:
        # A store that cannot be reached for a moment is the work's business; the next beat tries again.
        with contextlib.suppress(OSError, StoreError):
            held.beat()


def _acquire(folder: str, force: bool) -> Lease:
    seen = _numbers(folder)
    for number in seen:
        other = _read(folder, number)
        if other is None or other.is_dead or other.owner in _over:
            continue
        if not force:
            raise StoreError(_taken(folder, other))
        warnings.warn(f"{folder}: taken over from {other.describe()}", LensflowWarning, stacklevel=4)
    now, process = time.time(), psutil.Process()
    lease = Lease(
        number=max(seen, default=0) + 1,
        owner=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=process.create_time(),
        started=now,
        heartbeat=now,
    )
    try:
        paths.create_json(_url(folder, lease.number), asdict(lease))
    except FileExistsError:
        # It may be this very one: where the answer to a request is lost, the client sends it again.
        there = _read(folder, lease.number)
        if there is None or there.owner != lease.owner:
            raise StoreError(_taken(folder, there)) from None
    # Whoever listed the folder at another moment may have made another number: then neither may go on.
    strangers = set(_numbers(folder)) - {*seen, lease.number}
    if strangers:
        paths.remove(_url(folder, lease.number))
        raise StoreError(_taken(folder, _read(folder, max(strangers))))
    for number in seen:
        paths.remove(_url(folder, number))
    return lease


def _taken(folder: str, other: Lease | None) -> str:
    who = other.describe() if other else "it started this very moment"
    return (
        f"{folder}: another run is at work in this folder ({who}). Wait for it, choose another out, or stop it and run "
        f"this command again; if its machine is gone, it counts as dead {DEAD_AFTER_S:.0f} s after its last sign of "
        "life. --force takes the folder over at once."
    )


def _lives(pid: int, process_started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - process_started) < 1.0
    except psutil.NoSuchProcess:
        return False


def _numbers(folder: str) -> list[int]:
    names = (n for n in paths.list_names(folder) if n.startswith("lease-") and n.endswith(".json"))
    return sorted(int(n[6:-5]) for n in names if n[6:-5].isdigit())


def _url(folder: str, number: int) -> str:
    return paths.join(folder, f"lease-{number:06d}.json")


def _read(folder: str, number: int) -> Lease | None:
    """Read a lease; None where it is gone or damaged (a half-written one belongs to nobody who is alive)."""
    try:
        return Lease(**paths.read_json(_url(folder, number)))
    except (StoreError, TypeError):
        return None
