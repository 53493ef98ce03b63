"""Planning into a run folder: bounded, resumable, limited to the first hosts, estimated before anything is drawn."""

from pathlib import Path

import numpy as np
import pytest

from lensflow import run as steps
from lensflow.errors import ManifestError, StaleStoreError, StoreError
from lensflow.manifest import build
from lensflow.manifest.build import Planner, build_manifest
from lensflow.run.sources import table_targets, take_fraction
from lensflow.store import receipts
from lensflow.store.open import open_cutouts
from lensflow.store.run_folder import RunFolder
from lensflow.store.tables import TableWriter
from tests.factories import make_config, make_cutouts


@pytest.fixture
def config(tmp_path):
    out = make_config(str(tmp_path / "run"))
    steps.freeze_cutouts(make_cutouts(20, size=64), out)
    return out


def with_plan(config, **plan):
    return make_config(config.out, plan=plan)


def test_the_store_holds_what_planning_in_memory_gives(config, monkeypatch):
    expected = build_manifest(open_cutouts(RunFolder.of(config).cutouts), config)
    monkeypatch.setattr(build, "BLOCK_ROWS", 30)
    stored = steps.plan_step(config)
    for name in expected.data_vars:
        kind = expected[name].dtype.kind
        assert np.array_equal(stored[name].values, expected[name].values, equal_nan=kind == "f"), name
    assert stored.attrs["declared"] == expected.attrs["declared"] and stored.attrs["n_hosts"] == 20


def test_a_plan_that_died_is_drawn_again_and_a_finished_one_is_kept(config, monkeypatch):
    def die(self, attrs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TableWriter, "finish", die)
        steps.plan_step(config)
    assert steps.plan_step(config).sizes["sample"] == 140
    monkeypatch.setattr(Planner, "blocks", lambda self: pytest.fail("drawn again"))
    assert steps.plan_step(config).sizes["sample"] == 140


def test_a_plan_that_failed_while_drawing_is_not_in_the_way_of_the_next(config):
    with pytest.raises(ManifestError, match="no source position"):
        steps.plan_step(with_plan(config, src_min_images=4, lens_e=0.0, shear=0.0))
    assert steps.plan_step(with_plan(config, src_min_images=4, lens_e=0.3)).sizes["sample"] == 140


def test_another_prior_is_another_manifest_and_a_raised_limit_of_rows_is_not(config):
    steps.plan_step(config)
    steps.plan_step(with_plan(config, max_rows=10_000_000))
    with pytest.raises(StaleStoreError, match="theta_e_arcsec"):
        steps.plan_step(with_plan(config, theta_e_arcsec=1.0))


def test_a_changed_table_is_another_manifest(config, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("host_id,theta_e_arcsec\nhost-003,1.0\n")
    planned = with_plan(config, design="table", table=str(table))
    assert steps.plan_step(planned).sizes["sample"] == 2
    table.write_text("host_id,theta_e_arcsec\nhost-003,1.5\n")
    with pytest.raises(StaleStoreError, match=r"inputs\.table"):
        steps.plan_step(planned)


def test_a_limit_plans_and_injects_the_first_hosts_of_unfinished_cutouts(config):
    folder = RunFolder.of(config)
    Path(receipts.receipt_url(folder.receipts("cutouts"), 2)).unlink()
    with pytest.raises(StoreError, match="1 of 3 regions are not finished"):
        steps.plan_step(config)
    limited = with_plan(config, limit_hosts=10)
    m = steps.plan_step(limited)
    assert set(m["host_index"].values) == set(range(10)) and m.sizes["sample"] == 70
    pairs = steps.inject_step(limited)
    assert pairs.sizes["sample"] + pairs.attrs["n_sealed"] == 70


def test_an_estimate_draws_and_writes_nothing(config, monkeypatch):
    monkeypatch.setattr(Planner, "blocks", lambda self: pytest.fail("drawn"))
    size, cost = steps.estimate_step(config)
    assert (size.rows, size.n_used) == (140, 20) and cost.bytes_pairs > 0
    assert not Path(RunFolder.of(config).manifest).exists()


def test_an_estimate_before_cutting_counts_every_target(tmp_path):
    table = tmp_path / "targets.csv"
    table.write_text("host_id,ra_deg,dec_deg,brickname\na,10.0,1.0,0100p010\nb,10.1,1.0,0100p010\n")
    config = make_config(str(tmp_path / "run"), survey={"root": "none", "targets": str(table)})
    assert steps.estimate_step(config)[0].rows == 14
    synthetic = make_config(str(tmp_path / "run"), survey={"synthetic": {"n_bricks": 3, "hosts_per_brick": 10}})
    assert steps.estimate_step(synthetic)[0].rows == 210


def test_an_estimate_before_cutting_counts_the_hosts_of_the_fraction_alone(tmp_path):
    table = tmp_path / "targets.csv"
    rows = [f"h{i},{10 + i / 1000},1.0,0100p010" for i in range(200)]
    table.write_text("\n".join(["host_id,ra_deg,dec_deg,brickname", *rows]) + "\n")
    config = make_config(str(tmp_path / "run"), survey={"root": "none", "targets": str(table), "fraction": 0.1})
    expected = take_fraction(table_targets(config).assign(split=("host", np.zeros(200, np.uint8))), 0.1).sizes["host"]
    assert steps.estimate_step(config)[0].n_hosts == expected and 5 < expected < 40


def test_a_refused_plan_leaves_nothing_behind(config):
    with pytest.raises(ManifestError, match="max_rows = 10"):
        steps.plan_step(with_plan(config, max_rows=10))
    assert not Path(RunFolder.of(config).manifest).exists()


def test_the_frozen_manifest_opened_again_is_the_runs_own_and_an_edited_one_is_not(config):
    manifest = steps.plan_step(config)
    steps.freeze_manifest(manifest, config)
    assert steps.plan_step(config).attrs["fingerprint"] == manifest.attrs["fingerprint"]
    with pytest.raises(StaleStoreError, match=r"inputs\.manifest"):
        steps.freeze_manifest(manifest.assign(shear=manifest["shear"] * 0), config)
    with pytest.raises(StaleStoreError, match=r"plan\.injections_per_host"):
        steps.freeze_manifest(manifest, with_plan(config, injections_per_host=2))
