"""The verdict: what passes, what fails, and every way in which it must not be given."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.realism.samples import MatchedRows
from lensflow.measure.realism.verdict import Comparison, judge_realism, sentence_of, unmatched
from tests.measure.realism.drawn import NAMES, QUICK, matched_rows


@pytest.fixture(autouse=True)
def few_skies(monkeypatch):
    from lensflow.measure.realism import verdict
    from lensflow.measure.realism.power import power

    monkeypatch.setattr(verdict, "power", lambda *a: power(*a, skies=40))


def comparison(n=110, delta=0.0, seed=0, **others):
    rows = matched_rows(n, delta=delta, seed=seed)
    draws = np.random.default_rng(seed + 1000)
    shape = rows.injected_values.shape
    brighter = rows.injected_values.copy()
    brighter[:, 0] += 3.0
    return Comparison(rows, draws.normal(size=shape), brighter, **others)


def balance(**smd):
    names = ["mag_z", "psfdepth_r_mag"]
    values = [smd.get(n, 0.01) for n in names]
    return xr.Dataset(
        {"smd": ("covariate", values), "variance_ratio": ("covariate", [1.0, 1.1])}, coords={"covariate": names}
    )


def test_equals_pass_and_say_what_would_have_been_seen():
    found = judge_realism(comparison(balance=balance()), QUICK, 1)
    assert found.gate.verdict is Verdict.PASS, found.gate.reason
    assert found.gate.area.high < 0.65
    assert "80 % power" in found.gate.reason
    assert found.sentence.startswith("110 real lenses, 110 of them visible and matched: PASS")
    assert "would have shown a shift" in found.sentence


def test_a_difference_fails_and_the_feature_is_named():
    found = judge_realism(comparison(delta=2.5), QUICK, 1)
    assert found.gate.verdict is Verdict.FAIL
    assert "differ most in arc_snr" in found.gate.reason
    assert [f["check"] for f in found.gate.findings if f["status"] == "ALARM"] == ["arc_snr"]


def test_a_small_difference_with_few_lenses_is_not_called_alike():
    found = judge_realism(comparison(n=60, delta=0.8), QUICK, 1)
    assert found.gate.verdict is Verdict.INCONCLUSIVE
    assert "more lenses would decide" in found.gate.reason


def test_too_few_sets_have_numbers_and_no_verdict():
    found = judge_realism(comparison(n=25, delta=3.0), QUICK, 1)
    assert found.gate.verdict is Verdict.NOT_TESTABLE
    assert "25 matched sets" in found.gate.reason
    assert found.gate.area.low > 0.65
    assert judge_realism(comparison(n=2), QUICK, 1).gate.verdict is Verdict.NOT_TESTABLE


def test_hosts_that_are_not_matched_give_no_verdict_in_either_direction():
    for delta in (0.0, 2.5):
        found = judge_realism(comparison(delta=delta, balance=balance(psfdepth_r_mag=-0.31)), QUICK, 1)
        assert found.gate.verdict is Verdict.INCONCLUSIVE
        assert found.gate.reason.startswith("hosts are not matched: psfdepth_r_mag differs by 0.31 sd")
    unequal = balance()
    unequal["variance_ratio"][0] = 2.4
    assert "mag_z has 2.40 times the variance" in judge_realism(comparison(balance=unequal), QUICK, 1).gate.reason
    unknown = balance(mag_z=np.nan)
    assert "mag_z is not known" in judge_realism(comparison(balance=unknown), QUICK, 1).gate.reason


def test_stamps_of_another_road_give_no_verdict():
    found = judge_realism(comparison(delta=2.5, other_road="noise_lag1 differs by 2.1 sd"), QUICK, 1)
    assert found.gate.verdict is Verdict.NOT_TESTABLE
    assert "noise_lag1 differs by 2.1 sd" in found.gate.reason


def test_a_second_draw_that_differs_from_the_first_is_an_error():
    odd = comparison()
    second = odd.second.copy()
    second[:, 2] += 1.5
    found = judge_realism(replace(odd, second=second), QUICK, 1)
    assert found.gate.verdict is Verdict.ERROR
    assert "second draw" in found.gate.reason


def test_a_second_draw_of_some_hosts_alone_is_used_where_it_is():
    some = comparison()
    second = some.second.copy()
    second[::3] = np.nan
    found = judge_realism(replace(some, second=second), QUICK, 1)
    assert found.gate.controls["null"]["holds_half"]
    assert found.gate.verdict is Verdict.PASS


def test_folds_that_share_sets_are_found_out_by_the_null_of_lenses(monkeypatch):
    # A machine that trains on the rows it tests on.
    from lensflow.measure.realism import controls, probe

    def cheating(groups, folds, seed):
        every = np.arange(len(groups))
        return [(every, every[k::folds]) for k in range(folds)]

    monkeypatch.setattr(probe, "host_folds", cheating)
    monkeypatch.setattr(controls, "host_folds", cheating)
    names = tuple(f"f{k}" for k in range(40))
    rows = matched_rows(60, names=names)
    found = judge_realism(Comparison(rows, brightened=rows.injected_values + 3.0), QUICK, 1)
    assert found.gate.verdict is Verdict.ERROR


def test_arcs_one_magnitude_brighter_that_are_not_found_leave_nothing_to_say():
    blind = comparison()
    found = judge_realism(replace(blind, brightened=blind.rows.injected_values), QUICK, 1)
    assert found.gate.verdict is Verdict.NOT_TESTABLE
    assert "brighter by 1 mag are not found" in found.gate.reason
    without = judge_realism(replace(blind, brightened=None), QUICK, 1)
    assert without.gate.verdict is Verdict.NOT_TESTABLE


def test_without_power_a_low_area_is_no_pass():
    found = judge_realism(comparison(n=31, seed=6), QUICK, 1)
    assert found.gate.verdict is Verdict.NOT_TESTABLE
    assert "no power" in found.gate.reason or "not found" in found.gate.reason


def test_control_features_are_compared_and_not_given_to_the_probe():
    names = (*NAMES[:-1], "host_g_r")
    rows = matched_rows(110, names=names, delta=3.0, feature=5)
    brighter = rows.injected_values.copy()
    brighter[:, 0] += 3.0
    found = judge_realism(Comparison(rows, brightened=brighter), QUICK, 1)
    assert found.gate.verdict is Verdict.PASS, found.gate.reason
    assert float(found.tables["features"]["auc"].sel(feature="host_g_r")) > 0.9
    assert "host_g_r" not in found.gate.controls["columns"]


def test_advisory_inputs_have_an_area_and_no_say():
    wide = matched_rows(110, names=tuple(f"f{k}" for k in range(50)), delta=4.0)
    hosts = matched_rows(110, names=("host_mag",), delta=1.0)
    found = judge_realism(comparison(advisory={"embedding": wide}, hosts=hosts), QUICK, 1)
    assert found.gate.verdict is Verdict.PASS
    areas = found.tables["areas"]
    assert int(areas["n_features"].sel(probe="embedding")) == 27
    assert bool(areas["advisory"].sel(probe="embedding"))
    assert float(areas["auc_low"].sel(probe="hosts")) > 0.6
    assert not bool(areas["advisory"].sel(probe="readable"))


def test_the_verdict_survives_json():
    gate = judge_realism(comparison(n=40), QUICK, 1).gate
    again = GateResult.from_json(gate.to_json())
    assert again.to_json() == gate.to_json()
    assert sentence_of(again) == sentence_of(gate)


def test_an_advisory_input_that_is_constant_is_left_out_and_says_so():
    found = comparison(balance=balance())
    constant = MatchedRows.of(["e0", "e1"], np.ones((len(found.rows.values), 2)), found.rows.is_real, found.rows.sets)
    judged = judge_realism(replace(found, advisory={"embedding": constant}), QUICK, 1)
    assert judged.gate.verdict is Verdict.PASS, judged.gate.reason
    assert "e0, e1 constant" in judged.gate.controls["left_out"]["embedding"]
    assert np.isnan(float(judged.tables["areas"]["auc"].sel(probe="embedding")))


def test_readable_features_that_are_constant_leave_nothing_to_compare():
    rows = matched_rows(40)
    same = MatchedRows.of(rows.names, np.ones(rows.values.shape), rows.is_real, rows.sets)
    judged = judge_realism(Comparison(same), QUICK, 1)
    assert judged.gate.verdict is Verdict.NOT_TESTABLE and "one value in all rows" in judged.gate.reason


def test_one_injection_a_lens_leaves_no_equals_to_compare():
    rows = matched_rows(110, k=1)
    brighter = rows.injected_values + np.eye(len(rows.names))[0] * 3.0
    judged = judge_realism(Comparison(rows, None, brighter), QUICK, 1)
    assert judged.gate.verdict is Verdict.NOT_TESTABLE and "equals could not be compared" in judged.gate.reason
    assert judged.gate.area.is_measured and "null: injections" not in judged.tables["areas"]["probe"].values


@pytest.mark.parametrize("ratio", [float("nan"), float("inf"), 0.0])
def test_a_covariate_without_variance_is_not_balanced(ratio):
    odd = balance().assign(variance_ratio=("covariate", [1.0, ratio]))
    assert unmatched(odd, 0.1).startswith("psfdepth_r_mag has")
    assert judge_realism(comparison(balance=odd), QUICK, 1).gate.verdict is Verdict.INCONCLUSIVE


def with_arcless(delta, share, seed=0):
    """Real lenses and injections alike, both ``delta`` sd from hosts without arc, of which a share passes the cut."""
    found = comparison(balance=balance(), seed=seed)
    draws = np.random.default_rng(77)
    arcless = draws.normal(-delta, 1, size=found.rows.injected_values.shape)
    arcless[:, 0] = np.where(draws.random(len(arcless)) < share, 10.0, 0.0)
    rows = replace(found.rows, values=found.rows.values + np.eye(len(NAMES))[0] * 10.0)
    return replace(found, rows=rows, second=found.second + np.eye(len(NAMES))[0] * 10.0,
                   brightened=found.brightened + np.eye(len(NAMES))[0] * 10.0, arcless=arcless)  # fmt: skip


def test_lenses_that_are_not_told_from_hosts_without_an_arc_show_nothing():
    judged = judge_realism(with_arcless(0.0, 0.6), QUICK, 1)
    assert judged.gate.verdict is Verdict.NOT_TESTABLE, judged.gate.reason
    assert (
        "not told from hosts without an arc" in judged.gate.reason and "pass the visibility cut" in judged.gate.reason
    )
    assert judged.gate.controls["arcless"]["share"] == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize(("delta", "share"), [(1.5, 0.6), (0.0, 0.01)])
def test_lenses_with_arcs_or_a_cut_that_hosts_do_not_pass_leave_the_verdict(delta, share):
    judged = judge_realism(with_arcless(delta, share), QUICK, 1)
    assert judged.gate.verdict is Verdict.PASS, judged.gate.reason


@pytest.mark.parametrize(("n", "enough"), [(29, False), (30, True)])
def test_thirty_sets_are_enough_and_one_less_is_not(n, enough):
    reason = judge_realism(comparison(n=n, balance=balance()), QUICK, 1).gate.reason
    assert ("at least 30 are needed" in reason) is not enough
