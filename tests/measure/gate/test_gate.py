import math
from dataclasses import fields, replace

import numpy as np
import pytest

from lensflow.config import GateConfig
from lensflow.errors import GateError
from lensflow.measure.gate import (
    Features,
    GateResult,
    Verdict,
    choose_hosts,
    controls,
    crossfit,
    feature_rows,
)
from lensflow.measure.gate.features import features_of, with_features
from lensflow.measure.gate.machine import host_folds, training_share
from lensflow.measure.gate.verdicts import decide
from lensflow.measure.gates import run_gates
from tests.measure.gate.made_rows import changed, rows_with
from tests.measure.pixels.pairs_factory import pairs_block

R_ONLY = GateConfig(recipes=("core_r",), bootstrap=200)


def noise_block(seed, n_hosts=31, per_host=4, n_bands=1, box=6, leak=0.0, sky_sigma=1.0):
    """The same galaxy with independent noise of the same level in both classes, plus a constant in the stamps."""
    draw = np.random.default_rng(seed)
    n = n_hosts * per_host
    galaxy = 20 * np.exp(-np.hypot(*np.mgrid[:box, :box] - (box - 1) / 2) / 4)
    host = np.repeat(draw.uniform(0.5, 2, (n_hosts, n_bands, 1, 1)) * galaxy, per_host, axis=0)
    stamp, ctrl = (host + draw.normal(size=host.shape) for _ in range(2))
    flat = (n, n_bands, box**2)
    return rows_with(
        {"core_raw": Features(*(v.astype(np.float32).reshape(flat) for v in (stamp + leak, ctrl)))},
        covered=np.ones((n, n_bands), bool),
        sky_sigma=np.full((n, n_bands), sky_sigma, np.float32),
        host_index=np.repeat(np.arange(n_hosts) * 2, per_host),
        row_id=np.arange(n, dtype=np.uint64) + 1000,
        theta_e_arcsec=draw.uniform(0.3, 2.4, n),
        arc_snr=draw.uniform(1, 60, n),
        split=(np.repeat(np.arange(n_hosts), per_host) % 3).astype(np.uint8),
    )


def with_stamps(block, stamp):
    return changed(block, stamp=stamp)


def gate(block, config=R_ONLY, names=("r",), seed=1):
    (result,) = run_gates(block, config, names, seed)
    return result


def test_no_host_is_in_training_and_test_at_once():
    groups = np.random.default_rng(0).integers(0, 40, 500)
    folds = host_folds(groups, 5, seed=3)
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(500))
    other = host_folds(groups, 5, seed=4)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_identical_pairs_are_not_testable():
    block = noise_block(0)
    result = gate(with_stamps(block, features_of(block, "core_raw").ctrl.copy()))
    assert result.verdict is Verdict.NOT_TESTABLE
    assert "nothing there could differ" in result.reason
    assert math.isnan(result.auc)


@pytest.mark.slow
def test_pure_noise_holds_one_half_for_most_seeds_with_31_hosts():
    results = [gate(noise_block(seed), seed=seed) for seed in range(10)]
    assert sum(r.auc_low <= 0.5 <= r.auc_high for r in results) >= 8
    assert not any(r.verdict in (Verdict.FAIL, Verdict.ERROR) for r in results)


def test_a_strong_leak_fails():
    result = gate(noise_block(1, leak=1.0))
    assert result.verdict is Verdict.FAIL
    assert result.auc_low >= 0.65
    assert result.controls["null"]["holds_half"]
    assert result.controls["positive"]["found"]
    assert 0 < result.controls["positive"]["smallest_found_sigma"] <= 1


def test_clean_pairs_of_many_hosts_pass_and_say_what_a_leak_would_read():
    result = gate(noise_block(2, n_hosts=150))
    assert result.verdict is Verdict.PASS
    assert "leak of 1 sigma" in result.reason


