"""A required completeness passes with its whole interval, fails with its whole interval, and else is not decided."""

import numpy as np
import pytest

from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness.required import Asked, judge_required
from lensflow.measure.completeness.summary import Negatives, completeness
from lensflow.measure.completeness.table import shown
from lensflow.measure.gate.verdicts import GateResult
from lensflow.stats.proportions import clustered, wilson
from tests.measure.completeness.synthetic_rows import make_negatives, make_rows

pytestmark = pytest.mark.whole

ME = Asked("my_models:finder", "0123", "val")
BRIGHT = {"src_mag_r": (22.0, 23.0)}


@pytest.fixture(scope="module")
def rows():
    return make_rows(300, 8)


def config(*required, **more):
    base = {"threshold": {"value": 1.5}, "bootstrap": 50, "require": list(required)}
    return CompletenessConfig.model_validate({**base, **more})


def judged(rows, settings, asked=ME, negatives=None, truth=False):
    negatives = negatives or Negatives(np.empty(0), np.empty(0, np.int64), "none")
    found = completeness(rows, negatives, settings, 1, truth=truth)
    return judge_required(found, asked, settings, 1), found


def counts(rows, inside, tau=1.5):
    host, hit = rows["host_index"].values[inside], rows["score"].values[inside] >= tau
    n = np.bincount(host)
    k = np.bincount(host, hit).astype(np.int64)[n > 0]
    n = n[n > 0]
    return clustered(n.sum(), k.sum(), (n * n).sum(), (n * k).sum(), (k * k).sum(), len(n))


def test_the_interval_that_is_judged_is_that_of_the_rows_it_names(rows):
    mag = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values[:, 1])
    theta = rows["theta_e_arcsec"].values
    where = {"src_mag_r": (22.5, 24.0), "theta_e_arcsec": (1.0, 2.0)}
    inside = (mag >= 22.5) & (mag < 24) & (theta >= 1) & (theta < 2)
    expected = counts(rows, inside)
    gate, found = judged(rows, config({"where": where, "min": 0.5}))
    line = found["require"].isel(requirement=0)
    assert int(line["n_valid"]) == inside.sum() and int(line["n_hosts"]) == len(np.unique(rows["host_index"][inside]))
    for name, value in (("completeness", expected.value), ("completeness_low", expected.low),
                        ("completeness_high", expected.high)):  # fmt: skip
        np.testing.assert_allclose(float(line[name]), float(value), rtol=1e-12)
    (finding,) = gate.findings
    assert finding["low"] == float(line["completeness_low"]) and "theta_e_arcsec 1 to 2" in finding["where"]
    assert gate.name == "completeness" and GateResult.from_dict(gate.to_dict()).to_dict() == gate.to_dict()


def test_each_verdict_is_where_its_interval_is(rows):
    expected = counts(rows, np.ones(rows.sizes["sample"], bool))
    low, high = float(expected.low), float(expected.high)
    cases = [(low - 1e-6, "PASS"), (low, "INCONCLUSIVE"), ((low + high) / 2, "INCONCLUSIVE"),
             (high - 1e-6, "INCONCLUSIVE"), (high, "FAIL"), (high + 1e-6, "FAIL")]  # fmt: skip
    _, found = judged(rows, config(*({"min": least} for least, _ in cases)))
    for k, (least, verdict) in enumerate(cases):
        one = {**found, "require": found["require"].isel(requirement=[k])}
        assert judge_required(one, ME, config({"min": least}), 1).verdict == verdict, least


@pytest.mark.slow
def test_the_worst_of_several_is_the_verdict_and_all_are_shown(rows):
    easy, hard = {"where": BRIGHT, "min": 0.1}, {"where": {"src_mag_r": (25.0, 26.0)}, "min": 0.9}
    few = {"where": {"src_mag_r": (30.0, 31.0)}, "min": 0.1}
    for some in ((easy, hard, few), (few, easy, hard)):
        gate, _ = judged(rows, config(*some))
        assert gate.verdict == "FAIL" and len(gate.findings) == 3 and "25 to 26" in gate.reason
    assert judged(rows, config(easy, few))[0].verdict == "NOT_TESTABLE"
    assert judged(rows, config(easy))[0].verdict == "PASS"


