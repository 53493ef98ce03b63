import dataclasses
import json
import math

import pytest

from lensflow.errors import GateError
from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.gate.verdicts import judge
from lensflow.stats.estimate import Estimate


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.6499, Verdict.PASS),
        (0.5, 0.65, Verdict.INCONCLUSIVE),
        (0.6, 0.7, Verdict.INCONCLUSIVE),
        (0.65, 0.7, Verdict.FAIL),
        (math.nan, 0.6, Verdict.NOT_TESTABLE),
        (0.5, math.nan, Verdict.NOT_TESTABLE),
    ],
)
def test_only_an_interval_wholly_below_the_threshold_passes(low, high, verdict):
    assert judge(Estimate(0.6, low, high), 0.65)[0] is verdict


def result():
    return GateResult(
        name="core_r",
        recipe={"bands": ["r"], "folds": 5},
        recipe_hash="0123456789abcdef",
        threshold=0.65,
        verdict=Verdict.INCONCLUSIVE,
        reason="why",
        n_rows=4,
        n_hosts=2,
        area=Estimate(0.61),
        strata=({"by": "theta_e_arcsec", "low": 0.0, "high": math.nan, "auc": math.nan, "verdict": "PASS"},),
        controls={"null": {"auc": 0.5, "holds_half": True}, "positive": {"tried": [{"auc": math.nan}]}},
        coef=(0.1, -0.2),
        box_shape=(1, 1, 2),
        roc=((0.0, 0.0), (1.0, 1.0)),
        roc_low=(0.0, 1.0),
        roc_high=(math.nan, 1.0),
    )


def test_json_is_strict_and_comes_back_as_it_was():
    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    text = result().to_json()
    tree = json.loads(text, parse_constant=refuse)
    assert tree["auc_low"] is None
    assert tree["verdict"] == "INCONCLUSIVE"
    back = GateResult.from_json(text)
    assert back.to_json() == text
    assert back.verdict is Verdict.INCONCLUSIVE
    assert math.isnan(back.auc_low)
    assert math.isnan(back.strata[0]["auc"])
    assert (back.coef, back.box_shape, back.roc) == (result().coef, result().box_shape, result().roc)
    assert back.roc_low == (0.0, 1.0) and math.isnan(back.roc_high[0])


def test_infinities_come_back_and_what_would_become_nan_is_refused():
    endless = dataclasses.replace(result(), fit={"statistic": math.inf})
    assert GateResult.from_json(endless.to_json()).fit == {"statistic": math.inf}
    with pytest.raises(ValueError, match=r"core_r\.recipe\.source: None"):
        dataclasses.replace(result(), recipe={"source": None}).to_dict()


def test_a_result_with_unknown_or_missing_keys_is_refused():
    tree = result().to_dict()
    tree["colour"] = tree.pop("auc")
    with pytest.raises(GateError, match=r"auc.*colour"):
        GateResult.from_dict(tree)
