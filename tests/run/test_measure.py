"""Diagnostics, gates and certificates of runs that lack something: each is a named verdict or error, end to end."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow import run as steps
from lensflow.config import load_config
from lensflow.errors import CertificateError, ConfigError, StoreError
from lensflow.measure.gate import Verdict
from lensflow.measure.metadata.arcs import arc_images
from lensflow.measure.pixels import Status, findings
from lensflow.run import priors
from lensflow.run.priors import priors_of
from lensflow.store import paths, receipts, resume
from lensflow.store.open import open_all_pairs, open_cutouts, open_manifest
from lensflow.store.run_folder import RunFolder
from tests.reseal import reseal, rewrite
from tests.small_run import injected_copy, small_config, small_tree

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The small run up to its pairs; nothing is measured."""
    return injected_copy(tmp_path_factory.mktemp("measure") / "run")


@pytest.fixture
def run(whole, tmp_path):
    """A copy of that run without any results, to be damaged."""
    shutil.copytree(whole.out, tmp_path / "run", ignore=shutil.ignore_patterns("summaries"))
    return small_config(tmp_path / "run")


def rows_of(whole, out, choose):
    """Another run, with some of the rows on the same hosts."""
    folder, config = RunFolder.of(whole), small_config(out)
    manifest = open_manifest(folder.manifest)
    some = manifest.isel(sample=np.flatnonzero(choose(manifest)))
    lf.write_pairs(lf.inject(open_cutouts(folder.cutouts), some, config), config)
    return config


def measured(config):
    """Results of the diagnostics, what they say by (diagnostic, check), and the gates by name."""
    results, gates = steps.measure_step(config)
    return results, {(f.diagnostic, f.check): f for f in findings(results)}, {g.name: g for g in gates}


def alarmed(found):
    return {k for k, f in found.items() if f.status is Status.ALARM}


@pytest.mark.slow
def test_the_lazy_way_says_what_the_one_pass_over_the_store_says(whole):
    results, _, gates = measured(whole)
    pairs = open_all_pairs(RunFolder.of(whole).pairs)
    lazily = lf.diagnose(pairs.chunk({"sample": 13}), whole, open_cutouts(RunFolder.of(whole).cutouts))
    assert list(lazily) == list(results)
    for name, ds in results.items():
        for v in ds.data_vars:
            if ds[v].dtype.kind == "f":
                np.testing.assert_allclose(lazily[name][v], ds[v], rtol=1e-6, atol=1e-12, err_msg=f"{name}.{v}")
            else:
                xr.testing.assert_equal(lazily[name][v], ds[v])
    (alone,) = lf.gate(pairs.chunk({"sample": 13}), whole)
    assert alone.verdict is gates["core_r"].verdict
    assert alone.auc == pytest.approx(gates["core_r"].auc, abs=1e-9)


@pytest.mark.parametrize("step", [steps.diagnose_step, steps.gate_step, steps.measure_step, steps.certify_step])
def test_an_unfinished_store_is_refused_by_every_step_with_the_way_out(run, step):
    Path(receipts.receipt_url(RunFolder.of(run).receipts("pairs"), 1)).unlink()
    with pytest.raises(StoreError, match=r"1 of \d+ regions are not finished.*`?lensflow inject"):
        step(run)
    assert not Path(RunFolder.of(run).gates).exists() and not Path(run.out, "certificate.json").exists()


@pytest.mark.parametrize("step", [steps.diagnose_step, steps.gate_step, steps.certify_step])
def test_a_run_without_pairs_is_refused_by_name(tmp_path, step):
    with pytest.raises(StoreError, match=str(tmp_path / "nothing")):
        step(small_config(tmp_path / "nothing"))


@pytest.mark.slow
def test_a_plan_without_controls_is_gated_and_its_balance_is_said_not_to_be_tested(tmp_path):
    config = small_config(tmp_path / "run", plan={"injections_per_host": 3, "controls_per_host": 0})
    for step in (steps.cut_step, steps.plan_step, steps.inject_step):
        step(config)
    results, found, gates = measured(config)
    assert int(results["annulus"]["n_controls"]) == 0 and alarmed(found) == set()
    # Each stamp's own host is its control there, so the fits need no control rows.
    assert gates["core_r"].verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) and np.isfinite(gates["core_r"].auc)
    assert gates["balance"].verdict is Verdict.NOT_TESTABLE
    assert "one of the classes has no rows" in gates["balance"].reason
    unseen = found["annulus", "control rows are their host"]
    assert unseen.status is Status.NOT_TESTED
    assert steps.certify_step(config)["verdict"] != "PASS"


