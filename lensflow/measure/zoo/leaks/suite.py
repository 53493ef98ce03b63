"""The suite: each kind of leak on its ladder, the amplitude from which it is detected, and the AUC below that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.injection.rounding import as_stored
from lensflow.measure.zoo.leaks.base import SETTINGS, Base, Setting
from lensflow.measure.zoo.leaks.judge import Reading, read
from lensflow.measure.zoo.leaks.kinds import Kind, kinds
from lensflow.measure.zoo.leaks.required import Required
from lensflow.stats.estimate import Estimate

# No leak that passes the required set may be read better than this.
GOAL_AUC = 0.55
# The judge starts with a leak this many steps higher.
_STRONGER_BY = 3


@dataclass(frozen=True)
class Row:
    """One kind of leak in one setting.

    Attributes
    ----------
    kind, unit, setting : str
    noticed_from : float or None
        Lowest amplitude of the ladder that does not pass; None where all pass.
    noticed_by : tuple of str
        Diagnostics, checks and gates that do not pass there.
    passes_to : float or None
        Highest amplitude that passes the required set; None where none does.
    reading : Reading or None
        What the judge reads there.
    """

    kind: str
    unit: str
    setting: str
    noticed_from: float | None
    noticed_by: tuple[str, ...]
    passes_to: float | None
    reading: Reading | None = None

    @property
    def misses_goal(self) -> bool:
        """A leak that passes can be read."""
        return self.reading is not None and self.reading.area.value > GOAL_AUC

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Row:
        """Inverse of :meth:`to_dict`."""
        stored = tree["reading"]
        reading = Reading(Estimate.from_fields(stored["area"]), stored["judge"]) if stored else None
        return cls(**{**tree, "noticed_by": tuple(tree["noticed_by"]), "reading": reading})


def settings_of(kind: Kind, settings: Sequence[Setting] = SETTINGS) -> list[Setting]:
    """Settings that a kind is tried in: masks without rounding, which has nothing to do with them."""
    return [s for s in settings if kind.where != "mask" or s.quantize == "none"]


def climb(required: Required, kind: Kind, setting: Setting) -> Row:
    """Find the first amplitude that is detected: try the lowest, then bisect."""
    ladder = kind.ladder
    passes, noticed = -1, len(ladder)
    while noticed - passes > 1:
        at = 0 if passes < 0 and noticed == len(ladder) else (passes + noticed) // 2
        if required.noticed_by(setting, kind, ladder[at], first_only=True):
            noticed = at
        else:
            passes = at
    # In the whole frame every exact check detects it: the other checks are only tested in the arc's light.
    first = kind.where == "frame"
    by = required.noticed_by(setting, kind, ladder[noticed], first) if noticed < len(ladder) else []
    return Row(
        kind.name, kind.unit, setting.name,
        ladder[noticed] if noticed < len(ladder) else None, tuple(by), ladder[passes] if passes >= 0 else None,
    )  # fmt: skip


def pixels(base: Base, setting: Setting, kind: Kind | None, amplitude: float, like: Kind) -> NDArray[np.float32]:
    """Stamps for the judge, with a leak or (``kind`` None) without: bare controls, or stamps where arcs are changed."""
    if like.on_arcs:
        return setting.pairs(base, kind, amplitude)[0]["stamp"].values[base.lit]
    view = base.bare
    put = view.stamp.astype(np.float32) if kind is None else kind.put(view, amplitude)[0]
    if setting.quantize == "none":
        return put
    stamp = base.pairs["stamp"].values.copy()
    stamp[base.lit] = put
    pairs = base.pairs.assign(stamp=(base.pairs["stamp"].dims, stamp))
    return as_stored(pairs, base.run.hosts, base.run.manifest, setting.store)["stamp"].values[base.lit]


def judged(base: Base, setting: Setting, kind: Kind, amplitude: float, judge: str = "") -> Reading:
    """Let the judge read a leak of one amplitude."""
    rung = kind.ladder.index(amplitude)
    stronger = kind.ladder[min(rung + _STRONGER_BY, len(kind.ladder) - 1)]
    found = [pixels(base, setting, k, a, kind) for k, a in ((None, 0.0), (kind, amplitude), (kind, stronger))]
    hosts = base.pairs["host_index"].values[base.lit]
    return read(found[0], found[1], found[2], base.sky, hosts, base.config.seed, judge)


def to_read(rows: Iterable[Row]) -> list[tuple[str, float, str]]:
    """Kind, amplitude and rounding of what the judge must read: pixels are the same wherever they come from."""
    return list(dict.fromkeys(_pixels_of(r) for r in rows if r.passes_to is not None))


def _pixels_of(row: Row) -> tuple[str, float, str]:
    quantize = next(s.quantize for s in SETTINGS if s.name == row.setting)
    assert row.passes_to is not None
    return row.kind, row.passes_to, quantize


def with_readings(rows: Iterable[Row], known: Mapping[tuple[str, float, str], Reading]) -> tuple[Row, ...]:
    """Rows with what the judge reads at the highest amplitude that passes."""
    return tuple(r if r.passes_to is None else replace(r, reading=known[_pixels_of(r)]) for r in rows)


def reading_of(base: Base, what: tuple[str, float, str], judge: str = "") -> Reading:
    """Let the judge read one of :func:`to_read`."""
    name, amplitude, quantize = what
    (kind,) = kinds((name,))
    return judged(base, next(s for s in SETTINGS if s.quantize == quantize), kind, amplitude, judge)