def test_a_pass_owed_to_a_mask_is_not_testable_and_says_so():
    block = noise_block(2, n_hosts=150)

    def with_open(n):
        stamp = features_of(block, "core_raw").stamp.copy()
        stamp[..., n:] = features_of(block, "core_raw").ctrl[..., n:]
        return gate(with_stamps(block, stamp))

    masked = with_open(4)
    assert masked.verdict is Verdict.NOT_TESTABLE and masked.auc_high < masked.threshold
    assert masked.controls["share_of_features_open"] == pytest.approx(4 / 36)
    assert "same in 89 % of the features (a mask blanks them)" in masked.reason
    assert with_open(17).verdict is Verdict.NOT_TESTABLE
    assert with_open(18).verdict is with_open(36).verdict is Verdict.PASS


def test_a_leak_in_the_few_features_that_a_mask_leaves_fails_as_ever():
    block = noise_block(2, n_hosts=150, leak=1.0)
    stamp = features_of(block, "core_raw").stamp.copy()
    stamp[..., 4:] = features_of(block, "core_raw").ctrl[..., 4:]
    assert gate(with_stamps(block, stamp)).verdict is Verdict.FAIL


def test_an_edge_that_equals_the_control_passes_because_light_there_would_make_it_differ():
    block = noise_block(2, n_hosts=150)
    stamp = features_of(block, "core_raw").stamp.copy()
    stamp[..., 4:] = features_of(block, "core_raw").ctrl[..., 4:]
    edge = with_features(block, {"edge_raw": features_of(block, "core_raw")._replace(stamp=stamp)})
    result = gate(edge, GateConfig(recipes=("edge_r",), bootstrap=200))
    assert result.verdict is Verdict.PASS and result.controls["share_of_features_open"] < 0.5


def with_arcs(block, seed, in_stamps=0.0):
    """Bright blobs of another shape in every row, in the stamps (with noise of their own) and in the expectation."""
    draw = np.random.default_rng(seed)
    arc = 4 * draw.uniform(0.5, 1.5, (block.sizes["sample"], 1, 1)) * (np.arange(36) % 5 == 0)
    noise = 0.3 * draw.normal(size=arc.shape)
    ctrl = features_of(block, "core_raw").ctrl.astype(np.float64)
    stamp, expected = ((ctrl + arc + more).astype(np.float32) for more in (noise + in_stamps, 0.0))
    return changed(block, stamp=stamp, expected=expected)


def test_an_area_that_the_arcs_alone_give_is_explained():
    result = gate(with_arcs(noise_block(3, n_hosts=100), 4))
    assert result.auc_low >= 0.65
    assert result.verdict is Verdict.EXPLAINED
    beyond = result.controls["beyond_arcs"]
    assert beyond["auc_low"] <= 0.5 <= beyond["auc_high"] and beyond["positive"]["found"]
    assert "The arcs explain it" in result.reason
    assert not result.passes(accept_explained=False) and result.passes(accept_explained=True)
    assert GateResult.from_json(result.to_json()) == result


def test_a_leak_on_top_of_arcs_that_are_plain_already_is_not_explained():
    checkerboard = 0.3 * (np.arange(36) % 2 * 2 - 1)
    result = gate(with_arcs(noise_block(3, n_hosts=100), 4, in_stamps=checkerboard))
    assert result.controls["reference"]["auc"] > 0.95, "the arcs alone are told: the excess can show little"
    assert result.verdict is Verdict.FAIL
    assert result.controls["beyond_arcs"]["auc_low"] > 0.5
    assert "not by the arcs alone" in result.reason or "against control plus noiseless arc" in result.reason


def test_nothing_is_explained_without_the_power_to_see_a_leak_on_top():
    result = gate(with_arcs(noise_block(3, n_hosts=100), 4))
    beyond = result.controls["beyond_arcs"]
    blind = {**beyond, "positive": {**beyond["positive"], "found": False}}
    verdict, reason = decide(replace(result, controls={**result.controls, "beyond_arcs": blind}))
    assert verdict is Verdict.FAIL and "cannot be known" in reason


