"""What a plot shows of many rows: points or, of many, counts in hexagons; histograms; rows in an outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A browser draws so many points at ease.
MOST_POINTS = 20_000
HEXAGONS_ACROSS = 60
BINS = 40
Floats = NDArray[np.float64]


def scaled(values: NDArray, log: bool) -> Floats:
    """Values as a plot has them: their decimal logarithm if asked for; NaN where there is none."""
    x = np.asarray(values, dtype=np.float64)
    if not log:
        return np.where(np.isfinite(x), x, np.nan)
    positive = np.isfinite(x) & (x > 0)
    return np.where(positive, np.log10(np.where(positive, x, 1.0)), np.nan)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Two columns of rows against each other.

    Attributes
    ----------
    places : ndarray of int64, shape (m,)
        Rows drawn as points; empty where hexagons are drawn.
    x, y : ndarray of float64
        Of the points, or middles of the hexagons.
    count : ndarray of int64
        Rows in each hexagon; empty for points.
    size : (float, float)
        Width of a hexagon along x, and the step between rows of hexagons along y.
    n_missing : int
        Rows without a value in one of the columns: in no point and no hexagon.
    """

    places: NDArray[np.int64]
    x: Floats
    y: Floats
    count: NDArray[np.int64]
    size: tuple[float, float]
    n_missing: int

    @property
    def note(self) -> str:
        """What is drawn, and what is not."""
        n = int(self.count.sum()) if self.count.size else len(self.x)
        drawn = f"{n:,} rows as counts in {len(self.x):,} hexagons" if self.count.size else f"{n:,} rows as points"
        return drawn + (f"; {self.n_missing:,} rows have no value here" if self.n_missing else "")


def scatter(places: NDArray[np.int64], x: Floats, y: Floats, most: int = MOST_POINTS) -> Scatter:
    """Points, or hexagons with counts where there are more rows than ``most``.

    Parameters
    ----------
    places : ndarray of int64, shape (n,)
        Rows.
    x, y : ndarray of float64, shape (n,)
        Their values; NaN for none.
    most : int

    Returns
    -------
    Scatter
        Every row with both values is in one point or one hexagon.
    """
    known = np.isfinite(x) & np.isfinite(y)
    n_missing = int((~known).sum())
    x, y, places = x[known], y[known], places[known]
    if len(x) <= most:
        return Scatter(places, x, y, np.empty(0, np.int64), (0.0, 0.0), n_missing)
    wide, high = _step(x), _step(y) * np.sqrt(3) / 2
    middle_x, middle_y, count = _hexagons(x, y, wide, high)
    return Scatter(places[:0], middle_x, middle_y, count, (wide, high), n_missing)


def _step(values: Floats) -> float:
    reach = float(values.max() - values.min())
    return (reach or max(abs(float(values[0])), 1.0)) / HEXAGONS_ACROSS


def _hexagons(x: Floats, y: Floats, wide: float, high: float) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Middles and counts of hexagons with a corner on top.

    A row belongs to the nearer middle of two lattices of rectangles: Carr et al. 1987, J. Am. Stat. Assoc. 82, 424.
    """
    x0, y0 = float(x.min()), float(y.min())
    u, v = (x - x0) / wide, (y - y0) / (2 * high)
    a = np.stack([np.rint(u), np.rint(v)])
    b = np.stack([np.floor(u) + 0.5, np.floor(v) + 0.5])
    nearer = (u - a[0]) ** 2 + 3 * (v - a[1]) ** 2 <= (u - b[0]) ** 2 + 3 * (v - b[1]) ** 2
    twice = np.where(nearer, 2 * a, 2 * b).astype(np.int64)
    across = int(twice[0].max()) + 1
    flat, count = np.unique(twice[1] * across + twice[0], return_counts=True)
    return x0 + (flat % across) * wide / 2, y0 + (flat // across) * high, count


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between edges.

    Attributes
    ----------
    edges : ndarray of float64, shape (k + 1,)
    count : ndarray of int64, shape (k,)
    n_missing : int
        Rows without a value.
    """

    edges: Floats
    count: NDArray[np.int64]
    n_missing: int


def histogram(values: Floats, edges: Floats | None = None, bins: int = BINS) -> Histogram:
    """Count values between edges, by default from the lowest to the highest; whole numbers get a bin each if few.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        NaN for none.
    edges : ndarray, optional
        Those of another histogram, to compare with; values beyond them are counted nowhere.
    bins : int

    Returns
    -------
    Histogram
    """
    known = values[np.isfinite(values)]
    if edges is None:
        edges = _edges(known, bins)
    return Histogram(edges, np.histogram(known, edges)[0].astype(np.int64), len(values) - len(known))


def _edges(known: Floats, bins: int) -> Floats:
    if not known.size:
        return np.array([0.0, 1.0])
    low, high = float(known.min()), float(known.max())
    if low == high:
        return np.array([low - 0.5, low + 0.5])
    if high - low <= bins and (known == np.rint(known)).all():
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, bins + 1)


def in_box(x: Floats, y: Floats, x0: float, x1: float, y0: float, y1: float) -> NDArray[np.bool_]:
    """Which points are in a rectangle, edges included; NaN is outside."""
    with np.errstate(invalid="ignore"):
        return (x >= min(x0, x1)) & (x <= max(x0, x1)) & (y >= min(y0, y1)) & (y <= max(y0, y1))


def in_outline(x: Floats, y: Floats, outline_x: ArrayLike, outline_y: ArrayLike) -> NDArray[np.bool_]:
    """Which points are in a polygon (even-odd rule); NaN is outside.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
    outline_x, outline_y : array_like, shape (k,)
        Corners; the last is joined to the first.
    """
    px, py = np.asarray(outline_x, float), np.asarray(outline_y, float)
    inside = np.zeros(len(x), bool)
    if len(px) < 3:
        return inside
    with np.errstate(invalid="ignore"):
        for ax, ay, bx, by in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
            if ay != by:
                crosses = (y > min(ay, by)) & (y <= max(ay, by))
                inside ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def nearest(x: Floats, y: Floats, at: tuple[float, float], reach: tuple[float, float]) -> int | None:
    """Place of the point nearest to a position, within an ellipse of two half axes; None where there is none."""
    if not len(x):
        return None
    away = ((x - at[0]) / (reach[0] or 1.0)) ** 2 + ((y - at[1]) / (reach[1] or 1.0)) ** 2
    away = np.where(np.isfinite(away), away, np.inf)
    best = int(np.argmin(away))
    return best if away[best] <= 1 else None
