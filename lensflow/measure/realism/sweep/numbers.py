"""What an arm recovers against the reference: all rows, every stratum of the frozen plan, the interaction of two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.paired import Paired, holm, net_test, paired
from lensflow.stats.estimate import Estimate, with_interval
from lensflow.stats.hostsums import Floats, named
from lensflow.stats.proportions import clopper_pearson

ALL = "all rows"
_HOSTS = "95 % interval over hosts"


@dataclass(frozen=True, eq=False)
class Scored:
    """Rows of one arm and what became of them.

    Attributes
    ----------
    recovered : ndarray of bool, shape (threshold, n)
    score : ndarray of float64, shape (n,)
    valid : ndarray of bool, shape (n,)
    """

    recovered: NDArray[np.bool_]
    score: Floats
    valid: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stratum:
    """A variable's bins and the bin of each row, fixed by the reference's manifest: no row moves between bins.

    Attributes
    ----------
    labels : sequence of str
    place : ndarray of int64, shape (n,)
    """

    labels: Sequence[str]
    place: NDArray[np.int64]


def against_reference(
    reference: Scored, arm: Scored, hosts: NDArray[np.int64], strata: Mapping[str, Stratum], seed: int = 0
) -> xr.Dataset:
    """Compare what an arm recovers with what the reference does, of the same rows in the same order.

    Parameters
    ----------
    reference, arm : Scored
    hosts : ndarray of int64, shape (n,)
        Host of each row.
    strata : mapping
        Variable -> its bins.
    seed : int
        Of the sign flips.

    Returns
    -------
    Dataset
        Over ``threshold`` and ``stratum`` (the first is all rows; coordinates ``variable`` and ``bin``): n_rows,
        n_hosts, left_out, recovered_reference, recovered_arm, difference and score_difference with intervals over
        hosts, gained, lost, test, p, and p_holm, corrected for the number of strata. NaN where a stratum has no row.

    Raises
    ------
    CompletenessError
        If no row is valid in both.
    """
    valid = reference.valid & arm.valid
    if not valid.any():
        raise CompletenessError(f"sweep: none of {valid.size:,} rows is valid in both arms")
    picks = [("", ALL, np.ones(valid.size, bool))]
    for variable, one in strata.items():
        picks += [(variable, label, one.place == k) for k, label in enumerate(one.labels)]
    picks = [(v, b, m) for v, b, m in picks if m.any()]
    tables = [
        _table(picks, a, b, reference.score, arm.score, hosts, valid, seed)
        for a, b in zip(reference.recovered, arm.recovered, strict=True)
    ]
    return xr.concat(tables, "threshold", join="exact")


def interaction(arms: Sequence[Scored], hosts: NDArray[np.int64], seed: int = 0) -> xr.Dataset:
    """Whether one factor changes what the other does: the difference of two differences.

    Parameters
    ----------
    arms : sequence of Scored
        Reference, first factor changed, second changed, both changed; the same rows in the same order.
    hosts : ndarray of int64, shape (n,)
    seed : int
        Of the sign flips.

    Returns
    -------
    Dataset
        Over ``threshold``: ``interaction`` of the recovered shares and ``score_interaction``, with intervals over
        hosts, p and test, n_rows, n_hosts.
    """
    valid = np.logical_and.reduce([a.valid for a in arms])
    if not valid.any():
        raise CompletenessError(f"sweep: none of {valid.size:,} rows is valid in all four arms")
    host, out = hosts[valid], []
    _, index, rows = np.unique(host, return_inverse=True, return_counts=True)
    score = _combined([a.score[valid] for a in arms])
    for k in range(len(arms[0].recovered)):
        each = _combined([a.recovered[k][valid].astype(np.float64) for a in arms])
        net = np.bincount(index, weights=each).astype(np.float64)
        test, p = net_test(net, seed)
        apart = mean_over_hosts(each, host)
        if not each.any():
            # No host in which it differs does not mean that none would: the exact bound for 0 of N, times the largest
            # that a host's mean can be.
            end = 2 * float(clopper_pearson(0, len(rows))[1])
            apart = Estimate(0.0, -end, end, len(rows))
        parts = _variables((), apart, "interaction", "recovered by both less by each alone")
        parts |= _variables((), mean_over_hosts(score, host), "score_interaction", "the same of the mean score")
        out.append(
            xr.Dataset(parts).assign(p=((), p), test=((), test), n_rows=((), len(each)), n_hosts=((), len(rows)))
        )
    return xr.concat(out, "threshold", join="exact")


def mean_over_hosts(values: Floats, hosts: NDArray[np.int64]) -> Estimate:
    """Mean of rows with an interval that takes the hosts as the units.

    Parameters
    ----------
    values : ndarray, shape (n,)
    hosts : ndarray of int64, shape (n,)

    Returns
    -------
    Estimate
        A ratio estimator (sum over rows), Student's t with hosts less 1 degrees of freedom; without an interval on
        fewer than two hosts.
    """
    _, index, rows = np.unique(hosts, return_inverse=True, return_counts=True)
    net, count = np.bincount(index, weights=values), len(rows)
    value = float(values.mean())
    if count < 2:
        return Estimate(value, n_hosts=count)
    residual = net - value * rows
    sd = math.sqrt(count / (count - 1) * float(residual @ residual)) / len(values)
    half = float(stdtrit(count - 1, 0.975)) * sd
    return Estimate(value, value - half, value + half, count, sd)


def _combined(four: Sequence[Floats]) -> Floats:
    reference, first, second, both = four
    return both - first - second + reference


def _table(
    picks: Sequence[tuple[str, str, NDArray[np.bool_]]],
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    score_a: Floats,
    score_b: Floats,
    hosts: NDArray[np.int64],
    valid: NDArray[np.bool_],
    seed: int,
) -> xr.Dataset:
    found: list[Paired | None] = []
    score, shares = [], []
    for _, _, pick in picks:
        some = pick & valid
        if not some.any():
            found.append(None)
            score.append(Estimate(math.nan))
            shares.append((math.nan, math.nan))
            continue
        found.append(paired(a[pick], b[pick], hosts[pick], valid[pick], seed=seed))
        score.append(mean_over_hosts(score_b[some] - score_a[some], hosts[some]))
        shares.append((float(a[some].mean()), float(b[some].mean())))
    dims = ["stratum"]
    p = np.array([math.nan if f is None else f.p for f in found])
    corrected = p.copy()
    corrected[1:] = holm(p[1:].tolist())
    data = _variables(
        dims, [Estimate(math.nan) if f is None else f.difference for f in found], "difference",
        "recovered share of the arm less that of the reference",
    )  # fmt: skip
    data |= _variables(dims, score, "score_difference", "mean score of the arm less that of the reference")
    for name in ("n_rows", "n_hosts", "left_out", "gained", "lost"):
        counts = [0 if f is None else int(getattr(f, name)) for f in found]
        data[name] = named(dims, np.array(counts, dtype=np.int64), "1", name.replace("_", " "))
    for k, name in enumerate(("recovered_reference", "recovered_arm")):
        data[name] = named(dims, [s[k] for s in shares], "1", name.replace("_", " share of the "))
    data["test"] = named(dims, np.array(["" if f is None else f.test for f in found]), "", "what gave p")
    data["p"] = named(dims, p, "1", "of the hypothesis that neither recovers more; hosts are the units")
    data["p_holm"] = named(dims, corrected, "1", "the same, corrected for the number of strata (Holm)")
    coords = {
        "variable": (dims, np.array([v for v, _, _ in picks])),
        "bin": (dims, np.array([label for _, label, _ in picks])),
    }
    return xr.Dataset(data, coords=coords)


def _variables(
    dims: Sequence[str], found: Estimate | Sequence[Estimate], name: str, what: str
) -> dict[str, tuple[object, ...]]:
    every = [found] if isinstance(found, Estimate) else found
    value, low, high = np.array([(e.value, e.low, e.high) for e in every]).T
    if isinstance(found, Estimate):
        value, low, high = value[0], low[0], high[0]
    return with_interval(name, [*dims], (value, (low, high)), "1", what, _HOSTS)
