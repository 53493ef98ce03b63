"""One run at a time in a folder: a small object that names the active run, and changes while it is alive.

Leases are numbered, ``lease-000001.json`` and so on. A lease is only created if no object of that name exists, so of
two runs that see the same state one wins. Taking over a dead one means creating the next number.

No clock of another machine is trusted. A run elsewhere is observed through its lease: if it does not change for
DEAD_AFTER_S by the observer's own clock, the run is dead.
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
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lensflow.errors import InUseError, LensflowWarning, StoreError
from lensflow.store import paths

HEARTBEAT_S, DEAD_AFTER_S, POLL_S = 15.0, 120.0, 1.0


@dataclass(frozen=True)
class Lease:
    """The run that is active in a folder.

    Attributes
    ----------
    number : int
    owner : str
        Random name of the holder.
    host : str
        Name of its machine, for people.
    machine : str
        Boot of the machine and its PID namespace: a process can only be looked up within one. Empty: unknown.
    pid, ticks : int
        The process, and its start since the machine's boot, which no change of the clock moves.
    started : str
        Start of the work by the holder's clock, for people.
    beats : int
        Heartbeats so far.
    """

    number: int
    owner: str
    host: str
    machine: str
    pid: int
    ticks: int
    started: str
    beats: int = 0

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    def describe(self) -> str:
        """Host, process and start."""
        return f"process {self.pid} on {self.host}, at work since {self.started}"


_LEASE = TypeAdapter(Lease)


@dataclass(frozen=True)
class Hold:
    """Proof that a run holds a folder, small enough to send with every task; calling it checks that it still does.

    Attributes
    ----------
    folder : str
    number : int
    owner : str
        Of the lease.
    """

    folder: str
    number: int
    owner: str

    def __call__(self) -> None:
        """Raise if another run holds the folder by now.

        Raises
        ------
        StoreError
        """
        if not self.holds():
            raise _lost(self.folder)

    def holds(self) -> bool:
        """Whether the lease is still there, and this run's; numbers are used again when all runs have ended."""
        content = _content(self.folder, self.number)
        there = _parse(content)
        # If it exists but cannot be read, the disk is at fault: the next heartbeat writes it again.
        return bool(content) and (there is None or there.owner == self.owner)


def _lost(folder: str) -> StoreError:
    return StoreError(
        f"{folder}: another run took this folder over, so this one stops. Everything with a receipt is kept; run the "
        "same command again when the other has ended."
    )


class Held:
    """A lease held by this process; ``check()`` raises once another run has taken the folder over."""

    def __init__(self, folder: str, lease: Lease):
        self.folder, self.lease, self.lost = folder, lease, False
        self.guard = Hold(folder, lease.number, lease.owner)

    def check(self) -> None:
        """Raise if the lease is lost; errors as :class:`Hold`."""
        if self.lost:
            raise _lost(self.folder)

    def beat(self) -> None:
        """Write a heartbeat, or notice that the lease is gone or a later one exists."""
        if max(_numbers(self.folder), default=0) != self.lease.number or not self.guard.holds():
            self.lost = True
            return
        self.lease = replace(self.lease, beats=self.lease.beats + 1)
        paths.write_json(_url(self.folder, self.lease.number), asdict(self.lease))


# Ended leases of this process, in case they could not be removed.
_over: set[str] = set()
_held: ContextVar[dict[str, Held] | None] = ContextVar("lensflow_held", default=None)


