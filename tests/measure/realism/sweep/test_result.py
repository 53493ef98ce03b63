"""What a sweep found is kept to the bit, and its lines are sorted by difference."""

import json

import numpy as np
import pytest

from lensflow.measure.completeness.paired import holm
from lensflow.measure.gate.verdicts import Drawn, GateResult, Verdict
from lensflow.measure.realism.sweep.result import SweepResult, gates_table
from lensflow.stats.estimate import Estimate
from tests.measure.realism.sweep.made_sweep import made_sweep


@pytest.mark.parametrize("counted", [True, False])
def test_what_is_kept_comes_back_to_the_bit(counted):
    found = made_sweep(counted=counted)
    text = json.dumps(found.to_json(), allow_nan=False)
    again = SweepResult.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    for one, other in zip((*found.arms, found.null), (*again.arms, again.null), strict=True):
        assert one.proof.identical(other.proof) and one.differs == other.differs and one.values == other.values
        assert (one.numbers is None) == (other.numbers is None)
        assert one.numbers is None or one.numbers.identical(other.numbers)
    assert str(again.arms[0].proof["hash_a"].values[0]) == f"{2**127 + 5:032x}"


def test_lines_are_sorted_by_difference_and_corrected_for_the_number_of_arms():
    found = made_sweep()
    lines = found.lines()
    assert [x.value for x in lines] == ["3", "2"] and lines[0].difference.value > lines[1].difference.value > 0
    p = [float(a.numbers["p"].isel(threshold=0, stratum=0)) for a in found.arms]
    assert [lines[1].p_holm, lines[0].p_holm] == holm(p).tolist()
    assert lines[0].gates == "core_all: PASS to FAIL" and lines[1].gates == "same"
    assert all(x.lost == 0 and x.gained > 0 and x.recovered[1] > x.recovered[0] == 0.5 for x in lines)
    assert "core_all: PASS to FAIL" in repr(found) and "null arm bit-equal" in repr(found)


def test_without_a_scorer_nothing_is_counted():
    assert all(x.difference.value != x.difference.value and x.gates == "" for x in made_sweep(counted=False).lines())
    assert "not counted" in repr(made_sweep(counted=False))


def test_a_change_of_a_gate_has_an_interval():
    gates = made_sweep().arms[1].gates
    assert gates["change"].item() == pytest.approx(0.4)
    assert gates["change_low"].item() < 0.4 < gates["change_high"].item()
    assert (gates["verdict_reference"].item(), gates["verdict_arm"].item()) == ("PASS", "FAIL")


def test_a_change_is_paired_where_both_arms_drew_the_same_hosts():
    """Two gates on the same hosts whose areas scatter by 0.02, and their difference by a tenth of that."""
    draw = np.random.default_rng(0)
    common, apart = draw.normal(0, 0.02, 400), draw.normal(0, 0.002, 400)
    one, other = Drawn("hosts", 0.60 + common), Drawn("hosts", 0.62 + common + apart)
    rho = one.correlation(Drawn.from_json(json.loads(json.dumps(other.to_json()))))
    assert rho == pytest.approx(np.corrcoef(common, common + apart)[0, 1], abs=1e-6)
    areas = [Estimate(v, v - 0.04, v + 0.04, 60) for v in (0.60, 0.62)]
    sides = [[GateResult("core_all", {}, "0", 0.65, Verdict.PASS, "").with_area(a)] for a in areas]
    alone, paired = gates_table(*sides), gates_table(*sides, {"core_all": rho})
    width = [float(t["change_high"][0] - t["change_low"][0]) for t in (alone, paired)]
    assert width[0] == pytest.approx(2 * 0.04 * 2**0.5) and 0.004 < width[1] < 0.015
    assert [bool(t["paired"][0]) for t in (alone, paired)] == [False, True]
    assert float(paired["change"][0]) == float(alone["change"][0])


def test_other_hosts_are_not_paired():
    one = Drawn("hosts", np.linspace(0.5, 0.6, 5))
    assert one.correlation(Drawn("others", one.areas)) is None and one.correlation(None) is None
    assert one.correlation(Drawn("hosts", one.areas[:4])) is None
    assert one.correlation(Drawn("hosts", np.full(5, 0.5))) == 0.0
