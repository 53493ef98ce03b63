"""Other populations that a run names: kept with its numbers, shown with what they rest on, refused before any work."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import lensflow as lf
from lensflow.errors import ConfigError
from lensflow.run.completeness import completeness_step, results_of
from lensflow.run.completeness.populations import populations_source
from lensflow.run.completeness.stored import stored_completeness
from lensflow.show import figures_completeness
from lensflow.show.completeness_page import section
from tests.run.completeness_run import completeness_run

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"
LARGE = {"name": "large radii", "parameters": {"theta_e_arcsec": {"masses": {1.0: 0.5, 2.5: 0.5}}}}
BRIGHT = {"name": "bright hosts", "parameters": {"psfdepth_r": {"values": [23.5, 24.5], "density": [1.0, 1.0]}}}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return completeness_run(tmp_path_factory)


@pytest.fixture
def naming(config, tmp_path):
    """The run's config with populations in YAML files."""

    def name(*targets, **changes):
        files = [tmp_path / f"{k}.yaml" for k in range(len(targets))]
        for file, target in zip(files, targets, strict=True):
            file.write_text(yaml.safe_dump(target))
        section = {**config.completeness.model_dump(), "populations": [*map(str, files)], **changes}
        return config.model_copy(update={"completeness": type(config.completeness).model_validate(section)})

    return name


def test_a_run_keeps_the_completeness_of_the_populations_that_it_names_as_python_gives_it(
    naming, tmp_path, monkeypatch
):
    asked = naming(LARGE, BRIGHT)
    found = completeness_step(asked, BLUE_RING, publish=True)
    table = found["populations"]
    assert table["population"].values.tolist() == ["large radii", "bright hosts"]
    for k in range(2):
        here, alone = table.isel(population=0, threshold=k), lf.reweight(found, LARGE_TARGET, threshold=k)
        for name, value in alone.completeness.fields("completeness").items():
            assert float(here[name]) == value
        assert float(here["n_det"]) == alone.result.n_det and float(here["n_eff"]) == alone.result.n_eff
        assert (float(here["uncovered"]), str(here["verdict"].item())) == (alone.uncovered.value, alone.verdict)
    # By cell where the plan has no density; 12 hosts are few, and that is said, not an error.
    other = table.isel(population=1)
    assert set(other["method"].values.tolist()) == {"cell"} and set(table["method"].values[0].tolist()) == {"row"}
    kept = json.loads(Path(results_of(asked, BLUE_RING)).read_text())["results"]
    assert kept["tables"]["populations"] and kept["populations"]
    again = completeness_step(asked, BLUE_RING, lambda *a: pytest.fail("measured again"))
    assert again["populations"].identical(table)
    shown = next(t for t in found.tables() if t.title.startswith("Other populations"))
    assert "N_det" in shown.notes and "large radii" in str(shown.html())
    (stored,) = [s for s in stored_completeness(asked) if s.kept.file.endswith("blue_ring.val.json")]
    for figure in ("funnel", "curves", "plane", "strata", "roc"):
        monkeypatch.setattr(figures_completeness, figure, lambda *of: None)
    page = section(stored.kept, 1)()
    assert any(t.title.startswith("Other populations") for t in page.tables[: page.n_open])
    # The same names with other contents are other results.
    before = populations_source(asked)
    Path(tmp_path / "0.yaml").write_text(yaml.safe_dump({**LARGE, "source": "another"}))
    assert before == kept["populations"] != populations_source(asked)


LARGE_TARGET = {"theta_e_arcsec": {1.0: 0.5, 2.5: 0.5}}


def test_what_these_injections_cannot_be_weighed_onto_is_refused_before_an_image_is_scored(naming, monkeypatch):
    monkeypatch.setattr("lensflow.run.completeness.step.image_scores", lambda *a: pytest.fail("scored"))
    grid = {"name": "a", "parameters": {"theta_e_arcsec": {"values": [0.5, 2.5], "density": [0.5, 0.5]}}}
    nowhere = {"name": "b", "parameters": {"src_z": {"values": [0.5, 2.5], "density": [0.5, 0.5]}}}
    for targets, text in (
        ([grid], r"a list \(a grid\) can only be weighed onto its own values"),
        ([nowhere], r"completeness.populations: .*0.yaml: .*src_z.*by cell: .*src_z"),
        ([LARGE, LARGE], "names tell them apart, and one stands twice: large radii, large radii"),
        ([{"name": "c"}], "0.yaml: "),
        ([{"name": "c", "parameters": {"theta_e_arcsec": {"distribution": "expo"}}}], "did you mean|no continuous"),
    ):
        with pytest.raises(ConfigError, match=text):
            completeness_step(naming(*targets), BLUE_RING)


def test_a_population_that_was_hardly_injected_is_not_testable_and_says_the_bounds(naming):
    outside = {"name": "far", "parameters": {"psfdepth_r": {"values": [30, 32], "density": [0.5, 0.5]}}}
    found = completeness_step(naming(outside, threshold={"value": -99.0}), BLUE_RING, keep=False)["populations"]
    assert set(found["verdict"].values.ravel().tolist()) == {"NOT_TESTABLE"}
    assert (
        np.isnan(found["completeness"]).all() and (found["low_bound"] == 0).all() and (found["high_bound"] == 1).all()
    )
    assert all(r for r in found["reason"].values.ravel().tolist())
