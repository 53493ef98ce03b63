import copy
import json

import pytest

from lensflow.errors import CertificateError
from lensflow.gates import GateResult, Verdict
from lensflow.gates.certificate import differences, make_certificate, overall, seal_of

RUN = {"name": "run", "fingerprint": "f1", "code": "c1", "versions": {"lensflow": "0.1"}}
DATA = {"manifest": {"content": "m"}, "pairs": {"content": "p", "regions": {"0": "a", "1": "b", "10": "c"}}}


def result(name, verdict=Verdict.PASS):
    return GateResult(name, {"bands": ["r"]}, "hash", 0.65, verdict, f"because of {name}", 100, 30, 0.55, 0.52, 0.58)


GATES = [result("core_r"), result("edge_all", Verdict.FAIL)]


def certificate(gates=GATES, required=("core_r",)):
    return make_certificate(RUN, DATA, gates, required, "2026-01-01T00:00:00+00:00")


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


def test_it_holds_every_gate_and_survives_json():
    text = json.dumps(certificate(), allow_nan=False)
    back = json.loads(text)
    assert [g["recipe_hash"] for g in back["gates"]] == ["hash", "hash"]
    assert differences(back, RUN, DATA, GATES) == []
    assert seal_of(dict(reversed(back.items()))) == back["seal"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, r, d: c.update(verdict="FAIL"), "edited"),
        (lambda c, r, d: c["gates"][1].update(verdict="PASS"), "edited"),
        (lambda c, r, d: r.update(fingerprint="f2"), "run.fingerprint: certified 'f1', now 'f2'"),
        (lambda c, r, d: d["manifest"].update(content="x"), "manifest: content m, now x"),
        (lambda c, r, d: d["pairs"]["regions"].update({"10": "z"}), "1 of 3 regions have other checksums: 10"),
        (lambda c, r, d: d["pairs"]["regions"].pop("1"), "1 of 3 regions have other checksums: 1"),
        (lambda c, r, d: d.pop("pairs"), "pairs: cannot be read"),
    ],
)
def test_each_change_is_named(change, message):
    made, run, data = certificate(), dict(RUN), copy.deepcopy(DATA)
    change(made, run, data)
    assert any(message in d for d in differences(made, run, data, GATES))


def test_other_results_are_named_and_newer_code_is_no_difference():
    assert "not the certified ones" in differences(certificate(), RUN, DATA, GATES[:1])[0]
    assert "gone" in differences(certificate(), RUN, DATA, None)[0]
    assert differences(certificate(), {**RUN, "code": "c2"}, DATA, GATES) == []


def test_what_is_no_certificate_is_refused():
    with pytest.raises(CertificateError, match="version 1"):
        differences({"lensflow_certificate": 7}, RUN, DATA, GATES)
