"""Samples in memory: the units of a window, and what is left of earlier ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.loader.augmentation import Moves
from lensflow.export.loader.epoch import Table
from lensflow.export.pixels.kernels import take_into
from lensflow.export.view import TrainingView, Unit


@dataclass(frozen=True, eq=False)
class Read:
    """Samples in memory: units of a window, and what is left of earlier ones."""

    units: dict[int, Unit]
    starts: NDArray[np.int64]
    unit_of: NDArray[np.int64]
    left: NDArray[np.int64]
    x: NDArray[np.float32]
    lacks: NDArray[np.bool_]

    @staticmethod
    def nothing() -> Read:
        """No sample."""
        none = np.empty(0, np.int64)
        return Read({}, none, none, none, np.empty((0, 0, 0, 0), np.float32), np.empty(0, bool))

    @staticmethod
    def of(view: TrainingView, table: Table, some: NDArray[np.int64]) -> Read:
        """Read some samples of any units, one unit at a time."""
        out = Read.nothing()
        for u in np.unique(table.unit[some]):
            more = out.with_units(table, {int(u): view.unit(int(u))})
            out = more.kept(np.concatenate([out.left, some[table.unit[some] == u]]))
        return out

    def with_units(self, table: Table, units: dict[int, Unit]) -> Read:
        """What is left, and units that were read."""
        starts = np.searchsorted(table.unit, np.arange(table.n_units + 1))
        return Read(units, starts, table.unit, self.left, self.x, self.lacks)

    def into(self, x: NDArray[np.float32], at: NDArray[np.int64], how: Moves) -> NDArray[np.bool_]:
        """Fill a batch with samples; returns which of them lack data."""
        lacks, todo = np.zeros(len(at), bool), np.ones(len(at), bool)
        if len(self.left):
            order = np.argsort(self.left, kind="stable")
            place = np.minimum(np.searchsorted(self.left[order], at), len(order) - 1)
            here = np.flatnonzero(self.left[order][place] == at)
            _take(x, here, self.x, order[place[here]], how)
            lacks[here], todo[here] = self.lacks[order[place[here]]], False
        unit = self.unit_of[at] if len(self.unit_of) else np.full(len(at), -1)
        for u, found in self.units.items():
            here = np.flatnonzero(todo & (unit == u))
            rows = at[here] - self.starts[u]
            _take(x, here, found.x, rows, how)
            lacks[here], todo[here] = found.lacks[rows], False
        if todo.any():
            raise ExportError(f"loader: sample {at[todo][0]} is in no unit that was read")
        return lacks

    def kept(self, some: NDArray[np.int64]) -> Read:
        """Copies of some samples, so that their units can be forgotten."""
        found = next(iter(self.units.values())).x if self.units else self.x
        x = np.empty((len(some), *found.shape[1:]), np.float32)
        n = len(some)
        still = Moves(np.zeros(n, np.uint8), np.zeros(n, bool), np.zeros((n, 2), np.int64), found.shape[-1])
        lacks = self.into(x, some, still)
        return Read({}, self.starts, self.unit_of, some, x, lacks)


def _take(
    x: NDArray[np.float32], place: NDArray[np.int64], source: NDArray[np.float32], rows: NDArray[np.int64], how: Moves
) -> None:
    take_into(x, place, source, rows, how.turn[place], how.flip[place], how.corner[place])
