"""The score from which on a row is recovered: given, or set by how many negatives may be recovered with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.rates import COUNT_TOLERANCE, Allowance
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.hostsums import Floats
from lensflow.stats.proportions import clopper_pearson

# With fewer false positives than this behind a rate, the rate is hardly known.
SURE_FROM = 10


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it costs on the negatives.

    Attributes
    ----------
    tau : float
        A row is recovered if its score >= tau.
    source : str
        What set it: ``value``, ``fpr`` or ``false_positives``.
    rate : float
        False-positive rate that was asked for; NaN where none was.
    allowed : int
        False positives that were allowed, m; -1 where tau was given.
    achieved : int
        False positives on the negatives; -1 without negatives. Fewer than allowed where scores tie.
    n_negatives : int
    true_rate : Estimate
        False-positive rate of negatives like these, with its 95 % interval; where scores tie, the exact binomial one.
    unsure : bool
        Whether fewer than ten false positives are behind a rate that was asked for.
    """

    tau: float
    source: str
    rate: float
    allowed: int
    achieved: int
    n_negatives: int
    true_rate: Estimate
    unsure: bool

    @property
    def tied(self) -> bool:
        """Whether equal scores keep the false positives below what was allowed."""
        return 0 <= self.achieved < self.allowed


def by_value(tau: float, negatives: ArrayLike | None = None) -> Threshold:
    """Take a threshold as given.

    Parameters
    ----------
    tau : float
    negatives : array_like, optional
        Scores of images without arc, to say what the threshold costs.

    Returns
    -------
    Threshold
        Its true rate has the exact binomial interval; without any false positive the one-sided 95 % bound.

    Raises
    ------
    ConfigError
        If tau is not a finite number.
    CompletenessError
        If a negative's score is not finite.
    """
    if not math.isfinite(tau):
        raise ConfigError(f"completeness.threshold.value: a finite score, not {tau}")
    if negatives is None:
        return Threshold(tau, "value", math.nan, -1, -1, 0, NOT_MEASURED, False)
    scores = _checked(negatives)
    n, m = len(scores), int((scores >= tau).sum())
    low, high = (float(v) for v in clopper_pearson(m, n))
    rate = Estimate(m / n, low, no_false_positive_bound(n) if m == 0 else high)
    return Threshold(tau, "value", math.nan, -1, m, n, rate, m < SURE_FROM)


def by_rate(rate: float, negatives: ArrayLike) -> Threshold:
    """Set a threshold by a false-positive rate.

    Parameters
    ----------
    rate : float
        Between 0 and 1.
    negatives : array_like, shape (n,)
        Scores of images without arc.

    Returns
    -------
    Threshold
        The next number above score m + 1 from the top, m = floor(rate n): at most m negatives are recovered.

    Raises
    ------
    ConfigError
        If the rate is not between 0 and 1.
    CompletenessError
        If there are too few negatives to set it, or a score is not finite.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"completeness.threshold.fpr: a rate lies between 0 and 1, not {rate:g}")
    scores = _checked(negatives)
    n = len(scores)
    allowed = int(Allowance(rate).of(n))
    if allowed < 1:
        needed = math.ceil(1 / rate - COUNT_TOLERANCE / rate)
        raise CompletenessError(
            f"false-positive rate {_short(rate)} needs {needed:,} negatives at least; {n:,} were given. The smallest "
            f"rate that they can set is {_short(_rounded_up(1 / n))}"
        )
    return _above(scores, allowed, "fpr", rate)


def by_false_positives(count: int, negatives: ArrayLike) -> Threshold:
    """Set a threshold by a number of false positives.

    Parameters
    ----------
    count : int
        Negatives that may be recovered, at least 0.
    negatives : array_like, shape (n,)
        Scores of images without arc.

    Returns
    -------
    Threshold

    Raises
    ------
    ConfigError
        If the number is negative.
    CompletenessError
        If there are not more negatives than may be recovered, or a score is not finite.
    """
    if count < 0:
        raise ConfigError(f"completeness.threshold.false_positives: a number from 0 on, not {count}")
    scores = _checked(negatives)
    if count >= len(scores):
        raise CompletenessError(
            f"{count:,} false positives need more than {count:,} negatives; {len(scores):,} were given"
        )
    return _above(scores, count, "false_positives", math.nan)


def true_rate(false_positives: int, n: int, level: float = 0.95) -> Estimate:
    """Estimate the true false-positive rate at a threshold just above negative m + 1 of n.

    Parameters
    ----------
    false_positives : int
        m, the negatives above the threshold.
    n : int
        Negatives, independent and with continuous scores.
    level : float
        Of the interval.

    Returns
    -------
    Estimate
        Mean and quantiles of Beta(m + 1, n - m), which the true rate follows.
    """
    m = false_positives
    low, high = (float(betaincinv(m + 1, n - m, (1 + s * level) / 2)) for s in (-1, 1))
    return Estimate((m + 1) / (n + 1), low, high)


def no_false_positive_bound(n: int, level: float = 0.95) -> float:
    """One-sided bound of the rate where none of n independent negatives is recovered, about 3 / n.

    Parameters
    ----------
    n : int
        Negatives.
    level : float
        Of the bound.

    Returns
    -------
    float
    """
    return -math.expm1(math.log1p(-level) / n)


def _above(scores: Floats, allowed: int, source: str, rate: float) -> Threshold:
    n = len(scores)
    # Number allowed + 1 from the top must not be recovered.
    tau = float(np.nextafter(np.partition(scores, n - 1 - allowed)[n - 1 - allowed], np.inf))
    achieved = int((scores >= tau).sum())
    unsure = source == "fpr" and allowed < SURE_FROM
    found = true_rate(achieved, n)
    if achieved < allowed:
        # Where scores tie, tau lies at a step of their distribution: the rate above it may be anything down to 0, and
        # the beta distribution's lower end is above most of them.
        low, high = (float(v) for v in clopper_pearson(achieved, n))
        found = Estimate(achieved / n, low, high)
    return Threshold(tau, source, rate, allowed, achieved, n, found, unsure)


def _checked(negatives: ArrayLike) -> Floats:
    scores = np.asarray(negatives, dtype=np.float64).ravel()
    if scores.size == 0:
        raise CompletenessError("negatives: there is none")
    if not np.isfinite(scores).all():
        bad = ~np.isfinite(scores)
        raise CompletenessError(
            f"negatives: {int(bad.sum()):,} of {scores.size:,} scores are not finite, the first is number "
            f"{int(np.argmax(bad))}"
        )
    return scores


def _rounded_up(rate: float) -> float:
    """One digit, not below."""
    unit = 10.0 ** math.floor(math.log10(rate))
    return math.ceil(rate / unit - 1e-9) * unit


def _short(rate: float) -> str:
    """Write 1e-4, 2e-3, 1.5e-3."""
    digits, _, exponent = f"{rate:.6e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"
