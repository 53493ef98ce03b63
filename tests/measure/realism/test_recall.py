"""A scorer on real lenses: known answers, too few, and a completeness that is no guide."""

import numpy as np
import pytest

from lensflow.config import RealismConfig
from lensflow.errors import RealismError
from lensflow.measure.completeness.thresholds import by_value
from lensflow.measure.gate.verdicts import Verdict
from lensflow.measure.realism.gap import gap, neighbours, weighted_share
from lensflow.measure.realism.recall import real_fpr, real_recall
from lensflow.measure.realism.scored import Asked, ScoredInjections, ScoredLenses, share

CONFIG = RealismConfig()
ASKED = Asked("a:scorer")
TAUS = [by_value(0.5)]


def lenses(n, found, tier="A", visible=None, confuser=None, seed=0):
    draws = np.random.default_rng(seed)
    score = np.where(np.arange(n) < found, 0.9, 0.1)
    return ScoredLenses(
        np.array([f"L{k}" for k in range(n)]), np.full(n, tier), np.ones(n, bool) if visible is None else visible,
        score, draws.normal(size=(n, 2)), np.full(n, "") if confuser is None else confuser,
    )  # fmt: skip


def injections(n, complete, seed=1):
    draws = np.random.default_rng(seed)
    return ScoredInjections(
        np.where(draws.random(n) < complete, 0.9, 0.1), np.repeat(np.arange(n // 2), 2), draws.normal(size=(n, 2))
    )


def test_known_intervals():
    assert share(100, 112).low == pytest.approx(0.8203, abs=5e-5)
    assert share(100, 112).high == pytest.approx(0.9434, abs=5e-5)
    assert share(0, 20).low == 0
    assert share(0, 20).high == pytest.approx(0.1684, abs=5e-5)


@pytest.mark.parametrize(
    ("n", "found", "verdict"),
    [
        (112, 100, Verdict.PASS),
        (112, 5, Verdict.FAIL),
        (112, 58, Verdict.INCONCLUSIVE),
        (19, 19, Verdict.NOT_TESTABLE),
        (0, 0, Verdict.NOT_TESTABLE),
    ],
)
def test_recall_is_judged_by_its_whole_interval(n, found, verdict):
    gate, _ = real_recall(lenses(n, found), TAUS, ASKED, CONFIG, 1)
    assert gate.verdict is verdict, gate.reason
    assert "training overlap unknown" in gate.reason


def test_only_tier_a_is_judged_and_every_missed_lens_is_named():
    of_b = lenses(40, 0, tier="B")
    gate, table = real_recall(of_b, TAUS, ASKED, CONFIG, 1)
    assert gate.verdict is Verdict.NOT_TESTABLE
    line = table.isel(line=table["where"].values.tolist().index("tier B, all"))
    assert int(line["count"]) == 0
    assert len(line["names"].item().split(", ")) == 40


def test_recall_is_split_by_visibility():
    visible = np.arange(40) < 20
    _, table = real_recall(lenses(40, 20, visible=visible), TAUS, ASKED, CONFIG, 1)
    shown = dict(zip(table["where"].values.tolist(), table["share"].values.tolist(), strict=True))
    assert shown["tier A, visible"] == 1.0
    assert shown["tier A, not visible"] == 0.0


def test_the_worst_threshold_decides():
    scored = lenses(60, 50)
    gate, _ = real_recall(scored, [by_value(0.5), by_value(0.95)], ASKED, CONFIG, 1)
    assert gate.verdict is Verdict.FAIL
    assert "0.95" in gate.reason
    assert len(gate.findings) == 2


def test_a_known_overlap_is_not_called_unknown():
    gate, _ = real_recall(lenses(60, 50), TAUS, Asked("s", removed=3, overlap_known=True), CONFIG, 1)
    assert "overlap unknown" not in gate.reason
    assert gate.recipe["removed_for_training"] == 3


def test_non_lenses_are_needed_and_counted_by_kind():
    assert real_fpr(lenses(60, 0), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.NOT_TESTABLE
    kinds = np.array(["spiral", "ring"])[np.arange(200) % 2]
    gate, table = real_fpr(lenses(200, 1, tier="N", confuser=kinds), TAUS, ASKED, CONFIG, 1)
    assert gate.verdict is Verdict.PASS
    assert table["where"].values.tolist() == ["all known non-lenses", "ring", "spiral"]
    assert table["count"].values.tolist() == [1, 0, 1]
    assert real_fpr(lenses(200, 40, tier="N"), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.FAIL
    assert real_fpr(lenses(30, 0, tier="N"), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.INCONCLUSIVE


def test_a_synthetic_completeness_that_is_no_guide_fails():
    gate, table = gap(lenses(100, 30), injections(2000, 0.9), TAUS, ASKED, CONFIG, 1)
    assert gate.verdict is Verdict.FAIL
    assert "synthetic completeness is no guide to real recall" in gate.reason
    assert float(table["share"][0]) == pytest.approx(0.6, abs=0.06)


def test_recovering_more_real_lenses_than_injections_is_a_gap_too():
    assert gap(lenses(100, 90), injections(2000, 0.3), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.FAIL


def test_a_completeness_that_holds_passes_and_a_small_sample_does_not_decide():
    assert gap(lenses(200, 170), injections(4000, 0.85), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.PASS
    assert gap(lenses(25, 21), injections(4000, 0.85), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.INCONCLUSIVE
    assert gap(lenses(15, 0), injections(4000, 0.85), TAUS, ASKED, CONFIG, 1)[0].verdict is Verdict.NOT_TESTABLE


def test_injections_are_taken_where_the_real_lenses_are():
    draws = np.random.default_rng(3)
    x = draws.uniform(0, 10, size=(5000, 1))
    # Bright arcs are recovered, and the real lenses are faint.
    made = ScoredInjections(np.where(x[:, 0] > 5, 0.9, 0.1), np.arange(5000), x)
    some = lenses(60, 0)
    faint = ScoredLenses(some.lens_id, some.tier, some.visible, some.score, draws.uniform(1, 3, (60, 1)), some.confuser)
    gate, table = gap(faint, made, TAUS, ASKED, CONFIG, 1)
    assert float(table["completeness"][0]) == 0.0
    assert gate.verdict is not Verdict.FAIL


def test_lenses_beyond_all_injections_count_on_neither_side():
    made = np.random.default_rng(4).normal(size=(500, 2))
    weight, inside = neighbours(np.array([[0.0, 0.0], [30.0, 0.0], [np.nan, 0.0], [np.nan, np.nan]]), made)
    assert inside.tolist() == [True, False, True, False]
    assert weight.sum() == pytest.approx(2.0)


def test_a_weighted_share_with_equal_weights_is_the_clustered_one():
    from lensflow.stats.proportions import clustered

    draws = np.random.default_rng(5)
    host = np.repeat(np.arange(40), 3)
    found = draws.random(120) < 0.4 + 0.4 * (host % 2)
    ours = weighted_share(found, np.full(120, 0.3), host)
    k = np.bincount(host, weights=found).astype(int)
    theirs = clustered(120, found.sum(), 40 * 9, (3 * k).sum(), (k**2).sum(), 40)
    assert ours.value == pytest.approx(float(theirs.value))
    assert ours.low == pytest.approx(float(theirs.low), abs=1e-9)


def test_a_score_that_is_not_finite_is_refused_by_name():
    some = lenses(5, 3)
    score = some.score.copy()
    score[2] = np.nan
    with pytest.raises(RealismError, match="L2 is not finite"):
        ScoredLenses(some.lens_id, some.tier, some.visible, score, some.covariates, some.confuser)
