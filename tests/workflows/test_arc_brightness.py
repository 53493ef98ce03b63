"""AUC against the brightness of the sources, as a survey team runs it."""

import runpy
from pathlib import Path

import pytest
import yaml

from lensflow.config import load_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "workflows" / "arc_brightness.py"


@pytest.fixture
def main(monkeypatch):
    """The script's, with the folder that it stands in on the path, as Python has it for a script."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return runpy.run_path(str(SCRIPT))["main"]


@pytest.mark.slow
def test_it_prints_and_writes_the_table_and_the_figure(tmp_path, capsys, main):
    tree = yaml.safe_load((ROOT / "workflows" / "configs" / "arc_brightness_synthetic.yaml").read_text())
    tree["survey"]["synthetic"] |= {"n_bricks": 1, "brick_size_pix": 400, "hosts_per_brick": 12}
    tree["plan"] |= {"injections_per_host": 8}
    tree["gate"] |= {"recipes": ["core_r", "core_all"], "bootstrap": 50}
    tree["cluster"] = {"kind": "threads", "dashboard": None}
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(tree))
    out = tmp_path / "run"
    assert main(["--config", str(config), "--out", str(out), "--bin", "4"], standalone_mode=False) is None
    text = (out / "arc_brightness.md").read_text()
    assert text in capsys.readouterr().out
    assert "| 18.0 to 22.0 |" in text and "| 22.0 to 26.0 |" in text
    assert (out / "arc_brightness.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["arc_brightness", "arc_brightness_synthetic"])
def test_its_configs_are_valid_and_draw_every_magnitude_alike(name):
    config = load_config(ROOT / "workflows" / "configs" / f"{name}.yaml")
    assert config.plan.preset == "realistic" and config.plan.src_mag_slope == 0
    assert config.plan.src_mag_range.max - config.plan.src_mag_range.min == 8
    assert set(config.gate.recipes) == {"core_g", "core_r", "core_z", "core_all"}
