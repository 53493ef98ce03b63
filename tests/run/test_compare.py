"""`lensflow compare` on stored runs: what differs is said, with intervals, on the terminal and as a page."""

import dataclasses
import runpy
import shutil
from pathlib import Path

import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.measure.gate import Verdict
from lensflow.run.compare import compare_step
from lensflow.show.comparison import Change, compare, tables
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole


def make_run(out, **plan):
    config = make_config(
        str(out), plan={"injections_per_host": 3, **plan}, gate={"bootstrap": 50, "recipes": ["core_r"]},
        diagnostics={"bootstrap": 50, "n_rings": 20},
    )  # fmt: skip
    cutouts = with_measurements(make_cutouts(12))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    steps.measure_step(config)
    return str(out)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("compare") / "before")


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """The same hosts with arcs a hundred times fainter."""
    return make_run(tmp_path_factory.mktemp("compare") / "after", dmag=[8.0])


@pytest.mark.slow
def test_fainter_arcs_are_seen_in_the_setting_the_gate_and_the_diagnostics(command, before, after):
    code, text = command("compare", before, after)
    assert code == 0 and "plan.dmag" in text and "(8.0,)" in text.replace("[8.0]", "(8.0,)")
    assert "core_r" in text and "differs" in text and "Diagnostics that differ beyond their intervals" in text
    page = Path(after, "report", "compare-with-before.html").read_text()
    assert "plan.dmag" in page and '<svg class="drawn"' in page and "<script" not in page


@pytest.mark.slow
def test_a_run_and_its_copy_are_the_same_to_the_last_digit(command, before, tmp_path):
    shutil.copytree(before, tmp_path / "copy")
    code, text = command("compare", before, str(tmp_path / "copy"), "--html", str(tmp_path / "page.html"))
    assert code == 0 and "Settings that differ: none" in text and "Counts that differ: none" in text
    found, _ = compare_step(before, str(tmp_path / "copy"), str(tmp_path / "page.html"))
    assert found.diagnostics and {c.judgement for c in (*found.diagnostics, *found.gates)} == {"same"}
    assert "No setting differs." in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_every_number_with_an_interval_is_compared_once(before, after, tmp_path):
    found, _ = compare_step(before, after, str(tmp_path / "page.html"))
    keys = [(c.what, c.where) for c in found.diagnostics]
    assert len(keys) == len(set(keys)) > 100
    assert {k.split(":")[0] for k, _ in keys} >= {"annulus", "stratified", "radial_profile"}
    by_judgement = {c.judgement for c in found.diagnostics}
    assert {"differs", "within"} <= by_judgement
    for c in found.differing:
        assert c.difference.low > 0 or c.difference.high < 0
    assert all(abs(row.difference.value) > 0 for row in found.differing)
    assert len(tables(found)["diagnostics"].rows) <= 40


@pytest.mark.slow
def test_unfinished_or_stale_runs_are_compared_as_far_as_they_are_and_said(command, before, after, tmp_path):
    shutil.copytree(before, tmp_path / "unfinished")
    next(iter(sorted((tmp_path / "unfinished" / "receipts" / "pairs").glob("region-*")))).unlink()
    code, text = command("compare", before, str(tmp_path / "unfinished"))
    assert code == 0 and "B: " in text and "lensflow inject" in text and "left out" in text
    shutil.copytree(before, tmp_path / "stale")
    config = Path(tmp_path / "stale" / "config.yaml")
    config.write_text(config.read_text().replace("folds: 5", "folds: 4"))
    code, text = command("compare", before, str(tmp_path / "stale"))
    assert code == 0 and "The stored gates belong to other" in text and "gate.folds" in text


def test_what_is_no_run_is_refused(command, before, tmp_path):
    code, text = command("compare", before, str(tmp_path / "nothing"))
    assert code == 2 and "neither a YAML file nor the folder of a run" in text
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text(Path(before, "config.yaml").read_text())
    code, text = command("compare", str(tmp_path / "empty"), before)
    assert code == 1 and "no receipts" in text


def test_strata_that_differ_are_compared_where_both_have_them(before, tmp_path):
    found, _ = compare_step(before, before, str(tmp_path / "page.html"))
    side = found.a
    cut = {**side.diagnostics, "stratified": side.diagnostics["stratified"].isel(stratum=slice(0, 3))}
    again = compare(side, dataclasses.replace(side, diagnostics=cut))
    assert any("stratified" in n and "what both have" in n for n in again.notes)
    strata = [c for c in again.diagnostics if c.what.startswith("stratified")]
    assert strata and {c.judgement for c in strata} == {"same"}
    lacking = compare(side, dataclasses.replace(side, diagnostics={"annulus": side.diagnostics["annulus"]}))
    assert any("one of the runs only" in n for n in lacking.notes)


def test_what_was_not_measured_is_not_judged():
    change = Change("x", "", Estimate(0.5, 0.4, 0.6), NOT_MEASURED)
    assert change.judgement == "not measured"


@pytest.mark.slow
def test_the_workflow_prints_the_comparison_and_tells_another_verdict_by_its_code(before, after, capsys, monkeypatch):
    script = Path(lf.__file__).parents[1] / "workflows/compare_runs.py"
    monkeypatch.syspath_prepend(script.parent)
    main = runpy.run_path(str(script))["main"]
    assert main(["--config", before, "--before", before], standalone_mode=False) == 0
    assert main(["--config", after, "--before", before], standalone_mode=False) == 1
    said = capsys.readouterr().out
    assert "plan." in said and "core_r: " in said and "Comparison: " in said


def test_gates_without_a_fit_are_compared_by_their_verdicts(before, tmp_path):
    side = compare_step(before, before, str(tmp_path / "page.html"))[0].a
    gates = tuple(g if g.name != "balance" else g.decided(Verdict.FAIL, "") for g in side.gates)
    assert len(gates) > 2 and any(g.name == "balance" for g in gates)
    found = compare(side, dataclasses.replace(side, gates=gates))
    assert [c.what for c in found.gates] == ["core_r"]
    rows = {row[0]: row for row in tables(found)["gates"].rows}
    assert set(rows) == {g.name for g in gates}
    assert rows["balance"][2:-1] == ("FAIL", None, None, None)
    assert (rows["balance"][-1].value, rows["splits"][-1].value) == ("differs", "same")
    assert found.headline().startswith(f"1 of {len(gates)} verdicts differ: balance: ")
    assert "differ" not in compare(side, side).headline()
