import math
from functools import cache

import numpy as np
import pytest

from lensflow import geometry
from lensflow.config import ScorerConfig
from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.metadata.checks import findings_of
from lensflow.measure.scorer.gates import AUROC, CORE_DROP, DROP, EVERYWHERE, FILLED, judge_scores, scored_hosts
from lensflow.measure.scorer.scorer import as_scorer, blue_ring, score_block, some_scores
from tests.measure.pixels.pairs_factory import pairs_block
from tests.measure.scorer.test_areas import scores

CONFIG = ScorerConfig(bootstrap=100)
CORE = geometry.disc(48, 23.5, 23.5, 4.0)


@cache
def rings(arc_flux=5.0):
    return pairs_block(n_hosts=120, absent_band_every=0, arc_flux=arc_flux)


def core_brightness(images):
    return images[..., CORE].mean(axis=(1, 2))


def judged(scorer, config=CONFIG, pairs=None):
    pairs = rings() if pairs is None else pairs
    return judge_scores(score_block(pairs, as_scorer(scorer), config.core_radius_pix).rows, config, "a scorer", seed=1)


def found(drop, check, where=EVERYWHERE):
    return next(f for f in drop.findings if (f["check"], f["where"]) == (check, where))


def test_a_finder_of_rings_passes_both_gates():
    auroc, drop = judged(blue_ring)
    assert (auroc.name, drop.name) == (AUROC, CORE_DROP)
    assert auroc.verdict is Verdict.PASS and auroc.auc_low > 0.85 and auroc.n_hosts == 40 and auroc.n_rows == 160
    assert drop.verdict is Verdict.PASS and found(drop, DROP)["high"] < 10 and found(drop, DROP)["status"] == "OK"
    assert "val split" in auroc.reason and auroc.recipe["split"] == "val"


def test_a_scorer_of_the_core_alone_loses_everything_with_it():
    auroc, drop = judged(core_brightness, pairs=rings(100.0))
    filled = found(drop, FILLED)
    assert auroc.auc > 0.7
    assert filled["value"] == pytest.approx(0.5, abs=1e-12)
    assert found(drop, DROP)["value"] == pytest.approx(100 * (auroc.auc - filled["value"]) / auroc.auc)
    assert drop.verdict is Verdict.FAIL and found(drop, DROP)["status"] == "ALARM"


def test_a_drop_is_never_shown_as_an_area():
    _, drop = judged(core_brightness)
    assert math.isnan(drop.auc) and math.isnan(drop.auc_low) and drop.strata == () and drop.roc == ()
    assert {f.check for f in findings_of(drop)} == {DROP, FILLED} and {f.diagnostic for f in findings_of(drop)} == {
        CORE_DROP
    }


def test_a_scorer_near_chance_has_nothing_to_lose_and_does_not_pass():
    auroc, drop = judge_scores(scores(1, 100, 0.05, 0.05), CONFIG, "s", seed=1)
    assert auroc.verdict is Verdict.FAIL
    assert drop.verdict is Verdict.NOT_TESTABLE and "fell to chance" in drop.reason


def test_a_strong_loss_fails_even_from_a_poor_area():
    block = scores(1, 400, 0.9, -0.6)
    assert judge_scores(block, CONFIG, "s", seed=1)[1].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("shift", "n_hosts", "verdict"),
    [
        (4.0, 60, Verdict.PASS),
        (0.9, 60, Verdict.FAIL),
        (1.8, 20, Verdict.INCONCLUSIVE),
        (30.0, 15, Verdict.INCONCLUSIVE),
    ],
)
def test_the_interval_decides_and_not_the_value(shift, n_hosts, verdict):
    auroc, _ = judge_scores(scores(2, n_hosts, shift, shift), CONFIG, "s", seed=1)
    assert auroc.verdict is verdict


def test_equal_scores_are_not_testable():
    results = judged(lambda images: np.ones(len(images)))
    assert len(results) == 2
    for result in results:
        assert result.verdict is Verdict.NOT_TESTABLE and "every image scores 1" in result.reason


