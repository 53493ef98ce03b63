"""Two runs on the same rows: what one recovers and the other does not.

Rows of one host are gained and lost together, so McNemar's test by row finds differences that are not there. Here the
unit is the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from scipy.stats import binom, binomtest, chi2

from lensflow import rng
from lensflow.config.completeness import band_of
from lensflow.errors import CompletenessError
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Floats, named
from lensflow.stats.proportions import clopper_pearson

FLIPS = 1999
# Hosts with a difference below which the chi-squared distribution is not trusted.
FEW_DISCORDANT = 30


@dataclass(frozen=True)
class Paired:
    """What two runs recover of the same rows.

    Attributes
    ----------
    n_rows, n_hosts : int
        Rows that are valid in both runs, and their hosts.
    left_out : int
        Rows that are not valid in one or both.
    gained, lost : int
        Rows that only the second, or only the first run recovers.
    discordant_hosts : int
        Hosts whose gained and lost rows do not cancel.
    difference : Estimate
        Completeness of the second run less that of the first, 95 % interval over hosts.
    test : str
        ``McNemar``, ``clustered chi2`` or ``sign flips``: what gave ``p``.
    p : float
        Of the hypothesis that neither recovers more; two-sided.
    mid_p : float
        Mid-p of McNemar's exact test; NaN for the others.
    chi2 : float
        (sum (b_h - c_h))^2 / sum (b_h - c_h)^2; NaN where no host differs.
    score_difference : float
        Mean score of the second run less that of the first; NaN without scores.
    """

    n_rows: int
    n_hosts: int
    left_out: int
    gained: int
    lost: int
    discordant_hosts: int
    difference: Estimate
    test: str
    p: float
    mid_p: float
    chi2: float
    score_difference: float


def paired(
    recovered_a: ArrayLike,
    recovered_b: ArrayLike,
    hosts: ArrayLike,
    valid: ArrayLike | None = None,
    scores: tuple[ArrayLike, ArrayLike] | None = None,
    seed: int = 0,
) -> Paired:
    """Compare what two runs recover of the same rows.

    Parameters
    ----------
    recovered_a, recovered_b : array_like of bool, shape (n,)
        Of the same rows in the same order (:func:`matched`).
    hosts : array_like, shape (n,)
    valid : array_like of bool, shape (n,), optional
        Rows that are valid in both runs; default all.
    scores : (array_like, array_like), optional
        Of the two runs, shape (n,).
    seed : int
        Of the sign flips.

    Returns
    -------
    Paired
        With one row per host the exact test of McNemar; else chi-squared over hosts, and below 30 hosts that differ
        a permutation of the signs of their differences.

    Raises
    ------
    CompletenessError
        If no row is valid in both.
    """
    kept = np.ones(len(np.asarray(hosts)), bool) if valid is None else np.asarray(valid, dtype=bool)
    a, b = (np.asarray(v, dtype=bool)[kept] for v in (recovered_a, recovered_b))
    if not kept.any():
        raise CompletenessError(f"paired runs: none of {kept.size:,} rows is valid in both")
    _, host, rows = np.unique(np.asarray(hosts)[kept], return_inverse=True, return_counts=True)
    net = np.bincount(host, weights=b.astype(float) - a).astype(np.float64)
    gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
    mid_p = math.nan
    if (rows == 1).all():
        test, (p, mid_p) = "McNemar", mcnemar(gained, lost)
    else:
        test, p = net_test(net, seed)
    apart = math.nan
    if scores is not None:
        first, second = (np.asarray(s, dtype=np.float64)[kept] for s in scores)
        apart = float((second - first).mean())
    return Paired(
        len(a), len(rows), int((~kept).sum()), gained, lost, int((net != 0).sum()),
        _difference(net, rows, gained + lost), test, p, mid_p, _chi2(net), apart,
    )  # fmt: skip


def net_test(net: Floats, seed: int = 0) -> tuple[str, float]:
    """Test whether the hosts' net changes are 0 on average.

    Parameters
    ----------
    net : ndarray, shape (host,)
        Sum of the changes of each host's rows.
    seed : int
        Of the sign flips.

    Returns
    -------
    (str, float)
        Name of the test (``clustered chi2``, or ``sign flips`` below 30 hosts that differ) and p, two-sided.
    """
    if (net != 0).sum() >= FEW_DISCORDANT:
        return "clustered chi2", float(chi2.sf(_chi2(net), 1))
    return "sign flips", _sign_flips(net[net != 0], seed)


def _chi2(net: Floats) -> float:
    square = float(net @ net)
    return float(net.sum()) ** 2 / square if square else math.nan


def mcnemar(gained: int, lost: int) -> tuple[float, float]:
    """Exact two-sided test of as many gains as losses among independent rows, and its mid-p.

    Parameters
    ----------
    gained, lost : int
        Discordant rows.

    Returns
    -------
    (float, float)
        Both 1 where no row is discordant.
    """
    n, fewer = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0, 1.0
    p = float(binomtest(fewer, n, 0.5).pvalue)
    return p, min(1.0, p - float(binom.pmf(fewer, n, 0.5)))


def holm(p: Sequence[float]) -> Floats:
    """Correct p-values for their number (Holm 1979); NaN stays NaN and does not count.

    Parameters
    ----------
    p : sequence of float

    Returns
    -------
    ndarray of float64
        None smaller than it was.
    """
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return out


def by_stratum(
    variable: str,
    labels: Sequence[str],
    place: ArrayLike,
    recovered_a: ArrayLike,
    recovered_b: ArrayLike,
    hosts: ArrayLike,
    valid: ArrayLike | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Compare gains and losses in each stratum, with p-values corrected for their number.

    Parameters
    ----------
    variable : str
        What the strata are of; fixed before noise and scoring.
    labels : sequence of str
        Of the strata.
    place : array_like of int, shape (n,)
        Stratum of each row. It is the same in both runs because it does not depend on them.
    recovered_a, recovered_b, hosts, valid, seed
        As :func:`paired`.

    Returns
    -------
    Dataset
        Over ``variable``; NaN where a stratum has no row.

    Raises
    ------
    CompletenessError
        If the variable is measured after noise or scoring: the two runs would put rows into different strata.
    """
    try:
        band_of(variable)
    except ValueError as error:
        raise CompletenessError(f"paired runs: strata: {error}") from None
    at, a, b, host = (np.asarray(v) for v in (place, recovered_a, recovered_b, hosts))
    ok = np.ones(len(at), bool) if valid is None else np.asarray(valid, dtype=bool)
    picks = [ok & (at == k) for k in range(len(labels))]
    found = [paired(a[m], b[m], host[m], seed=seed) if m.any() else None for m in picks]

    def every(name: str) -> list[float]:
        return [math.nan if f is None else float(getattr(f, name)) for f in found]

    p = every("p")
    ends = {k: [math.nan if f is None else f.difference.fields("difference")[k] for f in found]
            for k in ("difference", "difference_low", "difference_high")}  # fmt: skip
    dims = [variable]
    data = {k: named(dims, v, "1", k.replace("_", " ")) for k, v in ends.items()}
    for name in ("n_rows", "n_hosts", "gained", "lost"):
        data[name] = named(dims, np.nan_to_num(every(name)).astype(np.int64), "1", name.replace("_", " "))
    data["p"] = named(dims, p, "1", "of the hypothesis that neither run recovers more")
    data["p_holm"] = named(dims, holm(p), "1", "the same, corrected for the number of strata (Holm)")
    return xr.Dataset(data, coords={variable: np.array(labels)})


