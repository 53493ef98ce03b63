"""Rows being drawn: their keys, uniform numbers, values of priors, and hosts' properties.

A row's numbers depend only on (seed, host id, replicate): not on other hosts, the order, or the division of the plan
into blocks. That holds for the low-discrepancy design too. There, the replicates of a host take points 0, 1, 2, ... of
a Sobol sequence, shifted by a random vector of the host (a Cranley-Patterson rotation): every host's rows spread evenly
over the priors, hosts are independent of each other, and every row by itself is uniform. (One sequence over all hosts
would spread more evenly still, but a row would then change with the hosts before it.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import PlanConfig, Range
from lensflow.config.presets import Priors
from lensflow.errors import ConfigError
from lensflow.manifest.galaxies import Galaxies

Floats = NDArray[np.float64]
Prior = tuple[float, ...] | Range

# Purpose -> its dimensions of the Sobol sequence; the first dimensions are the most even ones. Purposes that are not
# here (colours, scatter, source angles) are drawn independently.
SOBOL_DIMENSIONS = {
    "grid": slice(0, 5),
    "src_offset": slice(5, 7),
    "src_mag": slice(7, 8),
    "src_n": slice(8, 9),
    "lens_phi": slice(9, 10),
    "src_z": slice(10, 11),
    "src_q": slice(11, 12),
}
_N_DIMENSIONS = 12


@dataclass(frozen=True, eq=False)
class Draws:
    """Injections of a block of hosts, and their random numbers.

    Attributes
    ----------
    plan : PlanConfig
    seed : int
    bands : sequence of str
    row_id, host_key : ndarray of uint64, shape (n,)
    replicate : ndarray of int64, shape (n,)
        Index of the row among its host's injections.
    host : mapping
        Column -> the host's value for every row, shape (n,): flux_reference_nmgy, sigma_v_km_s, z_lens, host_q,
        host_phi_rad; mw_transmission (n, band).
    given : mapping
        Columns of the user's table, shape (n,) or (n, band).
    galaxies : Galaxies or None
        What the sources are, with ``plan.source_table``.
    image_z : ndarray or None
        Redshifts of the images that are the sources, with ``plan.sources.redshift: own``; NaN for the others.
    farthest_lens_z : float or None
        Redshift that lenses must be in front of, where it follows from ``plan.source_table``.
    """

    plan: PlanConfig
    seed: int
    bands: Sequence[str]
    row_id: NDArray[np.uint64]
    host_key: NDArray[np.uint64]
    replicate: NDArray[np.int64]
    host: Mapping[str, Floats]
    given: Mapping[str, NDArray]
    galaxies: Galaxies | None = None
    image_z: Floats | None = None
    farthest_lens_z: float | None = None

    @cached_property
    def priors(self) -> Priors:
        """Priors of the plan."""
        return self.plan.priors

    @property
    def reference_band(self) -> int:
        """Index of the band that magnitudes refer to: r, or the first band if there is no r."""
        return list(self.bands).index("r") if "r" in self.bands else 0

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.row_id)

    def at(self, rows: NDArray) -> Draws:
        """Return the draws of some of the rows."""
        return replace(
            self,
            row_id=self.row_id[rows],
            host_key=self.host_key[rows],
            replicate=self.replicate[rows],
            host={k: v[rows] for k, v in self.host.items()},
            given={k: v[rows] for k, v in self.given.items()},
            galaxies=None if self.galaxies is None else self.galaxies.at(rows),
            image_z=None if self.image_z is None else self.image_z[rows],
        )

    def uniform(self, purpose: str, count: int = 1, attempt: int = 0) -> Floats:
        """Uniform numbers in (0, 1) for a purpose, shape (n, count).

        Parameters
        ----------
        purpose : str
        count : int
        attempt : int
            Further numbers for a row whose first ones were not accepted; always independent.
        """
        if self.plan.design != "low_discrepancy" or purpose not in SOBOL_DIMENSIONS or attempt:
            return rng.uniform(self.seed, self.row_id, purpose, count, lane=attempt)
        which = SOBOL_DIMENSIONS[purpose]
        shift = rng.uniform(self.seed, self.host_key, f"rotation: {purpose}", count)
        u = _sobol(int(self.replicate.max(initial=0)).bit_length())[self.replicate, which] + shift
        return np.clip(u % 1.0, 2.0**-54, 1 - 2.0**-53)

    def normal(self, purpose: str, count: int = 1) -> Floats:
        """Standard normal numbers for a purpose, shape (n, count)."""
        return rng.normal(self.seed, self.row_id, purpose, count)

    def axes(self) -> dict[str, Floats]:
        """Values of the parameters that a grid crosses; the uniform number itself where one follows from a relation."""
        if self.plan.design == "grid":
            every = crossed(self.priors)
            return dict(zip(self.priors.axes, every[self.replicate % len(every)].T, strict=True))
        u = self.uniform("grid", len(self.priors.axes))
        axes = enumerate(self.priors.axes.items())
        return {name: u[:, k] if prior is None else at(prior, u[:, k]) for k, (name, prior) in axes}


def at(prior: Prior, u: Floats) -> Floats:
    """Value of a prior for uniform numbers in (0, 1): one of its values, equally likely, or a point of its range.

    Parameters
    ----------
    prior : tuple of float or Range
    u : ndarray
        Any shape; the result has the same.
    """
    if isinstance(prior, Range):
        if prior.distribution == "log":
            low, high = np.log(prior.min), np.log(prior.max)
            # exp(log(max)) may lie a rounding beyond max.
            return np.clip(np.exp(low + (high - low) * u), prior.min, prior.max)
        return prior.min + (prior.max - prior.min) * u
    values = np.asarray(prior, dtype=np.float64)
    return values[np.minimum((u * len(values)).astype(np.int64), len(values) - 1)]


def crossed(priors: Priors) -> Floats:
    """Every configuration of a grid, shape (n_configs, 5), columns in the order of ``Priors.CROSSED``.

    Raises
    ------
    ConfigError
        If a parameter is a range or follows from a relation.
    """
    lists = [prior for prior in priors.axes.values() if isinstance(prior, tuple)]
    if missing := priors.not_listed():
        raise ConfigError(f"plan.{missing[0]}: a range or relation cannot be crossed; give a list of values")
    return np.array(list(itertools.product(*lists)), dtype=np.float64)


@lru_cache(maxsize=2)
def _sobol(log2_points: int) -> Floats:
    """First points of the Sobol sequence (Joe & Kuo 2008, unscrambled), shape (2**log2_points, dimension).

    A longer one begins with the shorter one: more injections per host do not change the first ones.
    """
    from scipy.stats import qmc  # imported late: it takes half a second, which the other designs save

    return np.asarray(qmc.Sobol(_N_DIMENSIONS, scramble=False).random_base2(log2_points))