def test_without_the_noiseless_arcs_nothing_is_explained():
    block = with_arcs(noise_block(3, n_hosts=100), 4)
    assert gate(changed(block, expected=None)).verdict is Verdict.FAIL


def test_a_host_of_very_many_rows_does_not_crowd_out_the_others():
    hosts = np.concatenate([np.full(25_000, 7), np.arange(100, 299)])
    for seed in range(20):
        chosen = choose_hosts(hosts, 20_000, seed)
        assert chosen.sum() == 199 and 7 not in hosts[chosen]
        np.testing.assert_array_equal(choose_hosts(hosts[chosen], 20_000, seed), np.ones(199, bool))


@pytest.mark.slow
def test_six_hosts_give_an_honest_interval_too():
    results = [gate(noise_block(seed, n_hosts=6), seed=seed) for seed in range(10)]
    assert sum(r.auc_low <= 0.5 <= r.auc_high for r in results) >= 8
    assert not any(r.verdict in (Verdict.FAIL, Verdict.ERROR) for r in results)


def test_too_few_hosts_or_pairs_are_not_testable_and_no_exception():
    assert "2 hosts" in gate(noise_block(0, n_hosts=2, per_host=20)).reason
    assert gate(noise_block(0, n_hosts=2, per_host=20)).verdict is Verdict.NOT_TESTABLE
    assert gate(noise_block(0, n_hosts=8, per_host=1)).verdict is Verdict.NOT_TESTABLE
    assert gate(noise_block(0).isel(sample=slice(0))).verdict is Verdict.NOT_TESTABLE


def test_a_gate_without_power_does_not_pass():
    # The leak is stated in units of a sky sigma that is far below the pixels' true scatter.
    result = gate(noise_block(2, n_hosts=150, sky_sigma=0.05))
    assert result.verdict is Verdict.NOT_TESTABLE
    assert "a pass would mean nothing" in result.reason
    assert result.controls["positive"]["smallest_found_sigma"] > 1


def test_a_known_difference_fails_even_without_power_for_the_positive_control():
    assert gate(noise_block(1, n_hosts=60, leak=1.0, sky_sigma=0.05)).verdict is Verdict.FAIL


def test_the_positive_control_of_a_large_gate_uses_whole_hosts_of_its_own(monkeypatch):
    monkeypatch.setattr(controls, "LEAK_PAIRS", 100)
    positive = gate(noise_block(2, n_hosts=60)).controls["positive"]
    assert positive["n_rows"] == 100
    assert positive["found"]


def test_controls_without_sky_noise_are_not_testable():
    assert gate(noise_block(2, n_hosts=150, sky_sigma=0.0)).verdict is Verdict.NOT_TESTABLE


def test_a_gate_that_scores_its_own_training_rows_calls_itself_broken(monkeypatch):
    monkeypatch.setattr(crossfit, "_blocks_of", lambda train, test: list(range(len(test))))
    result = gate(noise_block(3, box=10))
    assert result.verdict is Verdict.ERROR
    assert "the gate itself is broken" in result.reason


def test_the_null_control_is_blind_to_a_strong_difference():
    for seed in range(5):
        null = gate(noise_block(seed, leak=2.0), seed=seed).controls["null"]
        assert null["holds_half"]
        assert null["auc"] == pytest.approx(0.5, abs=0.1)


def test_pixels_that_are_not_finite_are_an_error_that_names_the_row():
    block = noise_block(0)
    features_of(block, "core_raw").stamp[17, 0, 14] = np.nan
    result = gate(block)
    assert result.verdict is Verdict.ERROR
    assert "row 1017" in result.reason


def test_a_fit_that_does_not_converge_is_an_error_that_names_the_setting(monkeypatch):
    monkeypatch.setattr(crossfit, "MAX_ITERATIONS", 1)
    result = gate(noise_block(0, leak=1.0))
    assert result.verdict is Verdict.ERROR
    assert "did not converge" in result.reason and "gate.c" in result.reason