def test_few_rows_or_hosts_are_not_testable_however_many_are_recovered(rows):
    one = rows.assign(score=("sample", np.where(rows["host_index"] < 290, rows["score"], 9.0)))
    last = one.assign(theta_e_arcsec=("sample", np.where(rows["host_index"] < 291, 1.0, 2.35)))
    gate, _ = judged(last, config({"where": {"theta_e_arcsec": (2.3, 2.4)}, "min": 0.1}))
    assert gate.verdict == "NOT_TESTABLE" and "72 rows on 9 hosts: at least 20 on 10 are needed" in gate.reason


@pytest.mark.slow
def test_a_rate_that_the_negatives_cannot_set_is_not_testable_and_one_that_they_can_is_at_its_own_tau(rows):
    negatives = make_negatives()
    gate, _ = judged(rows, config({"min": 0.1, "at": {"fpr": 1e-4}}), negatives=negatives)
    assert gate.verdict == "NOT_TESTABLE" and "needs 10,000 negatives at least; 500 were given" in gate.reason
    gate, found = judged(rows, config({"min": 0.1, "at": {"fpr": [0.01, 0.1]}}), negatives=negatives)
    taus = found["require"]["tau"].values
    assert len(gate.findings) == 2 and [(negatives.score >= t).sum() for t in taus] == [5, 50]
    assert int(found["require"]["n_recovered"][0]) == (rows["score"].values >= taus[0]).sum()
    nothing, _ = judged(rows, config({"min": 0.1, "at": {"fpr": 0.1}}))
    assert nothing.verdict == "NOT_TESTABLE" and "there is none" in nothing.reason


def test_thresholds_of_requirements_are_those_measured_where_there_is_no_other(rows):
    settings = config({"min": 0.1, "at": {"value": 1.0}}, {"min": 0.1, "at": {"value": 2.0}}, threshold=None)
    _, found = judged(rows, settings)
    assert found["thresholds"]["tau"].values.tolist() == [1.0, 2.0] == found["require"]["tau"].values.tolist()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked("s", "", "val", unbound="the table does not say"), "the table does not say"),
        (Asked("s", "", "val", data="core_all FAIL"), "core_all FAIL"),
        (Asked("s", "", "val", truth=True), "detectability by definition"),
    ],
)
def test_nothing_passes_or_fails_on_truth_on_unknown_pixels_or_on_leaky_data(rows, asked, why):
    for least in (0.0, 1.0):
        gate, _ = judged(rows, config({"where": BRIGHT, "min": least}), asked, truth=asked.truth)
        assert gate.verdict == "NOT_TESTABLE" and why in gate.reason


def test_a_cut_in_disguise_passes_nothing(rows):
    cut = rows.assign(score=("sample", np.where(rows["snr_peak"].values[:, 1] >= 5, 2.0, 1.0)))
    gate, _ = judged(cut, config({"where": BRIGHT, "min": 0.01}))
    assert gate.verdict == "NOT_TESTABLE" and "snr_peak_r >= 5" in gate.reason
    broken = rows.assign(score=("sample", np.full(rows.sizes["sample"], np.nan)))
    assert judged(broken, config({"min": 0.0}))[0].verdict == "ERROR"


@pytest.mark.slow
def test_the_interval_that_is_set_is_the_one_that_is_shown_and_judged_and_says_what_it_ignores(rows):
    mean = float(counts(rows, np.ones(rows.sizes["sample"], bool)).value)
    n = rows.sizes["sample"]
    low, high = wilson(round(mean * n), n)
    found = {}
    for kind in ("host", "wilson_ignores_hosts", "jeffreys_ignores_hosts"):
        settings = config({"min": float(low) - 1e-3}, interval=kind)
        gate, tables = judged(rows, settings)
        cell = tables["curves"].sel(curve="all").isel(threshold=0)
        found[kind] = shown(cell)
        assert found[kind].low == float(tables["require"]["completeness_low"][0])
        assert ("ignores" in gate.recipe["interval"]) == (kind != "host")
        # The host interval is stored whatever is shown.
        assert float(cell["completeness_low"]) == found["host"].low
        assert gate.verdict == ("INCONCLUSIVE" if kind == "host" else "PASS")
    assert (found["wilson_ignores_hosts"].low, found["wilson_ignores_hosts"].high) == pytest.approx((low, high))
    assert found["host"].low < low < high < found["host"].high
