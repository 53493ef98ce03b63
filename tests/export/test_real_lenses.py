"""An export says what became of the comparison with real lenses; one for deployment needs a PASS."""

from types import SimpleNamespace

import pytest

from lensflow.config import load_config
from lensflow.errors import ExportError
from lensflow.export.formats import words
from lensflow.measure.gate.verdicts import Verdict
from lensflow.run.export import real_lenses
from lensflow.run.realism.stored import StoredRealism


def stored(verdict, pairs="these", table="folder/lenses.csv", other=()):
    gate = SimpleNamespace(verdict=verdict, reason=f"why {verdict}")
    return SimpleNamespace(pairs=pairs, kept=SimpleNamespace(gates=(gate,), table=table),
                           other_settings=lambda config: list(other))  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    def of(*found, purpose="search"):
        monkeypatch.setattr(real_lenses, "pairs_content", lambda config: "these")
        monkeypatch.setattr(real_lenses, "stored_realism", lambda config: list(found))
        return SimpleNamespace(export=SimpleNamespace(purpose=purpose), out="runs/x", storage=None)

    return of


def test_the_verdict_of_these_pixels_is_carried_and_the_worst_counts(asked):
    config = asked(stored(Verdict.PASS), stored(Verdict.FAIL, table="other.csv"))
    found = real_lenses.realism_of(config)
    assert found["verdict"] == "FAIL"
    assert found["table"] == "other.csv"
    assert "not that a search will transfer" in found["limits"]


def test_a_comparison_of_other_pixels_is_none(asked):
    found = real_lenses.realism_of(asked(stored(Verdict.PASS, pairs="others")))
    assert found["verdict"] == "NOT_RUN"


def test_a_pass_of_other_settings_than_the_run_s_is_none(asked):
    found = real_lenses.realism_of(asked(stored(Verdict.PASS, other=["max_auc"])))
    assert found["verdict"] == "NOT_TESTABLE" and "other settings than the run's (realism.max_auc)" in found["reason"]


def test_settings_of_a_comparison_are_held_against_the_run_s():
    config = load_config({"out": "x", "survey": {"synthetic": {}}})
    own = config.realism.model_dump(mode="json")
    for settings, names in ((own, []), (own | {"table": "l.csv", "required": True}, []),
                            (own | {"max_auc": 0.99, "min_sets": 10}, ["max_auc", "min_sets"])):  # fmt: skip
        assert StoredRealism(None, "", settings).other_settings(config) == names


@pytest.mark.parametrize("verdict", [v for v in Verdict if v not in (Verdict.PASS, Verdict.EXPLAINED)])
def test_deployment_needs_a_pass(asked, monkeypatch, verdict):
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