def matched(
    row_id_a: ArrayLike,
    row_id_b: ArrayLike,
    columns_a: Mapping[str, ArrayLike],
    columns_b: Mapping[str, ArrayLike],
    owned: Iterable[str] = (),
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match the rows of two runs, which must come from one manifest.

    Parameters
    ----------
    row_id_a, row_id_b : array_like of uint64, shape (n,)
        Injection rows of the two runs.
    columns_a, columns_b : mapping
        Name -> values of the two manifests, shape (n, ...).
    owned : iterable of str
        Columns that the factor under study changes, by intent.

    Returns
    -------
    ndarray of int64, ndarray of int64
        Order of the rows of each that puts the same rows side by side.

    Raises
    ------
    CompletenessError
        If rows are in one run only (counts and the first three), or columns differ (their names).
    """
    a, b = np.asarray(row_id_a, dtype=np.uint64), np.asarray(row_id_b, dtype=np.uint64)
    for name, ids in (("first", a), ("second", b)):
        if len(np.unique(ids)) < len(ids):
            raise CompletenessError(f"paired runs: a row_id occurs twice in the {name} run")
    only = {"first": np.setdiff1d(a, b), "second": np.setdiff1d(b, a)}
    faults = [
        f"{v.size:,} rows are in the {k} run only ({', '.join(map(str, v[:3]))})" for k, v in only.items() if v.size
    ]
    if faults:
        raise CompletenessError(f"paired runs: not one manifest: {'; '.join(faults)}")
    order_a, order_b = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
    skipped = set(owned)
    differ = [name for name in {**columns_a, **columns_b} if name not in skipped
              and not _same(columns_a.get(name), columns_b.get(name), order_a, order_b)]  # fmt: skip
    if differ:
        raise CompletenessError(
            f"paired runs: not one manifest: {', '.join(differ)} differ. What the factor under study changes is to be "
            "named (owned); everything else must be the same"
        )
    return order_a, order_b


def _same(a: ArrayLike | None, b: ArrayLike | None, order_a: NDArray[np.int64], order_b: NDArray[np.int64]) -> bool:
    if a is None or b is None:
        return False
    first, second = np.asarray(a)[order_a], np.asarray(b)[order_b]
    both = first.dtype.kind == "f" and second.dtype.kind == "f"
    return bool(np.array_equal(first, second, equal_nan=both))


def _sign_flips(net: Floats, seed: int) -> float:
    """Share of sign flips of the hosts' differences whose sum is as far from 0, the observed one among them."""
    if net.size == 0:
        return 1.0
    flips = rng.generator(seed, "completeness.sign_flips").choice([-1.0, 1.0], (FLIPS, net.size))
    as_far = np.abs(flips @ net) >= abs(net.sum()) - 1e-9
    return float(1 + as_far.sum()) / (1 + FLIPS)


def _difference(net: Floats, rows: NDArray[np.int64], discordant: int) -> Estimate:
    n, count = int(rows.sum()), len(rows)
    value = float(net.sum()) / n
    if count < 2:
        return Estimate(value, n_hosts=count)
    if discordant == 0:
        # No differing host does not mean that none would differ: the exact bound for 0 of N.
        end = float(clopper_pearson(0, count)[1])
        return Estimate(0.0, -end, end, count)
    residual = net - value * rows
    sd = math.sqrt(count / (count - 1) * float(residual @ residual)) / n
    half = float(stdtrit(count - 1, 0.975)) * sd
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), count, sd)
