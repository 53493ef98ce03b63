"""A DaskCluster on Kubernetes, run by the dask-kubernetes operator: joined if it is there, else created and deleted.

The operator and dask-kubernetes' own KubeCluster speak plain TCP to the scheduler; here only the resource is shared
with it, and the client speaks TLS.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from distributed import Client

from lensflow.cluster.address import join
from lensflow.cluster.kubernetes.pods import complaint
from lensflow.cluster.security import client_security
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError

T = TypeVar("T")

DASK_API = "kubernetes.dask.org/v1"
API_SECONDS = 15
DELETE_SECONDS = 60
POLL_SECONDS = 1.0
SCHEDULER_PORT = 8786


@contextlib.contextmanager
def start(config: ClusterConfig) -> Iterator[Client]:
    """Join the DaskCluster that ``config.kubernetes`` names; create it first, for this block, if it has a manifest."""
    security = client_security(config)
    with _background_loop() as wait_for:
        cluster = wait_for(_Cluster.find(config), API_SECONDS, "the Kubernetes API did not answer")
        try:
            wait_for(cluster.stand(), config.start_timeout_s, cluster.unready)
            address = wait_for(cluster.reach(), API_SECONDS, "the port-forward to the scheduler did not open")
            with join(address, security, config) as client:
                yield client
        finally:
            wait_for(cluster.close(), DELETE_SECONDS, cluster.left_behind)


class _Cluster:
    """One DaskCluster resource with its pods and service."""

    def __init__(self, config: ClusterConfig, api: Any):
        self.config, self.api, self.name = config, api, config.kubernetes.name
        self.namespace: str = config.kubernetes.namespace or api.namespace
        self.created = False
        self.state = "the operator has not acted on it: is it running? (kubectl get pods -A | grep dask)"
        self._forward: Any = None

    @classmethod
    async def find(cls, config: ClusterConfig) -> _Cluster:
        """Find the DaskCluster, or create it from the manifest."""
        settings = config.kubernetes
        try:
            import kr8s.asyncio
        except ImportError as error:
            raise ClusterError(
                "cluster.kind: kubernetes needs the kr8s package, which is not installed. "
                "Run: pip install 'lensflow[k8s]'"
            ) from error
        manifest = read_manifest(config) if settings.manifest else None
        try:
            cluster = cls(config, await kr8s.asyncio.api(namespace=settings.namespace, context=settings.context))
            if await cluster.exists():
                return cluster
        except ClusterError:
            raise
        except Exception as error:
            # The client library raises bare ValueError and KeyError for an invalid kubeconfig.
            raise ClusterError(
                f"cluster.kubernetes: cannot reach a Kubernetes API ({type(error).__name__}: {error}). "
                "Does kubectl cluster-info work with this kubeconfig and context?"
            ) from error
        if manifest is None:
            raise ClusterError(
                f"cluster.kubernetes: there is no DaskCluster {cluster.name!r} in namespace {cluster.namespace!r}, and "
                "no cluster.kubernetes.manifest to create it from. Run: kubectl apply -k "
                "deploy/kubernetes/overlays/dev (docs/deploy-kubernetes.md)"
            )
        cluster.created = True
        await cluster._call("POST", DASK_API, "daskclusters", json=manifest)
        return cluster

    async def _call(self, method: str, version: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and body of one call; an answer that is neither success nor "no such object" is an error."""
        call = self.api.call_api(
            method, version=version, namespace=self.namespace, url=url, raise_for_status=False, **more
        )
        async with call as response:
            status = response.status_code
            try:
                body = dict(response.json())
            except ValueError:  # the API answers in plain text for an unknown path
                body = {}
        if status >= 400 and not (status == 404 and body):
            raise ClusterError(f"cluster.kubernetes: {_refusal(status, body.get('message', ''))}")
        return status, body

    async def exists(self) -> bool:
        """Whether the DaskCluster exists."""
        return (await self._call("GET", DASK_API, f"daskclusters/{self.name}"))[0] == 200

    async def stand(self) -> None:
        """Wait until the scheduler and ``min_workers`` workers are ready; a pod that cannot start is an error at once.

        A pod that only waits for room is no error before the timeout: nodes may be starting.
        """
        patience: dict[str, int] = {}
        while True:
            pods = await self._pods()
            ready = {"scheduler": 0, "worker": 0}
            for pod in pods:
                component = pod["metadata"].get("labels", {}).get("dask.org/component")
                ready[component] = ready.get(component, 0) + _is_ready(pod)
                said = complaint(pod)
                if said is None:
                    continue
                self.state = said.text
                # Registries and first starts can fail briefly: only persistent problems are errors.
                patience[pod["metadata"]["name"]] = patience.get(pod["metadata"]["name"], 0) + said.fatal
                if patience[pod["metadata"]["name"]] > 10:
                    raise ClusterError(f"cluster.kubernetes: {said.text}")
            if ready["scheduler"] and ready["worker"] >= self.config.min_workers:
                return
            if pods and not any(complaint(pod) for pod in pods):
                self.state = f"{ready['scheduler']} scheduler and {ready['worker']} worker pod(s) are ready"
            await asyncio.sleep(POLL_SECONDS)

    async def _pods(self) -> list[dict[str, Any]]:
        selector = {"labelSelector": f"dask.org/cluster-name={self.name}"}
        return list((await self._call("GET", "v1", "pods", params=selector))[1].get("items", []))

    def unready(self) -> str:
        """Problem found in the last check of the pods."""
        return f"DaskCluster {self.name!r} does not stand after {self.config.start_timeout_s:.0f} s: {self.state}"

    async def reach(self) -> str:
        """Address of the scheduler: its service, or outside the cluster a local port."""
        service = f"{self.name}-scheduler"
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            return f"tls://{service}.{self.namespace}:{SCHEDULER_PORT}"
        from kr8s.asyncio.objects import Service

        found = await Service.get(service, namespace=self.namespace, api=self.api)
        self._forward = found.portforward(SCHEDULER_PORT, local_port="auto", address=["127.0.0.1"])
        return f"tls://127.0.0.1:{await self._forward.start()}"

    async def close(self) -> None:
        """Stop the port-forward; delete what was created here, and wait until it is gone."""
        if self._forward is not None:
            await self._forward.stop()
        if self.created:
            await self._call("DELETE", DASK_API, f"daskclusters/{self.name}")
            while await self.exists():
                await asyncio.sleep(POLL_SECONDS)

    def left_behind(self) -> str:
        """Advice if the deletion does not end."""
        return (
            f"DaskCluster {self.name!r} is not gone {DELETE_SECONDS} s after its deletion. "
            f"Look: kubectl -n {self.namespace} get daskclusters,pods"
        )


