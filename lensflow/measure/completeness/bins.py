"""Bins that rows are counted in: of strata and of the selection function's axes.

Every row is in one bin: below, above and unknown are bins too, so that counts add up to all rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.config.completeness import UPPER_INCLUDED, band_of, check_edges
from lensflow.errors import ConfigError
from lensflow.measure.completeness.selection.meanings import describe

Places = NDArray[np.int64]

# 0.6 / 1.5 is 0.39999999999999997 in double precision: an edge is reached from this much below, relative.
EDGE_TOLERANCE = 1e-9
UNKNOWN = "unknown"
# One bin a name (region, brick) is readable up to here.
MOST_NAMES = 50


class Bins(Protocol):
    """What places rows in bins."""

    @property
    def variable(self) -> str:
        """What is binned."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the bins, ``unknown`` last."""
        ...

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """Which bins are those asked for: not below, not above, not unknown."""
        ...

    def place(self, values: ArrayLike, /) -> Places:
        """Bin of each row."""
        ...


@dataclass(frozen=True)
class Ranges:
    """Ranges between edges, with one bin below, one above and one for what is not known.

    Attributes
    ----------
    variable : str
        What is binned.
    edges : tuple of float
        Rising; in the units of the variable.
    upper_included : bool
        Whether a bin holds its upper edge; the lowest edge is then a bin of its own ("exactly 0").

    Raises
    ------
    ConfigError
        If there are fewer than two edges, or they do not rise.
    """

    variable: str
    edges: tuple[float, ...]
    upper_included: bool = False

    def __post_init__(self) -> None:
        try:
            check_edges(self.variable, self.edges)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    @classmethod
    def of(cls, variable: str, edges: Sequence[float]) -> Ranges:
        """Ranges of a variable of the run; shares of bad pixels include their upper edge.

        Parameters
        ----------
        variable : str
        edges : sequence of float

        Returns
        -------
        Ranges
        """
        return cls(variable, tuple(map(float, edges)), variable in UPPER_INCLUDED)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin inside; of the bin that is one value, that value."""
        edges = np.asarray(self.edges, dtype=np.float64)
        middles = (edges[:-1] + edges[1:]) / 2
        return np.concatenate([edges[:1], middles]) if self.upper_included else middles

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the bins."""
        e = self.edges
        if self.upper_included:
            inner = [f"{e[0]:g}", *(f"({a:g}, {b:g}]" for a, b in pairwise(e))]
            return (f"< {e[0]:g}", *inner, f"> {e[-1]:g}", UNKNOWN)
        return (f"< {e[0]:g}", *(f"[{a:g}, {b:g})" for a, b in pairwise(e)), f">= {e[-1]:g}", UNKNOWN)

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """All but the first and the last two."""
        size = len(self.labels)
        return (np.arange(size) > 0) & (np.arange(size) < size - 2)

    def place(self, values: ArrayLike) -> Places:
        """Bin of each row.

        Parameters
        ----------
        values : array_like, shape (n,)
            NaN is unknown. Single precision is compared with edges of single precision: the nearest number to 0.2 is
            then at the edge 0.2, not above it.

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        given = np.asarray(values)
        x = given.astype(np.float64)
        edges = np.asarray(self.edges)
        if given.dtype.kind == "f" and given.dtype.itemsize < 8:
            edges = edges.astype(given.dtype).astype(np.float64)
        known = ~np.isnan(x)
        # Infinities stay what they are.
        shift = np.where(np.isfinite(x), EDGE_TOLERANCE * np.abs(x), 0.0)
        if self.upper_included:
            # Below the lowest edge, on it, in the ranges, above.
            low = np.searchsorted(edges, x + shift, side="right") == 0
            place = np.where(low, 0, np.searchsorted(edges, x - shift, side="left") + 1)
        else:
            place = np.searchsorted(edges, x + shift, side="right")
        return np.where(known, place, len(self.labels) - 1).astype(np.int64)


@dataclass(frozen=True)
class Values:
    """One bin for each value of a list, one for other values, one for what is not known.

    Attributes
    ----------
    variable : str
        What is binned.
    values : tuple of float or str
        Each once.

    Raises
    ------
    ConfigError
        If there is none, or one stands twice.
    """

    variable: str
    values: tuple[float, ...] | tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise ConfigError(f"{self.variable}: bins need at least one value, and each once: {[*self.values]}")

    @classmethod
    def of_names(cls, variable: str, names: Iterable[str], most: int = MOST_NAMES) -> Values | None:
        """One bin for each name, sorted; None where there are too many to be read.

        Parameters
        ----------
        variable : str
        names : iterable of str
        most : int
            Bins at most.

        Returns
        -------
        Values or None
        """
        unique = tuple(sorted(set(map(str, names)) - {""}))
        return cls(variable, unique) if 0 < len(unique) <= most else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the bins."""
        return (*(v if isinstance(v, str) else f"{v:g}" for v in self.values), "other", UNKNOWN)

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """All but the last two."""
        return np.arange(len(self.labels)) < len(self.values)

    def place(self, values: ArrayLike) -> Places:
        """Bin of each row.

        Parameters
        ----------
        values : array_like, shape (n,)
            NaN and empty text are unknown; numbers match to 1e-6, relative (they may have been stored as float32).

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        given, other = np.asarray(values), len(self.values)
        if isinstance(self.values[0], str):
            text = given.astype(str)
            known, equal = text != "", text[:, None] == np.asarray(self.values)[None]
        else:
            x, wanted = given.astype(np.float64), np.asarray(self.values, dtype=np.float64)
            known, equal = ~np.isnan(x), np.isclose(x[:, None], wanted[None], rtol=1e-6, atol=1e-12)
        place = np.where(equal.any(axis=1), equal.argmax(axis=1), other)
        return np.where(known, place, other + 1).astype(np.int64)


def planned_bins(variable: str, values: Sequence[float] | tuple[float, float], is_list: bool, count: int = 6) -> Bins:
    """Bins of a planned parameter: its values, or equal ranges between its ends.

    Parameters
    ----------
    variable : str
    values : sequence of float
        The values of a list, or lowest and highest.
    is_list : bool
        Which of the two.
    count : int
        Number of equal ranges.

    Returns
    -------
    Values or Ranges
        The last range holds the highest value.
    """
    if is_list or len(set(values)) == 1:
        return Values(variable, tuple(sorted({float(v) for v in values})))
    low, high = min(values), max(values)
    edges = np.linspace(low, high, count + 1)
    # The upper end belongs to the plan, and a bin does not hold its upper edge.
    edges[-1] += 2 * EDGE_TOLERANCE * max(abs(high), high - low)
    return Ranges(variable, tuple(map(float, edges)))


def quantile_bins(variable: str, host_values: ArrayLike, count: int) -> Ranges:
    """Ranges with equal numbers of hosts.

    Parameters
    ----------
    variable : str
    host_values : array_like, shape (hosts,)
        One value per host (not per row); NaN is left out.
    count : int
        Ranges.

    Returns
    -------
    Ranges
        The last one holds the highest value.

    Raises
    ------
    ConfigError
        If the hosts have too few different values.
    """
    x = np.asarray(host_values, dtype=np.float64)
    x = x[np.isfinite(x)]
    edges = np.quantile(x, np.linspace(0, 1, count + 1)) if x.size else np.empty(0)
    if x.size and (np.diff(edges) > 0).all():
        edges[-1] = np.nextafter(edges[-1] * (1 + 2 * EDGE_TOLERANCE * np.sign(edges[-1])), np.inf)
        return Ranges(variable, tuple(map(float, edges)))
    raise ConfigError(
        f"completeness.strata.{variable}: {count} quantiles of {x.size} hosts are not {count} ranges (too few "
        "different values): use fewer, or edges"
    )


def check_fixed_before_scoring(names: Iterable[str], setting: str = "completeness.strata") -> None:
    """Refuse bins made of what is measured after noise or scoring.

    Parameters
    ----------
    names : iterable of str
        Variables.
    setting : str
        For the message.

    Raises
    ------
    ConfigError
        Naming the first variable that is not of manifest, host or noiseless arc.
    """
    for name in names:
        try:
            band_of(name)
        except ValueError as error:
            raise ConfigError(f"{setting}: {error}") from None


def places(bins: Sequence[Bins], columns: Mapping[str, ArrayLike]) -> tuple[Places, tuple[int, ...]]:
    """Cell of each row in the table that several bins span.

    Parameters
    ----------
    bins : sequence of Bins
    columns : mapping
        Variable -> values, shape (n,).

    Returns
    -------
    ndarray of int64, shape (n,), and the shape of the table
        Flat index in C order; every axis has its bins below, above and unknown.
    """
    shape = tuple(len(b.labels) for b in bins)
    index = [b.place(columns[b.variable]) for b in bins]
    return np.ravel_multi_index(tuple(index), shape).astype(np.int64), shape


def coords(bins: Sequence[Bins]) -> dict[str, xr.Variable]:
    """Coordinates of that table: labels of each axis, which bins are inside the edges, and the edges of ranges.

    Parameters
    ----------
    bins : sequence of Bins

    Returns
    -------
    dict
        For :class:`xarray.Dataset`.
    """
    found = {}
    for b in bins:
        about = {"long_name": f"bins of {b.variable}"}
        if isinstance(b, Ranges):
            units, meaning = describe(b.variable)
            about |= {"units": units, "meaning": meaning}
            edges = {
                "units": units,
                "long_name": f"edges of the bins of {b.variable}",
                "upper_included": b.upper_included,
            }
            found[f"{b.variable}_edges"] = xr.Variable(f"{b.variable}_edge", np.array(b.edges), edges)
        found[b.variable] = xr.Variable(b.variable, np.array(b.labels), about)
        found[f"{b.variable}_is_inside"] = xr.Variable(
            b.variable, b.is_inside, {"long_name": "the bin is one asked for: not below, above, other or unknown"}
        )
    return found
