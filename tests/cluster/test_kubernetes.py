"""The Kubernetes kind against an API of the tests' own; its scheduler and workers are real and speak TLS."""

import time
from pathlib import Path

import pytest
import yaml

from lensflow.cluster import connect
from lensflow.cluster.kubernetes import cluster as kubernetes
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError
from tests.cluster.external import client_files, cluster_in_this_process
from tests.cluster.fake_kubernetes import FakeKubernetes, pod

pytest.importorskip("kr8s")
MANIFEST = Path(__file__).parents[2] / "deploy/kubernetes/base/daskcluster.yaml"
NO_ROOM = "0/3 nodes are available: 3 Insufficient memory."


@pytest.fixture(scope="module")
def external(tmp_path_factory):
    with cluster_in_this_process(tmp_path_factory.mktemp("kubernetes")) as cluster:
        yield cluster


@pytest.fixture
def api(tmp_path, monkeypatch, external):
    fake = FakeKubernetes()
    fake.pods = [pod("scheduler"), pod("worker")]
    monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path / "kubeconfig")))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kubernetes, "POLL_SECONDS", 0.02)

    async def reach(cluster):  # a port-forward needs a kubelet; the scheduler behind it is real
        return external.address

    monkeypatch.setattr(kubernetes._Cluster, "reach", reach)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def config(external):
    def make(manifest=str(MANIFEST), **changes):
        section = {"manifest": manifest}
        return ClusterConfig(
            **{
                "kind": "kubernetes",
                "kubernetes": section,
                "start_timeout_s": 60,
                **client_files(external.tls),
                **changes,
            }
        )

    return make


def test_a_cluster_is_created_from_the_manifest_used_and_deleted(api, config):
    with connect(config(workers=7)) as client:
        assert client.submit(lambda: 42).result() == 42
        assert api.clusters["lensflow"]["spec"]["worker"]["replicas"] == 7
    assert not api.clusters


def test_a_cluster_that_is_there_is_joined_and_left(api, config):
    api.clusters["lensflow"] = {"metadata": {"name": "lensflow"}}
    with connect(config(manifest=None)) as client:
        assert client.submit(lambda: 42).result() == 42
    assert api.clusters and not any(call.startswith(("POST", "DELETE")) for call in api.calls)


def test_an_error_inside_the_block_deletes_the_cluster_too(api, config):
    with pytest.raises(KeyboardInterrupt), connect(config()):
        raise KeyboardInterrupt
    assert not api.clusters


def refused(config, match, **changes):
    start = time.monotonic()
    with pytest.raises(ClusterError, match=match), connect(config(**changes)):
        pass
    return time.monotonic() - start


def test_no_cluster_and_no_manifest_says_what_to_apply(api, config):
    refused(config, r"no DaskCluster 'lensflow' in namespace 'survey'.*kubectl apply -k", manifest=None)


def test_a_missing_operator_is_told_from_a_missing_cluster(api, config):
    api.crds = False
    refused(config, "knows no DaskClusters: the operator is not installed")


@pytest.mark.parametrize(
    ("status", "said"), [(403, r"refuses \(403: not for you\).*rbac"), (500, "answers 500: not for")]
)
def test_a_refusing_api_is_quoted(api, config, status, said):
    api.status = status
    refused(config, said)


def test_an_api_that_is_not_there_is_said_to_be_so(api, config, monkeypatch, tmp_path):
    path = tmp_path / "nowhere"
    monkeypatch.setenv("KUBECONFIG", str(path))
    path.write_text(
        yaml.safe_dump({**yaml.safe_load((tmp_path / "kubeconfig").read_text())}).replace(
            f"127.0.0.1:{api.server.server_port}", "127.0.0.1:9"
        )
    )
    refused(config, r"cannot reach a Kubernetes API .*kubectl cluster-info")


@pytest.mark.slow
def test_an_api_that_does_not_answer_is_given_up(api, config, monkeypatch):
    monkeypatch.setattr(kubernetes, "API_SECONDS", 1)
    api.silent.set()
    assert refused(config, "did not answer within 1 s") < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pods", "match"),
    [
        ([], "the operator has not acted on it"),
        (
            [
                pod("scheduler"),
                pod("worker", False, conditions=[{"type": "PodScheduled", "status": "False", "message": NO_ROOM}]),
            ],
            r"does not stand after 1 s: pod lensflow-worker is pending: 0/3 nodes.*requests, node selectors",
        ),
        ([pod("scheduler"), pod("worker", ready=False)], r"1 scheduler and 0 worker pod\(s\) are ready"),
    ],
    ids=["no pods", "no room", "not ready"],
)
def test_a_cluster_that_does_not_stand_in_time_says_what_it_waits_for_and_is_deleted(api, config, pods, match):
    api.pods = pods
    assert refused(config, match, start_timeout_s=1) < 10
    assert not api.clusters


def container(reason, **more):
    return [{"name": "worker", "image": "registry/lensflow:typo", "state": {"waiting": {"reason": reason}}, **more}]


@pytest.mark.parametrize(
    ("statuses", "match"),
    [
        (container("ImagePullBackOff"), "image registry/lensflow:typo cannot be pulled"),
        (container("CreateContainerConfigError"), "secret lensflow-tls"),
        (
            container("CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
            r"OOMKilled, exit code 137.*memory limit",
        ),
    ],
    ids=["image", "secret", "memory"],
)
def test_a_pod_that_cannot_start_is_an_error_long_before_the_time_is_up(api, config, statuses, match):
    api.pods = [pod("scheduler"), pod("worker", False, containerStatuses=statuses)]
    assert refused(config, match, start_timeout_s=100) < 20
    assert not api.clusters


@pytest.mark.slow
def test_a_deletion_that_does_not_end_says_where_to_look(api, config, monkeypatch):
    monkeypatch.setattr(kubernetes, "DELETE_SECONDS", 1)
    api.deletes = False
    refused(config, r"is not gone 1 s after its deletion.*kubectl -n survey get")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("kind: Pod", "holds 0 DaskClusters"),
        ("kind: DaskCluster\nmetadata: {name: other}", "is 'other', cluster.kubernetes.name is 'lensflow'"),
    ],
)
def test_a_manifest_that_is_none_is_refused_by_name(api, config, tmp_path, text, said):
    path = tmp_path / "manifest.yaml"
    if text:
        path.write_text(text)
    refused(config, rf"cluster\.kubernetes\.manifest: .*manifest\.yaml.*{said}", manifest=str(path))
    assert not api.clusters