@pytest.mark.parametrize(
    ("name", "said"),
    [("stamp", "the stamp of row"), ("ctrl_filled", "the control, core filled, of row")],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_an_error_that_names_the_row(name, said, value):
    block = scores(1, 30, 1.5, 1.5)
    block[name][7] = value
    row = int(block["ctrl_row_id" if name.startswith("ctrl") else "row_id"][7])
    for result in judge_scores(block, CONFIG, "s", seed=1):
        assert result.verdict is Verdict.ERROR and f"{said} {row} scores {value:g}" in result.reason


def test_too_few_hosts_or_none_are_not_testable():
    for result in judge_scores(scores(1, 9, 2.0, 2.0), CONFIG, "s", seed=1):
        assert result.verdict is Verdict.NOT_TESTABLE and "36 lenses on 9 host(s)" in result.reason
    none = judge_scores(scores(1, 9, 2.0, 2.0), CONFIG.model_copy(update={"split": "test"}), "s", seed=1)
    assert none[0].verdict is Verdict.NOT_TESTABLE and "no injection row of the test split" in none[0].reason


def test_the_train_split_proves_nothing_however_good_the_scores():
    train = CONFIG.model_copy(update={"split": "train"})
    for result in judged(blue_ring, train):
        assert result.verdict is Verdict.NOT_TESTABLE and "says nothing about new lenses" in result.reason
    auroc, drop = judged(blue_ring, train)
    assert auroc.auc > 0.85
    assert {s["verdict"] for s in auroc.strata} == {"NOT_TESTABLE"} and found(drop, DROP)["status"] == "NOT_TESTED"


def test_strata_are_compared_with_the_controls_of_their_own_hosts():
    pairs = pairs_block(n_hosts=120, absent_band_every=3)
    auroc, drop = judged(core_brightness, pairs=pairs)
    assert {s["by"] for s in auroc.strata} == {"theta_e_arcsec", "arc_snr", "absent_bands"}
    rows = pairs.isel(sample=(~pairs["is_control"].values) & (pairs["split"].values == 1))
    for s in auroc.strata:
        if s["by"] == "theta_e_arcsec":
            inside = (rows["theta_e_arcsec"].values >= s["low"]) & (rows["theta_e_arcsec"].values < s["high"])
            assert s["n_rows"] == inside.sum() and s["n_hosts"] == len(set(rows["host_index"].values[inside]))
    absent = [s["n_rows"] for s in auroc.strata if s["by"] == "absent_bands"]
    assert sum(absent) == auroc.n_rows and auroc.controls["absent_band_rows"] == absent[1] > 0
    # Hosts fill the strata unevenly; without the core this scorer sees the same in stamp and control of a host.
    for f in drop.findings:
        assert f["check"] != FILLED or f["value"] == pytest.approx(0.5, abs=1e-12)


def test_a_stratum_of_few_lenses_says_so():
    auroc, _ = judge_scores(scores(1, 12, 1.5, 1.5), CONFIG, "s", seed=1)
    assert any(s["verdict"] == "NOT_TESTABLE" and "are too few" in s["reason"] for s in auroc.strata)


def test_the_order_of_rows_does_not_matter():
    block = scores(5, 40, 1.5, 1.2)
    shuffled = block.isel(sample=np.random.default_rng(0).permutation(block.sizes["sample"]))
    for one, two in zip(*(judge_scores(b, CONFIG, "s", seed=1) for b in (block, shuffled)), strict=True):
        assert one.to_json() == two.to_json()


def test_hosts_are_taken_whole_up_to_max_pairs():
    few = CONFIG.model_copy(update={"max_pairs": 50})
    block = scores(1, 40, 1.5, 1.2)
    assert judge_scores(block, few, "s", seed=1)[0].n_rows == 48
    hosts = scored_hosts(block["host_index"].values, block["split"].values, few, 1)
    kept = some_scores(block, np.isin(block["host_index"], hosts))
    assert judge_scores(kept, few, "s", seed=1)[0].auc == judge_scores(block, few, "s", seed=1)[0].auc


def test_results_come_back_from_json_and_settings_change_the_recipe():
    results = judged(blue_ring)
    for result in results:
        assert GateResult.from_json(result.to_json()).to_json() == result.to_json()
    assert results[0].recipe_hash != results[1].recipe_hash
    other = judged(blue_ring, CONFIG.model_copy(update={"core_radius_pix": 6.0}))
    assert other[0].recipe_hash != results[0].recipe_hash
