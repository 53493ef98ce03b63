"""Density of one parameter in another population: a scipy distribution, a function, a table, or masses at values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ConfigError, LensflowWarning

Floats = NDArray[np.float64]
Variable = Literal["value", "log", "log10"]

VARIABLES = ("value", "log", "log10")
# A density whose integral is further from 1 was meant to be something else, or is not normalised.
NORMALISED_WITHIN = 0.01
_STEPS, _OTHER_STEPS = 8192, 5779
# Relative difference of integrals over these; a function that is rougher needs its own table.
_MOST_DIFFERENCE = 1e-3


@dataclass(frozen=True, eq=False)
class TargetDensity:
    """Distribution of a parameter in a target population.

    Attributes
    ----------
    of : str
        What it is a density of: the parameter itself (``value``), its natural (``log``) or decadic logarithm
        (``log10``).
    low, high : float
        Ends of its support, in the parameter itself; those of the values for masses.
    pdf, cdf, ppf : callable or None
        Of the variable ``of``; None for masses.
    values, masses : ndarray, shape (k,)
        Values in the parameter itself and their probabilities, whose sum is 1; empty for densities.
    words : str
        What it is.
    notes : tuple of str
        What was done to it: cut, normalised.
    """

    of: str
    low: float
    high: float
    pdf: Callable[[Floats], Floats] | None
    cdf: Callable[[Floats], Floats] | None
    ppf: Callable[[Floats], Floats] | None
    values: Floats
    masses: Floats
    words: str
    notes: tuple[str, ...] = ()

    @property
    def is_discrete(self) -> bool:
        """Whether it has masses at values, and no density."""
        return self.pdf is None

    def p(self, x: ArrayLike) -> Floats:
        """Density per unit of the parameter itself, or mass, at some values of the parameter.

        Parameters
        ----------
        x : array_like, shape (n,)
            Values of the parameter, in its unit.

        Returns
        -------
        ndarray of float64, shape (n,)
            0 outside of the support.
        """
        at = np.asarray(x, dtype=np.float64)
        if self.pdf is None:
            equal = np.isclose(at[:, None], self.values[None], rtol=1e-6, atol=1e-9)
            return np.where(equal.any(axis=1), self.masses[equal.argmax(axis=1)], 0.0)
        inside = (at >= self.low) & (at <= self.high) & ((at > 0) | (self.of == "value"))
        safe = np.where(inside, at, 1.0)
        slope = {"value": np.ones_like(safe), "log": safe, "log10": safe * np.log(10)}[self.of]
        return np.where(inside, self.pdf(_to(self.of, safe)) / slope, 0.0)

    def below(self, x: ArrayLike) -> Floats:
        """Share of the population below some values; masses at a value itself are not below it.

        Parameters
        ----------
        x : array_like, shape (n,)
            Values of the parameter, in its unit.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        at = np.asarray(x, dtype=np.float64)
        if self.cdf is None:
            return np.array([self.masses[self.values < v].sum() for v in at.ravel()]).reshape(at.shape)
        with np.errstate(divide="ignore"):
            inner = self.cdf(_to(self.of, np.clip(at, self.low, self.high)))
        return np.where(at <= self.low, 0.0, np.where(at >= self.high, 1.0, inner))

    def draw(self, u: ArrayLike) -> Floats:
        """Values for uniform numbers.

        Parameters
        ----------
        u : array_like, shape (n,)
            In (0, 1).

        Returns
        -------
        ndarray of float64, shape (n,)
            Values of the parameter, in its unit.
        """
        at = np.asarray(u, dtype=np.float64)
        if self.ppf is None:
            place = np.searchsorted(np.cumsum(self.masses), at, side="right")
            return np.asarray(self.values[np.minimum(place, len(self.values) - 1)])
        return _from(self.of, self.ppf(at))


