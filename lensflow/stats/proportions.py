"""Intervals of a recovered share: by hosts (Korn & Graubard), and by row for comparison with papers.

Rows of one host share its pixels, so a share of rows is known less well than as many independent trials would tell.
:func:`clustered` takes five integer sums over hosts and the number of hosts; sums add up over any partition of the
hosts, and so every number here is the same to the last bit however the work was divided.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri, stdtrit

from lensflow.errors import CompletenessError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Below this share of its largest term the variance's numerator is mostly rounding: it is then made with whole numbers.
_CANCELS = 1e-6


class Proportion(NamedTuple):
    """A share with its interval, one value per cell.

    Attributes
    ----------
    value, low, high : ndarray of float64
        NaN where there is no row; the ends also where there are fewer than two hosts.
    variance : ndarray of float64
        Of the value, from the scatter between hosts.
    n_eff : ndarray of float64
        Independent rows that would give this variance; infinite where it is 0, NaN where it says nothing.
    n_star : ndarray of float64
        Sample size that the interval was made with.
    deff : ndarray of float64
        Design effect: rows over ``n_star``.
    """

    value: Floats
    low: Floats
    high: Floats
    variance: Floats
    n_eff: Floats
    n_star: Floats
    deff: Floats


def clustered(
    n: ArrayLike, k: ArrayLike, nn: ArrayLike, nk: ArrayLike, kk: ArrayLike, n_hosts: ArrayLike, level: float = 0.95
) -> Proportion:
    """Share of recovered rows with the interval of Korn & Graubard over hosts.

    Parameters
    ----------
    n, k : array_like of int
        Rows, and recovered rows: sums of n_h and k_h over hosts h.
    nn, nk, kk : array_like of int
        Sums of n_h^2, n_h k_h and k_h^2.
    n_hosts : array_like of int
        Hosts with rows.
    level : float
        Of the interval.

    Returns
    -------
    Proportion
        Arrays of the shape that all parameters broadcast to.

    Raises
    ------
    CompletenessError
        If the sums cannot be those of any hosts; names the first such cell.

    Notes
    -----
    v = H/(H-1) sum (k_h - p n_h)^2 / n^2, n_eff = p (1 - p) / v, n* = min(n, n_eff (t_{n-1} / t_{H-1})^2), and then
    Clopper & Pearson at n* rows of which p n* are recovered. With no row recovered, or every row, v says nothing and
    n* is the number of hosts; with v = 0 otherwise, n* = n.

    References
    ----------
    Korn & Graubard 1998, Survey Methodology 24, 193; ``svyciprop(method="beta")`` of the R package survey.
    """
    sums = np.broadcast_arrays(*(np.asarray(v, dtype=np.int64) for v in (n, k, nn, nk, kk, n_hosts)))
    _check(*sums)
    rows, recovered, s_nn, s_nk, s_kk, hosts = sums
    value = _share(recovered, rows)
    numerator = _between_hosts(rows, recovered, s_nn, s_nk, s_kk)
    some = hosts >= 2
    variance = np.full(value.shape, np.nan)
    np.divide(hosts * numerator, (hosts - 1.0) * rows.astype(np.float64) ** 2, out=variance, where=some)
    return from_variance(value, variance, rows, hosts, hosts, level)


def from_variance(
    value: ArrayLike, variance: ArrayLike, n: ArrayLike, n_hosts: ArrayLike, n_at_ends: ArrayLike, level: float = 0.95
) -> Proportion:
    """Make the same interval from a share and its variance, for weighted rows.

    Parameters
    ----------
    value, variance : array_like
        Share and its variance between hosts.
    n : array_like
        Number of rows, the largest sample size that the interval may claim.
    n_hosts : array_like of int
        Hosts with rows; below two the ends are NaN.
    n_at_ends : array_like
        Sample size where the share is exactly 0 or 1 and its variance says nothing.
    level : float
        Of the interval.

    Returns
    -------
    Proportion
    """
    parts = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (value, variance, n, n_hosts, n_at_ends)))
    p, v, rows, hosts, at_ends = parts
    usable = (hosts >= 2) & (rows >= 1) & np.isfinite(p)
    ends = usable & ((p == 0) | (p == 1))
    # Without a variance, or with one that is none, there is no interval: never one as if rows were independent.
    inner = usable & ~ends & (v >= 0)
    n_eff = np.full(p.shape, np.nan)
    n_eff[inner] = np.inf
    np.divide(p * (1 - p), v, out=n_eff, where=inner & (v > 0))
    tail = (1 + level) / 2
    fewer = np.ones(p.shape)
    fewer[inner] = (stdtrit(rows[inner] - 1, tail) / stdtrit(hosts[inner] - 1, tail)) ** 2
    n_star = np.where(inner, np.minimum(rows, n_eff * fewer), np.where(ends, at_ends, np.nan))
    n_star = np.where(inner & (v == 0), rows, n_star)
    low, high = _beta_ends(p * n_star, n_star, level)
    deff = np.divide(rows, n_star, out=np.full(p.shape, np.nan), where=n_star > 0)
    return Proportion(p.copy(), low, high, np.where(usable, v, np.nan), n_eff, n_star, deff)


def clopper_pearson(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Exact interval of k of n independent rows; NaN where n is 0.

    Parameters
    ----------
    k, n : array_like
        Recovered rows and rows.
    level : float
        Of the interval.

    Returns
    -------
    low, high : ndarray of float64
    """
    recovered, rows = _counts(k, n)
    return _beta_ends(recovered, rows, level)


