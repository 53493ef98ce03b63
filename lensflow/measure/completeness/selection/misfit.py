"""Does a smooth model fit the counts of the cells? Where it does not, it may not be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri

from lensflow.measure.completeness.selection.smooth_fit import Drawn, Rows, blocks
from lensflow.stats.hostsums import Floats

# A fit is refused below this chance of a misfit as large, and where a cell of so many recoveries is this far off.
LEAST_P, EXPECTED, SIGMAS = 0.01, 50, 3.0
# Hosts that a cell's variance needs.
_HOSTS = 10


@dataclass(frozen=True)
class Misfit:
    """How far the counts of the tested cells are from a model.

    Attributes
    ----------
    chi2 : float
        Sum over cells of (recovered - expected)^2 over its variance between hosts.
    p : float
        Share of draws of hosts, each with its own fit, whose deviations from those of all rows are as large.
    n_cells : int
    reason : str
        Why the model may not be used; empty where it may.
    """

    chi2: float
    p: float
    n_cells: int
    reason: str


def misfit(
    rows: Rows, host: NDArray[np.int64], cell: NDArray[np.int64], labels: Sequence[str], theta: Floats, drawn: Drawn
) -> Misfit:
    """Compare the counts of cells with those that a model expects.

    Parameters
    ----------
    rows : Rows
        That were fitted.
    host : ndarray of int64, shape (n,)
    cell : ndarray of int64, shape (n,)
        Number of the tested cell that each row is in; -1 for none.
    labels : sequence of str
        Of the tested cells.
    theta : ndarray, shape (p + 1,)
    drawn : Drawn

    Returns
    -------
    Misfit

    Notes
    -----
    The variance of a cell is that between hosts, or that of independent rows under the model, whichever is larger.
    With one cell, more than 3 sigma are refused; with many, what the farthest of them passes as rarely (0.27 %). A
    fixed limit of 3 would refuse a perfect model of 250 cells every other time.
    """
    count, inside = len(labels), np.flatnonzero(cell >= 0)
    chance = rows.chances(theta)
    at, off = cell[inside], (rows.y - chance)[inside]
    excess, expected = np.bincount(at, off, count), np.bincount(at, chance[inside], count)
    _, host_number = np.unique(host[inside], return_inverse=True)
    key, of = np.unique(np.stack([at, host_number]), axis=1, return_inverse=True)
    by_host = np.bincount(of.ravel(), off)
    hosts = np.bincount(key[0], minlength=count)
    variance = np.bincount(key[0], by_host**2, count) * hosts / np.maximum(hosts - 1, 1)
    # Where nearly every row is recovered the scatter that is seen is too small: at least that of independent rows.
    variance = np.maximum(variance, np.bincount(at, (chance * (1 - chance))[inside], count))
    some = (hosts >= _HOSTS) & (variance > 0)
    n = int(some.sum())
    if n == 0:
        return Misfit(np.nan, np.nan, 0, "there is no tested cell to test it on")
    moved = np.zeros((count, len(drawn.thetas)))
    which = csr_array((np.ones(len(inside)), (at, inside)), (count, len(cell)))
    for part in blocks(len(cell)):
        moved -= which[:, part] @ drawn.excesses(rows, part)
    chi2 = float((excess[some] ** 2 / variance[some]).sum())
    apart = ((moved - excess[:, None])[some] ** 2 / variance[some, None]).sum(axis=0)
    p = float((1 + (apart >= chi2).sum()) / (1 + apart.size))
    z = np.divide(excess, np.sqrt(variance), out=np.zeros(count), where=some)
    limit = farthest_of(n)

    def said(worst: int) -> str:
        return f"cell {labels[worst]}: {expected[worst]:,.1f} recovered rows expected, {z[worst]:+.1f} sigma off"

    big = np.where(expected >= EXPECTED, np.abs(z), 0.0)
    if p <= LEAST_P:
        return Misfit(
            chi2, p, n, f"X2 {chi2:.0f} in {n} cells, p {p:.2g}; the worst is {said(int(np.abs(z).argmax()))}"
        )
    if big.max() > limit:
        return Misfit(chi2, p, n, f"{said(int(big.argmax()))}, at most {limit:.1f} in {n} cells")
    return Misfit(chi2, p, n, "")


def farthest_of(cells: int) -> float:
    """Sigmas that the farthest of some cells passes as rarely as a single cell passes three.

    Parameters
    ----------
    cells : int

    Returns
    -------
    float
    """
    rare = 2 * ndtr(-SIGMAS)
    return -float(ndtri(-np.expm1(np.log1p(-rare) / cells) / 2))
