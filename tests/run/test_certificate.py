import copy
import json

import pytest

from lensflow.errors import CertificateError
from lensflow.measure.gate import GateResult, Verdict
from lensflow.run.certificate import (
    SIGNED,
    UNSIGNED,
    differences,
    make_certificate,
    overall,
    parse_certificate,
    seal_of,
    signed_bytes,
)
from lensflow.stats.estimate import Estimate

STORE = {
    "digest": "d",
    "objects": 3,
    "bytes": 9,
    "names_and_sizes": "n",
    "parts": {"attribute/seed": "s", "region/0": "a", "region/1": "b", "region/10": "c"},
    "receipts": {"created.json": "x", "region-000000.json": "y"},
}
STATE = {
    "required": ["core_r"],
    "accept_explained": False,
    "run": {
        "name": "run",
        "settings": {"gate.max_auc": 0.65},
        "code": {"pixels": "c1", "measured_by": "c2"},
        "versions": {"lensflow": "0.1"},
    },
    "data": {"manifest": STORE, "pairs": {**copy.deepcopy(STORE), "rows": 7, "plans": None}},
    "summaries": {"gates.json": "g", "diagnostics.json": None},
    "test_access": {"1.json": "t"},
}


def result(name, verdict=Verdict.PASS):
    return GateResult(
        name, {"bands": ["r"]}, "hash", 0.65, verdict, f"because of {name}", 100, 30, Estimate(0.55, 0.52, 0.58)
    )


GATES = [result("core_r"), result("edge_all", Verdict.FAIL)]
STORED = [g.to_dict() for g in GATES]


def certificate(**more):
    return make_certificate(copy.deepcopy(STATE), GATES, "2026-01-01T00:00:00+00:00", **more)


def test_only_required_gates_decide_and_the_worst_of_them():
    assert overall(GATES, ["core_r"])[0] is Verdict.PASS
    for worse in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE):
        verdict, reason = overall([result("core_r"), result("core_all", worse)], ["core_r", "core_all"])
        assert verdict is worse and "because of core_all" in reason
    mixed = [result("a", Verdict.INCONCLUSIVE), result("b", Verdict.FAIL)]
    assert overall(mixed, ["a", "b"])[0] is Verdict.FAIL


def test_a_gate_that_arcs_explain_counts_as_passed_only_where_the_settings_say_so():
    gates = [result("core_r", Verdict.EXPLAINED), result("splits")]
    assert overall(gates, ["core_r", "splits"])[0] is Verdict.EXPLAINED
    verdict, reason = overall(gates, ["core_r", "splits"], accept_explained=True)
    assert verdict is Verdict.PASS and "explained by the arcs and accepted: core_r" in reason
    failed = [*gates, result("core_all", Verdict.FAIL)]
    assert overall(failed, ["core_r", "core_all"], accept_explained=True)[0] is Verdict.FAIL


def test_a_required_gate_that_was_not_run_is_an_error():
    assert overall(GATES, ["core_r", "core_all"]) == (Verdict.ERROR, "not run: core_all")
    assert overall(GATES, [])[0] is Verdict.ERROR