def target_density(
    source: Any, support: tuple[float, float] | None = None, of: Variable = "value", name: str = "density"
) -> TargetDensity:
    """Make a target's density of one parameter.

    Parameters
    ----------
    source : scipy.stats frozen distribution, callable, (values, densities), or mapping value -> mass
        A distribution is one of the variable ``of``. A callable takes values of the parameter, shape (n,), and gives
        the density per unit of the variable ``of``; it needs a support. Tables are linear in between, 0 beyond.
    support : (float, float), optional
        Ends, in the parameter itself; what a distribution has beyond is no part of the population.
    of : str
        ``value``, ``log`` (natural) or ``log10``.
    name : str
        For messages.

    Returns
    -------
    TargetDensity

    Raises
    ------
    ConfigError
        If it is negative, infinite or 0 everywhere, has no support, or is too rough to be integrated.

    Warns
    -----
    LensflowWarning
        If the density of a function or a table, or the masses, do not sum to 1 within 1 %: they are normalised.

    Examples
    --------
    >>> from scipy import stats
    >>> radii = target_density(stats.expon(scale=0.5), support=(0.5, 2.5))
    >>> round(float(radii.below([1.0])[0]), 4)
    0.6439
    """
    if of not in VARIABLES:
        raise ConfigError(f"{name}: of: one of {', '.join(VARIABLES)}, not {of!r}")
    if support is not None:
        low, high = (float(v) for v in support)
        if not low < high or np.isnan([low, high]).any() or (of != "value" and low <= 0):
            raise ConfigError(f"{name}: support: two rising ends{' above 0' * (of != 'value')}, not {low:g}, {high:g}")
        support = (low, high)
    if isinstance(source, Mapping):
        return _masses(source, name)
    if hasattr(source, "pmf"):
        raise ConfigError(f"{name}: give the masses of a discrete distribution themselves: a mapping value -> mass")
    if hasattr(source, "cdf") and hasattr(source, "ppf"):
        return _frozen(source, support, of, name)
    if callable(source):
        return _function(source, support, of, name)
    return _table(source, support, of, name)


def _frozen(source: Any, support: tuple[float, float] | None, of: str, name: str) -> TargetDensity:
    with np.errstate(over="ignore"):
        own = tuple(float(v) for v in _from(of, np.array(source.support(), dtype=np.float64)))
    low, high = own if support is None else (max(own[0], support[0]), min(own[1], support[1]))
    kind = {"value": "", "log": " of its logarithm", "log10": " of its decadic logarithm"}[of]
    words = f"{getattr(getattr(source, 'dist', None), 'name', 'distribution')}{kind}"
    if not low < high:
        raise ConfigError(f"{name}: nothing of the distribution is between {low:g} and {high:g}")
    with np.errstate(divide="ignore"):
        ends = _to(of, np.array([low, high]))
    start, stop = (float(source.cdf(v)) for v in ends)
    # Far in the upper tail the cumulative share is 1 minus next to nothing: its complement has the digits.
    upper = start > 0.5
    if upper:
        start, stop = (float(source.sf(v)) for v in ends)
    share = abs(stop - start)
    if not share > 0:
        raise ConfigError(f"{name}: nothing of the distribution is between {low:g} and {high:g}")
    notes: tuple[str, ...] = ()
    if share < 1 - 1e-9:
        notes = (f"cut to {low:g} to {high:g}, which holds {share:.3g} of the distribution; the rest is no part of it",)
    return TargetDensity(
        of, low, high,
        lambda t: np.asarray(source.pdf(t)) / share,
        lambda t: (start - np.asarray(source.sf(t)) if upper else np.asarray(source.cdf(t)) - start) / share,
        lambda u: np.asarray(source.isf(start - u * share) if upper else source.ppf(start + u * share)),
        np.empty(0), np.empty(0), words, notes,
    )  # fmt: skip


def _function(
    source: Callable[[Floats], Any], support: tuple[float, float] | None, of: str, name: str
) -> TargetDensity:
    if support is None or not np.isfinite(support).all():
        raise ConfigError(f"{name}: a function needs a finite support: (lowest, highest) value of the parameter")
    grids, sums = [], []
    # A function that is rough between the steps has another integral over other steps.
    for steps in (_STEPS, _OTHER_STEPS, _STEPS // 2):
        start, stop = _to(of, np.array(support))
        grid = np.linspace(start, stop, steps + 1)
        x = np.clip(_from(of, grid), *support)
        found = np.asarray(source(x), dtype=np.float64)
        if found.shape != x.shape:
            raise ConfigError(f"{name}: the function gives {found.shape} for values of shape {x.shape}")
        _refuse_negative(x, found, name)
        grids.append((grid, found))
        sums.append(float(np.trapezoid(found, grid)))
    if max(sums) - min(sums) > _MOST_DIFFERENCE * max(sums):
        raise ConfigError(f"{name}: the function is too rough to be integrated in {_STEPS:,} steps: give a table")
    return _gridded(*grids[0], support, of, name, getattr(source, "__name__", "function"))


def _table(source: Any, support: tuple[float, float] | None, of: str, name: str) -> TargetDensity:
    try:
        x, y = (np.asarray(v, dtype=np.float64).ravel() for v in source)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name}: a scipy.stats distribution, a function with a support, (values, densities) or {{value: mass}}, "
            f"not {type(source).__name__}"
        ) from None
    if x.size != y.size or x.size < 2 or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ConfigError(f"{name}: a table has at least two rising values, and as many densities")
    if of != "value" and x[0] <= 0:
        raise ConfigError(f"{name}: of: {of} needs values above 0, not {x[0]:g}")
    low, high = (x[0], x[-1]) if support is None else (max(x[0], support[0]), min(x[-1], support[1]))
    _refuse_negative(x, y, name)
    if not low < high:
        raise ConfigError(f"{name}: nothing of the table is between {low:g} and {high:g}")
    grid = np.unique(np.concatenate([_to(of, np.array([low, high])), _to(of, x)]))
    grid = grid[(grid >= _to(of, low)) & (grid <= _to(of, high))]
    return _gridded(grid, np.interp(grid, _to(of, x), y), (low, high), of, name, f"table of {x.size} values")


