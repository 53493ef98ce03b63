"""The manifests of deploy/kubernetes: valid, private, encrypted, without credentials."""

import copy
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

pytest.importorskip("dask_kubernetes", reason="the operator's schemas come with dask-kubernetes (extra: test)")
pytest.importorskip("kubernetes_validate", reason="Kubernetes' schemas come with kubernetes-validate (extra: test)")
from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from tests.cluster.external import External, make_tls, spawn, stop
from tests.deploy import schemas

ROOT = Path(__file__).parents[2] / "deploy/kubernetes"
OVERLAYS = ["dev", "eks", "eks-job"]
SOURCES = [p for p in sorted(ROOT.rglob("*.yaml")) if p.name not in ("kustomization.yaml", "run.yaml")]


def read(path):
    return [d for d in yaml.safe_load_all(path.read_text()) if d]


def render(overlay):
    """What ``kubectl apply -k`` would send."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is installed: the overlays cannot be put together")
    done = subprocess.run([*command, str(ROOT / "overlays" / overlay)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def of_kind(manifests, kind):
    (found,) = (m for m in manifests if m["kind"] == kind)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_manifest_is_valid(path):
    for manifest in read(path):
        if manifest["kind"] == "DaskJob":  # its cluster is put in by kustomize: checked as rendered
            continue
        assert schemas.errors(manifest) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_to_valid_manifests_in_one_namespace(overlay):
    manifests = render(overlay)
    for manifest in manifests:
        assert schemas.errors(manifest) == [], manifest["kind"]
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "lensflow"
    kinds = {m["kind"] for m in manifests}
    assert ("DaskJob" in kinds) == (overlay == "eks-job") != ("DaskCluster" in kinds)


TYPOS = [
    (["spec", "scheduler", "service", "typ"], "ClusterIP"),
    (["spec", "worker", "replicas"], "three"),
    (["spec", "worker", "spec", "containers", 0, "imagePullPolcy"], "Always"),
    (["spec", "worker", "spec", "containers", 0, "resources", "limits", "memory"], ["8Gi"]),
    (["spec", "worker", "spec", "serviceAcountName"], "lensflow"),
    (["spec", "scheduler", "spec", "containers", 0, "readinessProbe", "httpGet", "pth"], "/health"),
    (["spec", "wroker"], {}),
]


@pytest.mark.parametrize(("path", "value"), TYPOS, ids=lambda p: ".".join(map(str, p)) if isinstance(p, list) else "")
def test_a_typo_in_the_cluster_is_found(path, value):
    manifest = copy.deepcopy(of_kind(read(ROOT / "base/daskcluster.yaml"), "DaskCluster"))
    part = manifest
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert schemas.errors(manifest)


@pytest.mark.parametrize("file", ["networkpolicy", "poddisruptionbudget", "rbac", "serviceaccount", "daskautoscaler"])
def test_a_typo_in_any_other_manifest_is_found(file):
    for manifest in read(ROOT / f"base/{file}.yaml"):
        part = manifest.get("spec", manifest)
        assert schemas.errors(manifest) == []
        part["selectr"] = {}
        assert schemas.errors(manifest)


def every_pod():
    for manifest in read(ROOT / "base/daskcluster.yaml") + read(ROOT / "overlays/eks-job/job/daskjob.yaml"):
        spec = manifest["spec"]
        holders = {k: spec[k] for k in ("scheduler", "worker", "job") if k in spec}
        yield from ((f"{manifest['kind']} {k}", v["spec"]) for k, v in holders.items())


@pytest.mark.parametrize(("name", "pod"), list(every_pod()), ids=lambda v: v if isinstance(v, str) else "")
def test_every_pod_runs_locked_down_with_requests_and_a_memory_limit(name, pod):
    assert pod["securityContext"]["runAsNonRoot"] and pod["serviceAccountName"] == "lensflow"
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    locked = container["securityContext"]
    assert locked["readOnlyRootFilesystem"] and not locked["allowPrivilegeEscalation"]
    assert locked["capabilities"] == {"drop": ["ALL"]}
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert requests["cpu"] and requests["memory"] == limits["memory"]


@pytest.mark.parametrize(("name", "pod"), list(every_pod()), ids=lambda v: v if isinstance(v, str) else "")
def test_every_pod_speaks_tls_only(name, pod):
    (container,) = pod["containers"]
    words, env = container["args"], {e["name"]: e.get("value") for e in container.get("env", [])}
    assert not any("tcp://" in str(v) for v in (*words, *env.values()))
    assert any(m["mountPath"] == "/etc/lensflow/tls" and m["readOnly"] for m in container["volumeMounts"])
    if name.startswith("DaskCluster"):
        assert {"--tls-ca-file", "--tls-cert", "--tls-key"} <= {w.partition("=")[0] for w in words}
        assert env["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
    else:
        assert env["DASK_SCHEDULER_ADDRESS"].startswith("tls://")


def test_commands_are_those_that_distributed_and_lensflow_have():
    """Every option of the containers' commands is one that the installed programs take."""
    import typer
    from distributed.cli import dask_scheduler, dask_worker

    from lensflow import cli

    commands = {
        "distributed.cli.dask_scheduler": dask_scheduler.main,
        "distributed.cli.dask_worker": dask_worker.main,
    }
    for name, pod in every_pod():
        words = pod["containers"][0]["args"]
        if words[0] == "python":
            known = commands[words[2]]
            options = [w.partition("=")[0] for w in words[3:]]
        else:
            known = typer.main.get_command(cli.app).commands[words[1]]
            options = [w for w in words if w.startswith("--")]
        names = {o for p in known.params for o in (*p.opts, *p.secondary_opts)}
        assert options and set(options) <= names, name


