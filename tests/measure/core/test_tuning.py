"""The sweep of core handlings: what each shows to the gates, what it costs, and when it is recommended."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lensflow import core_settings
from lensflow.config.core import parse_handling
from lensflow.errors import ConfigError, GateError
from lensflow.measure.core.sweep import BRIGHTNESS, core_rows, host_index_of, matched, measure_handling
from lensflow.measure.core.tuning import CoreTuning, measure_handlings, recommend, reported_hosts, tune
from lensflow.measure.gate import Verdict
from lensflow.measure.gate.family import first_alone
from lensflow.measure.gate.features import features_of
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.measurement import Measured
from lensflow.stats.estimate import Estimate
from lensflow.stats.kept_rows import KeptRows
from tests.factories import make_config
from tests.measure.pixels.pairs_factory import pairs_block

pytestmark = pytest.mark.whole

GATE = {"bootstrap": 60, "recipes": ["core_r"]}
HANDLINGS = ("none", "mask_9", "theta_e_1", "matched", "rotated")


def config_of(*handlings, **core):
    return make_config(gate=GATE, core={"handlings": list(handlings), "gates": ["core_r", "edge_r"], **core})


@pytest.fixture(scope="module")
def pairs():
    block = pairs_block(n_hosts=24, per_host=4, size=48, absent_band_every=0)
    return block.assign_attrs(pixel_scale_arcsec=0.262)


@pytest.fixture(scope="module")
def rows(pairs):
    return core_rows(pairs, config_of(*HANDLINGS))


@pytest.fixture(scope="module")
def results(rows):
    return {r.name: r for r in measure_handlings(rows, config_of(*HANDLINGS))}


def test_bright_arcs_fail_the_core_gate_until_the_box_is_blank_and_then_beyond_it_and_by_the_masks_edge(
    results,
):
    assert results["none"].gate("core_r").verdict is Verdict.EXPLAINED and results["none"].open_share == 1
    assert "mask_edge" not in results["none"].by_name
    blank = results["mask_9"]
    assert first_alone(blank.gate("core_r")).verdict is Verdict.NOT_TESTABLE and blank.open_share == 0
    assert blank.gate("core_r").verdict in (Verdict.EXPLAINED, Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert blank.gate("mask_edge").verdict is Verdict.FAIL
    assert not blank.passes() and "core_r" in blank.refusals()


def test_a_minimum_theta_e_costs_the_whole_light_of_the_rows_that_it_leaves_out(pairs, results):
    theta_e = pairs["theta_e_arcsec"].values[~pairs["is_control"].values]
    r = results["theta_e_1"]
    assert r.n_rows == (theta_e >= 1).sum() and r.removed.value == pytest.approx((theta_e < 1).mean())
    by_bin = {(c["low"], c["high"]): c["removed"] for c in r.cost}
    assert by_bin[0.75, 1.0] == 1 and by_bin[1.0, 1.5] == 0


def test_a_mask_costs_small_arcs_most_and_its_interval_holds_its_mean(results):
    cost = [c["removed"] for c in results["mask_9"].cost if c["n_rows"]]
    assert cost[0] > cost[-1] and results["mask_9"].removed.low <= results["mask_9"].removed.value
    assert results["none"].removed.value == 0 == results["rotated"].removed.value


def test_a_rotated_arc_leaves_the_core_gate_nothing_but_chance(results):
    gate = results["rotated"].gate("core_r")
    assert gate.auc_low < 0.5 < gate.auc_high and results["rotated"].is_experiment
    assert abs(results["rotated"].core_excess_pct) < 0.5 < results["none"].core_excess_pct


def test_matched_controls_are_of_other_hosts_and_nearer_in_brightness(rows, results):
    block = rows["none"].rows
    out = matched(block, ("g", "r", "z"))
    before, after = (features_of(v, "brightness_raw") for v in (block, out))
    assert (after.ctrl != before.ctrl).any(axis=(1, 2)).all() and np.array_equal(after.stamp, before.stamp)
    assert np.unique(out["host_index"]).size == 10
    assert results["matched"].core_excess_pct < results["none"].core_excess_pct
    assert results["matched"].n_hosts == 24 and BRIGHTNESS == "brightness_all"


def test_one_host_gives_not_testable_for_matched_controls_with_the_reason(rows):
    host = host_index_of(rows)
    gate = measure_handling(rows, "matched", config_of(*HANDLINGS), host == host[0]).gate("core_r")
    assert gate.verdict is Verdict.NOT_TESTABLE and "two hosts" in gate.reason


@pytest.mark.slow
def test_blocks_join_to_the_same_result_in_any_order(pairs):
    config = config_of("mask_4", "blob")
    whole = core_rows(pairs, config)
    n = pairs.sizes["sample"]
    parts = [core_rows(pairs.isel(sample=slice(a, a + 31)), config) for a in range(0, n, 31)]
    again = Measured.joined(parts[::-1])
    for name in config.core.handlings:
        assert measure_handling(again, name, config).to_dict() == measure_handling(whole, name, config).to_dict()


def test_the_known_leak_is_blanked_where_the_handling_blanks_both_classes(pairs):
    config = config_of("blank_5", "none")
    rows = core_rows(pairs, config)
    look = Recipe.of("core_r", ("g", "r", "z"))
    units = {}
    for name, kept in rows.items():
        ctrl = look.features(features_of(kept.rows, look.source).ctrl, np.ones(3))
        units[name] = look.leak_unit(ctrl, np.ones(3))[0]
    assert (units["none"] == 1).all()
    assert 0 < (units["blank_5"] == 0).sum() < 100 and set(units["blank_5"]) == {0, 1}


def test_no_host_both_chooses_and_reports():
    host = np.repeat(np.arange(31) * 5, 3)
    reported = reported_hosts(host, 0.5, seed=1)
    assert not set(host[reported]) & set(host[~reported])
    assert np.unique(host[reported]).size in (15, 16)
    assert np.array_equal(reported_hosts(host[::-1], 0.5, seed=1)[::-1], reported)
    assert {np.unique(host[reported_hosts(host, s, 1)]).size for s in (0.001, 0.999)} == {1, 30}


@pytest.mark.slow
def test_a_tuning_survives_json_and_says_that_nothing_passes(rows):
    config, told = config_of(*HANDLINGS), []
    tuning = tune(rows, config, lambda done, total: told.append((done, total)), n_sealed=7)
    assert (
        tuning.recommended == "" and "No handling passes" in tuning.reason and "none: core_r EXPLAINED" in tuning.reason
    )
    assert "rotated" not in tuning.reason
    assert told[-1] == (10, 10) and tuning.n_sealed == 7
    again = CoreTuning.from_dict(json.loads(json.dumps(tuning.to_dict(), allow_nan=False)))
    assert again.to_dict() == tuning.to_dict()
    with pytest.raises(GateError, match="not a tuning"):
        CoreTuning.from_dict({})


def test_tuning_one_host_is_refused(rows):
    with pytest.raises(GateError, match="choose on"):
        tune(Measured({k: KeptRows(v.rows.isel(sample=slice(3))) for k, v in rows.items()}), config_of(*HANDLINGS))


def verdicts(result, verdict, removed):
    return replace(result, gates=tuple(g.decided(verdict, "") for g in result.gates), removed=Estimate(removed))


CONFIG = config_of(*HANDLINGS)


def named(result, name):
    return replace(result, name=name)


def test_the_cheapest_that_passes_is_recommended_if_it_passes_on_held_out_hosts(results):
    cheap, dear = (verdicts(results["theta_e_1"], Verdict.PASS, c) for c in (0.2, 0.4))
    dear = named(dear, "theta_e_1.5")
    free_but_failing, experiment = (verdicts(results["none"], Verdict.FAIL, 0.0),
                                    verdicts(results["rotated"], Verdict.PASS, 0.0))  # fmt: skip
    chosen = (free_but_failing, dear, cheap, experiment)
    name, why = recommend(chosen, (dear, replace(cheap, removed=Estimate(0.25)), free_but_failing), CONFIG)
    assert name == "theta_e_1" and "held-out hosts too" in why and "25 %" in why
    assert why.endswith("To apply it: plan: {theta_e_min_arcsec: 1}.")


def test_what_deletes_no_light_is_preferred_to_a_cheaper_mask(results):
    leaves_out = verdicts(results["theta_e_1"], Verdict.PASS, 0.5)
    taper = named(verdicts(results["mask_9"], Verdict.PASS, 0.1), "taper_2")
    assert recommend((taper, leaves_out), (taper, leaves_out), CONFIG)[0] == "theta_e_1"
    name, why = recommend((taper,), (taper,), CONFIG)
    assert name == "taper_2" and "it hides 10 % of the arcs' light" in why and "core_mask_method: taper" in why


def test_a_hard_edge_is_never_recommended(results):
    mask = verdicts(results["mask_9"], Verdict.PASS, 0.0)
    name, why = recommend((mask,), (mask,), CONFIG)
    assert name == "" and "a hard edge is never recommended" in why


def test_explained_counts_where_the_config_accepts_it_and_is_offered_where_it_does_not(results):
    plain = replace(results["none"], gates=results["none"].gates[:1])
    assert plain.gate("core_r").verdict is Verdict.EXPLAINED
    name, why = recommend((plain,), (plain,), CONFIG)
    assert name == "" and "gate.accept_explained: true lets that count" in why
    accepting = CONFIG.model_copy(update={"gate": CONFIG.gate.model_copy(update={"accept_explained": True})})
    assert recommend((plain,), (plain,), accepting)[0] == "none"


def test_the_box_of_the_core_gate_is_the_configs(pairs):
    config = make_config(gate={**GATE, "core_box_pix": 6}, core={"handlings": ["none"], "gates": ["core_r"]})
    assert features_of(core_rows(pairs, config)["none"].rows, "core_raw").stamp.shape[2] == 36


def test_the_width_of_a_taper_is_the_configs(pairs):
    removed = {}
    for width in (1.0, 6.0):
        config = config_of("taper_5", taper_width_pix=width)
        removed[width] = float(np.nanmean(core_rows(pairs, config)["taper_5"].rows["removed"]))
        assert core_settings("taper_5", config)["injection"]["core_mask_width_pix"] == width
    assert removed[6.0] > removed[1.0] + 0.02


def test_arcs_as_bright_as_their_lenses_are_named_as_the_cause(results):
    realistic = CONFIG.model_copy(update={"plan": CONFIG.plan.model_copy(update={"preset": "realistic"})})
    failing = (verdicts(results["none"], Verdict.FAIL, 0.0),)
    assert "plan.preset: realistic makes fainter arcs" in recommend(failing, failing, CONFIG)[1]
    assert "plan.preset" not in recommend(failing, failing, realistic)[1]


def test_arcs_that_are_masked_already_are_not_tuned(pairs):
    with pytest.raises(GateError, match=r"masked already.*make the pairs again"):
        core_rows(pairs, make_config(gate=GATE, injection={"core_mask_radius_pix": 5}))
    told = pairs.assign(core_mask_radius_pix=("sample", np.where(pairs["is_control"], np.nan, 7.0)))
    with pytest.raises(GateError, match="masked at r < 7"):
        core_rows(told, config_of("mask_8"))


def test_a_choice_that_does_not_hold_up_is_not_replaced_by_the_next(results):
    cheap, dear = (verdicts(results["theta_e_1"], Verdict.PASS, c) for c in (0.2, 0.6))
    dear = named(dear, "theta_e_1.5")
    name, why = recommend((cheap, dear), (verdicts(cheap, Verdict.INCONCLUSIVE, 0.2), dear), CONFIG)
    assert name == "" and "no second choice" in why and "INCONCLUSIVE" in why


@pytest.mark.slow
def test_arcs_too_faint_to_be_seen_need_no_handling():
    faint = pairs_block(n_hosts=100, per_host=4, size=32, arc_flux=0.005, absent_band_every=0)
    config = make_config(gate=GATE, core={"handlings": ["mask_3", "none"], "gates": ["core_r"]})
    rows = core_rows(faint.assign_attrs(pixel_scale_arcsec=0.262), config)
    assert tune(rows, config).recommended == "none"


def test_settings_are_refused_by_name():
    for core, said in (
        ({"handlings": ["msak_3"]}, "no such part"),
        ({"handlings": ["none", "none"]}, "named twice"),
        ({"gates": ["croe_r"]}, "no gate of kind"),
        ({"gates": ["core_y"]}, "no band 'y'"),
        ({"reported_share": 1.0}, "reported_share"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_config(core=core)
    assert parse_handling("none") == {}
