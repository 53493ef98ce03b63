"""`lensflow tune-core` on a stored run: written once, current or renewed, with the test split closed."""

import json
import sys
from pathlib import Path

import pytest

import lensflow as lf
from lensflow import cli, schema
from lensflow import run as steps
from lensflow.errors import StoreError
from lensflow.measure.core.tuning import CoreTuning
from lensflow.measure.gate.family import first_alone
from lensflow.store import paths
from lensflow.store.open import open_manifest
from lensflow.store.run_folder import RunFolder
from lensflow.store.sealing import read_test_accesses
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole

CORE = {"handlings": ["none", "mask_8", "shuffled"], "gates": ["core_r"]}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "run"
    config = make_config(
        str(out), plan={"injections_per_host": 2}, gate={"bootstrap": 50, "folds": 2}, core=CORE,
        diagnostics={"bootstrap": 50},
    )  # fmt: skip
    cutouts = with_measurements(make_cutouts(24))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config


@pytest.fixture(scope="module")
def tuning(config):
    return lf.tune_core(config)


def test_the_numbers_the_figure_and_the_tables_lie_in_the_run_folder(config, tuning):
    folder = Path(config.out, "core")
    assert (folder / "core-handling.png").read_bytes()[:4] == b"\x89PNG"
    text = (folder / "table.md").read_text()
    assert tuning.reason in text and "| mask_8 |" in text and "| shuffled (experiment) |" in text
    stored = json.loads((folder / "tuning.json").read_text())["results"]
    assert CoreTuning.from_dict(stored).to_dict() == tuning.to_dict()


def test_no_row_of_the_test_split_is_measured(config, tuning):
    manifest = open_manifest(RunFolder.of(config).manifest)
    injected = ~manifest["is_control"].values
    test = injected & (manifest["split"].values == schema.SPLITS.index("test"))
    assert tuning.n_sealed == test.sum() > 0
    measured = tuning.chosen_on[0].n_rows + tuning.reported_on[0].n_rows
    assert measured == injected.sum() - test.sum()
    assert read_test_accesses(RunFolder.of(config).pairs) == []


@pytest.mark.slow
def test_what_is_up_to_date_is_read_and_what_is_not_is_measured_anew(config, tuning):
    told = []
    again = steps.tune_core_step(config, lambda *a: told.append(a))
    assert not told and again.to_dict() == tuning.to_dict()
    other = config.model_copy(update={"core": config.core.model_copy(update={"handlings": ("none",)})})
    renewed = steps.tune_core_step(other, lambda *a: told.append(a))
    assert told[-1] == ("tune core", 2, 2) and [r.name for r in renewed.chosen_on] == ["none"]
    assert steps.tune_core_step(config).to_dict() == tuning.to_dict()


@pytest.mark.slow
def test_fewer_pairs_are_whole_hosts(config):
    few = config.model_copy(update={"core": config.core.model_copy(update={"max_pairs": 11, "handlings": ("none",)})})
    tuning = steps.tune_core_step(few)
    assert tuning.chosen_on[0].n_rows + tuning.reported_on[0].n_rows == 10
    steps.tune_core_step(config)


@pytest.mark.slow
def test_the_same_pairs_measured_lazily_agree_with_the_store(config):
    pairs = lf.open_pairs(RunFolder.of(config).pairs)
    results = lf.measure_core(pairs, config)
    assert [r.name for r in results] == list(config.core.handlings)
    assert results[0].n_rows == (~pairs["is_control"].values).sum()
    assert first_alone(results[1].gate("core_r")).verdict == "NOT_TESTABLE"
    assert results[1].gate("mask_edge").verdict != "PASS" and "mask_edge" not in results[0].by_name


@pytest.mark.slow
def test_the_report_shows_the_tuning_once_there_is_one(config, tuning):
    html = Path(steps.report_step(config)).read_text()
    assert 'id="core"' in html and tuning.reason.replace("'", "&#39;") in html
    assert Path(config.out, "report", "figures", "core-handling.svg").exists()


def test_the_command_prints_the_tables_and_exits_with_3_where_nothing_passes(config, tuning, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lensflow", "tune-core", config.out])
    monkeypatch.setattr(cli.console, "width", 200)
    with pytest.raises(SystemExit) as leave:
        cli.main()
    printed = capsys.readouterr()
    assert leave.value.code == 3 and tuning.recommended == ""
    assert "held-out hosts" in printed.out and "mask_8" in printed.out and "No handling passes" in printed.out
    assert "no core handling can be recommended" in printed.err and "Traceback" not in printed.err


def test_unfinished_pairs_are_refused(tmp_path):
    config = make_config(str(tmp_path / "run"))
    cutouts = with_measurements(make_cutouts(4))
    manifest = lf.plan_injections(cutouts, config)
    lf.write_pairs(lf.inject(cutouts, manifest, config), config)
    receipts = sorted(Path(config.out, "receipts", "pairs").glob("region-*"))
    receipts[0].unlink()
    with pytest.raises(StoreError, match="lensflow inject"):
        steps.tune_core_step(config)
