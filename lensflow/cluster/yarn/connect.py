"""Workers on YARN (EMR), by dask-yarn if it can be imported, else by lensflow's own YarnCluster."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client

from lensflow.cluster.address import join
from lensflow.cluster.forked import WORKER_ENVIRONMENT
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError


@contextlib.contextmanager
def start(config: ClusterConfig) -> Iterator[Client]:
    """Start a YARN application for the duration of the block."""
    if not (config.workers or config.workers_max or dask.config.get("yarn.worker.count", 0)) and config.min_workers:
        raise ClusterError("cluster.workers: say how many workers YARN is asked for (or workers_max, to adapt)")
    cluster = _cluster(config)
    with cluster:
        address = cluster.scheduler_address
        if not address.startswith("tls://") and not config.insecure:
            raise ClusterError(
                f"cluster.yarn: the installed dask-yarn speaks unencrypted at {address}. Say cluster.insecure: true to "
                "accept that, or uninstall dask-yarn: lensflow's own YarnCluster speaks TLS."
            )
        if config.workers_max is not None:
            cluster.adapt(minimum=config.workers or 1, maximum=config.workers_max)
        with join(cluster, getattr(cluster, "security", None), config) as client:
            yield client


def _cluster(config: ClusterConfig) -> Any:
    """The YarnCluster of dask-yarn if it can be imported, else ours; both take the same parameters."""
    parameters = {**config.yarn.model_dump(), "n_workers": config.workers}
    try:
        dask_yarn = importlib.import_module("dask_yarn")
    except ImportError:
        pass  # not installed, or (0.9) not for this distributed
    else:
        ours = {k: str(v) for k, v in WORKER_ENVIRONMENT.items()}
        return dask_yarn.YarnCluster(**parameters, worker_env=ours | dask.config.get("yarn.worker.env", {}))
    try:
        import skein  # noqa: F401
    except ImportError as error:
        raise ClusterError(
            "cluster.kind: yarn needs the skein package, which is not installed. Run: pip install 'lensflow[yarn]'"
        ) from error
    from lensflow.cluster.yarn.cluster import YarnCluster

    return YarnCluster(**parameters, start_timeout_s=config.start_timeout_s)
