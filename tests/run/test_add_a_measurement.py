"""The measurement of docs/add-a-measurement.md, as it stands there, is computed, judged and shown everywhere."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import lensflow as lf
from lensflow.cli import app
from lensflow.errors import ConfigError
from lensflow.measure.pixels import DIAGNOSTICS, Status
from lensflow.run.identity import stored_key
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from tests.small_survey import small_survey

pytestmark = pytest.mark.whole

PAGE = Path(__file__).parents[2] / "docs" / "add-a-measurement.md"
BLOCKS = dict(re.findall(r"```(?:python|yaml)\n# ([^\n]+)\n(.*?)```", PAGE.read_text(), re.DOTALL))


def command(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page's modules, and a run with its line in the config."""
    folder = tmp_path_factory.mktemp("added")
    for name in ("sky_tilt.py", "sky_tilt_judge.py"):
        (folder / name).write_text(BLOCKS[name])
    tree = small_survey(folder)
    tree["gate"] = {"recipes": ["core_r"], "bootstrap": 50, "required": False}
    tree["diagnostics"] |= yaml.safe_load(BLOCKS["in the run's config"])["diagnostics"]
    (folder / "run.yaml").write_text(yaml.safe_dump(tree))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
        for name in ("sky_tilt", "sky_tilt_judge"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def config(folder):
    config = lf.load_config(folder / "run.yaml")
    command("run", folder / "run.yaml")
    return config


def test_the_page_adds_it_in_under_60_lines():
    assert sum(text.count("\n") for text in BLOCKS.values()) < 60


def test_command_report_comparison_and_verdict_show_it(folder, config):
    assert "sky tilt" in command("diagnose", folder / "run.yaml")
    page = paths.read_text(paths.join(RunFolder.of(config).report, "index.html"))
    assert "sky_tilt" in page and "right half minus left half" in page
    (diagnostics,) = [g for g in lf.open_run(config.out).results.gates if g.name == "diagnostics"]
    assert diagnostics.recipe["also"] == ["sky_tilt"]
    command("compare", config.out, config.out, "--html", folder / "compare.html")
    found, _ = lf.compare_runs(config.out, config.out, str(folder / "compare.html"))
    assert [c.what for c in found.diagnostics if c.what.startswith("sky_tilt")] == ["sky_tilt: tilt"] * 3


@pytest.mark.slow
def test_the_notebook_finds_a_tilt_that_is_put_in_and_none_else(config):
    pairs = lf.open_pairs(config.out).load()
    assert [*lf.diagnose(pairs, config)] == [*DIAGNOSTICS, "sky_tilt"]
    rising = xr.DataArray(np.linspace(-1, 1, pairs.sizes["x"], dtype=np.float32), dims="x")
    tilted = pairs.assign(stamp=(pairs["stamp"] + rising * ~pairs["is_control"]).transpose(*pairs["stamp"].dims))
    for spoiled, status in ((pairs, Status.OK), (tilted, Status.ALARM)):
        (finding,) = [f for f in lf.findings(lf.diagnose(spoiled, config), config) if f.diagnostic == "sky_tilt"]
        assert finding.status is status
    (unjudged,) = [f for f in lf.findings(lf.diagnose(pairs, config)) if f.diagnostic == "sky_tilt"]
    assert unjudged.status is Status.NOT_TESTED and "nobody here knows how to judge it" in unjudged.text


def test_results_of_edited_modules_do_not_count_as_kept(folder, config):
    keys = [stored_key(config, stage, "") for stage in ("diagnostics", "gates")]
    judge = folder / "sky_tilt_judge.py"
    before = judge.read_text()
    judge.write_text(before.replace("1e-5", "1e-4"))
    try:
        assert all(
            a != b for a, b in zip(keys, [stored_key(config, s, "") for s in ("diagnostics", "gates")], strict=True)
        )
    finally:
        judge.write_text(before)
    assert keys == [stored_key(config, stage, "") for stage in ("diagnostics", "gates")]


@pytest.mark.parametrize(
    "path, message",
    [
        ("sky_tilt", "name it as package.module:name, as in my_package.centroids:CENTROIDS"),
        ("sky_tolt:SKY_TILT", "sky_tolt cannot be imported (ModuleNotFoundError"),
        ("sky_tilt:SKY_TOLT", "sky_tilt has no 'SKY_TOLT'. Did you mean 'SKY_TILT'?"),
        ("sky_tilt:SkyTilt", "a type, not a lensflow.measure.pixels.Kind"),
        ("named_as_another:KIND", "there is a measurement 'annulus' already"),
    ],
)
def test_what_cannot_be_added_is_refused_before_any_work(folder, tmp_path, path, message):
    (folder / "named_as_another.py").write_text(
        "from lensflow.measure.pixels import Kind\nKIND = Kind('annulus', None, None)\n"
    )
    importlib.invalidate_caches()
    tree = {**small_survey(tmp_path), "diagnostics": {"also": [path]}}
    with pytest.raises(ConfigError, match=re.escape(message)):
        lf.make_run(lf.load_config(tree))
    assert not Path(tree["out"]).exists()
