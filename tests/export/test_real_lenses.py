"""An export says what became of the comparison with real lenses; one for deployment needs a PASS."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lensflow.config import load_config
from lensflow.errors import ExportError, StoreError
from lensflow.export.formats import words
from lensflow.measure.gate.verdicts import Verdict
from lensflow.measure.realism import verdict as verdict_module
from lensflow.measure.realism.power import power
from lensflow.measure.realism.verdict import Comparison, decided_again, judge_realism
from lensflow.run.export import real_lenses
from lensflow.run.realism.files import results_of
from lensflow.run.realism.stored import StoredRealism
from lensflow.stats import codec
from lensflow.store.results import keep_results
from tests.measure.realism.drawn import QUICK, matched_rows
from tests.measure.realism.test_verdict import balance
from tests.reseal import rewrite


def judged(delta=0.0):
    rows = matched_rows(110, delta=delta)
    second = np.random.default_rng(1).normal(size=rows.injected_values.shape)
    brighter = rows.injected_values + np.eye(len(rows.names))[0] * 3.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict_module, "power", lambda *a: power(*a, skies=40))
        return judge_realism(Comparison(rows, second, brighter, balance=balance()), QUICK, 1)


@pytest.fixture(scope="module")
def passed():
    found = judged()
    assert found.gate.verdict is Verdict.PASS
    return found


@pytest.fixture(scope="module")
def failed():
    return judged(2.5)


@pytest.fixture
def stored(passed):
    def of(verdict, pairs="these", table="folder/lenses.csv", other=()):
        gate = replace(passed.gate, verdict=verdict, reason=f"why {verdict}")
        kept = SimpleNamespace(gates=(gate,), table=table, tables=passed.tables)
        return SimpleNamespace(pairs=pairs, kept=kept, other_settings=lambda config: list(other))

    return of


@pytest.fixture
def asked(monkeypatch):
    def of(*found, purpose="search"):
        monkeypatch.setattr(real_lenses, "pairs_content", lambda config: "these")
        monkeypatch.setattr(real_lenses, "stored_realism", lambda config: list(found))
        return SimpleNamespace(export=SimpleNamespace(purpose=purpose), out="runs/x", storage=None, realism=QUICK)

    return of


def test_the_verdict_of_these_pixels_is_carried_and_the_worst_counts(asked, stored):
    config = asked(stored(Verdict.PASS), stored(Verdict.FAIL, table="other.csv"))
    found = real_lenses.realism_of(config)
    assert found["verdict"] == "FAIL"
    assert found["table"] == "other.csv"
    assert "not that a search will transfer" in found["limits"]


def test_a_comparison_of_other_pixels_is_none(asked, stored):
    found = real_lenses.realism_of(asked(stored(Verdict.PASS, pairs="others")))
    assert found["verdict"] == "NOT_RUN"


def test_a_pass_of_other_settings_than_the_run_s_is_none(asked, stored):
    found = real_lenses.realism_of(asked(stored(Verdict.PASS, other=["max_auc"])))
    assert found["verdict"] == "NOT_TESTABLE" and "other settings than the run's (realism.max_auc)" in found["reason"]


def kept_in(folder, compared, monkeypatch):
    """A run's folder with a stored comparison, and its config, for deployment."""
    monkeypatch.setattr(real_lenses, "pairs_content", lambda config: "these")
    settings = QUICK.model_dump(mode="json")
    config = load_config({"out": str(folder), "survey": {"synthetic": {}}, "export": {"purpose": "deploy"},
                          "realism": settings})  # fmt: skip
    url = results_of(config, "lenses.csv")
    keep_results(url, "key", {
        "table": "lenses.csv", "scorer": "", "pairs": "these", "gates": [compared.gate.to_dict()],
        "tables": codec.encode(compared.tables), "settings": settings, "numbers": {"n_table": 110, "left_out": {}},
    })  # fmt: skip
    return config, Path(url)


def edit(place, change, with_digest=False):
    content = json.loads(place.read_text())
    change(content["results"])
    if with_digest:
        rewrite(place, results=content["results"])
    else:
        place.write_text(json.dumps(content))


def to_pass(results):
    results["gates"][0]["verdict"] = "PASS"


