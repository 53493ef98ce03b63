"""Announce a run's progress to the scheduler as structured events, for the page of :mod:`lensflow.cluster.panel`.

Events hold everything that a client has announced so far: the scheduler keeps only the last ones of a topic, and a page
that is opened late shows the same as one that was there from the start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client

from lensflow.cluster.panel import TOPIC

EVERY_S = 0.5
MOST_COUNTS = 40


@dataclass
class Stage:
    """One stage of a run.

    Attributes
    ----------
    name : str
    total, done : int
        Regions.
    rows : int
        Rows of the finished regions, where they are known.
    counts : dict
        Outcome -> rows, from the receipts.
    seconds : float
        Since it began.
    """

    name: str
    total: int
    done: int = 0
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    _begun: float = field(default_factory=time.monotonic)

    def add(self, value: Any) -> None:
        """Count one more region; of a receipt also its rows and outcomes."""
        self.done += 1
        start, stop, counts = (getattr(value, n, None) for n in ("start", "stop", "counts"))
        if isinstance(start, int) and isinstance(stop, int) and isinstance(counts, Mapping):
            self.rows += stop - start
            for name, number in counts.items():
                self.counts[name] = self.counts.get(name, 0) + int(number)

    def plain(self) -> dict[str, Any]:
        """As JSON has it; outcomes without a row are left out, and so are all but the first."""
        if self.done < self.total or not self.seconds:
            self.seconds = time.monotonic() - self._begun
        counts = {k: n for k, n in self.counts.items() if n}
        return {"name": self.name, "total": self.total, "done": self.done, "rows": self.rows,
                "seconds": round(self.seconds, 2), "counts": dict([*counts.items()][:MOST_COUNTS])}  # fmt: skip


class Announcer:
    """What one client announces; at most one event in ``EVERY_S``, and one at the end of each stage.

    A run does not depend on it: an event that cannot be sent is left out.

    Parameters
    ----------
    client : Client
    """

    def __init__(self, client: Client):
        self._client = client
        self._stages: dict[str, Stage] = {}
        self._verdicts: dict[str, dict[str, str]] = {}
        self._sent = 0.0

    def begin(self, name: str, total: int) -> None:
        """Begin a stage; one of the same name begins again."""
        self._stages.pop(name, None)
        self._stages[name] = Stage(name, total)
        self._send(force=True)

    def advance(self, name: str, value: Any = None) -> None:
        """Count one more region of a stage."""
        stage = self._stages[name]
        stage.add(value)
        self._send(force=stage.done >= stage.total)

    def verdict(self, name: str, verdict: str, reason: str) -> None:
        """Add a verdict, in place of an older one of the name."""
        said = {"name": name, "verdict": verdict, "reason": reason}
        if self._verdicts.get(name) != said:
            self._verdicts[name] = said
            self._send(force=True)

    def _send(self, force: bool) -> None:
        now = time.monotonic()
        if not force and now - self._sent < EVERY_S:
            return
        self._sent = now
        state = {"stages": [s.plain() for s in self._stages.values()], "verdicts": [*self._verdicts.values()]}
        with contextlib.suppress(Exception):  # the scheduler may be gone: that is for the run to find
            self._client.log_event(TOPIC, state)


_announcers: WeakKeyDictionary[Client, Announcer] = WeakKeyDictionary()


def announcer_of(client: Client) -> Announcer:
    """The one announcer of a client."""
    if client not in _announcers:
        _announcers[client] = Announcer(client)
    return _announcers[client]
