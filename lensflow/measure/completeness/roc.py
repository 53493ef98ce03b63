"""The ROC curve where lens searches work: at false-positive rates of one in a thousand and below."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lensflow.measure.completeness.bins import Bins, Places
from lensflow.measure.completeness.rates import Allowance, Scored, mean_share, recovered_shares
from lensflow.measure.completeness.thresholds import SURE_FROM
from lensflow.stats.auc import host_bootstrap
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, drawn_units, interval, named

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
FALSE_POSITIVES = (0, 10)
# Upper end of the area that is worth having.
AREA_TO = 1e-2
_POINTS = 60
_PURPOSE = "completeness.roc"


def curve_rates(n: int) -> Floats:
    """Rates at which the curve is drawn.

    Parameters
    ----------
    n : int
        Negatives.

    Returns
    -------
    ndarray of float64
        From 1 / n to 1, rising: every step of a small number of negatives, else even in the logarithm, with the rates
        that tables name among them, so that a figure shows what a table says.
    """
    if n <= _POINTS:
        return np.arange(1, n + 1) / n
    even = np.geomspace(1 / n, 1, _POINTS)
    even[-1] = 1.0
    named_rates = [rate for rate in RATES if rate * n >= 1]
    apart = np.array([a for a in even if all(abs(a / r - 1) > 1e-9 for r in named_rates)])
    return np.sort(np.concatenate([apart, named_rates]))


def roc(scored: Scored, count: int, seed: int) -> xr.Dataset:
    """Recovered share against false-positive rate, on an axis that is even in the logarithm.

    Parameters
    ----------
    scored : Scored
        Scores of injections (all, or of one resolution bin) and of negatives.
    count : int
        Bootstrap draws of hosts; each draws the threshold again.
    seed : int
        Of the draws.

    Returns
    -------
    Dataset
        ``curve_tpr`` over ``curve_fpr`` (from 1 / n to 1), ``tpr`` over ``fpr`` (1e-1 to 1e-4; NaN below 1 / n,
        ``unsure`` below 10 / n), ``tpr_at`` over ``false_positives`` (0 and 10), ``area`` below 1e-2 over its width
        (NaN where 1 / n is not below 1e-2), ``auroc`` (without comparisons within a host or, beyond 1,024 hosts, within
        a group of hosts), all with intervals over hosts.
    """
    n, p, hosts = len(scored.negative), len(scored.positive), scored.n_hosts
    curve = curve_rates(n)
    # A rate of exactly 1 allows every negative: there is no threshold left, and every row is recovered.
    allowed = [Allowance(a) for a in curve[:-1]] + [Allowance(a) for a in RATES]
    allowed += [Allowance(count=m) for m in FALSE_POSITIVES]
    value, draws = recovered_shares(scored, allowed, count, seed, _PURPOSE)
    c, r, f = len(curve) - 1, len(RATES), len(FALSE_POSITIVES)
    too_low = np.concatenate([np.zeros(c), np.array(RATES) * n < 1 - 1e-9, np.zeros(f)]).astype(bool)
    value[too_low], draws[:, too_low] = np.nan, np.nan
    low, high = interval(draws, hosts)
    part = {"curve": slice(0, c), "rates": slice(c, c + r), "counts": slice(c + r, c + r + f)}
    ones = np.ones(1)

    def over(name: str, dim: str, of: slice, last: Floats, meaning: str) -> dict[str, tuple[object, ...]]:
        ends = (np.concatenate([low[of], last]), np.concatenate([high[of], last]))
        return with_interval(name, [dim], (np.concatenate([value[of], last]), ends), "1", meaning)

    area, area_draws = math.nan, np.full(count, np.nan)
    if 1 / n < AREA_TO:
        area, area_draws = mean_share(scored, (1 / n, AREA_TO), count, seed, _PURPOSE)
    auroc, auroc_draws = host_bootstrap(
        np.concatenate([np.ones(p, bool), np.zeros(n, bool)]),
        np.concatenate([scored.positive, scored.negative]),
        # Beyond 1,024 hosts groups of them are drawn: as many weights as hosts and draws would fill the memory.
        drawn_units(np.concatenate([scored.positive_host, scored.negative_host]))[0],
        count, seed, "completeness.auroc",
    )  # fmt: skip
    none = np.empty(0)
    return xr.Dataset(
        {
            **over("curve_tpr", "curve_fpr", part["curve"], ones, "share of rows recovered at a false-positive rate"),
            **over("tpr", "fpr", part["rates"], none, "share of rows recovered at a false-positive rate"),
            "unsure": named(["fpr"], np.array(RATES) * n < SURE_FROM - 1e-9, "", "fewer than ten false positives"),
            **over("tpr_at", "false_positives", part["counts"], none, "share recovered with so many false positives"),
            **with_interval(
                "area", [], (area, interval(area_draws, hosts)), "1",
                "area under the curve for false-positive rates of 1/n to 1e-2 (linear), over its width",
            ),
            **with_interval("auroc", [], (auroc, interval(auroc_draws, hosts)), "1", "area under the whole ROC curve"),
            "n_rows": named([], p, "1", "injection rows"),
            "n_negatives": named([], n, "1", "negatives"),
            "n_hosts": named([], hosts, "1", "hosts of the rows"),
        },
        coords={
            "curve_fpr": named(["curve_fpr"], curve, "1", "false-positive rate"),
            "fpr": named(["fpr"], np.array(RATES), "1", "false-positive rate"),
            "false_positives": named(["false_positives"], np.array(FALSE_POSITIVES), "1", "negatives recovered"),
        },
    )  # fmt: skip


def roc_in_bins(scored: Scored, bins: Bins, place: Places, count: int, seed: int) -> xr.Dataset:
    """Recovered share of the rows of each bin against the false-positive rate; the negatives are the same for all.

    Parameters
    ----------
    scored : Scored
    bins : Bins
        Of one variable.
    place : ndarray of int64, shape (p,)
        Bin of each positive.
    count : int
        Bootstrap draws of hosts.
    seed : int
        Of the draws.

    Returns
    -------
    Dataset
        Over the bins' variable: ``curve_tpr`` over ``curve_fpr``, and ``tpr`` with its interval over ``fpr`` (NaN below
        1 / n, and in bins without rows; ``unsure`` below 10 / n).
    """
    n, dim = len(scored.negative), bins.variable
    curve, rates = curve_rates(n), np.array(RATES)
    allowed = [Allowance(a) for a in curve[:-1]] + [Allowance(a) for a in rates]
    shape = (len(bins.labels), len(allowed))
    value, low, high = (np.full(shape, np.nan) for _ in range(3))
    rows = np.bincount(place, minlength=len(bins.labels))
    for k in np.flatnonzero(rows):
        mine = place == k
        some = Scored(scored.positive[mine], scored.positive_host[mine], scored.negative, scored.negative_host)
        value[k], draws = recovered_shares(some, allowed, count, seed, f"{_PURPOSE}.{dim}")
        low[k], high[k] = interval(draws, some.n_hosts)
    c = len(curve) - 1
    for v in (value, low, high):
        v[:, c:][:, rates * n < 1 - 1e-9] = np.nan
    last = np.where(rows > 0, 1.0, np.nan)[:, None]
    tpr = (value[:, c:], (low[:, c:], high[:, c:]))
    text = "share of the bin's rows recovered at a false-positive rate"
    return xr.Dataset(
        {
            "curve_tpr": named([dim, "curve_fpr"], np.concatenate([value[:, :c], last], axis=1), "1", text),
            **with_interval("tpr", [dim, "fpr"], tpr, "1", text),
            "unsure": named(["fpr"], rates * n < SURE_FROM - 1e-9, "", "fewer than ten false positives"),
            "n_rows": named([dim], rows, "1", "injection rows"),
            "n_negatives": named([], n, "1", "negatives"),
        },
        coords={
            dim: np.array(bins.labels),
            "curve_fpr": named(["curve_fpr"], curve, "1", "false-positive rate"),
            "fpr": named(["fpr"], rates, "1", "false-positive rate"),
        },
    )  # fmt: skip
