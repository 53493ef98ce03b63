"""Which rows pass: ranges, classes, splits, status, flags, tags, and rows named by a verdict or a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow import schema
from lensflow.view.rows import Rows
from lensflow.view.tags import Tags

KINDS = ("injections", "controls", "all")


@dataclass(frozen=True)
class Range:
    """Rows whose column is between two ends, both included; a row without a value is outside."""

    column: str
    low: float | None = None
    high: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it holds every row."""
        return self.low is None and self.high is None


@dataclass(frozen=True)
class Filter:
    """What rows must be; all conditions together.

    Attributes
    ----------
    kind : {"injections", "controls", "all"}
    ranges : tuple of Range
    splits, statuses : tuple of str
        Names of those that pass; empty: any.
    with_flags, without_flags : tuple of str
        Flags that must all be set, and that must not be.
    worst_of : str
        Name of a verdict: only the rows that it calls worst.
    tag : str
        Only rows with this tag; ``*``: with any.
    """

    kind: str = "injections"
    ranges: tuple[Range, ...] = ()
    splits: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    with_flags: tuple[str, ...] = ()
    without_flags: tuple[str, ...] = ()
    worst_of: str = ""
    tag: str = ""

    def mask(self, rows: Rows, worst: Mapping[str, NDArray[np.int64]] | None = None, tags: Tags | None = None
             ) -> NDArray[np.bool_]:  # fmt: skip
        """Which rows pass.

        Parameters
        ----------
        rows : Rows
        worst : mapping, optional
            Name of a verdict -> places of its worst rows.
        tags : Tags, optional

        Returns
        -------
        ndarray of bool, shape (n,)

        Raises
        ------
        StoreError
            If a column cannot be read.
        """
        out = np.ones(len(rows), bool)
        if self.kind != "all":
            out &= rows.is_control if self.kind == "controls" else ~rows.is_control
        if self.splits:
            out &= np.isin(rows.split, [schema.SPLITS.index(s) for s in self.splits])
        if self.statuses:
            out &= np.isin(rows.values("status"), [schema.Status[s].value for s in self.statuses])
        for range_ in self.ranges:
            if range_.is_open:
                continue
            values = rows.values(range_.column)
            with np.errstate(invalid="ignore"):
                out &= ~np.isnan(values) if values.dtype.kind == "f" else True
                out &= values >= (-np.inf if range_.low is None else range_.low)
                out &= values <= (np.inf if range_.high is None else range_.high)
        for flag in self.with_flags:
            out &= rows.values(flag).astype(bool)
        for flag in self.without_flags:
            out &= ~rows.values(flag).astype(bool)
        if self.worst_of:
            out &= among(len(rows), (worst or {}).get(self.worst_of, np.empty(0, np.int64)))
        if self.tag:
            named = [r for r, t in (tags.every() if tags else {}).items() if self.tag in ("*", t.tag)]
            out &= among(len(rows), rows.places_of(named))
        return out


def among(n: int, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of n rows that is set at some places."""
    out = np.zeros(n, bool)
    out[places] = True
    return out


def ordered(rows: Rows, places: NDArray[np.int64], by: str, descending: bool = False) -> NDArray[np.int64]:
    """Sort rows by a column, those without a value last; ties by their number in the manifest.

    Parameters
    ----------
    rows : Rows
    places : ndarray of int64
        Rising.
    by : str
        A column; ``row``: as in the manifest; ``shuffled``: by row_id, which is a hash, so that neighbours are of
        different hosts.
    descending : bool

    Returns
    -------
    ndarray of int64
    """
    if by == "row":
        return places[::-1] if descending else places
    # A row_id of a few bits alone would still be in the order of the hosts.
    key = rows.row_id[places] if by == "shuffled" else rows.values(by)[places]
    if key.dtype.kind == "f":
        missing = np.isnan(key)
        key = np.where(missing, np.inf, -key if descending else key)
    else:
        missing = np.zeros(len(key), bool)
        key = key.astype(np.int64) if key.dtype.kind == "b" else key
        key = key.max(initial=0) - key if descending else key
    return places[np.lexsort((places, key, missing))]