def _gridded(
    grid: Floats, found: Floats, support: tuple[float, float], of: str, name: str, words: str
) -> TargetDensity:
    """Density that is straight between the points of a grid of the variable ``of``."""
    _refuse_negative(_from(of, grid), found, name)
    pieces = np.diff(grid) * (found[1:] + found[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(pieces)])
    total = float(mass[-1])
    if not 0 < total < np.inf:
        raise ConfigError(f"{name}: the density integrates to {total:g}")
    notes = _normalised(total, name)
    return TargetDensity(
        of, *support,
        lambda t: np.interp(t, grid, found / total), lambda t: _integral(t, grid, found, mass) / total,
        lambda u: _inverse(u * total, grid, found, mass), np.empty(0), np.empty(0), words, notes,
    )  # fmt: skip


def _integral(t: Floats, grid: Floats, density: Floats, mass: Floats) -> Floats:
    """Integral up to t of what is straight between grid points."""
    k = np.clip(np.searchsorted(grid, t, side="right") - 1, 0, len(grid) - 2)
    step = np.clip(t - grid[k], 0, grid[k + 1] - grid[k])
    slope = (density[k + 1] - density[k]) / (grid[k + 1] - grid[k])
    return np.asarray(mass[k] + step * (density[k] + slope * step / 2))


def _inverse(m: Floats, grid: Floats, density: Floats, mass: Floats) -> Floats:
    """Where that integral reaches m."""
    k = np.clip(np.searchsorted(mass, m, side="right") - 1, 0, len(grid) - 2)
    slope = (density[k + 1] - density[k]) / (grid[k + 1] - grid[k])
    rest = np.maximum(m - mass[k], 0)
    root = np.sqrt(np.maximum(density[k] ** 2 + 2 * slope * rest, 0))
    step = np.divide(2 * rest, density[k] + root, out=np.zeros_like(rest), where=density[k] + root > 0)
    return np.asarray(grid[k] + np.minimum(step, grid[k + 1] - grid[k]))


def _masses(source: Mapping[Any, Any], name: str) -> TargetDensity:
    values, masses = (np.array([float(v) for v in part]) for part in (source.keys(), source.values()))
    if not values.size or not np.isfinite(values).all():
        raise ConfigError(f"{name}: masses need at least one value, each a finite number")
    _refuse_negative(values, masses, name)
    total = float(masses.sum())
    if not total > 0:
        raise ConfigError(f"{name}: all masses are 0")
    order = np.argsort(values)
    values, masses = values[order], masses[order] / total
    notes, words = _normalised(total, name), f"masses at {len(values)} value(s)"
    return TargetDensity("value", values[0], values[-1], None, None, None, values, masses, words, notes)


def _normalised(total: float, name: str) -> tuple[str, ...]:
    if abs(total - 1) <= NORMALISED_WITHIN:
        return ()
    note = f"{name}: integrates to {total:.4g}, not to 1 within {NORMALISED_WITHIN:.0%}: normalised"
    warnings.warn(note, LensflowWarning, stacklevel=5)
    return (note,)


def _refuse_negative(x: Floats, density: Floats, name: str) -> None:
    wrong = ~(np.isfinite(density) & (density >= 0))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ConfigError(f"{name}: a density is finite and not below 0; at {x[k]:g} it is {density[k]:g}")


def _to(of: str, x: Any) -> Any:
    if of == "value":
        return x
    return np.log(x) if of == "log" else np.log10(x)


def _from(of: str, t: Any) -> Any:
    if of == "value":
        return np.array(t, dtype=np.float64)
    return np.exp(t) if of == "log" else 10.0 ** np.asarray(t, dtype=np.float64)
