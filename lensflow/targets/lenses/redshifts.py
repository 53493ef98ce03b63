"""What the text of a redshift says: numbers, unsure numbers, several of them, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from lensflow.targets.lenses.columns import LensNote

# Redshifts of one object that differ by more contradict each other.
AGREE_WITHIN = 0.01
# No lens or source of a galaxy's lens is farther; -1, -99 and 999 are signs of a missing value.
MOST = 20.0
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([?*]*)(?:\s+(?:measured|observed))?")
_NOTHING = frozenset(["", "-", "--", "nan", "none", "null", "n/a", "na", "not measured", "unknown", "masked"])


class Redshift(NamedTuple):
    """A redshift, NaN if there is none, and the bits of its note."""

    z: float
    note: LensNote


_NONE = Redshift(float("nan"), LensNote(0))


def read_redshift(text: str) -> Redshift:
    """Read the text of a redshift.

    Parameters
    ----------
    text : str
        A number; one with ``?`` or ``*``; several, joined by ``|``; or anything else, which is no redshift.

    Returns
    -------
    Redshift
        NaN with UNREADABLE_Z where something stands that is not a redshift; without a note where nothing does.
    """
    return combine(_read_one(part.strip()) for part in text.split("|"))


def combine(redshifts: Iterable[Redshift]) -> Redshift:
    """Combine redshifts of one object: their median if they agree within 0.01, else NaN and CONFLICT_Z.

    Unsure ones count only where there is no sure one; signs of no redshift do not count.
    """
    every = list(redshifts)
    note = LensNote(0)
    for r in every:
        note |= r.note & (LensNote.CONFLICT_Z | LensNote.UNREADABLE_Z)
    known = [r for r in every if r.z == r.z]
    sure = [r for r in known if not r.note & LensNote.UNSURE_Z]
    used = sure or known
    if not used:
        return Redshift(float("nan"), note)
    # One that can be read settles what another row left unread.
    note &= ~LensNote.UNREADABLE_Z
    values = [r.z for r in used]
    if max(values) - min(values) > AGREE_WITHIN * (1 + 1e-9) or note & LensNote.CONFLICT_Z:
        return Redshift(float("nan"), note | LensNote.CONFLICT_Z)
    return Redshift(float(median(values)), note | (LensNote(0) if sure else LensNote.UNSURE_Z))


def redshift_of_number(value: float) -> Redshift:
    """Return a number of a table as a redshift: not one, if it is not between 0 and 20."""
    if value != value:
        return _NONE
    if not 0 < value < MOST:
        return Redshift(float("nan"), LensNote.UNREADABLE_Z)
    return Redshift(float(value), LensNote(0))


def _read_one(text: str) -> Redshift:
    if text.casefold() in _NOTHING:
        return _NONE
    match = _NUMBER.fullmatch(text)
    if match is None:
        return Redshift(float("nan"), LensNote.UNREADABLE_Z)
    z, note = redshift_of_number(float(match[1]))
    return Redshift(z, note | (LensNote.UNSURE_Z if match[2] and z == z else LensNote(0)))