@pytest.mark.slow
def test_controls_alone_are_no_gate_no_alarm_and_no_pass(whole, tmp_path):
    config = rows_of(whole, tmp_path / "run", lambda m: m["is_control"].values)
    results, found, gates = measured(config)
    assert gates["core_r"].verdict is Verdict.NOT_TESTABLE
    assert "no injection rows: one of the two classes is missing" in gates["core_r"].reason
    assert alarmed(found) == set() and int(results["annulus"]["n_injections"]) == 0
    for name in ("balance", "localisation", "diagnostics"):
        assert gates[name].verdict is Verdict.NOT_TESTABLE and gates[name].reason, name
    assert found["rendering", "all"].text == "no injection"
    certificate = steps.certify_step(config)
    assert certificate["verdict"] == "NOT_TESTABLE" and "core_r" in certificate["reason"]


def test_one_host_only_is_named_and_has_no_interval(whole, tmp_path):
    config = rows_of(whole, tmp_path / "run", lambda m: m["host_index"].values == m["host_index"].values[0])
    results, found, gates = measured(config)
    assert gates["core_r"].verdict is Verdict.NOT_TESTABLE and "pairs of one host only" in gates["core_r"].reason
    for ds in results.values():
        for v in ds.data_vars:
            if v.endswith(("_low", "_high")):
                assert ds[v].isnull().all(), v
    assert alarmed(found) == set()
    assert gates["diagnostics"].verdict is Verdict.NOT_TESTABLE


@pytest.mark.slow
def test_fewer_hosts_than_folds_are_counted_and_the_setting_is_named(whole, tmp_path):
    manifest = open_manifest(RunFolder.of(whole).manifest)
    in_r = np.isfinite(manifest["psf_fwhm_arcsec"].values[:, 1])
    first = np.unique(manifest["host_index"].values[in_r])[:4]
    config = rows_of(whole, tmp_path / "run", lambda m: np.isin(m["host_index"].values, first))
    _, found, gates = measured(config)
    assert gates["core_r"].verdict is Verdict.NOT_TESTABLE
    assert "12 pairs of 4 hosts" in gates["core_r"].reason and "5 hosts (gate.folds)" in gates["core_r"].reason
    assert alarmed(found) == set()


def spoil(config, y, x):
    """Put a NaN into the stored r stamp of one injection; its row's id."""
    folder = RunFolder.of(config)
    manifest = open_manifest(folder.manifest)
    row = int(np.flatnonzero(~manifest["is_control"].values & np.isfinite(manifest["psf_fwhm_arcsec"].values[:, 1]))[7])
    stamps = paths.open_group(folder.pairs, mode="r+")["stamp"]
    pixels = stamps[row]
    pixels[1, y, x] = np.nan
    stamps[row] = pixels
    reseal(folder.pairs)  # as if it had been written so
    return int(manifest["row_id"].values[row])


@pytest.mark.slow
def test_a_pixel_that_is_no_number_in_the_core_is_an_error_that_names_the_row(run):
    row_id = spoil(run, 31, 33)
    results, found, gates = measured(run)
    assert gates["core_r"].verdict is Verdict.ERROR
    assert f"row {row_id} " in gates["core_r"].reason and "0 others" in gates["core_r"].reason
    assert results["annulus"]["n_nonfinite"].values.tolist() == [0, 1, 0]
    assert found["annulus", "every pixel is a number"].status is Status.ALARM
    assert gates["diagnostics"].verdict is Verdict.FAIL
    assert steps.certify_step(run)["verdict"] != "PASS"