@contextlib.contextmanager
def hold(folder: str, force: bool = False) -> Iterator[Held]:
    """Hold a folder exclusively.

    Nested calls of the same thread share one lease. If a lease exists whose process cannot be looked up, it is watched
    for up to ``DEAD_AFTER_S`` seconds.

    Parameters
    ----------
    folder : str
        A run's folder.
    force : bool
        Take the folder over from a run that is still active; that one stops before its next write.

    Yields
    ------
    Held

    Raises
    ------
    StoreError
        If another run is active there; the message names its process.
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
        paths.discard_staged(folder)
        yield held
    finally:
        stop.set()
        beating.join()
        _held.reset(token)
        # A lease that cannot be removed must not hide the error that ended the run; this process knows that it has
        # ended.
        _over.add(held.lease.owner)
        with contextlib.suppress(OSError, StoreError):
            if held.guard.holds():
                paths.remove(_url(folder, held.lease.number))


def _keep_alive(held: Held, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S) and not held.lost:
        # A briefly unreachable store is handled by the work itself; the next heartbeat tries again.
        with contextlib.suppress(OSError, StoreError):
            held.beat()


def _acquire(folder: str, force: bool) -> Lease:
    seen = _numbers(folder)
    for number in seen:
        other = _parse(_content(folder, number))
        if other is not None and other.owner in _over:
            continue
        if force:
            who = other.describe() if other else f"the holder of lease {number}"
            warnings.warn(f"{folder}: taken over from {who}", LensflowWarning, stacklevel=4)
        elif _is_alive(folder, number):
            raise InUseError(_taken(folder, other))
    machine, ticks = _process(os.getpid())
    lease = Lease(
        number=max(seen, default=0) + 1,
        owner=uuid.uuid4().hex,
        host=socket.gethostname(),
        machine=machine,
        pid=os.getpid(),
        ticks=ticks,
        started=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    )
    try:
        paths.create_json(_url(folder, lease.number), asdict(lease))
    except FileExistsError:
        # It may be this one: if the answer to a request is lost, the client sends it again.
        there = _parse(_content(folder, lease.number))
        if there is None or there.owner != lease.owner:
            raise InUseError(_taken(folder, there)) from None
    # A run that listed the folder at another moment may have created another number: then neither may continue.
    strangers = set(_numbers(folder)) - {*seen, lease.number}
    if strangers:
        paths.remove(_url(folder, lease.number))
        raise InUseError(_taken(folder, _parse(_content(folder, max(strangers)))))
    for number in seen:
        paths.remove(_url(folder, number))
    return lease


def _is_alive(folder: str, number: int) -> bool:
    """Whether the holder of a lease is alive: by its process, if that can be looked up, else by changes of its lease.

    An unreadable lease is watched like one of another machine: its holder, if alive, writes it again.
    """
    first = _content(folder, number)
    lease = _parse(first)
    here, _ = _process(os.getpid())
    if lease is not None and here and lease.machine == here:
        _, ticks = _process(lease.pid)
        if ticks != lease.ticks:
            return False
        if not _is_stopped(lease.pid):
            return True
    warnings.warn(
        f"{folder}: a lease of {lease.describe() if lease else 'a run that cannot be read'} is here. Watching for up "
        f"to {DEAD_AFTER_S:.0f} s whether that run is alive; --force takes over at once.",
        LensflowWarning,
        stacklevel=5,
    )
    end = time.monotonic() + DEAD_AFTER_S
    while time.monotonic() < end:
        time.sleep(POLL_S)
        now = _content(folder, number)
        if now != first:
            return bool(now)  # removed: that run has just ended
    return False


def _process(pid: int) -> tuple[str, int]:
    """Machine (boot and PID namespace) and start of a process in ticks since the boot; 0 if it is gone.

    The machine is empty if the system does not provide it (not Linux): then leases are only watched.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "", 0
    return machine, int((_stat(pid) or ["0"] * 20)[19])


def _is_stopped(pid: int) -> bool:
    return (_stat(pid) or ["T"])[0] in "TtZX"


def _stat(pid: int) -> list[str]:
    """Fields of a process from its state on, as in proc(5); empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _taken(folder: str, other: Lease | None) -> str:
    who = other.describe() if other else "it started this very moment"
    return (
        f"{folder}: another run is at work in this folder ({who}). Wait for it, choose another out, or stop it and run "
        f"this command again; if its machine is gone, this is noticed within {DEAD_AFTER_S:.0f} s. --force takes the "
        "folder over at once."
    )


def _numbers(folder: str) -> list[int]:
    names = (n for n in paths.list_names(folder) if n.startswith("lease-") and n.endswith(".json"))
    return sorted(int(n[6:-5]) for n in names if n[6:-5].isdigit())


def _url(folder: str, number: int) -> str:
    return paths.join(folder, f"lease-{number:06d}.json")


def _content(folder: str, number: int) -> bytes:
    return paths.read_many([_url(folder, number)])[0]


def _parse(content: bytes) -> Lease | None:
    """Lease from its bytes; None if it is gone or damaged."""
    try:
        return _LEASE.validate_json(content)
    except ValidationError:
        return None