def jeffreys(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Equal-tailed interval of the Beta(k + 1/2, n - k + 1/2) posterior, low = 0 at k = 0 and high = 1 at k = n.

    Parameters
    ----------
    k, n : array_like
        Recovered rows and rows, taken as independent.
    level : float
        Of the interval.

    Returns
    -------
    low, high : ndarray of float64
        NaN where n is 0.

    References
    ----------
    Brown, Cai & DasGupta 2001, Statistical Science 16, 101.
    """
    x, rows = _counts(k, n)
    a, b = x + 0.5, rows - x + 0.5
    low = np.where(x == 0, 0.0, betaincinv(a, b, (1 - level) / 2))
    high = np.where(x == rows, 1.0, betaincinv(a, b, (1 + level) / 2))
    return np.where(rows > 0, low, np.nan), np.where(rows > 0, high, np.nan)


def wilson(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Score interval of k of n independent rows (Wilson 1927); NaN where n is 0.

    Parameters
    ----------
    k, n : array_like
        Recovered rows and rows, taken as independent.
    level : float
        Of the interval; 0.95 is z = 1.96.

    Returns
    -------
    low, high : ndarray of float64
    """
    x, rows = _counts(k, n)
    z2 = float(ndtri((1 + level) / 2)) ** 2
    safe = np.where(rows > 0, rows, np.nan)
    p = x / safe
    middle = (p + z2 / (2 * safe)) / (1 + z2 / safe)
    half = np.sqrt(z2 * p * (1 - p) / safe + (z2 / (2 * safe)) ** 2) / (1 + z2 / safe)
    # At the ends the two terms are the same number, up to rounding.
    return np.where(x == 0, 0.0, middle - half) + 0 * safe, np.where(x == rows, 1.0, middle + half) + 0 * safe


def _beta_ends(x: Floats, n: Floats, level: float) -> tuple[Floats, Floats]:
    """Clopper & Pearson for x of n, which need not be whole numbers; NaN where n is NaN or 0."""
    known = np.isfinite(n) & (n > 0)
    low, high = np.where(known, 0.0, np.nan), np.where(known, 1.0, np.nan)
    up, down = known & (x > 0), known & (x < n)
    low[up] = betaincinv(x[up], n[up] - x[up] + 1, (1 - level) / 2)
    high[down] = betaincinv(x[down] + 1, n[down] - x[down], (1 + level) / 2)
    return low, high


def _share(k: Integers, n: Integers) -> Floats:
    return np.divide(k, n, out=np.full(n.shape, np.nan), where=n > 0)


def _between_hosts(n: Integers, k: Integers, nn: Integers, nk: Integers, kk: Integers) -> Floats:
    """Sum over hosts of (k_h - p n_h)^2, exactly 0 where every host has the same share."""
    p = np.nan_to_num(_share(k, n))
    found = np.asarray(kk - 2 * p * nk + p * p * nn, dtype=np.float64)
    poor = (n > 0) & (found <= _CANCELS * np.maximum(kk, 1))
    if poor.any():
        # Python's integers have no largest one: n^2 kk passes 2^63 from 10^6 rows on.
        a, b, c, d, e = (v[poor].astype(object) for v in (n, k, nn, nk, kk))
        exact = a * a * e - 2 * a * b * d + b * b * c
        found[poor] = [top / bottom for top, bottom in zip(exact, a * a, strict=True)]
    return found


def _check(n: Integers, k: Integers, nn: Integers, nk: Integers, kk: Integers, hosts: Integers) -> None:
    """Refuse sums that no hosts can have: a sum in the wrong place would give an interval like any other."""
    wrong = (k < 0) | (k > n) | (hosts < 0) | (hosts > n) | ((n > 0) & (hosts == 0))
    wrong |= (nn < n) | (kk < k) | (nk < kk) | (nk > nn)
    # Cauchy & Schwarz: n^2 <= H nn. Floats are exact enough to catch what is wrong by more than rounding.
    wrong |= n.astype(np.float64) ** 2 > hosts * nn.astype(np.float64) * (1 + 1e-9)
    if wrong.any():
        cell = int(np.flatnonzero(np.ravel(wrong))[0])
        shown = ", ".join(
            f"{name} {np.ravel(v)[cell]}"
            for name, v in zip(("n", "k", "nn", "nk", "kk", "n_hosts"), (n, k, nn, nk, kk, hosts), strict=True)
        )
        raise CompletenessError(f"cell {cell}: no hosts have these sums of rows and recovered rows ({shown})")


def _counts(k: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    x, rows = np.broadcast_arrays(np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64))
    wrong = ~((x >= 0) & (x <= rows))
    if wrong.any():
        cell = int(np.flatnonzero(np.ravel(wrong))[0])
        raise CompletenessError(
            f"cell {cell}: {np.ravel(x)[cell]:g} of {np.ravel(rows)[cell]:g} rows recovered; a share lies in 0 to 1"
        )
    return x, rows
