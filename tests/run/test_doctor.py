"""What the preflight finds: a sound run, and each thing that would stop or weaken one, with the way out."""

import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from lensflow import run as steps
from lensflow.cluster import connect
from lensflow.config import load_config
from lensflow.run import looks
from lensflow.run.doctor import Level
from tests.small_survey import small_survey
from tests.survey.brick_factory import file_of, write_brick

pytestmark = pytest.mark.whole

DiskUsage = namedtuple("DiskUsage", ["total", "used", "free"])


@pytest.fixture
def tree(tmp_path):
    return small_survey(tmp_path)


def examine(tree, cluster=None):
    return steps.doctor(load_config(tree), cluster)


def failures(findings):
    return [f for f in findings if f.level is Level.FAIL]


def test_a_sound_run_has_no_failure_and_nothing_of_it_is_written(tree, tmp_path):
    config = load_config(tree)
    findings = examine(tree, lambda: connect(config.cluster))
    assert failures(findings) == []
    said = " ".join(f.what for f in findings)
    assert {"settings", "targets", "survey", "trial cut", "out", "space", "workers", "versions"} <= {
        f.check for f in findings
    }
    assert "6 hosts in 1 bricks" in said and "image-r: readable in all 1" in said and ": usable" in said
    assert not list((tmp_path / "run").glob("*"))


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"survey": {"targets": "none.csv"}}, "targets", "none.csv"),
        ({"survey": {"columns": {"host_id": "name"}}}, "targets", "name"),
        ({"survey": {"layout": "flat"}}, "survey", "readable in 0 of 1"),
        ({"bands": ["i"]}, "survey", "image-i: readable in 0 of 1"),
        ({"injection": {"sky_mag_arcsec2": {"g": 22.0}}}, "settings", "sky_mag_arcsec2.r"),
        ({"out": "/proc/none/run"}, "out", "/proc/none"),
    ],
)
def test_what_would_stop_the_run_is_a_failure_that_names_it(tree, change, check, words):
    survey = tree["survey"] | change.pop("survey", {})
    found = [f for f in failures(examine({**tree, **change, "survey": survey})) if f.check == check]
    assert found and words in f"{found[0].what} {found[0].advice}"


def test_a_missing_file_is_a_warning_with_what_the_run_does_instead(tree):
    file_of(tree["survey"]["root"], "psfsize", "g").unlink()
    warned = [f for f in examine(tree) if f.level is Level.WARN and "psfsize-g" in f.what]
    assert warned and "catalogue or r" in warned[0].advice and not failures(examine(tree))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        ({"injections_per_host": 2}, 6 * 3),
        ({"design": "grid", "preset": "small", "replicates": 2}, 6 * (96 + 1)),
        ({"design": "grid", "preset": "small", "limit_hosts": 2}, 2 * (48 + 1)),
    ],
)
def test_the_space_that_a_run_takes_is_that_of_its_design(tree, plan, rows, monkeypatch):
    found = [f for f in examine({**tree, "plan": plan}) if f.check == "space"]
    assert [f.level for f in found] == [Level.OK] and f"at most {rows:,} rows of 6 hosts" in found[0].what
    config = load_config({**tree, "plan": plan, "estimate": {"compression": 1.0}})
    pixels = (6 + rows) * 2 * 3 * 64**2 * 4  # image and weights a host, stamp and arc a row
    for free, level in ((1.1 * pixels, Level.FAIL), (1.3 * pixels, Level.OK)):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: DiskUsage(0, 0, free))
        found = [f for f in steps.doctor(config) if f.check == "space"]
        assert [f.level for f in found] == [level]


def test_space_is_looked_at_without_survey_files_too_and_a_bad_table_of_injections_is_named(tree, tmp_path):
    config = {k: v for k, v in tree.items() if k != "survey"}
    synthetic = {**config, "survey": {"synthetic": {"n_bricks": 3, "hosts_per_brick": 10}}}
    assert any(f.check == "space" and "90 rows of 30 hosts" in f.what for f in examine(synthetic))
    table = {"design": "table", "table": str(tmp_path / "none.csv")}
    found = examine({**tree, "plan": table})
    # Named as what it is, once: not as a matter of space.
    assert [f.check for f in failures(found) if "none.csv" in f.what] == ["plan.table"]
    assert "space" not in {f.check for f in found}


def test_a_survey_without_a_product_says_so_once_and_psf_images_need_no_map_of_sizes(tree):
    for product in ("psfsize", "nexp"):
        for band in "grz":
            file_of(tree["survey"]["root"], product, band).unlink()
    found = [f for f in examine(tree) if f.check == "survey" and ("nexp" in f.what or "psfsize" in f.what)]
    assert [f.level for f in found] == [Level.WARN, Level.OK] and "in no band" in found[0].what
    survey = {**tree["survey"], "psf_images": True}
    assert not any("psfsize" in f.what for f in examine({**tree, "survey": survey}) if f.check == "survey")


def test_workers_without_a_limit_are_not_said_to_have_no_memory(tree):
    config = load_config(tree)
    said = [f.what for f in examine(tree, lambda: connect(config.cluster)) if f.check == "workers"]
    assert said and "no limit of memory" in said[0]


def test_one_cause_is_one_finding(tree):
    found = examine({**tree, "survey": {**tree["survey"], "targets": "none.csv"}})
    assert [f.check for f in found if "none.csv" in f.what] == ["targets"]


def test_a_look_that_is_added_to_the_list_is_made(tree, monkeypatch):
    def never(seen):
        yield looks.Finding("bands", Level.WARN, f"{len(seen.config.bands)} bands, {seen.trial.sizes['host']} hosts")

    monkeypatch.setattr(sys.modules["lensflow.run.doctor"], "LOOKS", (*looks.LOOKS, looks.Look("bands", never)))
    assert "3 bands, 3 hosts" in [f.what for f in examine(tree) if f.check == "bands"]


def looked(tree, check):
    return [f for f in examine(tree) if f.check == check]


def test_light_noise_and_scale_of_a_sound_survey_are_as_they_should_be(tree):
    for check in ("pixel scale", "units", "einstein radii"):
        assert {f.level for f in looked(tree, check)} == {Level.OK}, check


def test_einstein_radii_beyond_the_stamp_are_found_before_the_run(tree):
    for radius, level in ((25.0, Level.FAIL), ([1.0, 8.0], Level.WARN), ([1.0, 2.0], Level.OK)):
        found = looked({**tree, "plan": {**tree["plan"], "theta_e_arcsec": radius}}, "einstein radii")
        assert [f.level for f in found] == [level]


@pytest.mark.parametrize("factor", [63.1, 1 / 63.1])
def test_images_in_another_unit_than_their_weights_are_found_before_the_run(tree, factor):
    write_brick(Path(tree["survey"]["root"]), edit=lambda p: p["image", "r"].__imul__(np.float32(factor)))
    found = looked(tree, "units")
    assert {f.level for f in found} == {Level.WARN} and any(
        "Weights do not fit the image in r" in f.what for f in found
    )
    assert not any(" in g" in f.what for f in found)


def test_where_no_image_can_be_read_nothing_is_claimed_of_scale_units_and_light(tree):
    found = examine({**tree, "bands": ["i"]})
    assert failures(found) and not [f for f in found if f.check in ("pixel scale", "units", "brightness")]
    assert not any("nan" in f"{f.what} {f.advice}".split() for f in found)
