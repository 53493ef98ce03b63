"""What says nothing is not a number: no rows, no scores, equal scores, walls and other cuts on what was put in."""

import numpy as np
import pytest

from lensflow.config import load_config
from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness.counts import REASONS
from lensflow.measure.completeness.summary import Negatives, completeness
from lensflow.measure.completeness.truth import snr_matched, snr_peak
from tests.measure.completeness.synthetic_rows import make_negatives, make_rows

CONFIG = CompletenessConfig.model_validate({"threshold": {"value": 1.5}, "bootstrap": 50})
NOTHING = Negatives(np.empty(0), np.empty(0, np.int64), "none")


@pytest.fixture(scope="module")
def rows():
    return make_rows(800, 10)


def measured(rows, negatives=NOTHING, config=CONFIG, **more):
    return completeness(rows, negatives, config, 1, **more)


def verdict(found):
    return found["funnel"].attrs["verdict"], found["funnel"].attrs["reason"]


def scored(rows, score):
    return rows.assign(score=("sample", np.asarray(score, dtype=np.float64)))


def ratio(rows):
    return rows["theta_e_arcsec"].values / rows["psfsize_arcsec"].values[:, 1].astype(np.float64)


@pytest.mark.slow
def test_the_first_completeness_of_the_project_is_named_and_a_noisy_version_of_it_is_not(rows):
    cut = (rows["snr_peak"].values[:, 1] >= 5) & (ratio(rows) >= 0.8)
    what, why = verdict(measured(scored(rows, np.where(cut, 2.0, 1.0))))
    assert what == "NOT_TESTABLE" and "snr_peak_r >= 5" in why and "theta_e_over_psfsize_r >= 0.8" in why
    noisy = cut ^ (np.random.default_rng(3).random(len(cut)) < 0.05)
    assert verdict(measured(scored(rows, np.where(noisy, 2.0, 1.0)))) == ("", "")
    # Read as what it is, it is marked, and no cut is looked for.
    what, why = verdict(measured(scored(rows, np.where(cut, 2.0, 1.0)), truth=True))
    assert what == "" and why.startswith("detectability by definition")


@pytest.mark.slow
def test_a_seeing_wall_in_a_noisy_score_is_named_with_its_rows_and_its_neighbour(rows):
    below = ratio(rows) * (1 + 1e-9) < 0.8
    walled = scored(rows, np.where(below, -9.0, rows["score"].values))
    found = measured(walled)
    what, why = verdict(found)
    table = found["resolution"].sel(curve="all", resolution="marginally_resolved").isel(threshold=0)
    assert int(table["n_recovered"]) == 0 and int(table["n_valid"]) >= 1000
    assert what == "NOT_TESTABLE" and f"none of {int(table['n_valid']):,} rows" in why
    assert "resolution marginally_resolved" in why and "% in resolved" in why and found["thresholds"].attrs["wall"]
    # One row of a hundred recovered there, and it is a measurement.
    leak = below & (np.random.default_rng(4).random(len(below)) < 0.01)
    assert verdict(measured(scored(walled, np.where(leak, 9.0, walled["score"].values)))) == ("", "")
    assert verdict(measured(rows)) == ("", "")


def test_bins_of_names_have_no_neighbours_and_no_wall():
    rows = make_rows(600, 10)
    names = np.where(rows["host_index"].values < 300, "a", "b")
    one_dark = scored(rows.assign(region=("sample", names)), np.where(names == "a", -9.0, rows["score"].values))
    config = CONFIG.model_copy(update={"strata": {"region": "each"}})
    assert verdict(measured(one_dark, config=config)) == ("", "")


def test_a_split_without_injections_prints_its_counts(rows):
    controls = rows.isel(sample=slice(7)).assign(is_control=("sample", np.ones(7, bool)))
    found = measured(controls)
    assert verdict(found) == ("NOT_TESTABLE", "no injection row in split val (0 injections, 7 control rows)")
    assert int(found["funnel"]["n_planned"]) == 0 and set(found) == {"funnel"}


