"""The commands that run steps, as a person meets them: one by one, and with every kind of bad input."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lensflow.store import receipts
from lensflow.store.open import open_cutouts, open_manifest
from tests.small_survey import write_targets
from tests.survey.brick_factory import BRICK, file_of, write_brick

pytestmark = pytest.mark.whole


@pytest.mark.slow
def test_the_steps_one_by_one_make_a_run(command, survey):
    code, text = command("cut", config=survey)
    assert code == 0 and "status OK 6 100.0 %" in text
    code, text = command("plan", config=survey)
    assert code == 0 and "injections 12" in text and "Einstein radius" in text
    code, text = command("inject", config=survey)
    assert code == 0 and "every invariant holds" in text
    code, text = command("diagnose", config=survey)
    assert code == 0 and "by Einstein radius" in text
    code, text = command("gate", config=survey)
    assert code in (0, 3) and "core_r" in text
    code, text = command("report", config=survey)
    assert code == 0 and Path(survey["out"], "report", "index.html").stat().st_size > 10_000


def test_a_required_gate_that_does_not_pass_sets_the_exit_code(command, survey):
    survey["gate"] = {"bootstrap": 50, "recipes": ["core_r"]}
    code, text = command("run", config=survey)
    results = json.loads(Path(survey["out"], "summaries", "gates.json").read_text())["results"]
    refused = [f"{g['name']} {g['verdict']}" for g in results if g["verdict"] != "PASS"]
    assert {r.split()[0] for r in refused} >= {"core_r", "balance"}
    assert code == 3 and f"required gate(s) did not pass: {', '.join(refused)}." in text and "Report:" in text
    advisory = {**survey, "gate": {**survey["gate"], "required": False}}
    assert command("run", config=advisory)[0] == 0


def test_a_step_before_its_turn_names_the_one_that_is_missing(command, survey):
    code, text = command("plan", config=survey)
    assert code == 1 and "no such store" in text and "Has the step that writes it been run?" in text


CONFIG_MISTAKES = [
    ({"sruvey": {}}, "sruvey: no such setting. Did you mean 'survey'?"),
    ({"plan": {"injections_per_host": "six"}}, "plan.injections_per_host"),
    ({"plan": {"theta_e_arcsec": [0.0]}}, "plan.theta_e_arcsec"),
    ({"plan": {"theta_e_arcsec": [-1.0]}}, "must be in (0, 30]"),
]


@pytest.mark.parametrize(("change", "message"), CONFIG_MISTAKES)
def test_a_wrong_config_is_refused_by_name(command, survey, change, message):
    code, text = command("run", config={**survey, **change})
    assert code == 2 and message in text and not Path(survey["out"]).exists()


def test_a_stamp_of_no_pixels_is_refused(command, survey):
    survey["survey"]["stamp_size"] = 0
    code, text = command("run", config=survey)
    assert code == 2 and "survey.stamp_size" in text


def test_a_missing_survey_root_is_named(command, survey):
    survey["survey"]["root"] += "-elsewhere"
    code, text = command("run", config=survey)
    assert code == 1 and "survey-elsewhere" in text


def test_a_root_without_any_brick_of_the_targets_says_where_it_looked(command, survey, tmp_path):
    survey["survey"]["targets"] = str(write_targets(tmp_path / "other.csv", brick="9999p000"))
    code, text = command("run", config=survey)
    assert code == 1 and "999/9999p000" in text and "survey.layout" in text


def test_an_empty_target_table_is_refused(command, survey, tmp_path):
    survey["survey"]["targets"] = str(write_targets(tmp_path / "empty.csv", positions=[]))
    code, text = command("cut", config=survey)
    assert code == 1 and "the target table is empty" in text


def test_duplicate_targets_are_merged_and_counted(command, survey, tmp_path):
    again = write_targets(tmp_path / "twice.csv").read_text().splitlines()[1]
    write_targets(tmp_path / "twice.csv", extra=[again])
    survey["survey"]["targets"] = str(tmp_path / "twice.csv")
    code, text = command("cut", config=survey)
    assert code == 0 and "rows read 7 duplicates merged 1" in text


def cut(command, survey):
    code, text = command("cut", config=survey)
    counts = receipts.total_counts(receipts.read_receipts(f"{survey['out']}/receipts/cutouts").values())
    assert counts.get("hosts", 0) == sum(v for k, v in counts.items() if k.startswith("status: "))
    return code, text, counts


@pytest.mark.slow
def test_a_missing_band_file_makes_the_band_absent(command, survey):
    file_of(Path(survey["survey"]["root"]), "image", "g").unlink()
    code, text, counts = cut(command, survey)
    assert code == 0 and counts["reason: MISSING_FILE_g"] == 6 and counts["status: PARTIAL"] == 6
    assert "image-g.fits.fz" in text


@pytest.mark.slow
def test_a_band_that_the_survey_does_not_have_is_absent_everywhere(command, survey):
    survey["bands"] = ["g", "r", "i", "z"]
    _, _, counts = cut(command, survey)
    assert counts["reason: MISSING_FILE_i"] == 6
    assert command("plan", config=survey)[0] == 0
    fwhm = open_manifest(f"{survey['out']}/manifest.zarr")["psf_fwhm_arcsec"].values
    assert np.isnan(fwhm[:, 2]).all() and np.isfinite(fwhm[:, [0, 1, 3]]).all()


def test_a_band_without_a_colour_prior_is_refused_before_anything_is_drawn(command, survey):
    survey["bands"] = ["u", "g", "r", "z"]
    survey["plan"]["preset"] = "historic"
    cut(command, survey)
    code, text = command("plan", config=survey)
    assert code == 2 and "no colour prior for u" in text and not Path(survey["out"], "manifest.zarr").exists()


def test_a_truncated_file_is_named_and_its_hosts_are_marked(command, survey):
    path = file_of(Path(survey["survey"]["root"]), "image", "r")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, text, counts = cut(command, survey)
    assert code == 0 and counts["reason: CORRUPT_FILE_r"] == 6 and "image-r.fits.fz" in text


def test_hosts_beyond_the_failure_budget_stop_the_run_with_counts(command, survey, tmp_path):
    far = [f"far{i},99.0,5.0,{BRICK}" for i in range(4)]
    far = [line.replace("99.0", f"99.{i}") for i, line in enumerate(far)]
    survey["survey"]["targets"] = str(write_targets(tmp_path / "far.csv", extra=far))
    code, text, counts = cut(command, survey)
    assert code == 1 and "survey.failure_budget = 0.2" in text and "OUTSIDE_BRICK" in text
    survey["survey"]["failure_budget"] = 0.5
    code, _, counts = cut(command, survey)
    assert code == 0 and counts["status: FAILED"] == 4 and counts["reason: OUTSIDE_BRICK"] == 4


def test_nan_pixels_are_marked_and_never_reach_a_store(command, survey):
    def spoil(products):
        products["image", "r"][140:160, 140:160] = np.nan

    write_brick(Path(survey["survey"]["root"]), edit=spoil)
    _, _, counts = cut(command, survey)
    assert counts["reason: NONFINITE_r"] >= 1
    cutouts = open_cutouts(f"{survey['out']}/cutouts.zarr").load()
    assert np.isfinite(cutouts["image"]).all() and (cutouts["invvar"].sel(band="r") == 0).any()


def test_a_folder_that_holds_another_run_is_refused_with_the_differing_keys(command, survey):
    assert command("cut", config=survey)[0] == 0
    code, text = command("cut", config={**survey, "seed": 99})
    assert code == 1 and "holds the result of another run" in text and "seed: stored 1, now 99" in text


def test_changed_pixels_are_never_resumed_as_if_nothing_had_happened(command, survey):
    assert command("cut", config=survey)[0] == 0
    write_brick(Path(survey["survey"]["root"]), edit=lambda p: p["image", "r"].__iadd__(1))
    code, text = command("cut", config=survey)
    assert code == 1 and "inputs.survey" in text


@pytest.mark.faults
def test_a_full_disk_stops_with_the_way_out_and_the_run_continues_later(command, survey, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        code, text = command("run", config={**survey, "out": str(small / "run")})
        assert code == 1 and "no space left on the device" in text
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert command("run", config={**survey, "out": str(small / "run")})[0] == 3
        whole = command("run", config=survey)
        assert whole[0] == 3
        a, b = (receipts.read_receipts(f"{out}/receipts/pairs") for out in (small / "run", survey["out"]))
        assert {i: r.checksums for i, r in a.items()} == {i: r.checksums for i, r in b.items()}
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_plan_says_what_it_costs_before_it_draws(command, survey):
    code, text = command("plan", "--dry-run", config=survey)
    assert code == 0 and "rows" in text and "18" in text and "USD" in text
    assert not Path(survey["out"], "manifest.zarr").exists()
    assert command("cut", config=survey)[0] == 0
    code, text = command("plan", "--limit", "2", config=survey)
    assert (
        code == 0 and "pairs on disk" in text and "As drawn" in text and Path(survey["out"], "manifest.zarr").exists()
    )
