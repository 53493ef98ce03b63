"""A finished run's folder: what is refused there leaves it as it was, every verb takes it, and its rows have names."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import lensflow as lf
from lensflow import run as steps
from lensflow import schema
from lensflow.config import load_config
from lensflow.errors import StaleStoreError, StoreError
from lensflow.run.cut import allowed_failures
from lensflow.run.rerender import find_row
from lensflow.store.run_folder import RunFolder, config_of
from tests.small_run import finished_copy, small_config, small_tree

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finished_copy(tmp_path_factory.mktemp("faces") / "run").out


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the finished, certified run, at another place."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def tree_of(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


OTHER = {
    "plan": {"plan": {"injections_per_host": 2}},
    "noise": {"injection": {"noise": False}},
    "seed": {"seed": 4},
    "splits": {"splits": {"nside": 512}},
    "store": {"store": {"samples_per_region": 64, "hosts_per_region": 8, "inner_chunk": 8}},
}


@pytest.mark.parametrize("verb", ["run", "plan", "inject", "diagnose", "gate", "report", "certify", "tune-core"])
@pytest.mark.parametrize("change", ["plan", "seed"])
def test_a_verb_that_is_refused_leaves_every_byte_of_the_folder(command, folder, verb, change):
    before = tree_of(folder)
    code, text = command(verb, config=small_tree(folder, **OTHER[change]))
    assert code == 1 and ("injections_per_host" if change == "plan" else "seed") in text
    assert tree_of(folder) == before


@pytest.mark.parametrize(("verb", "change"), [("run", "noise"), ("cut", "splits"), ("cut", "seed"), ("run", "store")])
def test_other_kinds_of_refusal_leave_it_too(command, folder, verb, change):
    before = tree_of(folder)
    code, text = command(verb, config=small_tree(folder, **OTHER[change]))
    assert code == 1 and "stored" in text and tree_of(folder) == before


def test_cutting_for_another_plan_has_nothing_to_do_and_keeps_the_config(command, folder):
    before = tree_of(folder)
    code, text = command("cut", config=small_tree(folder, **OTHER["plan"]))
    assert code == 0 and "Nothing to do" in text and tree_of(folder) == before


@pytest.mark.slow
def test_a_report_with_other_gate_settings_is_refused_and_the_good_one_stays(command, folder):
    before = tree_of(folder)
    other = small_tree(folder, gate={"recipes": ["core_r"], "bootstrap": 50, "required": False, "max_auc": 0.9})
    code, text = command("report", config=other)
    assert code == 1 and "gate.max_auc: stored 0.65, now 0.9" in text and tree_of(folder) == before
    assert command("gate", config=other)[0] == 0
    # Now the gates are of these settings, and so is the folder's config.
    assert config_of(str(folder)).gate.max_auc == 0.9 and command("report", config=other)[0] == 0


def test_the_certificate_still_holds_after_a_refusal(command, folder):
    command("run", config=small_tree(folder, **OTHER["plan"]))
    assert command("certify", folder, "--check")[0] in (0, 3)  # the verdict of these few rows is what it is


@pytest.mark.slow
def test_a_finished_run_has_nothing_to_do_and_starts_no_cluster(command, folder, monkeypatch):
    def never(*_):
        raise AssertionError("a cluster was started")

    command("report", folder)  # the folder was moved, and its report says where it is
    command("run", folder)
    before = tree_of(folder)
    monkeypatch.setattr("lensflow.cluster.connect", never)
    for verb in ("cut", "plan", "inject", "run"):
        code, text = command(verb, folder)
        assert code == 0 and "Nothing to do" in text, (verb, text)
    assert "Verdict:" in text and "required" not in text.split("Verdict:")[0] and "core_r" in text
    assert tree_of(folder) == before


@pytest.mark.slow
def test_a_required_gate_refuses_a_finished_run_as_it_did_the_first_time(command, folder):
    tree = {**small_tree(folder), "gate": {"recipes": ["core_r"], "bootstrap": 50, "required": True}}
    first, _ = command("run", config=tree)
    code, text = command("run", config=tree)
    assert "Nothing to do" in text and code == first


@pytest.mark.slow
def test_every_verb_takes_a_folder_and_a_config_file(command, folder):
    for verb in ("config", "diagnose", "gate", "report"):
        assert command(verb, folder)[0] in (0, 3), verb
    path = folder.parent / "mine.yaml"
    path.write_text(yaml.safe_dump(small_tree(folder)))
    assert command("verify", path, "--sample", 1)[0] == 0
    code, text = command("run", folder.parent / "nothing")
    assert code == 2 and "neither a YAML file nor the folder of a run" in text


def test_a_moved_folder_is_read_where_it_is_now(folder, made):
    assert config_of(str(folder)).out == str(folder) != made
    assert config_of(str(folder / "config.yaml")).out == str(folder)
    assert config_of(f"{folder}/pairs.zarr").out == str(folder)


@pytest.mark.parametrize("place", ["", "/pairs.zarr", "mine.yaml"])
def test_stores_open_by_folder_by_store_and_by_config(folder, place):
    if place.endswith("yaml"):
        (folder.parent / place).write_text(yaml.safe_dump(small_tree(folder)))
    at = folder.parent / place if place.endswith("yaml") else f"{folder}{place}"
    pairs = lf.open_pairs(at)
    cutouts = lf.open_cutouts(at if "pairs" not in place else folder)
    manifest = lf.open_manifest(at if "pairs" not in place else folder)
    for rows in (pairs, manifest):
        assert {"row_id", "host_id"} <= set(rows.coords)
        assert (rows["host_id"].values == cutouts["host_id"].values[rows["host_index"].values]).all()
    assert "host_id" in cutouts.coords and pairs.set_xindex("row_id").sel(row_id=pairs["row_id"].values[5])


def test_hosts_are_selected_by_name_and_rows_by_their_number_in_the_manifest(folder):
    cutouts, manifest = lf.open_cutouts(folder), lf.open_manifest(folder)
    name = str(cutouts["host_id"].values[5])
    assert cutouts.sel(host=name)["image"].equals(cutouts["image"][5])
    with pytest.raises(KeyError):
        cutouts.sel(host="nobody")
    # One split alone: the first row that is handed out is not row 0.
    pairs = lf.open_pairs(folder, split="val")
    rows = np.flatnonzero(manifest["split"].values == 1)
    assert pairs["sample"].values.tolist() == rows.tolist() and rows[0] > 0
    for row in rows[::5]:
        assert pairs.sel(sample=row)["row_id"] == manifest["row_id"][row] == lf.open_run(folder).row(int(row))["row_id"]
    with pytest.raises(KeyError):
        pairs.sel(sample=0)


def test_codes_say_what_they_mean(folder):
    cutouts, pairs = lf.open_cutouts(folder), lf.open_pairs(folder)
    for code, kind in (("status", schema.Status), ("psf_source", schema.PsfSource), ("reasons", schema.Reason)):
        attrs = cutouts[code].attrs
        numbers = attrs["flag_masks" if code == "reasons" else "flag_values"]
        assert [kind[n] for n in attrs["flag_meanings"].split()] == numbers == [int(k) for k in kind]
        assert json.dumps(attrs)
    for rows in (cutouts, pairs, lf.open_manifest(folder)):
        assert rows["split"].attrs["flag_meanings"].split() == [*schema.SPLITS, "guard"]


def test_notebook_datasets_have_the_same_coordinates(folder):
    config, cutouts = config_of(str(folder)), lf.open_cutouts(folder)
    manifest = lf.plan_injections(cutouts, config)
    lazy = lf.inject(cutouts, manifest, config)
    for rows in (manifest, lazy):
        assert (rows["host_id"].values == cutouts["host_id"].values[rows["host_index"].values]).all()
        assert "row_id" in rows.coords


def test_a_row_is_found_by_host_and_replicate_by_number_and_by_id(folder):
    manifest, run = lf.open_manifest(folder), RunFolder(str(folder))
    for k in range(0, manifest.sizes["sample"], 7):
        row = manifest.isel(sample=k)
        kind = "c" if bool(row["is_control"]) else ""
        name = f"{row['host_id'].values}:{kind}{int(row['replicate'])}"
        assert find_row(run, name) == find_row(run, k) == find_row(run, int(row["row_id"])) == k
    again = lf.rerender(str(folder), name)
    assert again.attrs["identical"] and str(row["host_id"].values) in again.attrs["name"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("nobody:0", "no host 'nobody'"),
        ("12345678901234567", "no row with row_id"),
        ("x", "names no row"),
        ("a:b", "x"),
    ],
)
def test_a_row_that_is_not_there_is_named(folder, row, words):
    with pytest.raises(StoreError, match=words if row != "a:b" else "names no row"):
        find_row(RunFolder(str(folder)), row)


def test_a_replicate_that_a_host_does_not_have_is_named_with_those_that_it_has(folder):
    host = str(lf.open_manifest(folder)["host_id"].values[0])
    with pytest.raises(StoreError, match="no replicate 99; it has 0, 1, 2, c0"):
        find_row(RunFolder(str(folder)), f"{host}:99")


@pytest.mark.slow
def test_the_report_names_the_rows_that_it_shows(folder):
    page = Path(steps.report_step(config_of(str(folder)))).read_text()
    manifest = lf.open_manifest(folder)
    assert any(
        f"{h}:{r}" in page for h, r in zip(manifest["host_id"].values, manifest["replicate"].values, strict=True)
    )
    assert "RA, Dec" in page


def test_a_config_with_other_pixels_measures_nothing_from_python_either(folder):
    other = load_config(small_tree(folder, **OTHER["noise"]))
    before = tree_of(folder)
    for step in (steps.gate_step, steps.diagnose_step, steps.report_step, steps.certify_step):
        with pytest.raises(StaleStoreError, match=r"injection\.noise"):
            step(other)
    assert tree_of(folder) == before


@pytest.mark.parametrize(
    ("share", "hosts", "allowed"),
    [(0.01, 80, 3), (0.01, 1000, 10), (0.0, 80, 0), (0.01, 4, 2), (0.01, 1, 0), (0.5, 10, 5), (1.0, 10, 10)],
)
def test_few_hosts_may_fail_in_any_run_but_never_most_of_them(share, hosts, allowed):
    assert allowed_failures(share, hosts) == allowed


@pytest.mark.slow
def test_hosts_that_a_synthetic_survey_makes_to_fail_do_not_stop_it(tmp_path):
    survey = {"synthetic": {"n_bricks": 2, "brick_size_pix": 500, "hosts_per_brick": 12, "bricks_without_g": 1}}
    assert allowed_failures(0.01, 24, synthetic=True) == 12
    steps.cut_step(small_config(tmp_path / "run", survey=survey))


def test_inputs_of_later_steps_are_read_before_the_first_one(command, tmp_path):
    out = tmp_path / "run"
    code, text = command("run", config=small_tree(out, plan={"design": "table", "table": str(tmp_path / "none.csv")}))
    assert code == 1 and "none.csv" in text and not out.exists()
    code, text = command("run", config=small_tree(out, bands=["g", "r", "i", "z"]))
    assert code == 2 and "survey.synthetic has no i; it has g, r, z" in text and not out.exists()


def test_results_and_configs_print_short():
    config = small_config("runs/x", plan={"injections_per_host": 12})
    assert "plan.injections_per_host: 12" in repr(config) and len(repr(config).splitlines()) < 30
    assert "plan.injections_per_host" in config._repr_html_() and "diagnostics.n_rings" not in repr(config)


def test_a_gate_prints_in_one_line_and_its_html_is_escaped(folder):
    config = config_of(str(folder))
    for gate in steps.gate_step(config):
        assert gate.name in repr(gate) and str(gate.verdict) in repr(gate) and len(repr(gate)) < 1500
        assert "\n" not in repr(gate) and "<table>" in gate._repr_html_()
    marked = gate.decided(gate.verdict, "a < b & c")
    assert "a &lt; b &amp; c" in marked._repr_html_()


def test_flags_are_true_or_false_and_controls_have_no_einstein_radius(folder):
    opened, manifest = lf.open_pairs(folder), lf.open_manifest(folder)
    lazy = lf.inject(lf.open_cutouts(folder), manifest, config_of(str(folder)))
    for pairs in (opened, lazy):
        assert all(pairs[v.name].dtype == bool for v in schema.FLAGS)
        control, theta_e = pairs["is_control"].values, pairs["theta_e_arcsec"]
        assert control.any() and np.isnan(theta_e.values[control]).all() and (theta_e.values[~control] > 0).all()
        assert theta_e.attrs["units"] == "arcsec" and "NaN for controls" in theta_e.attrs["long_name"]
    # What is planned is what it was: 0 in the manifest, which goes back into inject.
    assert (manifest["theta_e_arcsec"].values[manifest["is_control"].values] == 0).all()
