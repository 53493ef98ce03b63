"""Evaluate a selection function at points, block by block; points where it says nothing are refused, or marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed
from numpy.typing import NDArray

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.selection.lookup import Grid, Looked
from lensflow.measure.completeness.selection.points import Points
from lensflow.stats.hostsums import Floats

OUTSIDE = ("error", "nan", "bounds")


@dataclass(frozen=True, eq=False)
class Evaluator:
    """One way to evaluate one curve at one threshold.

    Attributes
    ----------
    grid : Grid
    look : callable
        Values of each axis -> :class:`Looked`.
    method, outside : str
        For messages; what happens to points without support.
    """

    grid: Grid
    look: Callable[[Sequence[NDArray]], Looked]
    method: str
    outside: str

    def block(self, *arrays: Any, block_info: Any = None) -> Floats:
        """Evaluate points in memory.

        Parameters
        ----------
        *arrays : ndarray
            Values along each axis, of one shape; masked ones stay missing.
        block_info : object
            Where a block of a Dask array is, as Dask says it.

        Returns
        -------
        ndarray of float64, shape (4, ...)
            Value, low, high, and support as 0 or 1.

        Raises
        ------
        CompletenessError
            If a value is NaN, or a point has no support and that is an error.
        """
        shape = arrays[0].shape
        masked = np.logical_or.reduce([np.ma.getmaskarray(a) for a in arrays]).ravel()
        where = _Where(shape, masked, block_info)
        given = [np.ma.getdata(a).ravel()[~masked] for a in arrays]
        for axis, values in zip(self.grid.axes, given, strict=True):
            bad = np.isnan(values)
            if bad.any():
                raise CompletenessError(
                    f"points: {axis.variable} is NaN at {int(bad.sum()):,} of {where.n:,} points{where.block}"
                    f"{where.first(int(np.argmax(bad)))}. Leave them out, or mask them"
                )
        found = self.look(given)
        if self.outside == "error" and not found.support.all():
            raise CompletenessError(self._refusal(given, found, where))
        low, high = found.low, found.high
        if self.outside == "bounds":
            low, high = np.where(found.support, low, 0.0), np.where(found.support, high, 1.0)
        out = np.full((4, masked.size), np.nan)
        out[3] = 0
        out[:, ~masked] = found.value, low, high, found.support
        return out.reshape(4, *shape)

    def __call__(self, points: Points) -> xr.Dataset:
        """Evaluate points, lazily if they are Dask arrays.

        Parameters
        ----------
        points : Points

        Returns
        -------
        Dataset
        """
        out = self._lazy(points) if points.is_lazy else self.block(*points.arrays)
        texts = (
            ("value", out[0], "1", f"completeness, {self.method}"),
            ("low", out[1], "1", "lower end of its 95 % interval over hosts"),
            ("high", out[2], "1", "upper end of its 95 % interval over hosts"),
            ("support", out[3] > 0, "", f"whether enough was injected there: {self.grid.needs}"),
        )
        data = {n: (list(points.dims), v, {"units": units, "long_name": text}) for n, v, units, text in texts}
        return xr.Dataset(data, coords=dict(points.coords))

    def _lazy(self, points: Points) -> da.Array:
        arrays = [a if isinstance(a, da.Array) else da.from_array(a) for a in points.arrays]
        scalar = arrays[0].ndim == 0
        whole = da.unify_chunks(*(x for a in arrays for x in (a.reshape(1) if scalar else a, _axes_of(a))))[1]
        out = da.map_blocks(
            _block_of, *whole, evaluator=delayed(self), dtype=np.float64, new_axis=0,
            chunks=((4,), *whole[0].chunks), meta=np.empty((0,) * (whole[0].ndim + 1)),
        )  # fmt: skip
        return out[:, 0] if scalar else out

    def _refusal(self, given: Sequence[NDArray], found: Looked, where: _Where) -> str:
        row = int(np.argmin(found.support))
        point = [values[row : row + 1] for values in given]
        names = [a.variable for a in self.grid.axes]
        shown = [f"{name} {float(x[0]):.6g}" for name, x in zip(names, point, strict=True)]
        at = self.grid.places(point)
        beyond = [k for k, axis in enumerate(self.grid.axes) if not self._is_in_range(k, int(at[k][0]))]
        if beyond:
            k = beyond[0]
            why, few = f"{shown[k]} (tested: {self._tested(k, float(point[k][0]))})", False
        elif not self.grid.tested[at][0]:
            why, few = f"{', '.join(shown)} ({self._cell(at)})", int(self.grid.n_valid[at][0]) > 0
        else:
            why, few = f"{', '.join(shown)} ({self.method}: {_REACH})", True
        outside = int((~found.support).sum())
        return (
            f"{outside:,} of {where.n:,} points{where.block} lie where nothing{' or too little' if few else ''} was "
            f'injected: {why}{where.first(row)}. outside="nan" returns NaN there, outside="bounds" 0 to 1'
        )

    def _is_in_range(self, axis: int, place: int) -> bool:
        return bool(self._tested_bins(axis)[place])

    def _tested_bins(self, axis: int) -> NDArray[np.bool_]:
        others = tuple(k for k in range(len(self.grid.axes)) if k != axis)
        inside = self.grid.axes[axis].is_inside
        return np.asarray(self.grid.tested.any(axis=others) & inside)

    def _tested(self, axis: int, value: float) -> str:
        bins, tested = self.grid.axes[axis], self._tested_bins(axis)
        if not tested.any():
            return "no cell"
        low, high = (
            _ends(bins, int(np.argmax(tested)))[0],
            _ends(bins, len(tested) - 1 - int(np.argmax(tested[::-1])))[1],
        )
        at_end = value == high and not bins.upper_included
        return f"{low:g} to {high:g}{', which is not included' if at_end else ''}"

    def _cell(self, at: Sequence[NDArray[np.int64]]) -> str:
        labels = " x ".join(axis.labels[int(p[0])] for axis, p in zip(self.grid.axes, at, strict=True))
        place = tuple(at)
        rows, hosts = int(self.grid.n_valid[place][0]), int(self.grid.n_hosts[place][0])
        return f"cell {labels}: {rows:,} rows on {hosts:,} hosts; {self.grid.needs}"


_REACH = 'it reaches from centre to centre of tested cells; method="cell" goes to their edges'


class _Where:
    """Where the points of a block are, for messages."""

    def __init__(self, shape: tuple[int, ...], masked: NDArray[np.bool_], block_info: Any):
        self.n, self.shape, self.places = int(masked.size), shape, np.flatnonzero(~masked)
        about = (block_info or {}).get(0)
        self.start = tuple(a for a, _ in about["array-location"]) if about else (0,) * len(shape)
        self.whole = tuple(about["shape"]) if about else shape
        self.block = " of one chunk" if about and self.whole != shape else ""

    def first(self, row: int) -> str:
        """Index of a point, for a sentence; empty for a single point."""
        if not self.shape:
            return ""
        local = np.unravel_index(self.places[row], self.shape)
        index = tuple(int(a + b) for a, b in zip(local, self.start, strict=True))
        return f", first at index {index[0] if len(index) == 1 else index}"


def _block_of(*arrays: Any, evaluator: Evaluator, block_info: Any = None) -> Floats:
    return evaluator.block(*arrays, block_info=block_info)


def _axes_of(array: da.Array) -> tuple[int, ...]:
    return tuple(range(max(array.ndim, 1)))


def _ends(bins: Ranges, place: int) -> tuple[float, float]:
    """Ends of a bin that is inside."""
    k = place - int(np.argmax(bins.is_inside))
    if not bins.upper_included:
        return bins.edges[k], bins.edges[k + 1]
    return (bins.edges[max(k - 1, 0)], bins.edges[k])
