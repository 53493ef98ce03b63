"""Conclusions are judged from intervals: the same words hold, do not hold or stay open as the numbers say."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lensflow import core_table
from lensflow.errors import GateError
from lensflow.measure.core.sweep import HandlingResult
from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.gate.family import worst_of
from lensflow.stats.estimate import Estimate

sys.path.append(str(Path(__file__).parents[2] / "workflows"))
from claims import PUBLISHED_AUC, Judgement, core_claims

STRATA = [("theta_e_arcsec", 0.96), ("theta_e_arcsec", 0.80), ("arc_snr", 0.1)]


def gate(auc, half=0.02, excess=0.0, strata=STRATA):
    low, high = auc - half, auc + half
    verdict = Verdict.NOT_TESTABLE if math.isnan(auc) else Verdict.FAIL if low >= 0.65 else Verdict.INCONCLUSIVE
    return GateResult(
        name="core_all", recipe={}, recipe_hash="", threshold=0.65, verdict=verdict, reason="", n_rows=90, n_hosts=30,
        area=Estimate(auc, low, high),
        strata=tuple({"by": by, "auc": a, "auc_low": a - half, "auc_high": a + half} for by, a in strata),
        controls={"reference": {"excess": excess, "excess_low": excess - 0.01, "excess_high": excess + 0.01}},
    )  # fmt: skip


def handling(name, auc, removed=0.7, opened=0.31, **more):
    cost = ({"low": 0.5, "high": 0.6, "n_rows": 9, "removed": removed, "removed_low": removed - 0.03,
             "removed_high": removed + 0.03},)  # fmt: skip
    return HandlingResult(name, "", False, 90, 30, (gate(auc, **more),), Estimate(0.3, 0.2, 0.4), cost, opened, 1.0)


def original():
    return [
        handling("none", 0.958, opened=1.0), handling("mask_5", 0.957), handling("tanh_5", 0.937),
        handling("mask_7", 0.771, opened=0.01), handling("mask_8", math.nan, opened=0.0),
    ]  # fmt: skip


def judged(results):
    return {c.text.split(":")[0]: c.judgement for c in core_claims(results)}


def find(results, words):
    return next(j for text, j in judged(results).items() if words in text)


def test_the_original_numbers_bear_out_the_original_conclusions_but_its_first_auc():
    found = judged(original())
    refused = [text for text, j in found.items() if j is not Judgement.HOLDS]
    assert len(found) == 11 and refused == ["The first core gate's AUC is what correct arcs give here"]


@pytest.mark.parametrize(
    ("change", "words", "judgement"),
    [
        (handling("none", 0.55), "fail the bare core gate", Judgement.DOES_NOT_HOLD),
        (handling("none", 0.66), "fail the bare core gate", Judgement.UNDECIDED),
        (handling("none", 0.958, excess=0.05), "arcs' own light", Judgement.DOES_NOT_HOLD),
        (handling("none", 0.958, strata=[("theta_e_arcsec", a) for a in (0.8, 0.95)]), "Small arcs",
         Judgement.DOES_NOT_HOLD),
        (handling("none", 0.958, strata=[("theta_e_arcsec", a) for a in (0.90, 0.89)]), "Small arcs",
         Judgement.UNDECIDED),
        (handling("none", 0.958, strata=[]), "Small arcs", Judgement.UNDECIDED),
        (handling("mask_5", 0.60), "r = 5 pix does not mend", Judgement.DOES_NOT_HOLD),
        (handling("mask_5", 0.957, removed=0.2), "deletes most", Judgement.DOES_NOT_HOLD),
        (handling("mask_5", 0.957, removed=0.51), "deletes most", Judgement.UNDECIDED),
        (handling("mask_5", 0.957, opened=0.0), "leaves part", Judgement.DOES_NOT_HOLD),
        (handling("mask_7", 0.95), "r = 7 pix lowers", Judgement.UNDECIDED),
        (handling("mask_7", 0.60), "r = 7 pix lowers", Judgement.DOES_NOT_HOLD),
        (handling("mask_8", 0.5, opened=0.02), "From r = 8", Judgement.DOES_NOT_HOLD),
    ],
)  # fmt: skip
def test_other_numbers_change_the_judgement(change, words, judgement):
    results = [change if r.name == change.name else r for r in original()]
    assert find(results, words) is judgement


def test_an_interval_that_holds_both_published_numbers_bears_out_neither():
    wide = [handling("none", 0.925, half=0.05)]
    assert find(wide, "first core gate's") is find(wide, "later core gate's") is Judgement.UNDECIDED
    narrow = [handling("none", 0.945, half=0.02)]
    assert find(narrow, "later core gate's") is Judgement.HOLDS
    assert find(narrow, "first core gate's") is Judgement.DOES_NOT_HOLD
    far = [handling("none", 0.7, half=0.1)]
    assert find(far, "later core gate's") is Judgement.DOES_NOT_HOLD


def test_the_box_alone_is_judged_where_the_gate_looked_beyond_a_mask():
    five = handling("mask_5", 0.60)
    (box,) = five.gates
    worst = worst_of([("the box", box), ("a ring beyond the mask", gate(0.99))])
    assert worst.auc == 0.99
    assert find([replace(five, gates=(worst,))], "r = 5 pix does not mend") is Judgement.DOES_NOT_HOLD


def test_the_published_numbers_stand_beside_the_gate_that_they_are_of_or_are_refused():
    shown = core_table(original(), published=PUBLISHED_AUC)
    assert "published core_all" in shown and "published" not in core_table(original())
    (only,) = handling("none", 0.9).gates
    with pytest.raises(GateError, match="none: measured without core_all"):
        core_table([replace(handling("none", 0.9), gates=(replace(only, name="core_r"),))], published=PUBLISHED_AUC)


def test_nothing_is_concluded_from_what_was_not_measured():
    assert set(judged([]).values()) == {Judgement.UNDECIDED}
    assert find([handling("none", 0.958)], "r = 7 pix lowers") is Judgement.UNDECIDED
