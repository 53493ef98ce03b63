"""The YARN kind: skein's client and messages, the real containers' programs; YARN itself is made up (fake_yarn.py)."""

import os
import shutil
import signal
import sys
import time
import types
from pathlib import Path

import dask
import pytest

pytest.importorskip("skein", reason="the yarn extra is not installed")
import skein
from distributed import Client, Event

from lensflow.cluster import connect
from lensflow.cluster.yarn import cluster as yarn_cluster
from lensflow.cluster.yarn.cluster import YarnCluster
from lensflow.cluster.yarn.spec import YarnSettings, application, parameters, tls
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError
from tests.cluster.fake_yarn import FakeYarn
from tests.cluster.runs import digests, write_pixels

PYTHON = f"python://{sys.executable}"
SMALL = {"worker_memory": "1 GiB", "scheduler_memory": "1 GiB"}


@pytest.fixture
def yarn(tmp_path, monkeypatch):
    monkeypatch.setattr(yarn_cluster, "POLL_SECONDS", 0.05)
    fake = FakeYarn(tmp_path)
    monkeypatch.setattr(yarn_cluster, "_start_driver", lambda seconds: fake.client)
    yield fake
    fake.close()


def config(**changes):
    section = {"environment": PYTHON, **SMALL, **changes.pop("yarn", {})}
    return ClusterConfig(**{"kind": "yarn", "workers": 1, "yarn": section, "start_timeout_s": 60, **changes})


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.05)


def names(client):
    return {w["name"] for w in client.scheduler_info()["workers"].values()}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["remote", pytest.param("local", marks=pytest.mark.cluster)])
def test_an_application_runs_tasks_over_tls_and_ends_with_the_block(yarn, mode):
    failures = dask.config.set({"distributed.scheduler.allowed-failures": 17})
    with failures, connect(config(yarn={"deploy_mode": mode})) as client:
        assert client.submit(lambda: 42).result() == 42
        info = client.scheduler_info()
        assert info["address"].startswith("tls://") and names(client) == {"dask.worker_0"}
        (worker,) = info["workers"].values()
        assert worker["nthreads"] == 1 and worker["memory_limit"] == int(0.9 * 2**30)
        assert client.run(lambda: os.environ["OMP_NUM_THREADS"]) == {next(iter(info["workers"])): "1"}
        if mode == "remote":
            assert client.dashboard_link.endswith("/status")
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 17
    (application,) = yarn.applications.values()
    until(lambda: application.final and not application.containers)
    assert str(application.final) == "SUCCEEDED" and not yarn.killed


@pytest.mark.cluster
def test_it_scales_up_and_down_retires_what_is_idle_and_replaces_what_is_lost(yarn):
    with YarnCluster(PYTHON, n_workers=1, skein_client=yarn.client, **SMALL) as cluster, Client(cluster) as client:
        (application,) = yarn.applications.values()
        cluster.scale(3)
        client.wait_for_workers(3, timeout=60)
        until(lambda: cluster.observed == cluster.requested == {f"dask.worker_{i}" for i in range(3)})
        kept = client.submit(lambda: 7, workers=["dask.worker_1"])
        assert kept.result() == 7
        cluster.scale(1)
        until(lambda: len(names(client)) == 1)
        assert kept.result() == 7  # its worker, or another one that took the result over
        assert cluster.requested == names(client) and len(cluster.workers()) == 1
        (lost,) = names(client)
        application_pid = application.containers[lost][1].pid
        os.killpg(application_pid, signal.SIGKILL)
        until(lambda: len(names(client)) == 1 and lost not in names(client))
        assert client.submit(lambda: 8).result() == 8
        until(lambda: cluster.requested == names(client))
        assert any("Worker" in log or "worker" in log for log in map(str, cluster.get_logs().values()))


@pytest.mark.cluster
def test_a_run_in_containers_writes_the_bytes_of_a_local_run(yarn, tmp_path, local_bytes):
    with connect(config(workers=2, min_workers=2)):
        write_pixels(tmp_path)
    assert digests(tmp_path / "run") == local_bytes


@pytest.mark.cluster
def test_an_archive_is_unpacked_beside_each_container_and_its_python_is_what_runs(yarn, tmp_path):
    folder = tmp_path / "packed/bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(f'#!/bin/sh\nPACKED="$0" exec {sys.executable} "$@"\n')
    (folder / "python").chmod(0o755)
    archive = shutil.make_archive(tmp_path / "environment", "gztar", folder.parent)
    with connect(config(yarn={"environment": archive})) as client:
        (python,) = client.run(lambda: os.environ["PACKED"]).values()
        assert python.endswith("dask.worker_0/environment/bin/python")


