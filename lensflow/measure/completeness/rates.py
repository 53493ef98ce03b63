"""Recovered shares at false-positive rates, with the threshold drawn again in every bootstrap draw of hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array

from lensflow.errors import CompletenessError
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Floats, drawn_units, host_weights, interval

# A rate of a negatives allows floor(a n) of them: 1e-3 of 1,000 is one in spite of rounding.
COUNT_TOLERANCE = 1e-9
_VALUES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Allowance:
    """How many of n negatives may be recovered.

    Attributes
    ----------
    rate : float
        Share of them.
    count : int
        Number, where the rate is 0.
    """

    rate: float = 0.0
    count: int = 0

    def of(self, n: ArrayLike) -> Floats:
        """Whole number of n negatives.

        Parameters
        ----------
        n : array_like

        Returns
        -------
        ndarray of float64
        """
        return np.floor(self.rate * np.asarray(n, dtype=np.float64) + COUNT_TOLERANCE) + self.count


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of injection rows and of negatives, with the hosts that they share.

    Attributes
    ----------
    positive, negative : ndarray of float64, shapes (p,) and (n,)
        Scores, finite.
    positive_host, negative_host : ndarray of int64, shapes (p,) and (n,)
        Hosts. One number is one host in both: a draw takes it with its rows and its negative.

    Raises
    ------
    CompletenessError
        If there is no row or no negative, or a score is not finite; names the first.
    """

    positive: Floats
    positive_host: NDArray[np.int64]
    negative: Floats
    negative_host: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            score, host = getattr(self, name), getattr(self, f"{name}_host")
            if len(score) != len(host):
                raise CompletenessError(f"{name} scores: {len(score)} scores of {len(host)} hosts")
            if len(score) == 0:
                raise CompletenessError(f"{name} scores: there is none")
            if not np.isfinite(score).all():
                row = int(np.argmin(np.isfinite(score)))
                raise CompletenessError(f"{name} scores: number {row} (host {host[row]}) is not finite")

    @classmethod
    def of(cls, positive: ArrayLike, positive_host: ArrayLike, negative: ArrayLike, negative_host: ArrayLike) -> Scored:
        """Take arrays of any number type.

        Parameters
        ----------
        positive, positive_host, negative, negative_host : array_like
            As the attributes.

        Returns
        -------
        Scored
        """
        return cls(
            np.asarray(positive, dtype=np.float64), np.asarray(positive_host, dtype=np.int64),
            np.asarray(negative, dtype=np.float64), np.asarray(negative_host, dtype=np.int64),
        )  # fmt: skip

    @property
    def n_hosts(self) -> int:
        """Hosts of the positives."""
        return len(np.unique(self.positive_host))

    @property
    def is_constant(self) -> bool:
        """Whether every score is the same number: nothing can be said of such a scorer."""
        ends = [f(s) for s in (self.positive, self.negative) for f in (np.min, np.max)]
        return min(ends) == max(ends)


def recovered_shares(
    scored: Scored, allowed: Sequence[Allowance], count: int, seed: int, purpose: str
) -> tuple[Floats, Floats]:
    """Shares of positives above the threshold that allowances set, and those of bootstrap draws of hosts.

    Parameters
    ----------
    scored : Scored
    allowed : sequence of Allowance
    count : int
        Draws of hosts. Each draws the threshold again, from the negatives of the hosts that it holds.
    seed, purpose
        Of the draws: the same ones give the same draws.

    Returns
    -------
    ndarray, shape (k,), and ndarray, shape (count, k)
        NaN where a draw has no positive, or not more negatives than it may recover.
    """
    by_negative = _ByNegative.of(scored)
    rate, most = np.array([a.rate for a in allowed]), np.array([a.count for a in allowed])
    out = np.full((count + 1, len(allowed)), np.nan)
    for draw, (above, hit) in enumerate(by_negative.draws(count, seed, purpose)):
        # The first negative that must not be recovered: with it, more than allowed would be.
        first = np.searchsorted(above[1:], np.floor(rate * above[-1] + COUNT_TOLERANCE) + most, side="right")
        set_by_one = first < len(above) - 1
        if hit[-1] > 0:
            out[draw, set_by_one] = 1 - (hit[-1] - hit[first[set_by_one]]) / hit[-1]
    return out[0], out[1:]


def mean_share(scored: Scored, rates: tuple[float, float], count: int, seed: int, purpose: str) -> tuple[float, Floats]:
    """Mean of the recovered share over a range of false-positive rates, and those of bootstrap draws of hosts.

    Parameters
    ----------
    scored : Scored
    rates : (float, float)
        The range; the mean is even in the rate, not in its logarithm.
    count : int
        Draws of hosts.
    seed, purpose
        Of the draws.

    Returns
    -------
    float, and ndarray of shape (count,)
        Area under the ROC curve in the range, over its width.
    """
    by_negative = _ByNegative.of(scored)
    low, high = rates
    out = np.full(count + 1, np.nan)
    for draw, (above, hit) in enumerate(by_negative.draws(count, seed, purpose)):
        if hit[-1] > 0 and above[-1] > 0:
            # A positive is recovered from the rate on that all negatives not below it make.
            some = int(np.searchsorted(above, high * above[-1], side="right"))  # no gain beyond
            from_rate = above[:some] / above[-1]
            gains = np.diff(hit[:some], prepend=0.0)
            out[draw] = gains @ np.clip(high - np.maximum(from_rate, low), 0, None) / (high - low) / hit[-1]
    return float(out[0]), out[1:]


class _ByNegative(NamedTuple):
    """Rows of each unit between negatives that follow each other, from the highest score down.

    All that a threshold can tell apart: it lies between two negatives.
    """

    positives: csr_array
    of_negative: NDArray[np.int64]
    n_units: int

    @classmethod
    def of(cls, scored: Scored) -> _ByNegative:
        n = len(scored.positive)
        unit, n_units = drawn_units(np.concatenate([scored.positive_host, scored.negative_host]))
        down = np.argsort(-scored.negative, kind="stable")
        not_below = np.searchsorted(-scored.negative[down], -scored.positive, side="right")
        counted = coo_array((np.ones(n), (not_below, unit[:n])), (len(down) + 1, n_units))
        return cls(csr_array(counted), unit[n:][down], n_units)

    def draws(self, count: int, seed: int, purpose: str) -> Iterator[tuple[Floats, Floats]]:
        """Weight of the first 0, 1, ... negatives, and of the positives above each: as they are, then of each draw."""
        weights = np.concatenate([np.ones((1, self.n_units)), host_weights(self.n_units, count, seed, purpose)])
        # Some draws together, and little memory for them.
        step = max(1, _VALUES_AT_ONCE // self.positives.shape[0])
        for first in range(0, len(weights), step):
            some = weights[first : first + step]
            hits = np.cumsum(self.positives @ some.T, axis=0)
            for k, w in enumerate(some):
                yield np.concatenate([[0.0], np.cumsum(w[self.of_negative])]), hits[:, k]


def at_rates(scored: Scored, allowed: Sequence[Allowance], count: int, seed: int) -> list[Estimate]:
    """Completeness at false-positive rates, thresholds drawn again with the hosts.

    Parameters
    ----------
    scored : Scored
    allowed : sequence of Allowance
    count : int
        Draws of hosts.
    seed : int
        Of the draws.

    Returns
    -------
    list of Estimate
    """
    value, draws = recovered_shares(scored, allowed, count, seed, "completeness.at_rate")
    low, high = interval(draws, scored.n_hosts)
    return [Estimate(float(v), float(a), float(b), scored.n_hosts) for v, a, b in zip(value, low, high, strict=True)]
