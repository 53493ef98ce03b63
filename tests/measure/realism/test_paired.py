"""Areas of two arms against the same real lenses: what the lenses share cancels in their change."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from lensflow.config import RealismConfig
from lensflow.measure.gate.machine import host_folds
from lensflow.measure.realism.paired import LensScores, correlation_of_areas
from lensflow.measure.realism.probe import probe
from lensflow.measure.realism.samples import MatchedRows
from lensflow.stats.matched import set_bootstrap, weighted_areas
from tests.measure.realism.drawn import NAMES, matched_rows

CONFIG = RealismConfig(bootstrap=200, permutations=99)


def tables_of(found, names=None):
    """What a comparison keeps of a probe."""
    rows, ids = found.rows, found.rows.set_ids
    scores = xr.Dataset({"set": ("row", rows.sets), "is_real": ("row", rows.is_real), "score": ("row", found.score)})
    lens = np.array([f"L{k:03d}" for k in ids]) if names is None else names
    order = np.random.default_rng(3).permutation(ids.size)  # of the table, which is not that of the rows
    return {"scores": scores, "sets": xr.Dataset({"number": ("set", ids[order]), "lens_id": ("set", lens[order])})}


def scored(rows, names=None):
    found = probe(rows, CONFIG, 1, "test", permutations=0)
    return found, LensScores.of_tables(tables_of(found, names), CONFIG.folds, 1)


@pytest.fixture(scope="module")
def one():
    return scored(matched_rows(40, 3, delta=0.5, seed=1))


def test_every_row_has_the_lens_of_its_set(one):
    found, scores = one
    assert scores.lens_id.tolist() == [f"L{k:03d}" for k in found.rows.sets]
    assert LensScores.of_tables({"sets": tables_of(found)["sets"]}, 5, 1) is None  # no probe was made


def test_draws_are_those_of_the_probe_s_own_interval(one):
    found, scores = one
    lenses = np.unique(scores.lens_id)
    area = scores.drawn(lenses, np.ones((1, lenses.size)))
    assert area[0] == pytest.approx(found.area.value, abs=1e-12)
    # A lens that is drawn k times counts as k sets, of its own number and no other's.
    weights = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 60).astype(float)
    tests = [t for _, t in host_folds(found.rows.sets, CONFIG.folds, 1)]
    direct = weighted_areas(found.rows.is_real, found.score, found.rows.sets, tests, weights)
    np.testing.assert_allclose(scores.drawn(lenses, weights), direct)
    alone = set_bootstrap(found.rows.is_real, found.score, found.rows.sets, tests, 300, 1, "test")
    assert np.std(alone) == pytest.approx(np.std(direct), rel=0.35)


def test_the_same_arm_twice_moves_as_one_whatever_its_sets_are_called(one):
    found, scores = one
    assert correlation_of_areas(scores, scores, 200, 3) == pytest.approx(1)
    rows = found.rows
    moved = replace(rows, sets=rows.sets[::-1].max() - rows.sets)
    again = MatchedRows.of(rows.names, moved.values, moved.is_real, moved.sets)
    names = np.array([f"L{k:03d}" for k in range(39, -1, -1)])
    # Other numbers are other folds, so other fits: the lenses are the same.
    assert correlation_of_areas(scores, scored(again, names)[1], 200, 3) > 0.6


def test_other_lenses_are_not_paired_and_sharing_some_is_between(one):
    scores = one[1]
    other = scored(matched_rows(40, 3, delta=0.5, seed=1), np.array([f"M{k:03d}" for k in range(40)]))[1]
    assert correlation_of_areas(scores, other, 200, 3) is None
    assert correlation_of_areas(scores, None, 200, 3) is None
    half = np.array([f"L{k:03d}" if k % 2 else f"M{k:03d}" for k in range(40)])
    shared = correlation_of_areas(scores, scored(matched_rows(40, 3, delta=0.5, seed=1), half)[1], 400, 3)
    assert 0.2 < shared < 0.8


def two_arms(seed, n=56, k=3, shift=0.4, share=0.8):
    """Sets with the same real lenses; the second arm's injections are those of the first, shifted and blurred."""
    draws = np.random.default_rng(seed)
    sets, is_real = np.repeat(np.arange(n), k + 1), np.tile(np.arange(k + 1) == 0, n)
    x = draws.normal(size=(sets.size, len(NAMES)))
    x[is_real, 0] += 0.8
    y = x.copy()
    y[~is_real] = share * x[~is_real] + np.sqrt(1 - share**2) * draws.normal(size=(int((~is_real).sum()), len(NAMES)))
    y[~is_real, 0] += shift
    return [MatchedRows.of(NAMES, values, is_real, sets) for values in (x, y)]


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.8, 0.0])
def test_a_paired_change_covers_the_truth_and_is_narrower(share):
    changes, apart, width = [], [], []
    for seed in range(200):
        (one, a), (other, b) = (scored(rows) for rows in two_arms(seed, share=share))
        change = other.area.less(one.area, correlation_of_areas(a, b, CONFIG.bootstrap, seed))
        changes.append((change.low, change.value, change.high))
        unpaired = other.area - one.area
        apart.append((unpaired.low, unpaired.high))
        width.append((change.high - change.low) / (unpaired.high - unpaired.low))
    low, value, high = np.array(changes).T
    truth = value.mean()
    cover = np.mean((low <= truth) & (truth <= high))
    without = np.mean([a <= truth <= b for a, b in apart])
    narrower = float(np.median(width))
    print(f"share {share}: change {truth:+.3f}, covered in {cover:.1%} (apart {without:.1%}), width {narrower:.2f}")
    assert cover >= 0.93
    assert narrower < (0.9 if share else 1.0)