def test_order_of_rows_does_not_matter():
    block = noise_block(5, leak=0.3)
    shuffled = block.isel(sample=np.random.default_rng(0).permutation(block.sizes["sample"]))
    one, two = gate(block), gate(shuffled)
    for name in ("auc", "auc_low", "auc_high"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-12)
    np.testing.assert_allclose(one.coef, two.coef, rtol=1e-9, atol=1e-12)
    assert one.controls["null"]["auc"] == pytest.approx(two.controls["null"]["auc"], abs=1e-12)
    assert one.verdict is two.verdict


def test_bands_choose_rows_and_features():
    block = noise_block(6, n_bands=3)
    block["covered"].values[:8, 0] = False
    r, every = run_gates(block, GateConfig(bootstrap=50), ("g", "r", "z"), seed=1)
    assert (r.name, r.n_rows, r.box_shape, len(r.coef)) == ("core_r", 124, (1, 6, 6), 36)
    assert (every.name, every.n_rows, every.box_shape, len(every.coef)) == ("core_all", 116, (3, 6, 6), 108)
    assert r.recipe["bands"] == ["r"]
    assert r.recipe_hash != every.recipe_hash
    (first,) = run_gates(noise_block(6), R_ONLY, ("i",), seed=1)
    assert first.recipe["bands"] == ["i"]
    with pytest.raises(GateError, match="3 bands"):
        run_gates(block, R_ONLY, ("r",), seed=1)


def test_hosts_are_drawn_whole_up_to_max_pairs_and_alike_from_any_subset():
    hosts = np.repeat(np.arange(50), 4)
    chosen = choose_hosts(hosts, 90, seed=1)
    assert chosen.sum() == 88
    assert set(np.bincount(hosts[chosen], minlength=50)) == {0, 4}
    assert not np.array_equal(chosen, choose_hosts(hosts, 90, seed=2))
    # Chosen beforehand or by the gate: the same hosts.
    np.testing.assert_array_equal(choose_hosts(hosts[chosen], 40, 1), choose_hosts(hosts, 40, 1)[chosen])
    assert gate(noise_block(7), R_ONLY.model_copy(update={"max_pairs": 50})).n_rows == 48


def test_strata_count_rows_and_hosts_and_carry_verdicts():
    block = noise_block(8, n_hosts=60, leak=0.4)
    result = gate(block)
    strata = [s for s in result.strata if s["by"] == "theta_e_arcsec"]
    assert [(s["low"], s["high"]) for s in strata] == [(0, 0.75), (0.75, 1), (1, 1.5), (1.5, 2), (2, 5)]
    for s in strata:
        theta = block["theta_e_arcsec"].values
        rows = (theta >= s["low"]) & (theta < s["high"])
        assert s["n_rows"] == rows.sum()
        assert s["n_hosts"] == len(set(block["host_index"].values[rows]))
        assert s["auc_low"] <= s["auc"] <= s["auc_high"]
    original = [s for s in result.strata if s["by"] == "theta_e_original"]
    assert [s["low"] for s in original] == [0, 1, 2] and math.isnan(original[-1]["high"])
    assert {s["by"] for s in result.strata} == {
        *("theta_e_arcsec", "arc_snr", "split", "theta_e_original", "sky_sigma_nmgy")
    }