def read_manifest(config: ClusterConfig) -> dict[str, Any]:
    """Read the DaskCluster of ``cluster.kubernetes.manifest``, with the config's name and number of workers in it.

    Raises
    ------
    ClusterError
        If the file cannot be read or holds no (or more than one) DaskCluster.
    """
    settings = config.kubernetes
    where = f"cluster.kubernetes.manifest: {settings.manifest}"
    try:
        documents = list(yaml.safe_load_all(Path(str(settings.manifest)).read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise ClusterError(f"{where}: {error}") from error
    found = [d for d in documents if isinstance(d, dict) and d.get("kind") == "DaskCluster"]
    if len(found) != 1:
        raise ClusterError(f"{where}: holds {len(found)} DaskClusters; one is needed")
    manifest: dict[str, Any] = found[0]
    name = manifest.get("metadata", {}).get("name")
    if name != settings.name:
        # Addresses, selectors and policies in the manifest contain the name: it cannot be changed only here.
        raise ClusterError(f"{where}: its DaskCluster is {name!r}, cluster.kubernetes.name is {settings.name!r}")
    if config.workers is not None:
        manifest["spec"]["worker"]["replicas"] = config.workers
    return manifest


def _refusal(status: int, message: str) -> str:
    """Explain an answer of the API that is an error."""
    if status == 404:
        return (
            "the API knows no DaskClusters: the operator is not installed. Run the helm command of "
            "docs/deploy-kubernetes.md"
        )
    if status in (401, 403):
        return f"the API refuses ({status}: {message}). deploy/kubernetes/base/rbac.yaml lists what a client needs"
    return f"the API answers {status}: {message}"


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextlib.contextmanager
def _background_loop() -> Iterator[Any]:
    """Yield ``wait_for(coroutine, seconds, complaint)`` on an event loop in a separate thread.

    The port-forward lives on that loop for as long as the block does, also inside a notebook's running loop.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lensflow-kubernetes", daemon=True)
    thread.start()

    def wait_for(work: Coroutine[Any, Any, T], seconds: float, otherwise: Any) -> T:
        future = asyncio.run_coroutine_threadsafe(work, loop)
        end = time.monotonic() + seconds
        try:
            while True:
                # Short waits: an interrupt must not wait for a lock held for minutes.
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    return future.result(timeout=min(0.5, max(0.0, end - time.monotonic())))
                if time.monotonic() >= end:
                    text = otherwise() if callable(otherwise) else f"{otherwise} within {seconds:.0f} s"
                    raise ClusterError(f"cluster.kubernetes: {text}")
        finally:
            future.cancel()

    try:
        yield wait_for
    finally:

        async def end() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        with contextlib.suppress(concurrent.futures.TimeoutError):
            asyncio.run_coroutine_threadsafe(end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
