"""The replay of the core-leakage investigation, as a survey team runs it."""

import runpy
from functools import partial
from pathlib import Path

import pytest
import yaml

from lensflow.config import load_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "workflows" / "core_leakage.py"


@pytest.fixture
def main(monkeypatch):
    """The script's, with the folder that it stands in on the path, as Python has it for a script."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return runpy.run_path(str(SCRIPT))["main"]


@pytest.mark.slow
def test_it_prints_and_writes_the_table_and_the_conclusions(tmp_path, capsys, main):
    tree = yaml.safe_load((ROOT / "workflows" / "configs" / "core_leakage_synthetic.yaml").read_text())
    tree["survey"]["synthetic"] |= {"n_bricks": 1, "brick_size_pix": 400, "hosts_per_brick": 12}
    tree["plan"]["injections_per_host"] = 3
    tree["core"] = {"handlings": ["none", "mask_5", "mask_10"], "gates": ["core_all"]}
    tree["gate"] |= {"bootstrap": 50}
    tree["cluster"] = {"kind": "threads", "dashboard": None}
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(tree))
    out = tmp_path / "run"
    assert main(["--config", str(config), "--out", str(out)], standalone_mode=False) is None
    printed = capsys.readouterr().out
    text = (out / "core_leakage.md").read_text()
    assert text in printed and "| mask_10 | 0.500 | NOT TESTABLE |" in text
    assert text.count("HOLD") + text.count("UNDECIDED") >= 11
    assert (out / "core_leakage.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["core_leakage", "core_leakage_synthetic"])
def test_its_configs_are_valid_and_measure_what_the_conclusions_need(name):
    config = load_config(ROOT / "workflows" / "configs" / f"{name}.yaml")
    assert {"none", "mask_5", "tanh_5", "mask_7", "mask_8", "mask_10", "matched"} <= set(config.core.handlings)
    assert "core_all" in config.core.gates and config.splits.fractions == (1, 0, 0)


def test_it_takes_the_real_stamps_where_they_are_and_the_synthetic_survey_else(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    choose = partial(runpy.run_path(str(SCRIPT.with_name("replay.py")))["choose_config"], "core_leakage")
    monkeypatch.chdir(tmp_path)
    assert choose().name == "core_leakage_synthetic.yaml"
    (tmp_path / "shared" / "data" / "des_lrg").mkdir(parents=True)
    for band in "grz":
        (tmp_path / "shared" / "data" / "des_lrg" / f"image-{band}.fits").touch()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert choose().name == "core_leakage.yaml"