def test_rows_that_are_all_lost_are_counted_by_reason_and_give_no_share(rows):
    some = rows.isel(sample=slice(50))
    dark = np.where(np.arange(50)[:, None] < 20, 0.0, 1.0) * np.ones(2)
    lost = some.assign(
        total_injected_flux_nmgy=(("sample", "band"), dark), render_not_converged=("sample", np.ones(50, bool))
    )
    found = measured(lost)
    what, why = verdict(found)
    assert what == "NOT_TESTABLE" and "none of 50 injection rows" in why
    assert "no_flux 20" in why and "render_not_converged 30" in why
    assert dict(zip(REASONS, found["funnel"]["n_lost"].values.tolist(), strict=True))["no_flux"] == 20


def test_equal_scores_say_nothing_and_one_other_score_does(rows):
    what, why = verdict(measured(scored(rows, np.ones(8_000)), Negatives(np.ones(9), np.arange(9), "")))
    assert what == "NOT_TESTABLE" and "every score is 1 (8,000 rows, 9 negatives)" in why
    assert verdict(measured(scored(rows, np.ones(8_000)), Negatives(np.zeros(9), np.arange(9), "")))[0] == ""
    negatives = Negatives(np.append(np.ones(8), 0.0), np.arange(9), "")
    assert verdict(measured(scored(rows, np.ones(8_000)), negatives))[0] == ""
    # Also without negatives, whatever rows are lost.
    some = np.ones(8_000)
    some[:50] = np.nan
    assert verdict(measured(scored(rows, some)))[0] == "NOT_TESTABLE"


def test_scores_that_are_no_numbers_are_lost_up_to_one_in_a_hundred_and_then_an_error_with_the_first_row(rows):
    few, many = rows["score"].values.copy(), rows["score"].values.copy()
    few[:80], many[:81] = np.nan, np.nan
    found = measured(scored(rows, few))
    lost = dict(zip(REASONS, found["funnel"]["n_lost"].values.tolist(), strict=True))
    assert verdict(found)[0] == "" and lost["score_not_finite"] == 80
    assert int(found["curves"]["n_valid"].sel(curve="all")) == 7_920
    first = rows["row_id"].values[:81].min()
    what, why = verdict(measured(scored(rows, many)))
    assert what == "ERROR" and f"81 of 8,000 scores are not finite, the first of row_id {first}" in why


def test_a_negative_without_a_score_is_an_error_and_not_a_true_negative(rows):
    negatives = make_negatives()
    negatives.score[[4, 9]] = np.nan, np.inf
    what, why = verdict(measured(rows, negatives))
    assert what == "ERROR" and "2 of 500 negatives have a score that is not finite, the first is number 4" in why


def test_rows_of_one_host_have_no_interval_and_are_marked():
    found = measured(make_rows(1, 40))["curves"].sel(curve="all").isel(threshold=0)
    assert bool(found["one_host"]) and 0 < float(found["completeness"]) < 1
    assert np.isnan([float(found[f"completeness_{e}"]) for e in ("low", "high")]).all()
    assert not bool(found["tested"])


def test_what_was_injected_scores_by_all_bands_and_absent_ones_are_no_zero():
    rows = make_rows(2, 2)
    snr = np.array([[3.0, 4.0], [np.nan, 4.0], [2.0, np.nan], [np.nan, np.nan]])
    rows = rows.assign(snr_peak=(("sample", "band"), snr), snr_matched=(("sample", "band"), snr))
    np.testing.assert_array_equal(snr_peak(rows), [4, 4, 2, np.nan])
    np.testing.assert_array_equal(snr_matched(rows), [5, 4, 2, np.nan])


def test_the_fingerprint_of_negatives_knows_every_score_and_no_order():
    negatives = make_negatives(20)
    order = np.random.default_rng(0).permutation(20)
    again = Negatives(negatives.score[order], negatives.host[order], "in other words")
    assert again.fingerprint == negatives.fingerprint == make_negatives(20).fingerprint
    other = negatives.score.copy()
    other[3] = np.nextafter(other[3], 9)
    assert Negatives(other, negatives.host, "").fingerprint != negatives.fingerprint


def test_kind_and_scorer_are_settings_by_name():
    base = {"out": "x", "survey": {"root": "s", "targets": "t"}, "completeness": {"kind": "truth", "scorer": "a:b"}}
    assert load_config(base).completeness.kind == "truth"