def test_a_stored_pass_deploys(tmp_path, passed, monkeypatch):
    config, _ = kept_in(tmp_path, passed, monkeypatch)
    real_lenses.refuse_deployment(config)
    assert real_lenses.realism_of(config)["verdict"] == "PASS"


@pytest.mark.parametrize(("change", "what"), [
    (to_pass, "verdict"),
    (lambda r: r.update(pairs="those"), "pixels"),
    (lambda r: r["settings"].update(max_auc=0.65, min_sets=10), "settings"),
    (lambda r: r["gates"][0].update(auc_high=0.6), "interval"),
])  # fmt: skip
def test_an_edited_result_deploys_nothing(tmp_path, failed, monkeypatch, change, what):
    config, place = kept_in(tmp_path, failed, monkeypatch)
    edit(place, change)
    for ask in (real_lenses.refuse_deployment, real_lenses.realism_of):
        with pytest.raises(StoreError, match=r"edited or damaged .* Delete it and run `lensflow realism` again"):
            ask(config)


def test_a_result_without_a_digest_deploys_nothing(tmp_path, passed, monkeypatch):
    config, place = kept_in(tmp_path, passed, monkeypatch)
    content = json.loads(place.read_text())
    content.pop("digest")
    place.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="has no digest"):
        real_lenses.refuse_deployment(config)


def test_a_verdict_that_its_own_numbers_do_not_give_deploys_nothing(tmp_path, failed, monkeypatch):
    """By somebody who makes the digest fit, too."""
    config, place = kept_in(tmp_path, failed, monkeypatch)
    edit(place, to_pass, with_digest=True)
    with pytest.raises(ExportError, match=r"it is ERROR .the stored verdict is PASS, and from its own numbers follows"):
        real_lenses.refuse_deployment(config)


def test_verdicts_follow_from_their_own_numbers(passed, failed):
    for found in (passed, failed):
        assert decided_again(found.gate, found.tables, QUICK) is found.gate.verdict
    lost = replace(passed.gate, controls={k: v for k, v in passed.gate.controls.items() if k != "positive"})
    assert decided_again(lost, passed.tables, QUICK) is Verdict.NOT_TESTABLE
    assert decided_again(replace(passed.gate, controls={}), passed.tables, QUICK) is Verdict.ERROR
    assert decided_again(passed.gate, {**passed.tables, "balance": balance(mag_z=0.4)}, QUICK) is Verdict.INCONCLUSIVE
    assert decided_again(replace(passed.gate, n_hosts=20), passed.tables, QUICK) is Verdict.NOT_TESTABLE


def test_settings_of_a_comparison_are_held_against_the_run_s():
    config = load_config({"out": "x", "survey": {"synthetic": {}}})
    own = config.realism.model_dump(mode="json")
    for settings, names in ((own, []), (own | {"table": "l.csv", "required": True}, []),
                            (own | {"max_auc": 0.99, "min_sets": 10}, ["max_auc", "min_sets"])):  # fmt: skip
        assert StoredRealism(None, "", settings).other_settings(config) == names


@pytest.mark.parametrize("verdict", [v for v in Verdict if v not in (Verdict.PASS, Verdict.EXPLAINED)])
def test_deployment_needs_a_pass(asked, stored, monkeypatch, verdict):
    monkeypatch.setattr(real_lenses.RunFolder, "of", lambda config: SimpleNamespace(root="runs/x"))
    with pytest.raises(ExportError, match=f"needs realism PASS, and it is {verdict}"):
        real_lenses.refuse_deployment(asked(stored(verdict), purpose="deploy"))
    with pytest.raises(ExportError, match="NOT_RUN"):
        real_lenses.refuse_deployment(asked(purpose="deploy"))
    real_lenses.refuse_deployment(asked(stored(Verdict.PASS), purpose="deploy"))
    real_lenses.refuse_deployment(asked(stored(verdict), purpose="search"))


def test_the_card_says_it_in_a_sentence():
    found = {"verdict": "FAIL", "reason": "AUC 0.9", "table": "l.csv", "limits": "No promise."}
    assert words.realism_sentence({"realism": found}) == "Against real lenses (l.csv): FAIL. AUC 0.9. No promise."
    assert "not held against" in words.realism_sentence(
        {"realism": {"verdict": "NOT_RUN", "reason": "the injections were not held against real lenses"}}
    )
