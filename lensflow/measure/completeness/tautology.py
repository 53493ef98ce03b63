"""Is what was recovered only a cut on what was put in? Then the completeness measures the cut.

The first completeness of the project that this grew out of called a row recovered when its peak SNR was 5 and its
theta_E 0.8 of the PSF. The "seeing wall" that it found at 0.8 was that cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.stats.hostsums import Floats

# Rows of each class from which on an exact reproduction is no chance.
ENOUGH_OF_EACH = 200
# Rows that a tree is tried on before it grows on all.
_ROWS_OF_TREE = 50_000
# A bin as empty as a wall, and a neighbour that is not.
WALL_ROWS, WALL_HOSTS, WALL_NEIGHBOUR = 1000, 100, 0.20


@dataclass(frozen=True)
class _Cut:
    """Rows on one side of a number."""

    text: str
    inside: NDArray[np.bool_]


def reproduced_by(columns: Mapping[str, ArrayLike], recovered: ArrayLike) -> str | None:
    """Find a cut on at most two columns that gives ``recovered`` exactly.

    Parameters
    ----------
    columns : mapping
        Name -> values of the valid rows, shape (n,), known without any image: theta_E, theta_E over the PSF both
        ways, source magnitude, half-light radius, SNRs of the noiseless arc.
    recovered : array_like of bool, shape (n,)

    Returns
    -------
    str or None
        The cut, as ``snr_peak_r >= 5.01 and theta_e_over_psfsize_r >= 0.8``; None if there is none, or fewer than 200
        rows of either class to tell.

    Notes
    -----
    Two cuts joined by *and* or *or* are searched exactly: a greedy tree may begin with a third column that goes with
    both. All other forms of two cuts are left to a decision tree of depth 2.
    """
    found = np.asarray(recovered, dtype=bool)
    if min(int(found.sum()), int((~found).sum())) < ENOUGH_OF_EACH:
        return None
    values = {name: np.asarray(v, dtype=np.float64) for name, v in columns.items()}
    return _joined(values, found, " and ") or _joined(values, ~found, " or ") or _tree(values, found)


def walls(rows: ArrayLike, recovered: ArrayLike, hosts: ArrayLike) -> list[tuple[int, ...]]:
    """Find bins without any recovery beside a neighbour of which more than a fifth is recovered.

    Parameters
    ----------
    rows, recovered, hosts : array_like of int, shape (bins, ...)
        Valid rows, recovered rows and hosts of the bins of one variable, or of a table; only bins inside the edges,
        in their order.

    Returns
    -------
    list of tuple of int
        Index of each such bin: at least 1,000 valid rows on at least 100 hosts.
    """
    n, k, h = (np.asarray(v, dtype=np.int64) for v in (rows, recovered, hosts))
    empty = (n >= WALL_ROWS) & (h >= WALL_HOSTS) & (k == 0)
    high = k > WALL_NEIGHBOUR * n
    beside = np.zeros(n.shape, bool)
    for axis in range(n.ndim):
        first, last = ([slice(None)] * n.ndim for _ in range(2))
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        beside[tuple(first)] |= high[tuple(last)]
        beside[tuple(last)] |= high[tuple(first)]
    return [tuple(int(i) for i in place) for place in np.argwhere(empty & beside)]


def _joined(values: Mapping[str, Floats], wanted: NDArray[np.bool_], word: str) -> str | None:
    """Find one or two cuts that hold all wanted rows and no other; with ``or`` the rows are those that are not."""
    negated = word == " or "
    cuts = [c for name, x in values.items() for c in _tightest(name, x, wanted, negated)]
    # Narrow cuts first: a pair of wide ones can never be the answer where one alone is.
    for cut in cuts:
        if np.array_equal(cut.inside, wanted):
            return cut.text
    for a, b in combinations(cuts, 2):
        if np.array_equal(a.inside & b.inside, wanted):
            return f"{a.text}{word}{b.text}"
    return None


def _tightest(name: str, x: Floats, wanted: NDArray[np.bool_], negated: bool) -> list[_Cut]:
    """Cuts from below and from above that hold every wanted row, as tight as can be."""
    ends = x[wanted]
    if np.isnan(ends).any():
        return []
    low, high = ends.min(), ends.max()
    with np.errstate(invalid="ignore"):
        above, below = x >= low, x <= high
    if negated:
        return [_Cut(f"{name} < {low:.4g}", above), _Cut(f"{name} > {high:.4g}", below)]
    return [_Cut(f"{name} >= {low:.4g}", above), _Cut(f"{name} <= {high:.4g}", below)]


def _tree(values: Mapping[str, Floats], found: NDArray[np.bool_]) -> str | None:
    from sklearn.tree import DecisionTreeClassifier  # needed once in a completeness, and imported for a second

    names = [name for name, x in values.items() if not np.isnan(x).all()]
    if not names:
        return None
    # Trees take single precision: what differs by less is one value to them. Infinities they refuse.
    table = np.stack([np.nan_to_num(values[n], nan=np.nan, posinf=3e38, neginf=-3e38) for n in names], axis=1)
    # Cuts that reproduce all rows reproduce some of them: of many, every k-th finds the cuts, and all judge them.
    some = slice(None, None, max(1, len(found) // _ROWS_OF_TREE))
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(table[some], found[some])
    if not np.array_equal(tree.predict(table[some]), found[some]):
        return None
    if some.step > 1:
        tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(table, found)
    if not np.array_equal(tree.predict(table), found):
        return None
    inner = tree.tree_
    used = [f"{names[f]} at {t:.4g}" for f, t in zip(inner.feature, inner.threshold, strict=True) if f >= 0]
    return f"a tree of cuts: {', '.join(used)}"