def test_gates_of_the_core_are_cut_by_the_conditions_of_the_exposures():
    block = noise_block(8, n_hosts=60, leak=1.5)
    n = block.sizes["sample"]
    draw = np.random.default_rng(1)
    bad = np.where(draw.random(n) < 0.5, 0, draw.uniform(0.01, 0.5, n)).astype("f4")
    psf, source = draw.uniform(1, 2, (n, 1)).astype("f4"), np.where(draw.random((n, 1)) < 0.3, 2, 0).astype("u1")
    known = {"psf_fwhm_arcsec": psf, "bad_pixel_frac": bad, "psf_source": source}
    columns = {k: (("sample", "band")[: v.ndim], v) for k, v in known.items()}
    cut = gate(block.assign(columns)).strata
    rows = {k: [s["n_rows"] for s in cut if s["by"] == k] for k in known}
    assert rows["psf_fwhm_arcsec"] == pytest.approx([n / 3] * 3, abs=1)
    assert rows["bad_pixel_frac"] == [(bad == 0).sum(), ((bad > 0) & (bad < 0.2)).sum(), (bad >= 0.2).sum()]
    assert rows["psf_source"] == [(source == 0).sum(), (source == 2).sum()]
    # Only where the leak is do the scores tell the classes apart.
    stamp = features_of(block, "core_raw").stamp.copy()
    sharp = psf[:, 0] < np.quantile(psf, 1 / 3)
    stamp[~sharp] = features_of(block, "core_raw").ctrl[~sharp] + draw.normal(size=stamp[~sharp].shape)
    areas = [s["auc"] for s in gate(with_stamps(block, stamp).assign(columns)).strata
             if s["by"] == "psf_fwhm_arcsec"]  # fmt: skip
    assert areas[0] > max(areas[1:]) + 0.05


def test_a_stratum_whose_arcs_are_masked_is_not_testable():
    block = noise_block(9, n_hosts=60, leak=0.5)
    small = block["theta_e_arcsec"].values < 0.75
    features_of(block, "core_raw").stamp[small] = features_of(block, "core_raw").ctrl[small]
    first = gate(block).strata[0]
    assert first["verdict"] == "NOT_TESTABLE"
    assert first["n_rows"] == small.sum()


def test_result_comes_back_from_json():
    result = gate(noise_block(4))
    text = result.to_json()
    assert GateResult.from_json(text).to_json() == text
    own = {f.name for f in fields(GateResult)} - {"area", "drawn"}
    assert own | {"auc", "auc_low", "auc_high"} == set(result.to_dict())
    assert len(result.roc) <= 200


def test_areas_over_draws_of_hosts_are_those_of_the_same_hosts_in_another_run():
    """What pairs two runs: the same galaxies with more of a leak rise and fall with the same hosts."""
    one, more = (gate(noise_block(3, n_hosts=60, leak=leak)) for leak in (0.4, 0.5))
    assert one.drawn.areas.shape == (R_ONLY.bootstrap,) and abs(np.median(one.drawn.areas) - one.auc) < 0.02
    assert one.drawn.correlation(more.drawn) > 0.5
    assert one.drawn.correlation(gate(noise_block(3, n_hosts=59, leak=0.4)).drawn) is None


def test_the_curve_comes_with_an_interval_that_more_hosts_narrow():
    few, many = (gate(noise_block(2, n_hosts=n, leak=0.5)) for n in (24, 200))
    widths = []
    for result in (few, many):
        true = np.array([y for _, y in result.roc])
        low, high = np.array(result.roc_low), np.array(result.roc_high)
        assert low.shape == high.shape == true.shape
        assert ((low >= 0) & (high <= 1)).all()
        # On an upright piece the interval is its upper end's.
        assert (true <= high + 1e-12).all() and (low <= np.maximum.accumulate(true) + 1e-12).all()
        assert high[-1] == low[-1] == 1
        widths.append((high - low).mean())
    assert 0.2 < widths[1] / widths[0] < 0.6


def test_the_interval_grows_for_training_sets_that_overlap():
    assert training_share(5) == pytest.approx(1.5)


def test_bright_arcs_on_the_core_are_explained_from_pixels_to_verdict_and_exceed_physics_by_nothing():
    pairs = pairs_block(n_hosts=40, size=48, arc_flux=10.0, absent_band_every=0)
    config = GateConfig(bootstrap=50)
    for result in run_gates(feature_rows(pairs, config.every, 10), config, ("g", "r", "z"), seed=1):
        assert result.auc_low >= 0.65 and result.verdict is Verdict.EXPLAINED
        reference = result.controls["reference"]
        assert reference["auc_low"] > 0.65
        assert reference["excess_low"] <= 0 <= reference["excess_high"]
        assert "noiseless arcs of the renderer read" in result.reason


