"""The YARN application: dask-yarn's parameters and ``yarn:`` settings, as a skein specification."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlparse

import dask
import skein
from dask.utils import parse_bytes
from distributed.security import Security

from lensflow.cluster.forked import WORKER_ENVIRONMENT
from lensflow.errors import ClusterError, did_you_mean

SCHEDULER, WORKER = "dask.scheduler", "dask.worker"
_FAILURES = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"

# Parameter -> key below Dask's ``yarn:`` and default, both as in dask-yarn, except the dashboard's address.
_SETTINGS: dict[str, tuple[str, Any]] = {
    "environment": ("environment", None),
    "n_workers": ("worker.count", 0),
    "worker_vcores": ("worker.vcores", 1),
    "worker_memory": ("worker.memory", "2GiB"),
    "worker_restarts": ("worker.restarts", -1),
    "worker_env": ("worker.env", {}),
    "worker_options": ("worker.worker_options", {}),
    "worker_gpus": ("worker.gpus", 0),
    "scheduler_vcores": ("scheduler.vcores", 1),
    "scheduler_gpus": ("scheduler.gpus", 0),
    "scheduler_memory": ("scheduler.memory", "2GiB"),
    "deploy_mode": ("deploy-mode", "remote"),
    "name": ("name", "lensflow"),
    "queue": ("queue", "default"),
    "tags": ("tags", []),
    "user": ("user", ""),
    "host": ("host", "0.0.0.0"),
    "port": ("port", 0),
    "dashboard_address": ("dashboard-address", "127.0.0.1:0"),
}
# Settings of dask-yarn that name code to run or import. Here a Nanny always runs.
_REFUSED = {"specification": None, "worker.worker_class": "dask.distributed.Nanny"}


@dataclass(frozen=True)
class YarnSettings:
    """dask-yarn's parameters; memory in MiB."""

    environment: str
    n_workers: int
    worker_vcores: int
    worker_memory: int
    worker_restarts: int
    worker_env: Mapping[str, str]
    worker_options: Mapping[str, Any]
    worker_gpus: int
    scheduler_vcores: int
    scheduler_gpus: int
    scheduler_memory: int
    deploy_mode: str
    name: str
    queue: str
    tags: tuple[str, ...]
    user: str
    host: str
    port: int
    dashboard_address: str | None

    @classmethod
    def of(cls, **given: Any) -> YarnSettings:
        """Parameters with None replaced from Dask's ``yarn:`` settings, then from dask-yarn's defaults.

        Raises
        ------
        ClusterError
            For an unknown parameter, no environment, or a setting that names code.
        """
        for name in given:
            if name not in _SETTINGS:
                raise ClusterError(f"YarnCluster: no parameter {name!r}.{did_you_mean(name, _SETTINGS)}")
        for key, harmless in _REFUSED.items():
            if dask.config.get(f"yarn.{key}", harmless) not in (harmless, "distributed.Nanny"):
                raise ClusterError(f"yarn.{key} of Dask's config: names code to run, which is not supported here")
        values = {
            name: given[name] if given.get(name) is not None else dask.config.get(f"yarn.{key}", default)
            for name, (key, default) in _SETTINGS.items()
        }
        if not values["environment"]:
            raise ClusterError(
                "cluster.yarn.environment: YARN needs the Python environment of the workers: an archive made by "
                "deploy/emr/make-environment.sh, or venv:///path or python:///path/to/python that is on every node"
            )
        if values["deploy_mode"] not in ("remote", "local"):
            raise ClusterError(f"yarn.deploy-mode is remote or local, not {values['deploy_mode']!r}")
        for name in ("worker_memory", "scheduler_memory"):
            values[name] = _mebibytes(values[name], name)
        return cls(**{**values, "tags": tuple(values["tags"])})


def parameters() -> tuple[str, ...]:
    """Names of dask-yarn's parameters."""
    return tuple(f.name for f in fields(YarnSettings))


def _mebibytes(memory: str | int, name: str) -> int:
    size = parse_bytes(memory)
    if size < 2**20:
        raise ClusterError(f"yarn: {name} is {memory!r}; give it a unit, as in '4 GiB'")
    return math.ceil(size / 2**20)


def application(settings: YarnSettings) -> skein.ApplicationSpec:
    """Return the application: workers, and also the scheduler if ``deploy_mode`` is remote.

    Each application has its own certificate, which YARN gives only to its containers.
    """
    files, python = _environment(settings.environment)
    services = {}
    if settings.deploy_mode == "remote":
        services[SCHEDULER] = skein.Service(
            instances=1,
            max_restarts=0,
            resources=skein.Resources(
                vcores=settings.scheduler_vcores, memory=settings.scheduler_memory, gpus=settings.scheduler_gpus
            ),
            files=files,
            # Set at the client, used by the scheduler: number of lost workers that a region survives.
            env={_FAILURES: str(dask.config.get("distributed.scheduler.allowed-failures"))},
            script=f"exec {python} -m lensflow.cluster.yarn.container scheduler",
        )
    environment = {**{k: str(v) for k, v in WORKER_ENVIRONMENT.items()}, **settings.worker_env}
    services[WORKER] = skein.Service(
        instances=settings.n_workers,
        max_restarts=settings.worker_restarts,
        resources=skein.Resources(
            vcores=settings.worker_vcores, memory=settings.worker_memory, gpus=settings.worker_gpus
        ),
        depends=[SCHEDULER] if SCHEDULER in services else None,
        files=files,
        env={**environment, "LENSFLOW_WORKER_OPTIONS": json.dumps(dict(settings.worker_options))},
        script=f"exec {python} -m lensflow.cluster.yarn.container worker",
    )
    return skein.ApplicationSpec(
        name=settings.name,
        queue=settings.queue,
        tags=settings.tags,
        user=settings.user,
        services=services,
        master=skein.Master(security=skein.Security.new_credentials()),
    )


def _environment(environment: str) -> tuple[dict[str, str], str]:
    """Files to ship, and the Python to call."""
    parsed = urlparse(environment)
    if parsed.scheme == "python":
        return {}, parsed.path
    if parsed.scheme in ("venv", "conda"):
        return {}, f"{parsed.path}/bin/python"
    return {"environment": environment}, "environment/bin/python"


def tls(credentials: skein.Security) -> Security:
    """Dask's TLS from an application's own certificate: it is its own CA, held by client and containers alone."""
    cert, key = credentials._get_bytes("cert").decode(), credentials._get_bytes("key").decode()
    roles = {
        f"tls_{r}_{kind}": pem
        for r in ("client", "scheduler", "worker")
        for kind, pem in (("cert", cert), ("key", key))
    }
    return Security(tls_ca_file=cert, require_encryption=True, **roles)