def test_a_pixel_that_is_no_number_where_no_gate_looks_is_an_alarm_all_the_same(run):
    spoil(run, 2, 3)
    _, found, gates = measured(run)
    assert np.isfinite(gates["core_r"].auc)
    again = ("recompute", "stamps are host + arc + noise")
    assert alarmed(found) == {("annulus", "every pixel is a number"), again}
    assert "pixel x 3, y 2" in found[again].where
    assert gates["diagnostics"].verdict is Verdict.FAIL and "every pixel is a number (r)" in gates["diagnostics"].reason


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("gate", "max_auc", 0.5),
        ("gate", "max_auc", 1.2),
        ("gate", "max_auc", float("nan")),
        ("gate", "max_auc_of", {"core_r": 0.3}),
        ("gate", "max_auc_of", {"core_g": 0.7}),
        ("gate", "folds", 1),
        ("gate", "bootstrap", 10),
        ("gate", "c", 0.0),
        ("gate", "max_pairs", 0),
        ("gate", "core_box_pix", 0),
        ("gate", "checks", ["balanced"]),
        ("diagnostics", "bootstrap", 0),
        ("diagnostics", "n_rings", 2),
        ("diagnostics", "theta_e_edges", [0.5, 2.0, 1.0]),
        ("diagnostics", "theta_e_edges", [1.0]),
        ("diagnostics", "theta_e_edges", [-1.0, 1.0]),
    ],
)
def test_thresholds_out_of_range_are_config_errors_that_name_the_setting(section, setting, value):
    tree = small_tree("unused")
    with pytest.raises(ConfigError, match=f"{section}.*{setting}"):
        load_config({**tree, section: {**tree[section], setting: value}})


def of_older_code(config):
    """Mark all stored results as made by other code; the marks of this installation are returned."""
    folder = RunFolder.of(config)
    for url in (folder.gates, folder.diagnostics):
        assert paths.read_json(url)["code"] == resume.measuring_code_fingerprint()
        rewrite(url, code="older")


@pytest.mark.slow
def test_results_of_older_code_are_measured_again(run):
    first = measured(run)[2]["core_r"]
    told = []
    steps.measure_step(run, lambda *a: told.append(a[0]))
    assert told == []  # what is up to date is read
    of_older_code(run)
    folder = RunFolder.of(run)
    stored = paths.read_json(folder.gates)
    stored["results"][0]["auc"] = 0.123
    rewrite(folder.gates, **stored)
    again = steps.gate_step(run, lambda *a: told.append(a[0]))[0]
    assert "measure" in told and "gate" in told and again.to_dict() == first.to_dict()
    assert paths.read_json(folder.gates)["code"] == resume.measuring_code_fingerprint()


@pytest.mark.slow
def test_a_certificate_made_by_other_code_still_holds_and_the_check_says_whose(run, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(resume, "measuring_code_fingerprint", lambda: "older")
        certificate = steps.certify_step(run)
    checked = steps.check_step(run, quick=True)
    assert checked.certificate == certificate
    assert (
        f"Measured by other code (older) than is installed here ({resume.measuring_code_fingerprint()})."
        in checked.notes
    )
    # What other code has measured since is not what was certified.
    steps.gate_step(run)
    with pytest.raises(CertificateError, match=r"code, measured_by: certified 'older'"):
        steps.check_step(run, quick=True)


@pytest.mark.slow
def test_verify_renders_every_row_again_and_names_the_one_that_is_another(run, command):
    folder = RunFolder.of(run)
    assert steps.verify_step(run.out, render=True).damage == ()
    manifest = open_manifest(folder.manifest)
    row = int(np.flatnonzero(~manifest["is_control"].values)[5])
    group = paths.open_group(folder.pairs, mode="r+")
    arc = group["arc"][row]
    group["arc"][row] = arc[..., ::-1]
    reseal(folder.pairs)  # as if it had been written so
    assert steps.verify_step(run.out).damage == ()
    (odd,) = steps.verify_step(run.out, render=True).left
    assert odd.store == "pairs" and f"row_id {int(manifest['row_id'].values[row])}" in odd.what
    code, text = command("verify", run.out, "--render")
    assert code == 1 and "repeat the run in another out" in " ".join(text.split())
    found = measured(run)[1]
    both = {("rendering", "stored arcs rendered again"), ("recompute", "stamps are host + arc + noise")}
    assert both <= alarmed(found)


def test_the_manifest_is_held_against_a_second_draw(whole, monkeypatch):
    arcs = arc_images(open_all_pairs(RunFolder.of(whole).pairs), None).rows
    found = priors_of(whole, arcs)
    assert len(found) == 7 and {f.status for f in found} == {Status.OK}
    monkeypatch.setattr(priors, "MAX_ROWS", 50)  # evenly spaced hosts
    assert {f.status for f in priors_of(whole, arcs) if f.check != "distributions"} <= {Status.OK, Status.NOT_TESTED}
