"""A Dask cluster of processes that the tests do not own through Dask: scheduler and workers by command, over TLS."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import LocalCluster, Security

ROOT = Path(__file__).parents[2]


def make_tls(folder: Path) -> Path:
    subprocess.run([ROOT / "deploy/make-tls.sh", folder], check=True, capture_output=True)
    return folder


def client_files(folder: Path) -> dict[str, str]:
    """Settings of ``cluster`` for the client's files."""
    return {
        "tls_ca_file": f"{folder}/ca.pem",
        "tls_cert": f"{folder}/client.pem",
        "tls_key": f"{folder}/client.key",
    }


@dataclass
class External:
    address: str
    tls: Path
    folder: Path
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def cluster(self) -> dict[str, Any]:
        """The config's cluster section that joins this."""
        return {"kind": "address", "address": self.address, "start_timeout_s": 120, **client_files(self.tls)}

    def start_worker(self, **environment: str) -> subprocess.Popen:
        command = [*_dask("worker", self.tls), self.address, "--nthreads", "1", "--no-dashboard"]
        return spawn(self, [*command, "--local-directory", str(self.folder / "scratch")], environment)


@contextlib.contextmanager
def external_cluster(folder: Path, workers: int = 1) -> Iterator[External]:
    tls = make_tls(folder / "tls")
    file = folder / "scheduler.json"
    cluster = External("", tls, folder)
    command = [*_dask("scheduler", tls), "--protocol", "tls", "--host", "127.0.0.1", "--port", "0"]
    try:
        spawn(cluster, [*command, "--no-dashboard", "--scheduler-file", str(file)], {})
        end = time.monotonic() + 120
        while not (file.exists() and file.stat().st_size):
            assert time.monotonic() < end, (folder / "log.txt").read_text()
            time.sleep(0.05)
        cluster.address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        stop(cluster)


@contextlib.contextmanager
def cluster_in_this_process(folder: Path) -> Iterator[External]:
    """The same with scheduler and worker in threads of this process, for tests that only have to reach them."""
    tls = make_tls(folder / "tls")
    files = {}
    for role in ("client", "scheduler", "worker"):
        name = f"{tls}/{'client' if role == 'client' else 'cluster'}"
        files |= {f"tls_{role}_cert": f"{name}.pem", f"tls_{role}_key": f"{name}.key"}
    security = Security(require_encryption=True, tls_ca_file=f"{tls}/ca.pem", **files)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", protocol="tls", security=security, **options) as cluster:
        yield External(cluster.scheduler_address, tls, folder)


def stop(cluster: External) -> None:
    """End every process, workers first."""
    for process in reversed(cluster.processes):
        process.terminate()
    for process in cluster.processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _dask(role: str, tls: Path) -> list[str]:
    files = ["--tls-ca-file", tls / "ca.pem", "--tls-cert", tls / "cluster.pem", "--tls-key", tls / "cluster.key"]
    return [sys.executable, "-m", f"distributed.cli.dask_{role}", *map(str, files)]


def spawn(cluster: External, command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """Start a process of the cluster; its output goes to log.txt."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with (cluster.folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path, **environment}, cwd=cluster.folder
        )
    cluster.processes.append(process)
    return process
