"""Matched sets: for each real lens, hosts of the run that look like its own; and whether they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from lensflow import rng
from lensflow.errors import RealismError
from lensflow.stats.newton import minimise, sums_of
from lensflow.units import median_and_sigma

Floats = NDArray[np.float64]

VARIANCE_RATIO = (0.5, 2.0)
# A covariate that a side lacks in more rows than this is left out: it would drop these rows.
MOST_UNKNOWN = 0.5
# Values farther from the hosts' median count as this far when balance is measured.
CLIP_SD = 5.0
# Largest difference of the hosts that arcs may hide, sd: chance alone hides 0.1 of 60 lenses where half is the arcs'.
HIDDEN_SD = 0.25
# Inverse L2 strength of the propensity's regression: weak, but classes that separate stay finite.
PROPENSITY_C = 10.0
# Ridge of the hosts' covariance, share of its trace: covariates that repeat each other stay invertible.
RIDGE = 1e-6
FEW, TAKEN = "fewer than {} hosts inside the caliper", "the hosts inside the caliper are matched with other lenses"


@dataclass(frozen=True, eq=False)
class Matched:
    """Real lenses with their hosts.

    Attributes
    ----------
    sets : Dataset
        Dims set, match: ``real_row`` (set), ``host_row`` (set, match), rows of what was given; ``distance``
        (set, match), Mahalanobis.
    balance : Dataset
        Dim covariate: ``real_median``, ``host_median`` (matched hosts), ``smd_before``, ``smd``,
        ``variance_ratio_before``, ``variance_ratio``, ``balanced``; with arcs in the covariates also ``reliability``
        and ``hidden``, sd of the hosts by which they may still differ because arcs hide it.
    counts : dict
        Reason -> real lenses that have no set.
    n_real, n_hosts : int
        Given.
    reason : str
        Why the sets cannot carry a verdict, for people; empty: they are balanced.
    notes : tuple of str
        Covariates left out, hosts that could not be used.
    """

    sets: xr.Dataset
    balance: xr.Dataset
    counts: dict[str, int]
    n_real: int
    n_hosts: int
    reason: str
    notes: tuple[str, ...] = field(default=())

    @property
    def n_sets(self) -> int:
        """Real lenses that have their hosts."""
        return int(self.sets.sizes["set"])


def match(
    real: xr.Dataset,
    hosts: xr.Dataset,
    *,
    k: int = 4,
    caliper_sd: float = 0.25,
    max_balance_sd: float = 0.1,
    seed: int = 0,
    reliability: Mapping[str, float] | None = None,
) -> Matched:
    """Find k hosts for each real lens, no host twice.

    Covariates become ranks over both sides, and the ranks normal scores. The distance is Mahalanobis's, in the hosts'
    covariance; a host may be taken only if the logits of the propensity scores (logistic regression of real on the
    scores) differ by less than ``caliper_sd`` pooled standard deviations. Lenses choose one after the other, those with
    the fewest hosts inside the caliper first, ties by the key (seed, name), and take the k nearest that are left: the
    result depends on no order of rows. Hosts are many times more than lenses, so few choices collide; an optimal
    assignment then has smaller distances, but balances no better (Gu & Rosenbaum 1993), and needs every distance.

    Parameters
    ----------
    real, hosts : Dataset
        Dim host; a float variable per covariate, NaN where it could not be measured, and ``host_id``. Covariates that
        both sides have are used.
    k : int
    caliper_sd : float
    max_balance_sd : float
        Largest standardised difference of a covariate's mean after matching.
    seed : int
    reliability : mapping, optional
        Covariate -> share of its variance that is the host's own, not the arc's: what arcs may hide is told from it.

    Returns
    -------
    Matched

    Raises
    ------
    RealismError
        If there is no covariate, no real lens or no host.

    References
    ----------
    Austin 2011, Pharmaceutical Statistics 10, 150 (caliper); Gu & Rosenbaum 1993, J. Comput. Graph. Stat. 2, 405.
    """
    n_real, n_hosts = real.sizes["host"], hosts.sizes["host"]
    if n_real == 0 or n_hosts == 0:
        raise RealismError(f"matching: {n_real} real lenses and {n_hosts} hosts; both are needed.")
    names, notes = _usable(real, hosts)
    table = {side: np.stack([d[c].values.astype(np.float64) for c in names], axis=1)
             for side, d in (("real", real), ("host", hosts))}  # fmt: skip
    known = {side: np.isfinite(values).all(axis=1) for side, values in table.items()}
    counts = _unmeasured(table["real"], names)
    if lost := int((~known["host"]).sum()):
        notes.append(f"{lost:,} of {n_hosts:,} hosts cannot be matched: a covariate could not be measured")
    rows = {side: np.flatnonzero(ok) for side, ok in known.items()}
    n = len(rows["real"])
    if n == 0 or len(rows["host"]) == 0:
        nobody = np.zeros((0, len(names)))
        return Matched(_sets([], k), _balance(names, nobody, nobody, nobody, nobody, max_balance_sd), counts, n_real,
                       n_hosts, "no real lens and host have all covariates measured", tuple(notes))  # fmt: skip
    scores = _normal_scores(np.concatenate([table["real"][rows["real"]], table["host"][rows["host"]]]))
    of_real, of_host = scores[:n], scores[n:]
    chosen = _choose(of_real, of_host, real["host_id"].values[rows["real"]], k, caliper_sd, seed, counts)
    sets = _sets([(rows["real"][i], rows["host"][js], d) for i, js, d in chosen], k)
    balance, reason = _judged(
        real, hosts, names,
        (table["real"][rows["real"]], table["host"][rows["host"]]),
        (table["real"][sets["real_row"].values], table["host"][sets["host_row"].values.ravel()]),
        max_balance_sd, reliability,
    )  # fmt: skip
    return Matched(sets, balance, counts, n_real, n_hosts, reason, tuple(notes))


def balance_with_other_arcs(
    matched: Matched,
    real: xr.Dataset,
    hosts: xr.Dataset,
    compared: xr.Dataset,
    *,
    max_balance_sd: float = 0.1,
    reliability: Mapping[str, float] | None = None,
) -> Matched:
    """Judge the balance of sets again, where other arcs are compared than those that the hosts were matched with.

    Parameters
    ----------
    matched : Matched
    real, hosts : Dataset
        As :func:`match` took them.
    compared : Dataset, dim host
        Covariates of the matched hosts with the arcs that are compared, in the order of ``matched.sets["host_row"]``,
        row by row.
    max_balance_sd, reliability
        As for :func:`match`; the reliability is that of ``compared``.

    Returns
    -------
    Matched
        The same sets with their balance; hosts whose covariates cannot be measured with such an arc are in the notes,
        and are the reason why there is no verdict if they are many.

    Raises
    ------
    RealismError
        If ``compared`` is not of the matched hosts.
    """
    chosen = matched.sets["host_row"].values.ravel()
    if compared.sizes["host"] != chosen.size:
        raise RealismError(
            f"balance: covariates of {compared.sizes['host']} stamps, for {chosen.size} matched hosts; one of each."
        )
    if not chosen.size:
        return matched
    names, _ = _usable(real, hosts)
    of_real, of_host, again = (
        np.stack([d[c].values.astype(np.float64) for c in names], axis=1) for d in (real, hosts, compared)
    )
    known = np.isfinite(again).all(axis=1)
    if not known.any():
        return replace(matched, reason="no matched host has all covariates measured with the arc that is compared")
    balance, reason = _judged(
        real, hosts, names,
        [side[np.isfinite(side).all(axis=1)] for side in (of_real, of_host)],
        (of_real[matched.sets["real_row"].values], again[known]),
        max_balance_sd, reliability,
    )  # fmt: skip
    notes = matched.notes
    if lost := int((~known).sum()):
        words = f"{lost:,} of {known.size:,} matched hosts lack a covariate with the arc that is compared"
        notes += (words,)
        reason = reason or (f"hosts are not matched: {words}" if lost > MOST_UNKNOWN * known.size else "")
    return replace(matched, balance=balance, reason=reason, notes=notes)


def _judged(
    real: xr.Dataset,
    hosts: xr.Dataset,
    names: list[str],
    before: Sequence[Floats],
    after: Sequence[Floats],
    most: float,
    reliability: Mapping[str, float] | None,
) -> tuple[xr.Dataset, str]:
    """Balance of matched tables, and why they cannot carry a verdict; ``before``, ``after``: real lenses and hosts."""
    balance = _balance(names, before[0], before[1], after[0], after[1], most)
    if reliability is not None:
        balance = _with_hidden(balance, reliability)
    reason = _words(balance, most)
    # Left out of the matching because few have it, though it may differ as much as it likes.
    if unknown := [n for n in map(str, hosts.data_vars) if n not in names and _is_known_to_few(real, hosts, n)]:
        blank = {n: ("covariate", np.full(len(unknown), np.nan)) for n in balance.data_vars if n != "balanced"}
        rest = xr.Dataset({**blank, "balanced": ("covariate", np.zeros(len(unknown), bool))}, {"covariate": unknown})
        balance = xr.concat([balance, rest], "covariate")
        reason = reason or f"hosts are not matched: {unknown[0]} is not known on both sides"
    return balance, reason


def _is_known_to_few(real: xr.Dataset, hosts: xr.Dataset, name: str) -> bool:
    """Whether most of one side lack a covariate, and not all of both (a band that the run has not)."""
    if name not in real or hosts[name].dims != ("host",) or hosts[name].dtype.kind != "f":
        return False
    lost = [float(np.isnan(side[name].values).mean()) for side in (real, hosts)]
    return max(lost) > MOST_UNKNOWN and min(lost) < 1


def _usable(real: xr.Dataset, hosts: xr.Dataset) -> tuple[list[str], list[str]]:
    names, notes = [], []
    for name in (str(n) for n, v in hosts.data_vars.items() if v.dims == ("host",) and v.dtype.kind == "f"):
        if name not in real:
            continue
        share = {"real lenses": float(np.isnan(real[name].values).mean()),
                 "hosts": float(np.isnan(hosts[name].values).mean())}  # fmt: skip
        worst = max(share, key=lambda side: share[side])
        both = np.concatenate([real[name].values, hosts[name].values])
        if share[worst] > MOST_UNKNOWN:
            notes.append(f"{name} is not matched: {share[worst]:.0%} of the {worst} have none")
        elif np.nanmin(both) == np.nanmax(both):
            notes.append(f"{name} is not matched: it is {np.nanmin(both):g} everywhere")
        else:
            names.append(name)
    if not names:
        raise RealismError(
            f"matching: no covariate is measured on both sides ({'; '.join(notes) or 'they have none in common'})."
        )
    return names, notes


def _unmeasured(table: Floats, names: list[str]) -> dict[str, int]:
    """Count the real lenses that lack a covariate, each under the first that it lacks."""
    counts: dict[str, int] = {}
    lost = ~np.isfinite(table)
    for row in np.flatnonzero(lost.any(axis=1)):
        reason = f"{names[int(np.argmax(lost[row]))]} could not be measured"
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def _normal_scores(table: Floats) -> Floats:
    return np.asarray(ndtri((rankdata(table, axis=0) - 0.5) / len(table)))


def propensity_logits(of_real: Floats, of_host: Floats) -> tuple[Floats, Floats]:
    """Logits of a logistic regression of real against host on given scores, shape (n, covariate)."""
    x = np.concatenate([of_real, of_host])
    y = np.concatenate([np.ones(len(of_real)), np.zeros(len(of_host))])
    # Each side weighs the same: the penalty then does not depend on how many hosts there are.
    weight = np.where(y == 1, 0.5 / len(of_real), 0.5 / len(of_host)) * len(of_real) * 2
    solution = minimise(
        lambda theta, hessian: sums_of(x, y, weight, theta, hessian),
        np.full(x.shape[1], 1 / PROPENSITY_C),
        np.zeros(x.shape[1] + 1),
        tol=1e-8,
        max_iter=200,
        who="propensity of being a real lens",
    )
    logit = x @ solution.theta[:-1] + solution.theta[-1]
    return logit[: len(of_real)], logit[len(of_real) :]


def _choose(
    of_real: Floats, of_host: Floats, names: NDArray, k: int, caliper_sd: float, seed: int, counts: dict[str, int]
) -> list[tuple[int, NDArray[np.int64], Floats]]:
    logit, logit_host = propensity_logits(of_real, of_host)
    caliper = caliper_sd * np.sqrt((_variance(logit) + _variance(logit_host)) / 2)
    order = np.argsort(logit_host, kind="stable")
    low = np.searchsorted(logit_host[order], logit - caliper, side="left")
    high = np.searchsorted(logit_host[order], logit + caliper, side="right")
    covariance = np.atleast_2d(np.cov(of_host, rowvar=False)) if len(of_host) > 1 else np.eye(of_host.shape[1])
    covariance += np.eye(len(covariance)) * max(RIDGE * np.trace(covariance) / len(covariance), 1e-12)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    white_real, white_host = of_real @ whiten, of_host @ whiten
    tie = rng.uniform(seed, rng.hash_ids(names), "realism matching")[:, 0]
    free = np.ones(len(of_host), bool)
    chosen = []
    for i in np.lexsort((tie, high - low)).tolist():
        inside = order[low[i] : high[i]]
        left = inside[free[inside]]
        if len(left) < k:
            reason = FEW.format(k) if len(inside) < k else TAKEN
            counts[reason] = counts.get(reason, 0) + 1
            continue
        distance = np.sqrt(((white_host[left] - white_real[i]) ** 2).sum(axis=1))
        nearest = np.argsort(distance, kind="stable")[:k]
        free[left[nearest]] = False
        chosen.append((i, left[nearest], distance[nearest]))
    return sorted(chosen, key=lambda c: c[0])


def _variance(values: Floats) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _sets(chosen: list[tuple[int, NDArray[np.int64], Floats]], k: int) -> xr.Dataset:
    host = np.array([js for _, js, _ in chosen], np.int64).reshape(-1, k)
    return xr.Dataset(
        {
            "real_row": ("set", np.array([i for i, _, _ in chosen], np.int64), {"long_name": "row of the real lenses"}),
            "host_row": (("set", "match"), host, {"long_name": "row of the hosts, nearest first"}),
            "distance": (
                ("set", "match"),
                np.array([d for _, _, d in chosen], np.float64).reshape(-1, k),
                {"units": "1", "long_name": "Mahalanobis distance of the normal scores"},
            ),
        }
    )


def _balance(
    names: list[str], real: Floats, hosts: Floats, matched_real: Floats, matched_hosts: Floats, most: float
) -> xr.Dataset:
    """Compare the covariates of both sides, before and after matching.

    Values, not their normal scores: ranks would make a gap of ten magnitudes as small as one of a tenth. Values beyond
    5 sd of the hosts (1.4826 MAD) count as 5, because one outlier would widen the standard deviation that a difference
    is measured in, and hide it. That standard deviation is of both sides before matching, so that before and after
    compare.
    """
    columns = {"real_median": _median(matched_real), "host_median": _median(matched_hosts)}
    real, hosts, matched_real, matched_hosts = _clipped(hosts, real, hosts, matched_real, matched_hosts)
    sd = np.sqrt((_variances(real) + _variances(hosts)) / 2)
    columns |= {
        "smd_before": _difference(real, hosts, sd),
        "smd": _difference(matched_real, matched_hosts, sd),
        "variance_ratio_before": _ratio(real, hosts),
        "variance_ratio": _ratio(matched_real, matched_hosts),
    }
    low, high = VARIANCE_RATIO
    with np.errstate(invalid="ignore"):
        ratio = columns["variance_ratio"]
        balanced = (np.abs(columns["smd"]) < most) & (ratio >= low) & (ratio <= high)
    return xr.Dataset({n: ("covariate", v) for n, v in columns.items()} | {"balanced": ("covariate", balanced)},
                      coords={"covariate": names})  # fmt: skip


def _clipped(like: Floats, *tables: Floats) -> tuple[Floats, ...]:
    if not len(like):
        return tables
    middle, sd = median_and_sigma(like.T)
    sd = np.where(sd > 0, sd, like.std(axis=0))
    sd = np.where(sd > 0, sd, np.inf)
    return tuple(np.clip(t, middle - CLIP_SD * sd, middle + CLIP_SD * sd) for t in tables)


def _variances(table: Floats) -> Floats:
    return table.var(axis=0, ddof=1) if len(table) > 1 else np.full(table.shape[1], np.nan)


def _median(table: Floats) -> Floats:
    return np.median(table, axis=0) if len(table) else np.full(table.shape[1], np.nan)


def _difference(real: Floats, hosts: Floats, sd: Floats) -> Floats:
    if not len(real) or not len(hosts):
        return np.full(len(sd), np.nan)
    return np.asarray((real.mean(axis=0) - hosts.mean(axis=0)) / sd)


def _ratio(real: Floats, hosts: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_variances(real) / _variances(hosts))


def hidden_in_words(one: xr.Dataset) -> str:
    """Say what arcs hide of one covariate of a balance."""
    return (
        f"arcs hide {one['covariate'].item()} (reliability {float(one['reliability']):.2f}), which may still differ by "
        f"{float(one['hidden']):.2f} sd"
    )


def _with_hidden(balance: xr.Dataset, reliability: Mapping[str, float]) -> xr.Dataset:
    """Add what arcs may hide of a difference of the hosts.

    A covariate is the host's value and what its arc adds. Sets that are alike in the sum are alike in the host's value
    but for (1 - share)/share of the difference that the sum had before, share: reliability; here in sd of the hosts.
    """
    share = np.array([reliability.get(str(n), np.nan) for n in balance["covariate"].values])
    with np.errstate(divide="ignore", invalid="ignore"):
        hidden = np.where(share >= 1, 0.0, np.abs(balance["smd_before"].values) * (1 - share) / np.sqrt(share))
    return balance.assign(
        reliability=("covariate", share),
        hidden=("covariate", hidden),
        balanced=("covariate", balance["balanced"].values & (hidden < HIDDEN_SD)),
    )


def _words(balance: xr.Dataset, most: float) -> str:
    """Say which covariate is worst; empty if all are balanced."""
    if bool(balance["balanced"].all()):
        return ""
    if "hidden" in balance and not (balance["hidden"].values < HIDDEN_SD).all():
        worst = int(np.argmax(np.nan_to_num(balance["hidden"].values, nan=np.inf)))
        return f"hosts are not matched: {hidden_in_words(balance.isel(covariate=worst))}"
    smd, ratio = balance["smd"].values, balance["variance_ratio"].values
    if np.isnan(smd).all():
        return "no real lens has hosts inside the caliper"
    if np.nanmax(np.abs(smd)) >= most:
        worst = int(np.nanargmax(np.abs(smd)))
        what = f"differs by {abs(smd[worst]):.2f} sd"
    else:
        off = np.where(np.isnan(ratio) | (ratio <= 0), np.inf, np.abs(np.log(np.where(ratio > 0, ratio, 1))))
        worst = int(np.argmax(off))
        what = f"has {ratio[worst]:.2f} times the variance"
    return f"hosts are not matched: {balance['covariate'].values[worst]} {what}"
