"""The gate run where the answer is known: swapped labels must give 0.5, a known leak must be found."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lensflow import rng
from lensflow.gates.features import FeatureBlock
from lensflow.gates.machine import Machine, choose_hosts, host_folds

Floats = NDArray[np.float64]

LEAK_SIGMA = 1.0
SMALLER_LEAKS_SIGMA = (0.3, 0.1)
# Tried when the first is not found: a gate that sees none of them is broken, not merely weak.
LARGER_LEAKS_SIGMA = (10.0, 100.0)
# The positive control uses no more: what is found with these is found with all, and leaks take most of the time.
LEAK_PAIRS = 5000
# The null control is judged at 99.9 %: at 95 % one healthy gate in twenty would call itself broken.
NULL_LEVEL = 0.999


def null_control(machine: Machine, stamp: Floats, ctrl: Floats) -> dict[str, Any]:
    """Swap the labels of half of the pairs of each fold, at random: nothing is left to learn."""
    draws = rng.generator(machine.seed, "gates.core.null")
    swap = np.zeros(len(stamp), dtype=bool)
    for _, test in machine.folds:
        # Half of each fold, not a coin per pair: a chance excess in training would otherwise meet the same arcs
        # in the test fold, and the area would scatter more than its bootstrap says.
        half = len(test) // 2 + int(draws.integers(2)) * (len(test) % 2)
        swap[draws.permutation(test)[:half]] = True
    first, second = np.where(swap[:, None], ctrl, stamp), np.where(swap[:, None], stamp, ctrl)
    *_, found = machine.area(first, second, "gates.core.null.interval")
    n_hosts = np.unique(machine.groups).size
    reach = float(stdtrit(n_hosts - 1, 0.5 + NULL_LEVEL / 2)) * found["sd"]
    return {
        **found,
        "what": "labels swapped at random within half of the pairs of each fold",
        "holds_half": bool(abs(found["auc"] - 0.5) <= reach),
        "judged_low": found["auc"] - reach,
        "judged_high": found["auc"] + reach,
        "judged_level": NULL_LEVEL,
    }


def positive_control(
    machine: Machine, used: FeatureBlock, pick: list[int], ctrl: Floats, threshold: float
) -> dict[str, Any]:
    """Add a known constant to copies of the controls and look for it; then for smaller ones, or larger ones.

    A leak shares its control's noise, so even a tiny one is told from 0.5. What counts is whether the gate would
    have let it pass.
    """
    sigma = np.median(used.sky_sigma[:, pick].astype(np.float64), axis=0)
    testable = bool(np.isfinite(sigma).all() and (sigma > 0).all())
    tried: list[dict[str, Any]] = []
    if len(used) > LEAK_PAIRS:
        rows = np.flatnonzero(choose_hosts(used.host_index, LEAK_PAIRS, machine.seed))
        groups, folds = machine.groups[rows], len(machine.folds)
        testable = testable and np.unique(groups).size >= folds
        if testable:
            machine = replace(machine, groups=groups, folds=host_folds(groups, folds, machine.seed))
            ctrl = ctrl[rows]

    def look_for(size: float) -> bool:
        per_pixel = np.repeat(size * sigma, ctrl.shape[1] // len(pick))
        *_, found = machine.area(ctrl + per_pixel, ctrl, "gates.core.positive.interval")
        tried.append({"leak_sigma": size, **found, "found": found["auc_low"] > 0.5 and found["auc_high"] >= threshold})
        return bool(tried[-1]["found"])

    if testable:
        found = look_for(LEAK_SIGMA)
        # Down to the smallest that is still found (the power), or up to the first that is.
        for size in SMALLER_LEAKS_SIGMA if found else LARGER_LEAKS_SIGMA:
            if look_for(size) != found:
                break
    first = tried[0] if tried else {"found": False, "auc": math.nan, "auc_low": math.nan, "auc_high": math.nan}
    return {
        "what": "a constant added to every core pixel of unlensed copies of the controls; found: "
        "told from 0.5 (auc_low > 0.5) and not passed (auc_high >= threshold)",
        "leak_sigma": LEAK_SIGMA,
        **{k: first[k] for k in ("found", "auc", "auc_low", "auc_high")},
        "n_rows": len(ctrl),
        "sky_sigma_nmgy": sigma.tolist(),
        "testable": testable,
        "tried": tried,
        "smallest_found_sigma": min((t["leak_sigma"] for t in tried if t["found"]), default=math.nan),
    }
