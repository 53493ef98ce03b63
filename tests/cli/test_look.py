"""One row on the terminal, and results as JSON for other programs."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lensflow as lf
from lensflow import cli
from lensflow.measure.gate import GateResult
from lensflow.show.row_card import row_table, viewer_link
from lensflow.stats import codec
from tests.shared import made_once
from tests.small_run import SMALL, _finish, injected_copy

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def run():
    """The finished run that tests share; nothing here writes to it."""
    return str(made_once("small-run-finished", _finish))


@pytest.fixture
def as_json(monkeypatch, capsys):
    """Run a command with --json: exit code and the document on standard output."""

    def ask(*arguments):
        monkeypatch.setattr(sys, "argv", ["lensflow", *arguments, "--json"])
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        return code, json.loads(capsys.readouterr().out)

    yield ask
    cli.console.stderr = False


def first(run, split, control=False):
    manifest = lf.open_run(run).manifest
    is_one = (manifest["split"] == ["train", "val", "test"].index(split)) & (manifest["is_control"] == control)
    return int(np.flatnonzero(is_one.values)[0])


def test_a_row_shows_every_value_that_the_store_has(command, run):
    at = first(run, "train")
    row = lf.open_run(run).row(at)
    code, text = command("row", run, at)
    assert code == 0 and row["host_id"].item() in text and str(row["row_id"].item()) in text
    named = {line[0] for line in row_table(row).rows} | {"host_id", "row_id", "sample", "band", "split"}
    named |= {"host_index", "replicate", "is_control"}
    values = {str(n) for n, v in row.variables.items() if v.ndim < 2 and v.dtype.kind != "b"}
    assert values <= named
    for flag in (str(n) for n, v in row.variables.items() if v.ndim == 0 and v.dtype.kind == "b" and bool(v)):
        assert flag in text
    code, text = command("row", run, at, "--full")
    assert code == 0 and "Einstein radius" in text


def test_the_picture_of_a_row_has_host_arc_and_stamp(command, run, tmp_path):
    code, text = command("row", run, first(run, "train"), "--png", tmp_path / "a.png")
    assert code == 0 and "Picture" in text
    width, height = Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())).size
    assert 3 * height <= width < 3.2 * height
    code, text = command("row", run, 0, "--png", tmp_path / "a.jpg")
    assert code == 2 and "ends in .png" in text and not (tmp_path / "a.jpg").exists()


def test_a_sealed_row_and_one_that_is_not_there_are_refused(command, tmp_path):
    config = injected_copy(tmp_path / "run")
    at = first(config.out, "test")
    code, text = command("row", config.out, at)
    assert code == 1 and "sealed" in text
    code, text = command("row", config.out, at, "--unseal", "to look at the command")
    assert code == 0 and "split test" in text
    assert command("row", config.out, 10**6)[0] == 1


def test_the_viewer_is_only_for_places_in_the_sky(run):
    row = lf.open_run(run).row(0).assign(ra_deg=150.25, dec_deg=-2.5)
    assert "ra=150.250000&dec=-2.500000" in viewer_link(row, real=True)
    assert viewer_link(row, real=False) == viewer_link(row.assign(ra_deg=np.nan), real=True) == ""


def test_json_is_the_whole_output_and_reads_back(as_json, run):
    code, found = as_json("gate", run)
    assert code == 0 and {g["name"] for g in found["gates"]} >= {*SMALL["gate"]["recipes"], "balance"}
    stored = {g.name: g.to_json() for g in lf.open_run(run).results.gates}
    assert {g["name"]: GateResult.from_dict(g).to_json() for g in found["gates"]} == stored
    _, found = as_json("diagnose", run)
    assert codec.datasets(found["diagnostics"])["radial_profile"].sizes["band"] == 3
    _, found = as_json("row", run, str(first(run, "train")))
    row = lf.open_run(run).row(first(run, "train"))
    assert found["row"]["theta_e_arcsec"] == float(row["theta_e_arcsec"])
    assert found["row"]["src_flux_nmgy"]["r"] == float(row["src_flux_nmgy"].sel(band="r"))
    code, found = as_json("certify", run, "--check", "--quick")
    assert found["verdict"] in ("PASS", "EXPLAINED", "FAIL", "INCONCLUSIVE", "NOT_TESTABLE")
    _, found = as_json("doctor", run, "--no-workers")
    assert {f["level"] for f in found["findings"]} <= {"ok", "look", "fail"}


def test_json_of_a_run_of_its_bytes_and_of_two_runs(as_json, run, tmp_path):
    code, found = as_json("run", run)
    results = lf.open_run(run).results
    assert code == 0 and found["verdicts"] == {g.name: str(g.verdict) for g in results.gates}
    counted = found["counts"]["pairs"]
    assert counted["injections"] + counted["controls"] == lf.open_run(run).manifest.sizes["sample"]
    assert Path(found["report"]).is_file()
    code, found = as_json("verify", run, "--sample", "1")
    assert (
        code == 0
        and found["checked"]["pairs"] == 1 <= found["regions"]["pairs"]
        and found["damage"] == found["left"] == []
    )
    code, found = as_json("compare", run, run, "--html", str(tmp_path / "page"))
    assert code == 0 and found["settings"] == [] and Path(found["page"]).is_file()
    assert all(v["a"] == v["b"] for v in found["verdicts"].values()) and {c["judgement"] for c in found["gates"]} == {
        "same"
    }
    code, found = as_json("sweep", run)
    assert code == 0 and found == {"sweeps": [], "stale": []}
