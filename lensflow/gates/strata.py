"""A gate's scores looked at more closely: within strata, and the rows that are told apart most surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.gates.features import FeatureBlock
from lensflow.gates.machine import Machine
from lensflow.gates.verdicts import MIN_PAIRS, Verdict, judge

Floats = NDArray[np.float64]

# What rows are cut by, the range's ends, and the rows.
Cut = tuple[str, float, float, NDArray[np.bool_]]

SNR_EDGES = (0.0, 5.0, 10.0, 20.0, 50.0)
WORST_ROWS = 12


def ranges(theta_e_arcsec: Floats, arc_snr: Floats, edges: Sequence[float]) -> list[Cut]:
    """Rows within ranges of theta_E (``edges``, arcsec) and of SNR (``SNR_EDGES``, the last one open)."""
    out: list[Cut] = []
    for name, values, bounds in (
        ("theta_e_arcsec", theta_e_arcsec, edges),
        ("arc_snr", arc_snr, (*SNR_EDGES, np.inf)),
    ):
        out += [(name, low, high, (values >= low) & (values < high)) for low, high in pairwise(bounds)]
    return out


def strata(
    machine: Machine,
    used: FeatureBlock,
    positive: Floats,
    negative: Floats,
    changed: NDArray[np.bool_],
    edges: tuple[float, ...],
    threshold: float,
) -> list[dict[str, Any]]:
    """Areas of the pooled out-of-fold scores within ranges of theta_E and SNR, and within splits.

    Parameters
    ----------
    positive, negative : ndarray, shape (n,)
        Scores of the stamps and of their controls.
    changed : ndarray of bool, shape (n,)
        Pairs that differ in any feature.
    edges : tuple of float
        Strata of theta_E, arcsec.
    threshold : float
    """
    cuts = ranges(used.theta_e_arcsec, used.arc_snr, edges)
    cuts += [("split", float(s), float(s), used.split == s) for s in np.unique(used.split)]
    out = []
    for name, low, high, rows in cuts:
        n, n_hosts = int(rows.sum()), np.unique(machine.groups[rows]).size
        found = {"auc": math.nan, "auc_low": math.nan, "auc_high": math.nan, "sd": math.nan}
        if n < MIN_PAIRS or n_hosts < len(machine.folds):
            verdict, reason = Verdict.NOT_TESTABLE, f"{n} pairs of {n_hosts} hosts are too few"
        elif not changed[rows].any():
            verdict, reason = Verdict.NOT_TESTABLE, "stamp and control are the same in every feature"
        else:
            purpose = f"gates.core.strata.{name}.{low:g}"
            found, _ = machine.interval_of(positive[rows], negative[rows], machine.groups[rows], purpose)
            verdict, reason = judge(found["auc"], found["auc_low"], found["auc_high"], threshold)
        place = {"by": name, "low": low, "high": high if high < np.inf else math.nan, "n_rows": n, "n_hosts": n_hosts}
        out.append({**place, **found, "verdict": str(verdict), "reason": reason})
    return out


def worst_rows(used: FeatureBlock, margin: Floats) -> list[dict[str, Any]]:
    """Rows with the largest margins, at most one of each host: neighbours in the sky would say the same twice."""
    order = np.lexsort((used.row_id, -margin))
    _, first = np.unique(used.host_index[order], return_index=True)
    return [
        {
            "row_id": int(used.row_id[k]),
            "host_index": int(used.host_index[k]),
            "theta_e_arcsec": float(used.theta_e_arcsec[k]),
            "arc_snr": float(used.arc_snr[k]),
            "margin": float(margin[k]),
        }
        for k in order[np.sort(first)[:WORST_ROWS]]
    ]
