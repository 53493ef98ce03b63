"""The scripts of workflows/ on a small synthetic survey, and the configs that come with them."""

import ast
import importlib.util
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

import lensflow as lf
from lensflow import run as steps
from lensflow.config import load_config
from lensflow.store import resume
from tests.factories import put
from tests.reseal import reseal
from tests.small_run import small_tree

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2] / "workflows"
# What some of them share.
MODULES = ("claims", "options", "replay")
SCRIPTS = [path for path in sorted(ROOT.glob("*.py")) if path.stem not in MODULES]
sys.path.append(str(ROOT))
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
# Gates that are required: the scripts leave with their verdict.
SECTIONS = {"plan": {"injections_per_host": 2}, "gate": {"bootstrap": 50}}


def script(name):
    spec = importlib.util.spec_from_file_location(f"workflows_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def called(name, *options):
    """Exit code of a script."""
    return script(name).main(list(options), standalone_mode=False) or 0


def config_in(folder, **changes):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(small_tree(folder / "run", **{**SECTIONS, **changes})))
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Config of a run that the three scripts made, one after the other."""
    path = config_in(tmp_path_factory.mktemp("workflows"))
    for name in ("build_cutouts", "plan_injections", "inject"):
        assert called(name, "--config", path) == 0
    return path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_is_short_and_uses_only_the_public_api(path):
    text = path.read_text()
    assert len(text.splitlines()) < 100
    for node in ast.walk(ast.parse(text)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert (
                name in ("lensflow", "lensflow.schema", "numpy", "typer", "xarray", *MODULES)
                or name.split(".")[0] in sys.stdlib_module_names
            ), name
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lf":
            assert node.attr in lf.__all__


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_says_how_it_is_called(path, capsys):
    assert called(path.stem, "--help") == 0
    said = capsys.readouterr().out
    assert f"\n      python workflows/{path.name} --config" in said and "--config" in said.partition("Options:")[2]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_config_loads(path, monkeypatch):
    monkeypatch.setenv("LENSFLOW_BUCKET", "some-bucket")
    config = load_config(path)
    for kind in ("local", "kubernetes", "yarn"):
        assert config.cluster.switched(kind=kind).kind == kind


@pytest.mark.slow
def test_the_scripts_make_what_the_command_makes(finished):
    config = load_config(finished)
    before = {p: p.stat().st_mtime_ns for p in (Path(config.out) / "receipts").rglob("*.json")}
    for step in (steps.cut_step, steps.plan_step, steps.inject_step):
        step(config)
    after = {p: p.stat().st_mtime_ns for p in (Path(config.out) / "receipts").rglob("*.json")}
    assert after == before and len(before) > 4


def test_build_cutouts_counts_every_host(finished, capsys):
    called("build_cutouts", "--config", finished)
    said = capsys.readouterr().out
    assert "24 hosts in" in said and "OK " in said and "FALLBACK_R " in said


def test_plan_injections_says_what_was_drawn(finished, capsys):
    called("plan_injections", "--config", finished)
    said = capsys.readouterr().out
    rows = lf.open_manifest(load_config(finished).out + "/manifest.zarr")
    assert f"{rows.sizes['sample']} rows: {int((~rows['is_control']).sum())} injections" in said
    assert "theta_e_arcsec" in said and "band g: " in said


def test_a_good_run_validates(finished, capsys):
    assert called("validate_run", "--config", finished) == 0
    said = capsys.readouterr().out
    assert "FAIL" not in said and said.count("ok  ") == len(said.splitlines()) > 12
    assert "controls are the host, bit for bit" in said


def _column(group, table, name):
    array = group[table]
    return array, list(array.attrs["columns"]).index(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("arc_in_control", "controls are the host, bit for bit"),
        ("metric_lost", "magnification:"),
        ("share_above_one", "core_flux_fraction:"),
        ("metric_of_control", "controls without arc and metrics"),
        ("flux_wrong", "flux = magnification x source x share"),
        ("psf_without_source", "PSF r,"),
    ],
)
def test_a_fault_in_the_store_fails_its_line(finished, tmp_path, capsys, monkeypatch, fault, line):
    out = tmp_path / "run"
    shutil.copytree(load_config(finished).out, out)
    manifest = lf.open_manifest(f"{out}/manifest.zarr")
    pairs = zarr.open_group(f"{out}/pairs.zarr", mode="r+")
    open_rows = manifest["split"].values != 2
    control = int(np.flatnonzero(manifest["is_control"].values & open_rows)[0])
    everywhere = np.isfinite(manifest["psf_fwhm_arcsec"].values).all(axis=1)
    injection = int(np.flatnonzero(~manifest["is_control"].values & open_rows & everywhere)[0])
    if fault == "arc_in_control":
        pixels = pairs["stamp"][control]
        pixels[0, 3, 4] += 1
        pairs["stamp"][control] = pixels
    elif fault == "psf_without_source":
        cutouts = zarr.open_group(f"{out}/cutouts.zarr", mode="r+")
        put(cutouts, 0, "psfsize_arcsec_r", np.nan)
    else:
        row, name, value = {
            "metric_lost": (injection, "magnification", np.nan),
            "share_above_one": (injection, "core_flux_fraction", 2.0),
            "metric_of_control": (control, "arc_snr", 3.0),
            "flux_wrong": (injection, "magnification", 1e3),
        }[fault]
        put(pairs, row, name, value)
    if fault == "psf_without_source":
        reseal(f"{out}/cutouts.zarr")
        monkeypatch.setattr(resume, "other_inputs", lambda *_: {})  # as if the pairs had been made from these
    reseal(f"{out}/pairs.zarr")  # as if it had been written so
    assert called("validate_run", "--config", finished, "--out", str(out)) == 1
    failed = [text for text in capsys.readouterr().out.splitlines() if text.startswith("FAIL")]
    assert any(line in text for text in failed), failed


def small_pilot(folder, threshold):
    gate = {"recipes": ["corners_r"], "checks": ["splits"], "max_auc": threshold, "bootstrap": 50}
    return config_in(folder, gate=gate)


@pytest.mark.slow
def test_the_pilot_goes_on_to_the_full_run_where_its_gates_pass_and_keeps_what_it_did(tmp_path, capsys):
    path = small_pilot(tmp_path, 1.0)
    assert called("pilot", "--config", path, "--share", "0.6") == 0
    hosts = {
        name: lf.open_cutouts(f"{tmp_path}/{name}/cutouts.zarr")["host_id"].values for name in ("run", "run-pilot")
    }
    assert set(hosts["run-pilot"]) < set(hosts["run"]) and len(hosts["run"]) == 24
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("receipts/**/*.json")}
    assert called("pilot", "--config", path, "--share", "0.6") == 0
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("receipts/**/*.json")}


@pytest.mark.slow
def test_the_pilot_stops_where_its_gates_do_not_pass_and_nothing_is_recommended(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lensflow.api.tune_core", lambda config: types.SimpleNamespace(recommended="", reason="No."))
    options = ["--share", "0.6", "--cluster", "threads"]
    assert called("pilot", "--config", config_in(tmp_path, cluster={"dashboard": None}), *options) == 3
    said = capsys.readouterr().out
    assert "Core handling: none. No." in said and "Stopped: the pilot's gates do not pass" in said
    assert not (tmp_path / "run/pairs.zarr").exists()


@pytest.mark.slow
def test_a_mask_that_the_tuner_recommends_is_in_the_full_run_which_is_gated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lensflow.api.tune_core", lambda config: types.SimpleNamespace(recommended="mask_3", reason="Yes.")
    )
    path = config_in(tmp_path, gate={"bootstrap": 50})
    assert called("pilot", "--config", path, "--share", "0.6") == 3
    said = capsys.readouterr().out
    assert "The full run is made with {'injection': {'core_mask_radius_pix': 3.0" in said
    assert "do not train on it" in said
    pairs = lf.open_pairs(f"{tmp_path}/run/pairs.zarr")
    injected = ~pairs["is_control"].values
    assert (pairs["core_mask_radius_pix"].values[injected] == 3).all()


@pytest.mark.slow
def test_what_a_training_must_do_is_gated_on_the_full_run_as_it_would_be(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lensflow.api.tune_core", lambda config: types.SimpleNamespace(recommended="blank_3", reason="Yes.")
    )
    path = config_in(tmp_path, gate={"bootstrap": 50}, core={"gates": ["core_r"]})
    assert called("pilot", "--config", path, "--share", "0.6") == 3
    said = capsys.readouterr().out
    assert "core_r under blank_3: " in said and "do not train on it" in said
    pairs = lf.open_pairs(f"{tmp_path}/run/pairs.zarr")
    assert not pairs["core_mask_radius_pix"].values[~pairs["is_control"].values].any()
