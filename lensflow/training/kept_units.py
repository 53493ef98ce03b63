"""A view whose units stay in memory once they are read: epochs after the first read no file."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields

from lensflow.export.view import TrainingView, Unit


@dataclass(frozen=True, eq=False)
class KeptUnits(TrainingView):
    """A training view that keeps its first units, as many as fit; those that do not are read again each time.

    Attributes
    ----------
    most_bytes : int
        Of pixels that are kept.
    """

    most_bytes: int = 0
    # Of this view alone: one made from it (``select``, ``replace``) has other samples, and begins with none.
    _kept: dict[int, Unit] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def unit(self, unit: int) -> Unit:
        """Read a unit as loaders use it, or hand out the one that is kept: nobody may change it.

        Parameters
        ----------
        unit : int

        Returns
        -------
        Unit
        """
        found = self._kept.get(unit)
        if found is None:
            found = super().unit(unit)
            with self._lock:
                if self.kept_bytes + found.x.nbytes <= self.most_bytes:
                    self._kept[unit] = found
        return found

    @property
    def kept_bytes(self) -> int:
        """Bytes of pixels in memory."""
        return sum(u.x.nbytes for u in self._kept.values())


def kept(view: TrainingView, most_mb: float) -> TrainingView:
    """A view whose units stay in memory, up to ``most_mb``; the same view where that is 0.

    Parameters
    ----------
    view : TrainingView
    most_mb : float
        1 MB is 10^6 bytes.

    Returns
    -------
    TrainingView
    """
    if not most_mb:
        return view
    own = {f.name: getattr(view, f.name) for f in fields(TrainingView)}
    return KeptUnits(**own, most_bytes=int(most_mb * 1e6))
