"""Values of a selection function at points: of the cell, or between cell centres; and where it says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Places, Ranges
from lensflow.stats.hostsums import Floats

Mask = NDArray[np.bool_]


class Looked(NamedTuple):
    """What was found at points; all of one shape.

    Attributes
    ----------
    value, low, high : ndarray of float64
        Completeness and its 95 % interval; NaN without support.
    support : ndarray of bool
        Whether enough was injected there.
    """

    value: Floats
    low: Floats
    high: Floats
    support: Mask


@dataclass(frozen=True, eq=False)
class Grid:
    """One threshold and one curve of a selection function.

    Attributes
    ----------
    axes : tuple of Ranges
    value, low, high : ndarray of float64
        Completeness of every cell and its interval, over the bins of the axes, outer ones too.
    tested : ndarray of bool
        Cells with enough rows on enough hosts.
    n_valid, n_hosts : ndarray of int64
        Rows of every cell, and their hosts.
    needs : str
        What a cell needs to be called tested, in words.
    """

    axes: tuple[Ranges, ...]
    value: Floats
    low: Floats
    high: Floats
    tested: Mask
    n_valid: NDArray[np.int64]
    n_hosts: NDArray[np.int64]
    needs: str

    def places(self, points: Sequence[NDArray]) -> tuple[Places, ...]:
        """Bin of each point along each axis, as rows are placed.

        Parameters
        ----------
        points : sequence of ndarray, shape (n,)
            Values along each axis, finite or infinite.

        Returns
        -------
        tuple of ndarray of int64
        """
        return tuple(axis.place(x) for axis, x in zip(self.axes, points, strict=True))

    def is_inside(self, places: Sequence[Places]) -> Mask:
        """Whether points are in a cell between the edges.

        Parameters
        ----------
        places : sequence of ndarray of int64

        Returns
        -------
        ndarray of bool
        """
        return np.logical_and.reduce([a.is_inside[p] for a, p in zip(self.axes, places, strict=True)])

    def cell(self, points: Sequence[NDArray]) -> Looked:
        """Value of the cell that each point is in.

        Parameters
        ----------
        points : sequence of ndarray, shape (n,)

        Returns
        -------
        Looked
        """
        at = self.places(points)
        support = self.is_inside(at) & self.tested[at]
        value, low, high = (np.where(support, v[at], np.nan) for v in (self.value, self.low, self.high))
        return Looked(value, low, high, support)

    def linear(self, points: Sequence[NDArray]) -> Looked:
        """Multilinear interpolation between cell centres; along an axis of one bin, the value of that bin.

        Parameters
        ----------
        points : sequence of ndarray, shape (n,)

        Returns
        -------
        Looked
            The ends of the interval are interpolated like the value: as wide as if the cells' errors, which share
            hosts, went up and down together. No support beyond the outermost centres, or where a cell that enters is
            not tested.
        """
        inside = self.is_inside(self.places(points))
        lower, share = zip(*(self._between(k, x, inside) for k, x in enumerate(points)), strict=True)
        n = len(inside)
        support = inside.copy()
        found = np.zeros((3, n))
        for corner in product((0, 1), repeat=len(self.axes)):
            weight = np.ones(n)
            for up, t in zip(corner, share, strict=True):
                weight = weight * (t if up else 1 - t)
            # A cell without weight does not enter: at its centre a cell stands alone.
            enters = weight != 0
            at = tuple(np.where(enters, i + up, i) for i, up in zip(lower, corner, strict=True))
            support &= ~enters | self.tested[at]
            for out, v in zip(found, (self.value, self.low, self.high), strict=True):
                out += np.where(enters, weight * np.where(enters, v[at], 0.0), 0.0)
        value, low, high = np.where(support, found, np.nan)
        return Looked(value, low, high, support)

    def isotonic(self, points: Sequence[NDArray]) -> Looked:
        """Rising regression of the tested cells of one SNR axis, each weighed by its rows; linear between centres.

        Parameters
        ----------
        points : sequence of ndarray, shape (n,)
            Of the one axis.

        Returns
        -------
        Looked
            The ends of the interval are regressed like the value. Support as of :meth:`linear`.

        Raises
        ------
        CompletenessError
            If there is another axis, or it is no SNR: completeness does not rise with anything else by itself.
        """
        names = [axis.variable for axis in self.axes]
        if len(names) != 1 or not names[0].startswith("snr_"):
            raise CompletenessError(
                f"isotonic: for a selection function over one SNR, not over {', '.join(names)}: completeness need not "
                "rise with theta_E, nor with the resolution (both have their highest values in the middle)"
            )
        tested = self.tested & self.axes[0].is_inside
        place = np.flatnonzero(tested)
        weight = self.n_valid[place].astype(np.float64)
        fitted = []
        for values in (self.value, self.low, self.high):
            out = np.full(values.shape, np.nan)
            if place.size:
                out[place] = isotonic_regression(values[place], weights=weight).x
            fitted.append(out)
        value, low, high = fitted
        return replace(self, value=value, low=low, high=high).linear(points)

    def _between(self, axis: int, x: NDArray, inside: Mask) -> tuple[Places, Floats]:
        """Bin of the centre below each point and the share of the way to the next; ``inside`` loses what has none."""
        bins = self.axes[axis]
        centres, first = bins.centres, int(np.argmax(bins.is_inside))
        if len(centres) == 1:
            return np.full(len(x), first), np.zeros(len(x))
        given = np.asarray(x)
        if given.dtype.kind == "f" and given.dtype.itemsize < 8:  # as places are compared
            centres = centres.astype(given.dtype).astype(np.float64)
        values = given.astype(np.float64)
        inside &= (values >= centres[0]) & (values <= centres[-1])
        below = np.clip(np.searchsorted(centres, values, side="right") - 1, 0, len(centres) - 2)
        share = (values - centres[below]) / (centres[below + 1] - centres[below])
        return first + below, np.where(inside, share, 0.0)
