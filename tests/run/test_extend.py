"""A larger plan in a finished run's folder: old rows keep number, bits and bytes, only new ones are made."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.errors import CertificateError, StaleStoreError
from lensflow.run.extend import EXTENDABLE, is_larger
from lensflow.store import receipts
from tests.small_run import small_config as small

pytestmark = pytest.mark.whole

STORE = {"samples_per_region": 8, "hosts_per_region": 8, "inner_chunk": 8}
HOSTS = {"n_bricks": 1, "brick_size_pix": 500, "hosts_per_brick": 12, "bricks_without_g": 0}
FIRST = {"injections_per_host": 2, "limit_hosts": 6}
NAMES = ("arc", "stamp", "ctrl", "row_id", "host_index", "replicate", "theta_e_arcsec", "src_flux_nmgy", "snr_matched")


def small_config(out, **sections):
    return small(out, store=STORE, survey={"synthetic": HOSTS, "failure_budget": 0.3}, **sections)


def pairs_of(out):
    return lf.open_pairs(out, unseal_test="compared with a run made at once").load()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Cutouts, whatever is planned on them."""
    config = small_config(tmp_path_factory.mktemp("hosts") / "run", plan=FIRST)
    steps.cut_step(config)
    return config.out


@pytest.fixture(scope="module")
def made(hosts, tmp_path_factory):
    out = tmp_path_factory.mktemp("extend") / "run"
    shutil.copytree(hosts, out)
    extend(small_config(out, plan=FIRST))
    return out


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(hosts, tmp_path_factory):
    """The largest plan, made at once."""
    out = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(hosts, out)
    extend(small_config(out, plan={"injections_per_host": 4}))
    return pairs_of(out)


def extend(config):
    for step in (steps.cut_step, steps.plan_step, steps.inject_step):
        step(config)


def objects(folder):
    """Every object of pixels and tables of the pairs, hashed."""
    return {
        p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in Path(folder, "pairs.zarr").rglob("c/**/*")
        if p.is_file()
    }


def same_rows(some, others):
    """Whether every row of one dataset is in another, with the same bits."""
    at = {int(r): k for k, r in enumerate(others["row_id"].values)}
    rows = [at[int(r)] for r in some["row_id"].values]
    return all(some[n].values.tobytes() == others[n].isel(sample=rows).values.tobytes() for n in NAMES)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param({"injections_per_host": 4, "limit_hosts": 6}, marks=pytest.mark.slow, id="more rows a host"),
        pytest.param({"injections_per_host": 2, "limit_hosts": 12}, marks=pytest.mark.slow, id="more hosts"),
        pytest.param({"injections_per_host": 4}, id="both"),
    ],
)
def test_old_rows_keep_number_bits_and_bytes_and_new_ones_are_those_of_the_larger_plan(folder, whole, plan):
    before, old = objects(folder), pairs_of(folder)
    done = receipts.read_receipts(f"{folder}/receipts/pairs")
    config = small_config(folder, plan=plan)
    extend(config)
    after, new = objects(folder), pairs_of(folder)
    n = old.sizes["sample"]
    assert new.sizes["sample"] > n
    assert same_rows(old, new.isel(sample=slice(0, n))) and (new["row_id"].values[:n] == old["row_id"].values).all()
    assert same_rows(new, whole) and len(np.unique(new["row_id"].values)) == new.sizes["sample"]
    # Only a last region that was not full is written again.
    full = {k for k, r in done.items() if r.stop - r.start == 8}
    assert full and all(after[p] == h for p, h in before.items() if int(p.parts[3]) in full)
    again = receipts.read_receipts(f"{folder}/receipts/pairs")
    assert all(again[k].seconds == done[k].seconds and again[k].checksums == done[k].checksums for k in full)
    assert not steps.verify_step(str(folder)).damage
    assert lf.rerender(str(folder), new.sizes["sample"] - 1).attrs["identical"]


@pytest.mark.slow
def test_extending_by_steps_gives_the_same_rows_as_at_once(folder, whole):
    for plan in ({"injections_per_host": 3, "limit_hosts": 6}, {"injections_per_host": 3}, {"injections_per_host": 4}):
        config = small_config(folder, plan=plan)
        steps.plan_step(config)
        steps.inject_step(config)
    pairs = pairs_of(folder)
    assert pairs.sizes["sample"] == whole.sizes["sample"] and same_rows(whole, pairs)


@pytest.mark.slow
def test_the_certificate_covers_the_rows_that_were_certified(folder):
    steps.certify_step(small_config(folder, plan=FIRST))
    config = small_config(folder, plan={"injections_per_host": 4, "limit_hosts": 6})
    n = pairs_of(folder).sizes["sample"]
    extend(config)
    with pytest.raises(CertificateError, match=f"certified for {n} rows, there are"):
        steps.check_step(config, quick=True)
    certificate = steps.certify_step(config)
    assert certificate["data"]["pairs"]["rows"] > n and len(certificate["data"]["pairs"]["plans"]) == 2
    steps.check_step(config)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", ["grow_store", "restamp", "seal_grown", "write_attrs"])
def test_an_extension_that_is_stopped_goes_on(folder, whole, monkeypatch, stop_at):
    config = small_config(folder, plan={"injections_per_host": 4})
    where = "receipts" if stop_at == "restamp" else "create"

    def stop(*_, **__):
        raise KeyboardInterrupt

    steps.plan_step(config)
    with monkeypatch.context() as patch:
        patch.setattr(f"lensflow.run.extend.{where}.{stop_at}", stop)
        with pytest.raises(KeyboardInterrupt):
            steps.inject_step(config)
    steps.inject_step(config)
    assert same_rows(whole, pairs_of(folder)) and not steps.verify_step(str(folder)).damage


def test_a_smaller_plan_and_any_other_change_beside_a_larger_one_are_refused(folder):
    before = objects(folder)
    for changed in (
        small_config(folder, plan={"injections_per_host": 1, "limit_hosts": 6}),
        small_config(folder, plan={**FIRST, "limit_hosts": 3}),
        small_config(folder, plan={"injections_per_host": 4, "psf_beta": 4.0}),
        small_config(folder, plan={"injections_per_host": 4}, seed=4),
    ):
        with pytest.raises(StaleStoreError):
            steps.make_run(changed)
        with pytest.raises(StaleStoreError):
            steps.plan_step(changed)
    assert objects(folder) == before


def test_a_larger_plan_measures_nothing_before_it_is_run(folder):
    with pytest.raises(StaleStoreError, match=r"plan\.injections_per_host"):
        steps.gate_step(small_config(folder, plan={"injections_per_host": 4}))


def test_a_plan_is_larger_only_if_nothing_in_it_is_smaller():
    sizes = dict.fromkeys(EXTENDABLE, 2)
    assert is_larger(sizes, {**sizes, "limit_hosts": None}) and not is_larger({**sizes, "limit_hosts": None}, sizes)
    assert not is_larger(sizes, sizes)
    assert not is_larger(sizes, {**sizes, "replicates": 3, "injections_per_host": 1})