@pytest.mark.cluster
def test_the_containers_commands_make_a_cluster_that_a_client_and_the_operator_can_use(tmp_path):
    """The manifest's own arguments and environment, with other ports and paths, on this machine."""
    tls = make_tls(tmp_path / "tls")
    cluster = External("tls://127.0.0.1:18786", tls, tmp_path)
    changes = {
        "/etc/lensflow/tls": str(tls),
        "--port=8786": "--port=18786",
        ":8787": "127.0.0.1:18787",
        "tls://lensflow-scheduler:8786": cluster.address,
        "$(DASK_WORKER_NAME)": "lensflow-default-worker-1",
        "$(LENSFLOW_MEMORY_BYTES)": "2000000000",
        "--local-directory=/tmp": f"--local-directory={tmp_path}",
        "=8788": "=18788",
        "=8789": "=18789",
    }

    def here(text):
        for old, new in changes.items():
            text = text.replace(old, new)
        return text

    try:
        for pod in dict(list(every_pod())[:2]).values():
            (container,) = pod["containers"]
            environment = {e["name"]: here(e["value"]) for e in container["env"] if "value" in e}
            spawn(cluster, [sys.executable, *map(here, container["args"][1:])], environment)
        with connect(ClusterConfig(**cluster.cluster)) as client:
            (worker,) = client.scheduler_info()["workers"].values()
            assert (worker["name"], worker["nthreads"]) == ("lensflow-default-worker-1", 1)
            assert worker["memory_limit"] == 2000000000
            with urllib.request.urlopen("http://127.0.0.1:18787/api/v1/adaptive_target") as answer:
                assert json.load(answer) == {"workers": 0}
            with urllib.request.urlopen("http://127.0.0.1:18787/health") as answer:
                assert answer.read() == b"ok"
    finally:
        stop(cluster)


def test_the_dashboard_is_not_public():
    service = of_kind(read(ROOT / "base/daskcluster.yaml"), "DaskCluster")["spec"]["scheduler"]["service"]
    assert service["type"] == "ClusterIP"
    policies = {m["metadata"]["name"]: m["spec"] for m in read(ROOT / "base/networkpolicy.yaml")}
    rules = policies["lensflow-scheduler"]["ingress"]
    dashboard = [r for r in rules if any(p["port"] == 8787 for p in r["ports"])]
    assert [r["from"] for r in dashboard] == [
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "dask-operator"}}}]
    ]


def test_on_eks_the_workers_are_on_spot_nodes_and_the_scheduler_and_the_run_are_not():
    job = of_kind(render("eks-job"), "DaskJob")
    where = {name.split("/")[-2]: pod["nodeSelector"] for name, pod in schemas.pods(job)}
    key = "eks.amazonaws.com/capacityType"
    assert {k: v[key] for k, v in where.items()} == {"job": "ON_DEMAND", "scheduler": "ON_DEMAND", "worker": "SPOT"}


def test_the_unattended_run_is_the_attended_cluster_with_one_image():
    cluster, job = of_kind(render("eks"), "DaskCluster"), of_kind(render("eks-job"), "DaskJob")
    assert job["spec"]["cluster"]["spec"] == cluster["spec"]
    images = {pod["containers"][0]["image"] for _, pod in schemas.pods(job)}
    assert len(images) == 1 and re.search(r"/lensflow:\d", images.pop())


def test_only_the_service_account_of_the_pods_gets_the_role_for_s3():
    accounts = {m["metadata"]["name"]: m for m in render("eks") if m["kind"] == "ServiceAccount"}
    assert "eks.amazonaws.com/role-arn" in accounts["lensflow"]["metadata"]["annotations"]
    assert "annotations" not in accounts["lensflow-client"]["metadata"]


def test_the_config_of_the_unattended_run_is_valid():
    from lensflow.config import load_config

    assert load_config(ROOT / "overlays/eks-job/job/run.yaml").out.startswith("s3://")
