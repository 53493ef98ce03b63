"""A trained network is asked for the real lenses of ``realism.table``; without a table nothing is claimed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lensflow.errors import RealismError, TargetError
from lensflow.measure.gate import GateResult, Verdict
from lensflow.run.stored_training import kept_training, stored_training
from lensflow.show.training import KeptTraining
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from lensflow.training import files, real_lenses
from lensflow.training.real_lenses import real_verdicts, refuse_bad_table
from lensflow.training.result import Training
from lensflow.training.step import train_step
from tests.export_run import certify_as
from tests.factories import make_config
from tests.run.realism.sky import injected_run


def gate(name, verdict=Verdict.PASS):
    return GateResult(name, {"check": name}, "0", 0.5, verdict, "so it is")


@pytest.fixture
def config(tmp_path):
    table = tmp_path / "lenses.csv"
    table.write_text("lens_id,ra_deg,dec_deg\na,10.0,1.0\nb,11.0,2.0\n")
    return make_config(str(tmp_path / "run"), realism={"table": str(table)})


def test_without_a_table_nothing_is_claimed(config):
    without = config.model_copy(update={"realism": config.realism.model_copy(update={"table": None})})
    (found,) = real_verdicts(without, "weights.safetensors", print)
    assert (found.name, found.verdict) == ("real_lenses", "NOT_TESTABLE")
    assert "no table of real lenses" in found.reason
    refuse_bad_table(without)


def test_the_recall_is_that_of_the_comparison(config, monkeypatch):
    def step(given, table, scorer, progress):
        assert (given, table, scorer) == (config, None, "weights.safetensors")
        return SimpleNamespace(
            gates=(gate("realism"), gate("real_recall", Verdict.FAIL), gate("real_fpr"), gate("gap"))
        )

    monkeypatch.setattr(real_lenses, "realism_step", step)
    found = real_verdicts(config, "weights.safetensors", print)
    assert [(g.name, g.verdict) for g in found] == [("real_lenses", "FAIL"), ("real_fpr", "PASS"), ("gap", "PASS")]


def test_a_comparison_that_stops_does_not_cost_the_training(config, monkeypatch):
    def step(*args):
        raise RealismError("no lens is left")

    monkeypatch.setattr(real_lenses, "realism_step", step)
    (found,) = real_verdicts(config, "weights.safetensors", print)
    assert found.verdict == "ERROR" and "stopped: no lens is left" in found.reason


def test_a_table_that_cannot_be_read_is_refused_before_the_training(config):
    Path(config.realism.table).write_text("name,ra\na,1\n")
    with pytest.raises(TargetError):
        refuse_bad_table(config)


@pytest.mark.parametrize(
    ("verdict", "stops"),
    [("PASS", False), ("FAIL", True), ("INCONCLUSIVE", True), ("ERROR", True), ("NOT_TESTABLE", False)],
)
def test_a_network_that_misses_real_lenses_does_not_pass(verdict, stops):
    names = ("core_drop", "core_unexplained", "synthetic_auroc", "train_val_gap", "arc_free_strata")
    gates = (*map(gate, names), gate("real_lenses", Verdict(verdict)))
    found = Training("w", KeptTraining("w", "r", gates, {}, {}), "r")
    assert bool(found.not_passed) == stops


def test_verdicts_of_another_table_are_not_shown(config, tmp_path):
    real = {"key": files.real_key(config), "gates": [gate("real_lenses").to_dict()]}
    results = {"gates": [gate("core_drop").to_dict()], "nulls": [], "tables": {}, "numbers": {}, "real": real}
    assert [g.name for g in kept_training(config, results).gates] == ["core_drop", "real_lenses"]
    table = Path(config.realism.table)
    table.write_text(table.read_text() + "c,12.0,3.0\n")
    assert [g.name for g in kept_training(config, results).gates] == ["core_drop"]
    stricter = config.model_copy(update={"realism": config.realism.model_copy(update={"min_real_recall": 0.9})})
    assert files.real_key(stricter) != files.real_key(config)


@pytest.mark.slow
def test_a_trained_network_is_asked_for_the_lenses_of_a_sky(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="trainings need torch")
    tiny = {"model": "tiny", "epochs": 1, "pretrained": False}
    config = injected_run(tmp_path / "run", training=tiny)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    certify_as(config, "PASS")
    found = train_step(config)
    assert "of 30 real lenses" in found["real_lenses"].reason
    assert found["real_fpr"].verdict == "NOT_TESTABLE"
    assert {"real_lenses", "gap"} <= {g.name for g in stored_training(config).kept.gates}
    # Another limit asks the real lenses again, and trains nothing.
    monkeypatch.setattr("lensflow.training.step.fit", None)
    strict = config.model_copy(update={"realism": config.realism.model_copy(update={"min_real_recall": 0.01})})
    assert train_step(strict)["real_lenses"].verdict == "PASS"
