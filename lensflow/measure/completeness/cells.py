"""Counts of rows per cell of a table, with what the intervals over hosts need: whole numbers that add up.

Per cell: planned, rendered and valid rows, hosts, and the sum of squares of valid rows per host; per threshold the
recovered rows and two more sums. That is all that :func:`lensflow.stats.proportions.clustered` takes. Sums of whole
numbers do not depend on the order in which they are added.

A square needs all rows of a host. A block of a table sorted by host holds all rows of its inner hosts; those of its
first and last may go on in the next block, so their counts stay open until the result is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import CompletenessError
from lensflow.stats.proportions import Proportion, clustered

Integers = NDArray[np.int64]
# Columns of the counts of one host in one cell, then one per threshold of recovered rows.
PLANNED, RENDERED, VALID, _FIRST = range(4)
# Columns of a cell's sums, then three per threshold: k, sum of n_h k_h, sum of k_h^2.
HOSTS, _NN, RECOVERED = 3, 4, 5
# Whole numbers that 64 bits, and a float, hold.
_LARGEST, _EXACT = 2**62, 2**53
# Cells for each count up to which a mark for each cell is less work than sorting.
_CELLS_PER_COUNT = 4


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts of one table over some rows; those of different rows add up.

    Attributes
    ----------
    shape : tuple of int
        Of the table.
    n_thresholds : int
    cell : ndarray of int64, shape (c,)
        Flat index of the cells that closed hosts have rows in, rising.
    sums : ndarray of int64, shape (c, 5 + 3 n_thresholds)
        Their sums.
    open_key : ndarray of int64, shape (o, 2)
        Host and cell of counts that may not be complete, rising.
    open_counts : ndarray of int64, shape (o, 3 + n_thresholds)
        Planned, rendered, valid and recovered rows of each.
    spans : ndarray of int64, shape (s, 2)
        First and last host of each block that closed the hosts between, rising.
    """

    shape: tuple[int, ...]
    n_thresholds: int
    cell: Integers
    sums: Integers
    open_key: Integers
    open_counts: Integers
    spans: Integers

    @classmethod
    def from_rows(
        cls,
        host: ArrayLike,
        cell: ArrayLike,
        shape: Sequence[int],
        *,
        rendered: ArrayLike,
        valid: ArrayLike,
        recovered: ArrayLike,
        curves: ArrayLike | None = None,
        sorted_by_host: bool = False,
    ) -> Cells:
        """Count planned injection rows.

        Parameters
        ----------
        host : array_like of int, shape (n,)
            Index of the host of each row.
        cell : array_like of int, shape (n,)
            Flat index (C order) of each row's cell.
        shape : sequence of int
            Of the table.
        rendered, valid : array_like of bool, shape (n,)
            Which rows are counted as such; a valid row is a rendered one.
        recovered : array_like of bool, shape (n_thresholds, n) or (n,)
            Which are recovered at each threshold; recovered rows are valid.
        curves : array_like of bool, shape (n_curves, n), optional
            Which rows belong to each curve: the table then has an axis more, in front, and a row is counted in each of
            its curves.
        sorted_by_host : bool
            Whether the rows are a stretch of a table sorted by host: then no other block holds rows of the hosts
            between first and last, and their squares are closed here. Otherwise all hosts stay open.

        Returns
        -------
        Cells

        Raises
        ------
        CompletenessError
            If the rows are not sorted, a cell is outside of the table, or a row is recovered but not valid, or valid
            but not rendered.
        """
        hosts, at = (np.asarray(v, dtype=np.int64).ravel() for v in (host, cell))
        found = np.atleast_2d(np.asarray(recovered, dtype=bool))
        drawn, ok = (np.asarray(v, dtype=bool).ravel() for v in (rendered, valid))
        of_curve = np.ones((1, len(at)), bool) if curves is None else np.asarray(curves, dtype=bool)
        size = int(np.prod(shape, dtype=np.int64))
        if not len(hosts) == len(at) == len(drawn) == len(ok) == found.shape[1] == of_curve.shape[1]:
            raise CompletenessError("cells: host, cell, rendered, valid and recovered differ in their number of rows")
        _refuse((at < 0) | (at >= size), f"is in no cell of a table of {size}", at)
        _refuse(ok & ~drawn, "is valid but was not rendered", hosts)
        _refuse((found & ~ok).any(axis=0), "is recovered but not valid", hosts)
        if sorted_by_host and (np.diff(hosts) < 0).any():
            row = int(np.argmax(np.diff(hosts) < 0)) + 1
            raise CompletenessError(f"cells: row {row} is of host {hosts[row]}, after one of {hosts[row - 1]}")
        whole = tuple(shape) if curves is None else (len(of_curve), *shape)
        # One sort for all curves: they only differ in what is added up.
        kinds = [np.ones(len(at), bool), drawn, ok, *found]
        key, summed = _grouped(np.stack([hosts, at], axis=1), [k & c for c in of_curve for k in kinds])
        by_curve = summed.reshape(len(key), len(of_curve), len(kinds))
        curve, group = np.nonzero(by_curve[:, :, PLANNED].T)
        counts, of_host, of_cell = by_curve[group, curve], key[group, 0], curve * size + key[group, 1]
        spans = np.empty((0, 2), np.int64)
        is_open = np.ones(len(of_host), bool)
        if sorted_by_host and len(hosts):
            is_open = (of_host == hosts[0]) | (of_host == hosts[-1])
            spans = np.array([[hosts[0], hosts[-1]]])
        closed_cell, sums = _closed(of_cell[~is_open], counts[~is_open])
        still = np.flatnonzero(is_open)
        still = still[np.lexsort((of_cell[still], of_host[still]))]
        return cls(
            whole,
            len(found),
            closed_cell,
            sums,
            np.stack([of_host[still], of_cell[still]], axis=1),
            counts[still],
            spans,
        )

    @staticmethod
    def concat(parts: Sequence[Cells]) -> Cells:
        """Add up many at once, in any order.

        Parameters
        ----------
        parts : sequence of Cells

        Returns
        -------
        Cells

        Raises
        ------
        CompletenessError
            If they are of different tables, or a host that one of them closed has rows in another.
        """
        first = parts[0]
        for p in parts[1:]:
            if (p.shape, p.n_thresholds) != (first.shape, first.n_thresholds):
                raise CompletenessError(
                    f"cells: tables of {first.shape} and {p.shape} cells with {first.n_thresholds} and "
                    f"{p.n_thresholds} thresholds do not add up"
                )
        cell, sums = _grouped(
            np.concatenate([p.cell for p in parts])[:, None], np.concatenate([p.sums for p in parts]).T
        )
        key, counts = _grouped(
            np.concatenate([p.open_key for p in parts]), np.concatenate([p.open_counts for p in parts]).T
        )
        spans = np.concatenate([p.spans for p in parts])
        spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
        _check_spans(spans, key[:, 0])
        return Cells(first.shape, first.n_thresholds, cell[:, 0], sums, key, counts, spans)

    def __add__(self, other: Cells) -> Cells:
        return self.concat([self, other])

    def closed(self) -> Cells:
        """Close all hosts; adding anything afterwards is an error.

        Returns
        -------
        Cells
            Without open hosts.
        """
        cell, sums = _closed(self.open_key[:, 1], self.open_counts)
        cell, sums = np.concatenate([self.cell, cell]), np.concatenate([self.sums, sums])
        merged, sums = _grouped(cell[:, None], sums.T)
        ends = np.iinfo(np.int64)
        every = np.array([[ends.min, ends.max]])
        return Cells(self.shape, self.n_thresholds, merged[:, 0], sums, self.open_key[:0], self.open_counts[:0], every)

    def dense(self) -> Integers:
        """Sums of all cells, shape (columns, *shape); for tables that fit into memory.

        Returns
        -------
        ndarray of int64
            Planned, rendered, valid, hosts, sum of squares, and three more per threshold.
        """
        done = self.closed()
        out = np.zeros((int(np.prod(self.shape, dtype=np.int64)), done.sums.shape[1]), np.int64)
        out[done.cell] = done.sums
        return out.T.reshape(-1, *self.shape)

    def proportion(self, threshold: int = 0, level: float = 0.95) -> Proportion:
        """Completeness of every cell with its interval over hosts.

        Parameters
        ----------
        threshold : int
            Its number.
        level : float
            Of the interval.

        Returns
        -------
        Proportion
            Arrays of the table's shape; NaN where there is no valid row.
        """
        dense = self.dense()
        k, nk, kk = dense[RECOVERED + 3 * threshold : RECOVERED + 3 * threshold + 3]
        return clustered(dense[VALID], k, dense[_NN], nk, kk, dense[HOSTS], level)


