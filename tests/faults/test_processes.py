"""Workers, schedulers and clients that die in the middle of a run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dask
import psutil
import pytest
import yaml

import lensflow as lf
from lensflow import run as steps
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError, StoreError
from lensflow.store import receipts
from lensflow.store.run_folder import RunFolder
from tests.cluster.external import external_cluster
from tests.faults import tasks
from tests.s3.compare import store_digests

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
TWO = ClusterConfig(kind="local", workers=2, dashboard=None)


@pytest.fixture
def befalls(monkeypatch):
    """Let injection run with another task."""
    return lambda task: monkeypatch.setattr(sys.modules["lensflow.run.inject"], "InjectTask", task)


def done_regions(config):
    return sorted(receipts.read_receipts(RunFolder.of(config).receipts("pairs")))


def test_a_worker_killed_while_it_writes_a_region_costs_nothing(whole, planned, befalls):
    befalls(tasks.KilledWhileWriting)
    with lf.connect(TWO):
        steps.inject_step(planned)
    assert Path(f"{planned.out}.killed").exists()
    assert store_digests(planned.out) == whole.digests


def test_a_worker_killed_in_a_run_without_stored_pixels_costs_nothing(whole, tmp_path, befalls):
    config = whole.at(tmp_path / "run", store={**whole.settings.get("store", {}), "pixels": "virtual"})
    steps.cut_step(config)
    steps.plan_step(config)
    befalls(tasks.KilledWhileWriting)
    with lf.connect(TWO):
        steps.inject_step(config)
    assert Path(f"{config.out}.killed").exists()
    done, stored = (receipts.read_receipts(RunFolder(o).receipts("pairs")) for o in (config.out, whole.settings["out"]))
    assert {k: r.values for k, r in done.items()} == {k: r.values for k, r in stored.items()}
    assert all(r.rendered for r in done.values()) and not steps.verify_step(config.out).damage


def test_a_worker_killed_while_it_cuts_costs_nothing(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["lensflow.run.cut"], "StripTask", tasks.KilledWhileCutting)
    config = whole.at(tmp_path / "run")
    with lf.connect(TWO):
        steps.cut_step(config)
    assert Path(f"{config.out}.killed").exists()
    assert store_digests(config.out) == {k: v for k, v in whole.digests.items() if k.startswith("/cutouts.zarr")}
    assert not Path(RunFolder.of(config).parts).exists()


def test_a_region_that_takes_all_memory_stops_the_run_and_what_is_done_is_kept(whole, planned, befalls, monkeypatch):
    befalls(tasks.Greedy)
    small = TWO.model_copy(update={"workers": 1, "memory_limit": "700MB"})
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        lf.connect(small),
        pytest.raises(StoreError, match=r"Raise cluster\.memory_limit"),
    ):
        steps.inject_step(planned)
    kept = done_regions(planned)
    assert 1 not in kept
    monkeypatch.undo()
    steps.inject_step(planned)
    assert set(kept) < set(done_regions(planned)) and store_digests(planned.out) == whole.digests


def test_a_scheduler_that_dies_stops_the_run_and_the_next_one_goes_on(whole, planned, befalls, monkeypatch, tmp_path):
    befalls(tasks.Slow)
    with external_cluster(tmp_path) as cluster:

        def kill(stage, done, total):
            if (stage, done) == ("inject", 1):
                cluster.processes[0].kill()

        start = time.monotonic()
        with (
            pytest.raises(ClusterError, match="the scheduler is gone"),
            lf.connect(ClusterConfig.model_validate(cluster.cluster)),
        ):
            steps.inject_step(planned, kill)
        assert time.monotonic() - start < 120
    kept = done_regions(planned)
    assert kept
    monkeypatch.undo()
    steps.inject_step(planned)
    assert len(done_regions(planned)) > len(kept) and store_digests(planned.out) == whole.digests


def test_a_killed_client_leaves_no_worker_behind_and_the_next_run_goes_on(whole, planned):
    file = Path(f"{planned.out}.yaml")
    local = {"kind": "local", "workers": 2, "dashboard": None}
    file.write_text(yaml.safe_dump({**whole.settings, "out": planned.out, "cluster": local}))
    folder = Path(planned.out, "receipts", "pairs")
    client = start_command("inject", file)
    wait_for(lambda: folder.exists() and any(folder.iterdir()), client)
    family = psutil.Process(client.pid).children(recursive=True)
    client.kill()
    client.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert list(Path(planned.out).glob("lease-*.json"))  # of the dead: nobody has to wait for it
    steps.inject_step(planned)
    assert store_digests(planned.out) == whole.digests


def test_of_two_runs_on_one_store_one_is_told_and_the_other_is_whole(whole, planned):
    file = Path(f"{planned.out}.yaml")
    file.write_text(yaml.safe_dump({**whole.settings, "out": planned.out}))
    both = [start_command("inject", file), start_command("inject", file)]
    said = [p.communicate(timeout=200)[1] for p in both]
    codes = [p.returncode for p in both]
    refused = [" ".join(text.split()) for code, text in zip(codes, said, strict=True) if code]
    # Either they met, and one was told; or the second came late and found everything done.
    assert 0 in codes and all("another run is at work" in text for text in refused), said
    assert store_digests(planned.out) == whole.digests


def start_command(step, file):
    return subprocess.Popen(
        [sys.executable, "-m", "lensflow", step, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