@pytest.mark.cluster
def test_it_adapts_to_the_work(yarn):
    with connect(config(workers=1, workers_max=3)) as client:
        # Work that lasts until every worker has come, however long a busy machine takes to start them.
        everybody = Event("everybody is there", client=client)
        futures = client.map(lambda i: Event("everybody is there").wait() and i, range(12), pure=False)
        until(lambda: len(names(client)) == 3, 180)
        everybody.set()
        assert client.gather(futures) == list(range(12))
        until(lambda: len(names(client)) == 1, 180)


@pytest.mark.parametrize("when", [pytest.param("in the block", marks=pytest.mark.cluster), "while it starts"])
def test_an_interrupt_leaves_no_application(yarn, monkeypatch, when):
    if when == "in the block":
        with pytest.raises(KeyboardInterrupt), connect(config()):
            raise KeyboardInterrupt
    else:
        yarn.room = False
        monkeypatch.setattr(YarnCluster, "sync", _interrupted(YarnCluster.sync))
        with pytest.raises(KeyboardInterrupt), connect(config()):
            pass
    (application,) = yarn.applications.values()
    until(lambda: application.final is not None and not application.containers)


def _interrupted(real):
    """``Cluster.sync`` of a person who presses Ctrl-C one second into the start."""

    def sync(self, function, *args, **kwargs):
        if function == self._start:
            import asyncio

            asyncio.run_coroutine_threadsafe(function(), self.loop.asyncio_loop)
            time.sleep(1)
            raise KeyboardInterrupt
        return real(self, function, *args, **kwargs)

    return sync


def refused(match, **changes):
    start = time.monotonic()
    with pytest.raises(ClusterError, match=match), connect(config(**changes)):
        pass
    assert time.monotonic() - start < 20


def test_no_room_in_the_queue_is_said_with_yarns_own_words(yarn):
    yarn.room = False
    refused(r"does not stand after 1 s: it is ACCEPTED \(Queue's AM resource limit exceeded\)", start_timeout_s=1)
    assert yarn.killed == ["application_1_0001"]


def test_an_application_that_ends_early_names_its_logs(yarn):
    yarn.fails = "Application was added to a queue that does not exist"
    refused(r"ended before the cluster stood \(FAILED: .*does not exist\).*yarn logs -applicationId application_1_0001")


@pytest.mark.slow
def test_a_resource_manager_that_does_not_answer_is_given_up(yarn):
    yarn.silent = True
    refused("ResourceManager did not take the application", start_timeout_s=1)


def test_a_missing_yarn_command_says_where_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused("no command .*yarn here.*as EMR's primary node has them")


def test_settings_come_from_the_call_then_dasks_yarn_section_then_dask_yarns_defaults():
    section = {
        "yarn.environment": "hdfs:///env.tar.gz",
        "yarn.worker": {"count": 5, "memory": "3 GiB", "env": {"A": "1"}},
        "yarn.queue": "survey",
        "yarn.deploy-mode": "local",
    }
    with dask.config.set(section):
        spec = application(YarnSettings.of(queue="mine", worker_vcores=2))
    worker = spec.services["dask.worker"]
    assert "dask.scheduler" not in spec.services and spec.queue == "mine"
    assert (worker.instances, worker.resources.memory, worker.resources.vcores) == (5, 3072, 2)
    assert worker.env["A"] == "1" and worker.files["environment"].source == "hdfs:///env.tar.gz"
    assert worker.script.startswith("exec environment/bin/python -m lensflow")


def test_every_parameter_of_dask_yarn_is_known_but_for_the_one_that_names_code():
    of_dask_yarn = [
        "environment",
        "n_workers",
        "worker_vcores",
        "worker_memory",
        "worker_restarts",
        "worker_env",
        "worker_options",
        "worker_gpus",
        "scheduler_vcores",
        "scheduler_gpus",
        "scheduler_memory",
        "deploy_mode",
        "name",
        "queue",
        "tags",
        "user",
        "host",
        "port",
        "dashboard_address",
    ]
    assert set(parameters()) == set(of_dask_yarn)