def test_it_holds_every_gate_survives_json_and_says_what_it_is_worth():
    back = parse_certificate(json.dumps(certificate(), allow_nan=False).encode(), "here")
    assert [g["recipe_hash"] for g in back["gates"]] == ["hash", "hash"]
    assert differences(back, STATE, STORED) == []
    assert seal_of(dict(reversed(back.items()))) == back["seal"]
    assert back["protection"] == UNSIGNED and "not forgery" in UNSIGNED
    signed = certificate(signer="ab" * 32)
    assert signed["protection"] == SIGNED and b"abab" in signed_bytes(signed)
    assert signed_bytes({**signed, "signature": "x", "seal": "y"}) == signed_bytes(signed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, s: c.update(verdict="FAIL"), "its seal does not fit"),
        (lambda c, s: c.update(verdict="FAIL"), "from its own gates follows PASS"),
        (lambda c, s: c["gates"][1].update(verdict="PASS"), "its seal does not fit"),
        (lambda c, s: c["gates"][1].update(verdict="FINE"), "its gates cannot be read"),
        (lambda c, s: s.update(required=["core_r", "core_all"]), "required: certified ['core_r'], by the settings"),
        (lambda c, s: s.update(accept_explained=True), "accept_explained: certified False"),
        (lambda c, s: c.update(not_bound=["pixels"]), "what it says of its own reach"),
        (lambda c, s: s["run"]["settings"].update({"gate.max_auc": 0.9}), "gate.max_auc: certified 0.65, now 0.9"),
        (lambda c, s: s["run"]["settings"].pop("gate.max_auc"), "gate.max_auc: certified 0.65, now None"),
        (lambda c, s: s["run"].update(name="x"), "name: certified 'run', now 'x'"),
        (lambda c, s: s["run"]["code"].update(pixels="c3"), "code, pixels: certified 'c1'"),
        (
            lambda c, s: s["data"]["manifest"]["parts"].update({"attribute/seed": "z"}),
            "manifest, attribute seed: is not",
        ),
        (lambda c, s: s["data"]["pairs"]["parts"].update({"region/10": "z"}), "pairs, region 10: is not what was"),
        (lambda c, s: s["data"]["pairs"]["parts"].pop("region/1"), "pairs, region 1: is gone"),
        (
            lambda c, s: s["data"]["pairs"]["parts"].update({"array/x": "z"}),
            "pairs, array x: did not exist when the run was certified",
        ),
        (lambda c, s: s["data"]["pairs"].update(names_and_sizes="z"), "names or sizes"),
        (lambda c, s: s["data"]["pairs"].update(digest="z"), "its digest does not fit its parts"),
        (lambda c, s: s["data"]["pairs"].update(plans=[1]), "its plans are not those of the store"),
        (lambda c, s: s["data"]["pairs"].update(rows=8), "certified for 7 rows, there are 8"),
        (
            lambda c, s: s["data"]["pairs"]["receipts"].update({"region-1.json": "z"}),
            "receipts/pairs/region-1.json: did not exist",
        ),
        (lambda c, s: s["data"].pop("pairs"), "pairs: cannot be read"),
        (lambda c, s: s["summaries"].update({"gates.json": None}), "summaries/gates.json: is gone"),
        (
            lambda c, s: s["summaries"].update({"diagnostics.json": "z"}),
            "diagnostics.json: did not exist when the run was certified",
        ),
        (lambda c, s: s["test_access"].clear(), "test-access/1.json: is gone"),
    ],
)
def test_each_change_is_named(change, message):
    made, state = certificate(), copy.deepcopy(STATE)
    change(made, state)
    assert any(message in d for d in differences(made, state, STORED))


def test_what_was_not_read_is_not_compared_and_versions_and_later_openings_are_no_difference():
    state = copy.deepcopy(STATE)
    del state["run"]["versions"]
    state["test_access"]["2.json"] = "later"
    for number in (0, 1, 10):
        del state["data"]["pairs"]["parts"][f"region/{number}"]
    assert differences(certificate(), state, STORED) != []
    state["data"]["pairs"]["unread"] = ["region/0", "region/1", "region/10"]
    assert differences(certificate(), state, STORED) == []
    assert "not the certified ones" in differences(certificate(), STATE, STORED[:1])[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"lensflow_certificate": 1}', "version 2.*binds less"),
        ('{"lensflow_certificate": 7}', "version 2.*found 7"),
        ("[]", "version 2"),
        ("{", "not valid JSON"),
        ("\xff", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"verdict": "PASS", "verdict": "FAIL"}', "given twice"),
        ('{"lensflow_certificate": NaN}', "NaN is no number"),
        (json.dumps({**certificate(), "test_access": []}), "test_access: Input should be"),
        (json.dumps({**certificate(), "also": 1}), "also: Extra inputs"),
        (json.dumps({k: v for k, v in certificate().items() if k != "seal"}), "seal: Field required"),
    ],
)
def test_what_is_no_certificate_is_refused(text, message):
    with pytest.raises(CertificateError, match=rf"here: .*{message}"):
        parse_certificate(text.encode("latin-1"), "here")
