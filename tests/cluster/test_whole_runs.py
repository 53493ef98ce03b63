"""One run on every kind of cluster that this machine can make, and on clusters in trouble: the same bytes."""

import os
import signal
import threading
import time

import dask
import psutil
import pytest
from distributed import SchedulerPlugin

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from tests.cluster.external import external_cluster
from tests.cluster.runs import command_of, digests, write_pixels

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_a_run_by_command_on_an_external_scheduler_over_tls_writes_the_bytes_of_a_local_run(tmp_path, local_bytes):
    with external_cluster(tmp_path, workers=2) as cluster:
        files = {k: v for k, v in cluster.cluster.items() if k.startswith("tls_")}
        run = command_of(tmp_path, "run", "--cluster", "address", "--address", cluster.address, **files)
        assert run.wait() == 0, (tmp_path / "log.txt").read_text()
        assert all(p.poll() is None for p in cluster.processes)
    assert cluster.address.startswith("tls://") and digests(tmp_path / "run") == local_bytes


class Watch(SchedulerPlugin):
    """Counts workers as they come and go, and kills one that has a region of pairs in hand."""

    def __init__(self, scheduler):
        self.scheduler, self.killed, self.most, self.left = scheduler, 0, 0, 0

    def add_worker(self, scheduler, worker):
        self.most = max(self.most, len(scheduler.workers))

    def remove_worker(self, scheduler, worker, **_):
        self.left += 1

    def transition(self, key, start, finish, *args, **_):
        # The first finished region: with more waiting than there are workers, every worker has one in hand.
        if finish == "memory" and str(key).startswith("inject") and not self.killed:
            worker = next((w for w in self.scheduler.workers.values() if w.processing), None)
            if worker is not None:
                self.killed = _pid_of(worker)
                os.kill(self.killed, signal.SIGKILL)


def _pid_of(worker):
    """Process that listens at a worker's port."""
    port = int(worker.address.rpartition(":")[2])
    children = psutil.Process().children(recursive=True)
    ports = {c.laddr.port: p.pid for p in children for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
    return ports[port]


def test_a_cluster_that_grows_loses_a_worker_and_shrinks_writes_the_same_bytes(tmp_path, local_bytes):
    quick = {"distributed.adaptive": {"interval": "200ms", "target-duration": "200ms", "wait-count": 2}}
    with dask.config.set(quick), connect(ClusterConfig(workers=1, workers_max=3, dashboard=None)) as client:
        watch = Watch(client.cluster.scheduler)
        client.cluster.scheduler.add_plugin(watch)
        write_pixels(tmp_path)
        end = time.monotonic() + 60
        while len(client.cluster.scheduler.workers) > 1:
            assert time.monotonic() < end, "it did not shrink"
            time.sleep(0.1)
    # One was killed (its nanny put another in its place), and of the others all but one were sent home.
    assert watch.killed and watch.most >= 2 and watch.left >= watch.most
    assert digests(tmp_path / "run") == local_bytes


def test_ctrl_c_in_a_run_leaves_no_process_and_what_goes_on_there_ends_with_the_same_bytes(tmp_path, local_bytes):
    run = command_of(tmp_path, "run")
    family = []
    watcher = threading.Thread(target=_watch, args=(run.pid, family), daemon=True)
    watcher.start()
    receipts = tmp_path / "run/receipts/cutouts"
    while not (receipts.exists() and list(receipts.iterdir())):
        assert run.poll() is None, (tmp_path / "log.txt").read_text()
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)  # what a terminal does: the workers get it too
    assert run.wait(30) == 130, (tmp_path / "log.txt").read_text()
    assert "the same command continues" in (tmp_path / "log.txt").read_text()
    watcher.join(5)
    assert len(family) > 2 and not psutil.wait_procs(family, timeout=10)[1]
    finished = {p: p.stat().st_mtime_ns for p in receipts.iterdir()}
    write_pixels(tmp_path)
    assert finished.items() <= {p: p.stat().st_mtime_ns for p in receipts.iterdir()}.items()
    assert digests(tmp_path / "run") == local_bytes


def _watch(pid, family):
    """Every process that a process ever had below it."""
    try:
        top = psutil.Process(pid)
        while top.is_running() and top.status() != "zombie":
            family += [p for p in top.children(recursive=True) if p not in family]
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        pass
