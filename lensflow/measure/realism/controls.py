"""Comparisons whose answer is known: equals must read 0.5, brighter arcs must be found; and what hosts alone add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import RealismConfig
from lensflow.measure.gate.controls import judged_null
from lensflow.measure.gate.machine import host_folds
from lensflow.measure.realism.probe import probe
from lensflow.measure.realism.samples import Floats, MatchedRows
from lensflow.stats.estimate import Estimate

# Random choices of each null; all together are judged.
NULL_DRAWS = 8
# By which the arcs of injections are brightened for the positive control, mag.
BRIGHTER_MAG = 1.0
# Sets with a host without arc that passes the visibility cut, below which lenses are not held against these.
FEWEST_ARCLESS = 10


def null_of_injections(rows: MatchedRows, second: Floats | None, config: RealismConfig, seed: int) -> dict[str, Any]:
    """Injections against a second draw of injections on the same hosts: nothing is left to learn.

    Parameters
    ----------
    rows : MatchedRows
    second : ndarray, shape (injection, feature), or None
        Of a second draw on the host of each injection, a row of NaN where there is none; without, one injection of
        each set is held against the others of its set.
    config : RealismConfig
    seed : int

    Returns
    -------
    dict
        As :func:`lensflow.measure.gate.controls.judged_null`: mean area, ``holds_half``, and the interval judged by.
    """
    if second is None:
        what = "one injection of each set against the others of its set"
    else:
        rows, second = _with_second(rows, second)
        what = "a second draw of injections against the first on the same hosts"
    found = []
    for k in range(NULL_DRAWS):
        purpose = f"realism.null.injections.{k}"
        own = rows.injections_alone(seed, purpose) if second is None else rows.in_place_of_real(second, seed, purpose)
        found.append(_area(own, config, seed, purpose))
    return _judged(found, found[0].n_hosts, f"{what}, {NULL_DRAWS} times")


def null_of_lenses(rows: MatchedRows, config: RealismConfig, seed: int) -> dict[str, Any]:
    """Real lenses split in halves at random: nothing is left to learn.

    Parameters
    ----------
    rows : MatchedRows
    config : RealismConfig
    seed : int

    Returns
    -------
    dict
        As :func:`null_of_injections`.
    """
    real = rows.is_real
    alone = replace(rows, values=rows.values[real], is_real=np.ones(int(real.sum()), bool), sets=rows.sets[real])
    draws = rng.generator(seed, "realism.null.lenses")
    found = []
    for k in range(NULL_DRAWS):
        half = np.zeros(alone.is_real.size, dtype=bool)
        # Half of each fold: an excess of one label in training would otherwise be the other's excess in the test.
        for _, test in host_folds(alone.sets, config.folds, seed):
            count = len(test) // 2 + int(draws.integers(2)) * (len(test) % 2)
            half[draws.permutation(test)[:count]] = True
        found.append(_area(replace(alone, is_real=half), config, seed, f"realism.null.lenses.{k}"))
    return _judged(found, alone.n_sets, f"real lenses split in halves at random, {NULL_DRAWS} times")


def positive_control(rows: MatchedRows, brightened: Floats, config: RealismConfig, seed: int) -> dict[str, Any]:
    """Injections whose arcs are brighter by 1 mag, against the others of their set: a difference that must be found.

    Parameters
    ----------
    rows : MatchedRows
    brightened : ndarray, shape (injection, feature)
        Features of every injection with its arc brightened by ``BRIGHTER_MAG``.
    config : RealismConfig
    seed : int

    Returns
    -------
    dict
        ``found``: told from 0.5, and not passed by ``realism.max_auc``; the area and its interval.
    """
    purpose = "realism.positive"
    brighter = rows.in_place_of_real(brightened, seed, purpose)
    area = _area(brighter, config, seed, purpose)
    return {
        "what": f"injections with arcs {BRIGHTER_MAG:g} mag brighter against the others of their set; found: told from "
        "0.5 and not passed",
        "found": area.low > 0.5 and area.high >= config.max_auc,
        "n_sets": brighter.n_sets,
        **area.fields("auc"),
        "sd": area.sd,
    }


def against_arcless(
    rows: MatchedRows, arcless: Floats, passing: NDArray[np.bool_], config: RealismConfig, seed: int
) -> dict[str, Any]:
    """Real lenses against the injections' hosts without an arc that pass the visibility cut all the same.

    Parameters
    ----------
    rows : MatchedRows
    arcless : ndarray, shape (injection, feature)
        Of the host of each injection.
    passing : ndarray of bool, shape (injection,)
        Whether it passes the cut: what is left of an elliptical galaxy, or a neighbour, does.
    config : RealismConfig
    seed : int

    Returns
    -------
    dict
        ``share`` of hosts that pass; ``found``: told from 0.5; the area and its interval. Without enough hosts that
        pass, ``share`` alone: the cut itself shows the arcs.
    """
    out: dict[str, Any] = {
        "what": "real lenses against matched hosts without an arc that pass the visibility cut",
        "share": float(passing.mean()),
    }
    kept, values = np.ones(rows.is_real.size, dtype=bool), rows.values.copy()
    values[~rows.is_real], kept[~rows.is_real] = arcless, passing
    some = replace(rows, values=values).take(kept)
    if some.n_sets < max(config.folds, FEWEST_ARCLESS):
        return out
    area = _area(some, config, seed, "realism.arcless")
    return {**out, "found": area.low > 0.5, "n_sets": some.n_sets, **area.fields("auc"), "sd": area.sd}


def host_part(rows: MatchedRows, config: RealismConfig, seed: int) -> dict[str, Any]:
    """Matched hosts without arc against hosts drawn at random from the run: what unmatched hosts would have added.

    Parameters
    ----------
    rows : MatchedRows
        Matched hosts in the place of real lenses.
    config : RealismConfig
    seed : int
    """
    found = probe(rows, config, seed, "realism.hosts", permutations=0)
    return {
        "what": "matched hosts without arc against hosts drawn at random from the run",
        **found.area.fields("auc"),
        "sd": found.area.sd,
        "largest": [[name, value] for name, value in found.largest[:3]],
        "n_sets": rows.n_sets,
    }


def hosts_against_random(matched: Floats, random: Floats, names: Sequence[str]) -> MatchedRows:
    """Put the features of matched hosts beside those of random ones, in sets of one and as many as there are.

    Parameters
    ----------
    matched : ndarray, shape (n, feature)
        One host of each matched set.
    random : ndarray, shape (m, feature)
        m >= n.
    names : sequence of str
    """
    n = len(matched)
    sets = np.concatenate([np.arange(n), np.arange(len(random)) % max(n, 1)])
    return MatchedRows.of(names, np.concatenate([matched, random]), np.arange(len(sets)) < n, sets)


def _with_second(rows: MatchedRows, second: Floats) -> tuple[MatchedRows, Floats]:
    """Rows whose injections have a second draw, and these."""
    have = ~np.isnan(second).all(axis=1)
    kept = rows.is_real.copy()
    kept[~rows.is_real] = have
    some = rows.take(kept)
    # Sets that lost all their injections took their rows of `second` along.
    still = np.isin(rows.sets[~rows.is_real], some.set_ids) & have
    return some, second[still]


def _area(rows: MatchedRows, config: RealismConfig, seed: int, purpose: str) -> Estimate:
    return probe(rows, config, seed, purpose, permutations=0).area


def _judged(found: Sequence[Estimate], n_sets: int, what: str) -> dict[str, Any]:
    # An area that is far from 0.5 by chance scatters less than one at 0.5, and would call a healthy comparison broken:
    # all are judged by the mean scatter.
    scatter = float(np.mean([v.sd for v in found]))
    return judged_null([replace(v, sd=scatter) for v in found], n_sets, what)