@pytest.mark.parametrize(
    ("given", "settings", "match"),
    [
        ({}, {}, "make-environment"),
        ({"environment": "e", "worker_memry": "1 GiB"}, {}, "Did you mean 'worker_memory'"),
        ({"environment": "e", "worker_memory": 4}, {}, "give it a unit"),
        ({"environment": "e", "deploy_mode": "far"}, {}, "remote or local"),
        ({"environment": "e"}, {"yarn.worker.worker_class": "os.system"}, "names code"),
        ({"environment": "e"}, {"yarn.specification": "spec.yaml"}, "names code"),
    ],
)
def test_wrong_settings_are_refused(given, settings, match):
    with dask.config.set(settings), pytest.raises(ClusterError, match=match):
        YarnSettings.of(**given)


def test_every_application_has_credentials_of_its_own():
    settings = YarnSettings.of(environment="e")
    first, second = (tls(application(settings).master.security) for _ in range(2))
    assert first.tls_ca_file != second.tls_ca_file and first.require_encryption


@pytest.mark.cluster
def test_an_importable_dask_yarn_is_used_with_the_same_parameters(monkeypatch, yarn):
    made = {}

    class Theirs(YarnCluster):
        def __init__(self, **parameters):
            made.update(parameters)
            super().__init__(skein_client=yarn.client, **parameters)

    monkeypatch.setitem(sys.modules, "dask_yarn", types.SimpleNamespace(YarnCluster=Theirs))
    with connect(config()) as client:
        assert client.run(lambda: os.environ["OMP_NUM_THREADS"])
    assert made["n_workers"] == 1 and made["environment"] == PYTHON
    assert made["worker_env"]["OMP_NUM_THREADS"] == "1"


def test_a_dask_yarn_without_encryption_must_be_asked_for(monkeypatch):
    class Plain:
        scheduler_address = "tcp://10.0.0.1:8786"

        def __init__(self, **_):
            self.closed = False

        def __enter__(self):
            return self

        def __exit__(self, *_):
            Plain.left = True

    monkeypatch.setitem(sys.modules, "dask_yarn", types.SimpleNamespace(YarnCluster=Plain))
    refused(r"speaks unencrypted at tcp://10\.0\.0\.1:8786.*insecure: true")
    assert Plain.left


def test_no_workers_asked_for_is_said_at_once(yarn):
    refused(r"cluster\.workers", workers=None)
    assert not yarn.applications


@pytest.mark.yarn
def test_on_a_real_resource_manager_a_cluster_runs_a_task(tmp_path):
    """Needs YARN's settings and commands, and LENSFLOW_YARN_ENVIRONMENT, which the nodes can reach."""
    if not (os.environ.get("YARN_CONF_DIR") or os.environ.get("HADOOP_HOME")) or not shutil.which("yarn"):
        pytest.skip("no YARN here: neither YARN_CONF_DIR nor HADOOP_HOME is set, or there is no yarn command")
    environment = os.environ.get("LENSFLOW_YARN_ENVIRONMENT", PYTHON)
    for mode in ("remote", "local"):
        with connect(
            config(workers=2, min_workers=2, yarn={"environment": environment, "deploy_mode": mode})
        ) as client:
            assert sum(client.gather(client.map(lambda i: i * i, range(100)))) == 328350


@pytest.mark.cluster
def test_skeins_real_driver_starts_and_a_missing_resource_manager_is_given_up(tmp_path, monkeypatch):
    """Java and Hadoop's client classes are real (HADOOP_CLASSPATH or pyspark's); nobody listens at the RM's port."""
    jars = os.environ.get("LENSFLOW_HADOOP_JARS") or _pyspark_jars()
    if not shutil.which("java") or not jars:
        pytest.skip(
            "skein's driver needs java and Hadoop's client jars (LENSFLOW_HADOOP_JARS, or an installed pyspark)"
        )
    tools, conf = tmp_path / "bin", tmp_path / "conf"
    tools.mkdir(), conf.mkdir()
    (tools / "yarn").write_text(f"#!/bin/sh\necho '{conf}:{jars}/*'\n")
    (tools / "yarn").chmod(0o755)
    (conf / "yarn-site.xml").write_text(
        "<configuration><property><name>yarn.resourcemanager.address</name><value>127.0.0.1:9</value></property>"
        "</configuration>"
    )
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    started = []
    real = skein.Client

    def client(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(skein, "Client", client)
    with pytest.raises(ClusterError, match="ResourceManager"), connect(config(start_timeout_s=15)):
        pass
    (driver,) = started
    assert driver._proc is None or driver._proc.poll() is not None  # gone too


def _pyspark_jars():
    import importlib.util

    found = importlib.util.find_spec("pyspark")
    return f"{Path(found.origin).parent}/jars" if found and found.origin else None
