"""Natural cubic splines of some axes, and products of the first two: the columns of a smooth model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from lensflow.stats.hostsums import Floats

# Of five knots (Harrell 2015, Regression Modeling Strategies, table 2.3). Beyond the outer ones a natural spline is a
# straight line.
QUANTILES = (0.05, 0.275, 0.5, 0.725, 0.95)


@dataclass(frozen=True, eq=False)
class Basis:
    """Columns of a model: a spline of each axis, and all products of those of the first two.

    Attributes
    ----------
    knots : tuple of ndarray
        Of each axis, rising; an axis with fewer than two has no columns.
    centre, scale : ndarray, shape (p,)
        Subtracted from the columns, and what they are divided by.
    """

    knots: tuple[Floats, ...]
    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, axes: Sequence[ArrayLike]) -> Basis:
        """Set knots at quantiles of the rows, and standardise the columns on them.

        Parameters
        ----------
        axes : sequence of array_like, shape (n,)
            Finite values of each axis. Where rows have few different values, knots are fewer.

        Returns
        -------
        Basis
        """
        values = [np.asarray(x, dtype=np.float64) for x in axes]
        knots = tuple(np.unique(np.quantile(x, QUANTILES, method="nearest")) for x in values)
        raw = cls(knots, np.zeros(1), np.ones(1)).columns(values)
        scale = raw.std(axis=0)
        # A product may be the same number everywhere; without a spread it says nothing.
        return cls(knots, raw.mean(axis=0), np.where(scale > 1e-9, scale, np.inf))

    def columns(self, axes: Sequence[ArrayLike]) -> Floats:
        """Columns at some points.

        Parameters
        ----------
        axes : sequence of array_like, shape (n,)

        Returns
        -------
        ndarray of float64, shape (n, p)
        """
        parts = [_natural(np.asarray(x, dtype=np.float64), k) for x, k in zip(axes, self.knots, strict=True)]
        if len(parts) > 1:
            first, second = parts[:2]
            parts.append((first[:, :, None] * second[:, None, :]).reshape(len(first), first.shape[1] * second.shape[1]))
        return (np.concatenate(parts, axis=1) - self.centre) / self.scale


def _natural(x: Floats, knots: Floats) -> Floats:
    """Cardinal natural splines but the first: they add up to 1, and the model has an intercept."""
    if len(knots) < 2:
        return np.empty((len(x), 0))
    spline = CubicSpline(knots, np.eye(len(knots))[:, 1:], bc_type="natural")
    inner = np.clip(x, knots[0], knots[-1])
    return np.asarray(spline(inner) + spline(inner, 1) * (x - inner)[:, None])
