"""Features of real lenses beside those of the injections on their matched hosts, as one table of rows in sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow import rng
from lensflow.errors import RealismError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MatchedRows:
    """Rows of matched sets: in each some rows of the one side (a real lens) and some of the other (injections).

    Attributes
    ----------
    names : tuple of str
        Of the features.
    values : ndarray of float64, shape (row, feature)
        NaN where a row has none: an absent band, no arc pixels.
    is_real : ndarray of bool, shape (row,)
    sets : ndarray of int64, shape (row,)
        Number of the matched set.
    """

    names: tuple[str, ...]
    values: Floats
    is_real: NDArray[np.bool_]
    sets: NDArray[np.int64]

    @classmethod
    def of(cls, names: Sequence[str], values: ArrayLike, is_real: ArrayLike, sets: ArrayLike) -> MatchedRows:
        """Check rows and sort them by set, real ones first.

        Parameters
        ----------
        names : sequence of str
        values : array_like, shape (row, feature)
        is_real : array_like of bool, shape (row,)
        sets : array_like of int, shape (row,)
            Rows of sets that lack one of the sides are refused: leave such sets out, and count them.

        Raises
        ------
        RealismError
            If a value is infinite, a set has one side only, or shapes do not fit; names feature, row or set.
        """
        x = np.asarray(values, dtype=np.float64)
        real, own = np.asarray(is_real, dtype=bool), np.asarray(sets, dtype=np.int64)
        if x.ndim != 2 or x.shape != (real.size, len(names)) or own.shape != real.shape:
            raise RealismError(
                f"matched rows: values of shape {x.shape} for {real.size} rows in {own.size} sets and "
                f"{len(names)} features"
            )
        if (infinite := np.argwhere(np.isinf(x))).size:
            row, column = infinite[0].tolist()
            raise RealismError(
                f"feature {names[column]} of row {row} (set {own[row]}) is infinite: a feature that cannot be measured "
                "is NaN"
            )
        every, place = np.unique(own, return_inverse=True)
        for side, rows in (("real lens", real), ("injection", ~real)):
            without = np.bincount(place, weights=rows, minlength=every.size) == 0
            if without.any():
                raise RealismError(f"set {every[int(np.argmax(without))]} has no {side}: leave it out, and count it")
        order = np.lexsort((~real, own))
        return cls(tuple(names), x[order], real[order], own[order])

    @classmethod
    def of_datasets(cls, real: xr.Dataset, injected: xr.Dataset, names: Sequence[str] | None = None) -> MatchedRows:
        """Join features of both sides.

        Parameters
        ----------
        real, injected : Dataset, dim sample
            A variable of dim sample per feature, and the variable or coordinate ``set``.
        names : sequence of str, optional
            Features to take; by default all floating variables of ``real`` with dim sample alone.

        Raises
        ------
        RealismError
            If a feature is missing on one side, or as :meth:`of`.
        """
        every = names if names is not None else [
            str(k) for k, v in real.data_vars.items() if v.dims == ("sample",) and v.dtype.kind == "f"
        ]  # fmt: skip
        for side, ds in (("real lenses", real), ("injections", injected)):
            if missing := [n for n in (*every, "set") if n not in ds.variables]:
                raise RealismError(f"features of the {side}: {', '.join(missing)} missing")
        parts = [np.stack([ds[n].values for n in every], axis=1) if every else np.empty((ds.sizes["sample"], 0))
                 for ds in (real, injected)]  # fmt: skip
        is_real = np.repeat([True, False], [len(p) for p in parts])
        sets = np.concatenate([ds["set"].values for ds in (real, injected)])
        return cls.of(every, np.concatenate(parts), is_real, sets)

    @property
    def set_ids(self) -> NDArray[np.int64]:
        """Numbers of the sets, ascending."""
        return np.unique(self.sets)

    @property
    def n_sets(self) -> int:
        """Number of sets."""
        return int(self.set_ids.size)

    @property
    def n_real(self) -> int:
        """Rows of the real side."""
        return int(self.is_real.sum())

    @property
    def n_injected(self) -> int:
        """Rows of the other side."""
        return int((~self.is_real).sum())

    def take(self, rows: NDArray[np.bool_]) -> MatchedRows:
        """Those rows, of the sets that keep both sides."""
        every, place = np.unique(self.sets, return_inverse=True)
        both = np.ones(every.size, dtype=bool)
        for side in (self.is_real, ~self.is_real):
            both &= np.bincount(place[rows & side], minlength=every.size) > 0
        kept = rows & both[place]
        return replace(self, values=self.values[kept], is_real=self.is_real[kept], sets=self.sets[kept])

    def of_sets(self, sets: ArrayLike) -> MatchedRows:
        """Rows of some sets."""
        kept = np.isin(self.sets, np.asarray(sets))
        return replace(self, values=self.values[kept], is_real=self.is_real[kept], sets=self.sets[kept])

    def only(self, names: Iterable[str]) -> MatchedRows:
        """Some features, in the order given."""
        wanted = list(names)
        if missing := [n for n in wanted if n not in self.names]:
            raise RealismError(f"no feature {', '.join(missing)} among {', '.join(self.names)}")
        return replace(self, names=tuple(wanted), values=self.values[:, [self.names.index(n) for n in wanted]])

    def injections_alone(self, seed: int, purpose: str) -> MatchedRows:
        """Injections without the real lenses, one of each set in the place of the real one, drawn at random.

        Sets with a single injection are left out.
        """
        return self._one_of(~self.is_real, seed, purpose)

    def _one_of(self, rows: NDArray[np.bool_], seed: int, purpose: str) -> MatchedRows:
        sets, values = self.sets[rows], self.values[rows]
        _, place, count = np.unique(sets, return_inverse=True, return_counts=True)
        order = np.lexsort((rng.generator(seed, purpose).random(sets.size), place))
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        chosen = np.zeros(sets.size, dtype=bool)
        chosen[order[first]] = True
        kept = count[place] > 1
        return replace(self, values=values[kept], is_real=chosen[kept], sets=sets[kept])

    def in_place_of_real(self, other: Floats, seed: int, purpose: str) -> MatchedRows:
        """Injections against another version of themselves: of each set one row's other version is the real side.

        Parameters
        ----------
        other : ndarray, shape (injection, feature)
            Of every injection, in the order of :attr:`injected_values`; the row itself is not kept beside it.
        seed, purpose
            Of the choice.
        """
        rows = self.injections_alone(seed, purpose)
        own = self.values.copy()
        own[~self.is_real] = other
        changed = replace(self, values=own).injections_alone(seed, purpose)
        return replace(rows, values=np.where(rows.is_real[:, None], changed.values, rows.values))

    @property
    def injected_values(self) -> Floats:
        """Features of the injections."""
        return self.values[~self.is_real]
