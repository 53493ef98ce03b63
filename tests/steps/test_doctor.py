"""What the preflight finds: a sound run, and each thing that would stop or weaken one, with the way out."""

from collections import namedtuple

import pytest

from lensflow import steps
from lensflow.cluster import connect
from lensflow.config import load_config
from lensflow.steps.doctor import Level
from tests.small_survey import small_survey
from tests.survey.brick_factory import file_of

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
    assert "6 hosts in 1 bricks" in said and "image-r: readable in all 1" in said and ": OK" in said
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
    assert any(f.check == "space" and "none.csv" in f.what for f in failures(examine({**tree, "plan": table})))
