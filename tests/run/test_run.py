"""The main job end to end on a small synthetic survey; slow: on a real Dask cluster of processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow import run as steps
from lensflow.cli.steps import run_all
from lensflow.config import load_config
from lensflow.errors import StaleStoreError, StoreError
from lensflow.run.completeness import completeness_step, with_options
from lensflow.store import receipts
from lensflow.store.open import open_cutouts, open_pairs
from lensflow.store.run_folder import RunFolder
from tests.factories import imported_galaxies
from tests.quick import all_images, not_drawn
from tests.small_run import small_config

pytestmark = pytest.mark.whole

LOCAL = {"kind": "local", "workers": 2, "dashboard": None}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = small_config(tmp_path_factory.mktemp("run") / "small")
    return config, steps.make_run(config)


@pytest.mark.slow
def test_processes_give_the_bits_and_numbers_of_threads(finished, tmp_path):
    config, _ = finished
    with all_images():
        diagnostics, gates = steps.measure_step(config, again=True, keep=False)
    other = small_config(tmp_path / "small", cluster=LOCAL)
    with lf.connect(other.cluster):
        found = steps.make_run(other)
    stored = [open_pairs(RunFolder.of(c).pairs).load() for c in (config, other)]
    assert same(*stored, [str(v) for v in stored[0].data_vars])
    assert [g.to_dict() for g in found.gates] == [g.to_dict() for g in gates]
    for name, ds in diagnostics.items():
        xr.testing.assert_identical(ds, found.diagnostics[name])


@pytest.mark.slow
def test_performance_reports_are_kept_by_stage_where_they_are_asked_for(tmp_path):
    config = small_config(tmp_path / "small", cluster=LOCAL)
    config = config.model_copy(update={"cluster": config.cluster.model_copy(update={"performance_reports": True})})
    with lf.connect(config.cluster):
        steps.make_run(config)
    pages = {p.name for p in Path(config.out, "report").glob("dask-*.html") if p.stat().st_size > 10_000}
    assert {"dask-cut.html", "dask-inject.html", "dask-diagnose-gate.html"} <= pages


def test_every_requested_host_has_a_row_with_a_reason_or_is_ok(finished):
    config, _ = finished
    cutouts = open_cutouts(RunFolder.of(config).cutouts)
    assert cutouts.sizes["host"] == 24 and len(np.unique(cutouts["host_id"])) == 24
    assert ((cutouts["status"].values == 0) | (cutouts["reasons"].values > 0)).all()
    counts = receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts("cutouts")).values())
    assert counts["hosts"] == sum(v for k, v in counts.items() if k.startswith("status: ")) == 24


def test_hosts_are_ordered_by_split_and_a_split_is_a_slice(finished):
    cutouts = open_cutouts(RunFolder.of(finished[0]).cutouts)
    assert (np.diff(cutouts["split"].values.astype(int)) >= 0).all()


def test_hosts_of_the_brick_without_g_get_no_g_arc(finished):
    config, _ = finished
    pairs = open_pairs(RunFolder.of(config).pairs)
    cutouts = open_cutouts(RunFolder.of(config).cutouts)
    no_g = ~cutouts["covered"].sel(band="g").values[pairs["host_index"].values]
    assert no_g.any() and not pairs["arc"].sel(band="g").values[no_g].any()


def test_stamps_minus_controls_are_arcs_and_their_noise(finished):
    pairs = open_pairs(RunFolder.of(finished[0]).pairs).load()
    control = pairs["is_control"].values
    assert (pairs["stamp"].values[control] == pairs["ctrl"].values[control]).all()
    difference = pairs["stamp"].values[~control].astype(float) - pairs["ctrl"].values[~control]
    assert (difference[pairs["arc"].values[~control] == 0] == 0).all()


def test_receipts_account_for_every_row_and_no_invariant_is_broken(finished):
    config, _ = finished
    folder = RunFolder.of(config)
    done = receipts.read_receipts(folder.receipts("pairs"))
    counts = receipts.total_counts(done.values())
    assert (
        counts["rows"]
        == counts["injections"] + counts["controls"]
        == open_pairs(folder.pairs, unseal_test="all rows are counted").sizes["sample"]
    )
    assert not any(v for k, v in counts.items() if k.startswith("invariant: "))


def test_diagnostics_and_gates_are_stored_with_intervals(finished):
    _, results = finished
    assert {"annulus", "regression", "stratified", "radial_profile"} <= set(results.diagnostics)
    gate = next(g for g in results.gates if g.name == "core_r")
    assert gate.auc_low <= gate.auc <= gate.auc_high and gate.n_hosts > 5


def test_a_second_run_finds_its_work_done(finished):
    config, first = finished
    before = {p: p.stat().st_mtime_ns for p in Path(config.out).glob("*.zarr/**/c/**/*") if p.is_file()}
    with lf.connect(config.cluster):
        second = steps.make_run(config)
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert [g.to_dict() for g in second.gates] == [g.to_dict() for g in first.gates]
    assert not any(s["worked"] for s in second.stages)


def test_other_settings_on_the_same_folder_are_refused_by_name(finished):
    config, _ = finished
    with pytest.raises(StaleStoreError, match=r"injection\.noise: stored True, now False"):
        steps.inject_step(config.model_copy(update={"injection": config.injection.model_copy(update={"noise": False})}))
    with pytest.raises(StaleStoreError, match=r"plan\.injections_per_host"):
        steps.plan_step(small_config(config.out, plan={"injections_per_host": 2}))
    assert json.loads(json.dumps(load_config(Path(config.out) / "config.yaml").effective())) == config.effective()


def test_regions_whose_receipt_is_gone_are_redone_to_the_same_bytes(finished):
    config, _ = finished
    folder = RunFolder.of(config)
    before = receipts.read_receipts(folder.receipts("pairs"))
    Path(receipts.receipt_url(folder.receipts("pairs"), 1)).unlink()
    with pytest.raises(StoreError, match=r"1 of \d+ regions are not finished"):
        steps.diagnose_step(config)
    steps.inject_step(config)
    after = receipts.read_receipts(folder.receipts("pairs"))
    assert {i: r.checksums for i, r in after.items()} == {i: r.checksums for i, r in before.items()}


def same(a: xr.Dataset, b: xr.Dataset, names):
    return all(np.array_equal(a[n].values, b[n].values, equal_nan=a[n].dtype.kind == "f") for n in names)


def test_notebook_functions_give_the_bits_and_numbers_of_the_run(finished):
    config, results = finished
    folder = RunFolder.of(config)
    cutouts, stored = (
        lf.open_cutouts(folder.cutouts),
        lf.open_pairs(folder.pairs, unseal_test="compared with lazy pairs"),
    )
    manifest = lf.plan_injections(cutouts, config)
    assert same(manifest, lf.open_manifest(folder.manifest), list(manifest.data_vars))
    lazy = lf.inject(cutouts, manifest, config, chunk=13).persist()
    assert lazy["stamp"].chunks is not None
    assert same(lazy.compute(), stored, ("arc", "stamp", "ctrl", "magnification", "snr_peak", "is_clean"))
    gates = lf.gate(lazy, config)
    assert [g.verdict for g in gates] == [g.verdict for g in results.gates if g.fitted]
    assert gates[0].auc == pytest.approx(results.gates[0].auc, abs=1e-9)
    lazily = lf.diagnose(lazy, config, cutouts)
    for name, ds in results.diagnostics.items():
        for v in ds.data_vars:
            if ds[v].dtype.kind == "f":
                np.testing.assert_allclose(
                    lazily[name][v].values, ds[v].values, rtol=1e-6, atol=1e-12, err_msg=f"{name}.{v}"
                )


@pytest.mark.slow
def test_threads_and_other_region_sizes_give_the_same_pixels(finished, tmp_path):
    config, _ = finished
    other = small_config(
        tmp_path / "other",
        store={"samples_per_region": 24, "hosts_per_region": 16, "inner_chunk": 8},
    )
    steps.cut_step(other)
    steps.plan_step(other)
    again = steps.inject_step(other).load()
    stored = open_pairs(RunFolder.of(config).pairs).load()
    assert same(again, stored, ("arc", "stamp", "ctrl", "row_id", "magnification", "snr_matched"))


def test_imported_arrays_go_all_the_way_to_stored_pairs(tmp_path):
    cutouts = imported_galaxies(6)
    config = small_config(tmp_path / "arrays", survey={"root": "-", "targets": "-"})
    manifest = lf.plan_injections(cutouts, config).isel(sample=slice(0, 12))
    pairs = lf.write_pairs(lf.inject(cutouts, manifest, config), config)
    assert pairs.sizes["sample"] == 12 and pairs["assumed_noise"].values.all()
    assert same(lf.inject(cutouts, manifest, config).compute(), pairs.load(), ("arc", "stamp", "ctrl"))
    assert lf.write_pairs(lf.inject(cutouts, manifest, config), config).sizes["sample"] == 12
    with pytest.raises(StaleStoreError, match=r"inputs\.manifest"):
        lf.write_pairs(lf.inject(cutouts, manifest.isel(sample=slice(0, 6)), config), config)


@pytest.mark.slow
def test_what_a_caller_adds_runs_before_the_report_and_is_in_it_and_again_on_a_finished_run(finished, capsys):
    config, _ = finished
    page, shown = Path(config.out, "report", "index.html"), []

    def detectability(config, progress):
        shown.append("Detectability by definition" in page.read_text())
        return completeness_step(with_options(config, value=5.0), "snr_matched", progress)

    with not_drawn():
        results = steps.make_run(config, also={"detectability": detectability})
    assert [s["stage"] for s in results.stages][-2:] == ["detectability", "report"]
    assert "Detectability by definition, snr_matched (--value 5.0), split val" in page.read_text()
    before = page.stat().st_mtime_ns
    verdicts = run_all(config, also={"detectability": detectability})
    assert verdicts == {g.name: str(g.verdict) for g in results.gates} and "Nothing to do" in capsys.readouterr().out
    assert shown == [False, True] and page.stat().st_mtime_ns == before