def _refuse(wrong: NDArray[np.bool_], what: str, of: Integers) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CompletenessError(f"cells: {int(wrong.sum())} rows, the first of them row {row} ({of[row]}), {what}")


def _grouped(key: Integers, columns: Sequence[NDArray[Any]] | NDArray[Any]) -> tuple[Integers, Integers]:
    """Sum columns over equal keys; keys rise."""
    if len(key) == 0:
        return key, np.zeros((0, len(columns)), np.int64)
    order, starts = _rising(key)
    first = np.flatnonzero(starts)
    # Column by column: over the rows of a table at once it takes five times as long.
    sums = [np.add.reduceat(column[order], first, dtype=np.int64) for column in columns]
    return key[order[first]], np.stack(sums, axis=1)


def _rising(key: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Order of keys of one or two columns, and where another key starts; as one number they sort five times faster."""
    low, high = key.min(axis=0), key.max(axis=0)
    span = int(high[-1]) - int(low[-1]) + 1
    if key.shape[1] == 2 and (int(high[0]) - int(low[0]) + 1) * span < _LARGEST:
        one = (key[:, 0] - low[0]) * span + (key[:, 1] - low[1])
        order = np.argsort(one)  # of equal keys any order: what is added up are whole numbers
        one = one[order]
        return order, np.concatenate([[True], one[1:] != one[:-1]])
    order = np.lexsort(key.T[::-1])
    return order, np.concatenate([[True], (np.diff(key[order], axis=0) != 0).any(axis=1)])


def _closed(cell: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Sums per cell of the counts of complete hosts."""
    merged, place = _numbered(cell)
    n = counts[:, VALID]

    def columns() -> Iterator[Integers]:
        yield from (counts[:, PLANNED], counts[:, RENDERED], n, (n > 0).astype(np.int64), n * n)
        for k in counts[:, _FIRST:].T:
            yield from (k, n * k, k * k)

    sums = [_added(place, values, len(merged)) for values in columns()]
    return merged, np.stack(sums, axis=1)


def _numbered(cell: Integers) -> tuple[Integers, Integers]:
    """Cells that occur, rising, and the number of each among them."""
    top = int(cell.max(initial=-1)) + 1
    if top > _CELLS_PER_COUNT * len(cell):
        merged, place = np.unique(cell, return_inverse=True)
        return merged, place
    there = np.zeros(top, bool)  # a table of few cells needs no sort
    there[cell] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[cell]


def _added(place: Integers, values: Integers, size: int) -> Integers:
    """Add up values by place."""
    if int(values.max(initial=0)) * len(values) < _EXACT:
        return np.bincount(place, values, size).astype(np.int64)
    out = np.zeros(size, np.int64)
    np.add.at(out, place, values)
    return out


def _check_spans(spans: Integers, open_hosts: Integers) -> None:
    """No host that a block closed may have rows in another: its squares would be too small without a word."""
    last_so_far = np.maximum.accumulate(spans[:, 1]) if len(spans) else spans[:, 1]
    # A block of one host closes nothing, but its host must not be inside another's either: it is open, checked below.
    crossing = np.flatnonzero((spans[1:, 0] < last_so_far[:-1]) & (spans[1:, 0] < spans[1:, 1]))
    host = int(spans[1:][crossing[0], 0]) if crossing.size else None
    if host is None and len(spans):
        before = np.searchsorted(spans[:, 0], open_hosts, side="left") - 1
        inside = (before >= 0) & (open_hosts < last_so_far[np.maximum(before, 0)])
        host = int(open_hosts[np.argmax(inside)]) if inside.any() else None
    if host is not None:
        raise CompletenessError(
            f"cells: rows of host {host} or its neighbours are in several blocks that are not a stretch of one table "
            "sorted by host; count them with sorted_by_host=False"
        )
