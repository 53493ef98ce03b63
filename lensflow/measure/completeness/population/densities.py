"""Distribution of one planned parameter: a mass at each value of a list, a density over a range.

Some are conditional: a magnitude that is the host's plus a drawn difference, an offset scaled by the row's own Einstein
radius, a size that goes with the row's magnitude. :mod:`~lensflow.measure.completeness.population.injected_prior` makes
them of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.config import Range
from lensflow.manifest import population
from lensflow.manifest.draws import Prior

Floats = NDArray[np.float64]
Given = Mapping[str, Floats]

# A value computed from columns (a magnitude of a flux) may be this far beyond an end of its range, relative.
EDGE_TOLERANCE = 1e-9
_MASS_TOLERANCE = 1e-6


def _nothing(given: Given) -> Floats:
    return np.zeros(1)


@dataclass(frozen=True, eq=False)
class Density:
    """Distribution of one planned parameter, perhaps conditional on other columns of the row.

    Attributes
    ----------
    parameter : str
    units : str
        The density is one per this unit of the parameter itself, whatever the plan draws evenly (its logarithm, the
        area of a disc). Masses have no unit.
    words : str
        What the plan draws, in words with its numbers.
    given : tuple of str
        What it is conditional on; empty where it is the same for all rows.
    values, masses : ndarray, shape (k,)
        Discrete parameters: the values, relative to ``zero``, and their probabilities; empty for continuous ones.
    low, high : float
        Ends of a continuous one, in the scaled parameter (parameter - zero) / scale.
    log_pdf : callable
        log density of the scaled parameter and the columns it is conditional on; continuous parameters only.
    zero, scale : callable
        Of the columns that it is conditional on: shape (1,) or (n,).
    """

    parameter: str
    units: str
    words: str
    given: tuple[str, ...] = ()
    values: Floats = field(default_factory=lambda: np.empty(0))
    masses: Floats = field(default_factory=lambda: np.empty(0))
    low: float = -np.inf
    high: float = np.inf
    log_pdf: Callable[[Floats, Given], Floats] | None = None
    zero: Callable[[Given], Floats] = _nothing
    scale: Callable[[Given], Floats] | None = None

    @property
    def is_discrete(self) -> bool:
        """Whether it has masses at values, and no density."""
        return self.log_pdf is None

    def scaled(self, values: ArrayLike, given: Given | None = None) -> Floats:
        """Parameter less ``zero``, over ``scale``."""
        x = np.asarray(values, dtype=np.float64) - self.zero(given or {})
        return np.asarray(x if self.scale is None else x / self.scale(given or {}))

    def inside(self, values: ArrayLike, given: Given | None = None) -> NDArray[np.bool_]:
        """Whether the plan can draw each value.

        Parameters
        ----------
        values : array_like, shape (n,)
        given : mapping, optional
            Columns of the rows, for conditional parameters.

        Returns
        -------
        ndarray of bool, shape (n,)
            False for NaN.
        """
        x = self.scaled(values, given)
        if self.is_discrete:
            return self._place(x) >= 0
        ends = [abs(v) for v in (self.low, self.high) if np.isfinite(v)]
        slack = EDGE_TOLERANCE * max(ends, default=0.0)
        return np.asarray((x >= self.low - slack) & (x <= self.high + slack))

    def log_q(self, values: ArrayLike, given: Given | None = None) -> Floats:
        """Logarithm of density or mass at each value; -inf where the plan draws nothing.

        Parameters
        ----------
        values : array_like, shape (n,)
        given : mapping, optional
            Columns of the rows, for conditional parameters.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        x = self.scaled(values, given)
        if self.log_pdf is None:
            place = self._place(x)
            return np.where(place >= 0, np.log(self.masses)[np.maximum(place, 0)], -np.inf)
        found = self.inside(values, given)
        at = np.clip(np.where(found, x, self.low if np.isfinite(self.low) else 1.0), self.low, self.high)
        with np.errstate(divide="ignore"):
            out = self.log_pdf(at, given or {})
            if self.scale is not None:
                out = out - np.log(self.scale(given or {}))
        return np.where(found, out, -np.inf)

    def _place(self, x: Floats) -> NDArray[np.int64]:
        """Number of the value that each is, -1 for none."""
        near = np.abs(x[:, None] - self.values[None]).argmin(axis=1)
        same = np.isclose(x, self.values[near], rtol=_MASS_TOLERANCE, atol=_MASS_TOLERANCE)
        return np.where(same, near, -1)


def of_prior(name: str, units: str, prior: Prior) -> Density:
    """Return the distribution of a list, equally likely values, or of a range.

    Parameters
    ----------
    name, units : str
    prior : tuple of float or Range

    Returns
    -------
    Density
    """
    if isinstance(prior, Range) and prior.min < prior.max:
        words = f"{prior.min:g} to {prior.max:g}, {prior.distribution}"
        if prior.distribution == "log":
            norm = -np.log(np.log(prior.max / prior.min))
            return Density(name, units, words, low=prior.min, high=prior.max,
                           log_pdf=lambda x, given: norm - np.log(x))  # fmt: skip
        flat = -np.log(prior.max - prior.min)
        return Density(name, units, words, low=prior.min, high=prior.max,
                       log_pdf=lambda x, given: np.full(x.shape, flat))  # fmt: skip
    listed = (prior.min,) if isinstance(prior, Range) else prior
    values, times = np.unique(np.asarray(listed, dtype=np.float64), return_counts=True)
    shown = ", ".join(f"{v:g}" for v in values[:8]) + ", ..." * (len(values) > 8)
    return Density(name, units, f"the values {shown}", values=values, masses=times / times.sum())


def rayleigh(name: str, most: float, scale: Callable[[Given], Floats], given: tuple[str, ...], words: str) -> Density:
    """Return a Rayleigh distribution that ends at ``most``.

    Parameters
    ----------
    name : str
    most : float
    scale : callable
        Of the columns that it is conditional on.
    given : tuple of str
        Their names.
    words : str

    Returns
    -------
    Density
    """

    def log_pdf(x: Floats, of: Given) -> Floats:
        s = scale(of)
        return np.log(x / s**2) - x**2 / (2 * s**2) - np.log(-np.expm1(-0.5 * (most / s) ** 2))

    return Density(name, "1", words, given, low=0.0, high=most, log_pdf=log_pdf)


def ratio_scale(given: Given) -> Floats:
    """Scale of 1 - q at the velocity dispersions of the rows."""
    return population.axis_ratio_scale(given["lens_sigma_v_km_s"])


def sizes() -> Density:
    """Sizes of sources that go with their magnitudes."""
    width = population.SIZE_SCATTER_DEX * np.log(10)

    def log_pdf(x: Floats, given: Given) -> Floats:
        z = np.log(x / population.median_radius(given["src_i_mag"])) / width
        return -0.5 * z**2 - np.log(x * width * np.sqrt(2 * np.pi))

    return Density(
        "src_reff_arcsec", "arcsec", f"log-normal about the median at its i magnitude, {population.SIZE_SCATTER_DEX:g} "
        "dex", ("src_i_mag",), low=0.0, log_pdf=log_pdf,
    )  # fmt: skip