def test_a_pedestal_that_no_arc_explains_is_an_excess_over_physics():
    pairs = pairs_block(n_hosts=60, size=48, arc_flux=0.02, pedestal=0.02, absent_band_every=0)
    config = GateConfig(recipes=("annulus_all",), bootstrap=50)
    (result,) = run_gates(feature_rows(pairs, config.every, 10), config, ("g", "r", "z"), seed=1)
    assert result.verdict is Verdict.FAIL
    assert result.controls["reference"]["auc"] < 0.6
    assert result.controls["reference"]["excess_low"] > 0.2


def test_gates_have_thresholds_and_places_of_their_own():
    pairs = pairs_block(n_hosts=40, size=48, absent_band_every=0)
    config = GateConfig(recipes=("core_r",), advisory=("brightness_all", "colour_all"), bootstrap=50,
                        max_auc_of={"colour_all": 0.9})  # fmt: skip
    results = run_gates(feature_rows(pairs, config.every, 10), config, ("g", "r", "z"), seed=1)
    assert [r.name for r in results] == ["core_r", "brightness_all", "colour_all"]
    assert [r.threshold for r in results] == [0.65, 0.65, 0.9]
    assert [r.box_shape for r in results] == [(1, 10, 10), (), ()]
    assert [len(r.coef) for r in results] == [100, 1, 2]
    with pytest.raises(GateError, match="hold core_raw, not power_raw"):
        run_gates(noise_block(0), GateConfig(recipes=("power_r",)), ("r",), seed=1)


def test_the_permutation_test_finds_a_leak_and_is_even_where_there_is_none():
    assert gate(noise_block(1, leak=0.5)).controls["permutation"]["p"] == pytest.approx(1 / 2000)
    shares = [gate(noise_block(seed), seed=seed).controls["permutation"]["p"] for seed in range(10)]
    assert 0.2 < np.mean(shares) < 0.8
    # Swaps of all labels at once change nothing, so five hosts cannot give less than 1 in 16.
    assert gate(noise_block(1, n_hosts=5, leak=5.0)).controls["permutation"]["p"] > 0.03


def test_one_host_and_no_injections_are_named():
    assert "one host only" in gate(noise_block(0, n_hosts=1, per_host=40)).reason
    none = gate(noise_block(0).isel(sample=slice(0)))
    assert none.verdict is Verdict.NOT_TESTABLE and "one of the two classes is missing" in none.reason


def test_constant_features_beside_others_change_nothing():
    block = noise_block(1, n_hosts=40, leak=0.3)
    numbers = features_of(block, "core_raw")
    for values in (numbers.stamp, numbers.ctrl):
        values[:, 0, :5] = 3.5
    result = gate(block)
    assert result.verdict is not Verdict.ERROR
    np.testing.assert_array_equal(result.coef[:5], 0)


def test_near_identical_pairs_do_not_read_below_one_half_beyond_their_interval():
    for seed in range(10):
        block = noise_block(seed)
        ctrl = features_of(block, "core_raw").ctrl
        tiny = 1e-4 * np.random.default_rng(seed).normal(size=ctrl.shape)
        result = gate(with_stamps(block, (ctrl + tiny).astype(np.float32)), seed=seed)
        assert result.auc_low <= 0.5 <= result.auc_high


def test_pairs_that_are_the_same_but_for_one_row_read_one_half():
    block = noise_block(0)
    stamp = features_of(block, "core_raw").ctrl.copy()
    stamp[3] += 1e-3
    result = gate(with_stamps(block, stamp))
    assert result.auc == pytest.approx(0.5, abs=0.01)
    assert result.auc_low <= 0.5 <= result.auc_high
