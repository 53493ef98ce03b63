"""The thresholds of a config set on negatives, their table, and the completeness at their rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow.config.completeness import CompletenessConfig, CompletenessThresholdConfig
from lensflow.errors import ConfigError
from lensflow.measure.completeness.rates import Allowance, Scored, at_rates
from lensflow.measure.completeness.thresholds import Threshold, by_false_positives, by_rate, by_value
from lensflow.stats.hostsums import named


def thresholds(config: CompletenessConfig, negatives: ArrayLike) -> list[Threshold]:
    """Set the thresholds of a config on the scores of images without an arc.

    Parameters
    ----------
    config : CompletenessConfig
    negatives : array_like, shape (n,)

    Returns
    -------
    list of Threshold

    Raises
    ------
    ConfigError
        If the config names none.
    CompletenessError
        If the negatives cannot set one.
    """
    return [tau for wanted in refuse_without_threshold(config) for tau in set_by(wanted, negatives)]


def set_by(wanted: CompletenessThresholdConfig, negatives: ArrayLike) -> list[Threshold]:
    """Set the thresholds of one setting; arguments and errors as of :func:`thresholds`."""
    if wanted.value is not None:
        return [by_value(wanted.value, negatives if np.size(negatives) else None)]
    if wanted.false_positives is not None:
        return [by_false_positives(wanted.false_positives, negatives)]
    return [by_rate(rate, negatives) for rate in wanted.fpr or ()]


def refuse_without_threshold(config: CompletenessConfig) -> tuple[CompletenessThresholdConfig, ...]:
    """Return the thresholds' settings: ``threshold``, or those that ``require`` names where there is none.

    Parameters
    ----------
    config : CompletenessConfig

    Returns
    -------
    tuple of CompletenessThresholdConfig

    Raises
    ------
    ConfigError
        If there are none.
    """
    if config.threshold is not None:
        return (config.threshold,)
    named_there = tuple(dict.fromkeys(w.at for w in config.require if w.at is not None))
    if not named_there:
        raise ConfigError(
            "completeness.threshold: without a threshold nothing is recovered or missed. Set {value: t}, {fpr: [1e-2]} "
            "or {false_positives: m} (lensflow completeness --fpr)"
        )
    return named_there


def threshold_table(taus: Sequence[Threshold], n_negatives: int, what: str) -> xr.Dataset:
    """Make the table of thresholds: tau, its false positives, the true rate with its interval.

    Parameters
    ----------
    taus : sequence of Threshold
    n_negatives : int
    what : str
        Which negatives, in words.

    Returns
    -------
    Dataset with dim threshold
    """
    number = {
        "tau": ([t.tau for t in taus], "a row is recovered if its score is at least this"),
        "rate_wanted": ([t.rate for t in taus], "false-positive rate that was asked for; NaN: none was"),
        "false_positives": ([t.achieved for t in taus], "negatives at the threshold or above"),
        "true_rate": ([t.true_rate.value for t in taus], "false-positive rate of images like the negatives"),
        "true_rate_low": ([t.true_rate.low for t in taus], "lower end of its 95 % interval"),
        "true_rate_high": ([t.true_rate.high for t in taus], "upper end of its 95 % interval"),
        "unsure": ([t.unsure for t in taus], "fewer than ten false positives set it"),
    }
    data = {k: named(["threshold"], np.asarray(v), "1", text) for k, (v, text) in number.items()}
    data["n_negatives"] = named([], n_negatives, "1", f"images without arc: {what}")
    return xr.Dataset(data, attrs={"negatives": what})


def at_the_rate(
    scored: Scored, taus: Sequence[Threshold], config: CompletenessConfig, seed: int
) -> dict[str, tuple[list[str], np.ndarray, dict[str, str]]]:
    """Completeness of valid rows with the threshold drawn again in every draw of hosts."""
    allowed = [Allowance(t.rate) if t.source == "fpr" else Allowance(count=t.allowed) for t in taus]
    if any(t.source == "value" for t in taus):
        return {}
    found = at_rates(scored, allowed, config.bootstrap, seed)
    text = "completeness at the rate: the threshold is drawn again with the hosts"
    return {
        f"completeness_at_rate{end}": named(["threshold"], np.array([getattr(e, name) for e in found]), "1", said)
        for end, name, said in (
            ("", "value", text), ("_low", "low", "lower end of its 95 % interval"),
            ("_high", "high", "upper end of its 95 % interval"),
        )
    }  # fmt: skip
