"""One context manager for every kind of cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from importlib import import_module
from types import FrameType

import dask
from distributed import Client

from lensflow.cluster.panel import PATH
from lensflow.config import ClusterConfig

# Imported on demand: the Kubernetes and YARN kinds need extras that a laptop does not.
_KINDS = {
    "local": "lensflow.cluster.local",
    "threads": "lensflow.cluster.local",
    "address": "lensflow.cluster.address",
    "kubernetes": "lensflow.cluster.kubernetes.cluster",
    "yarn": "lensflow.cluster.yarn.connect",
}


@contextlib.contextmanager
def connect(config: ClusterConfig | None = None) -> Iterator[Client]:
    """Open a Dask client for the configured cluster; everything started here is closed on exit.

    Exit means the end of the block, an error, Ctrl-C or SIGTERM.

    Parameters
    ----------
    config : ClusterConfig, optional
        ``kind: local`` starts one process per core (or ``workers``), ``threads`` stays in this process,
        ``address`` joins a running scheduler, ``kubernetes`` joins or creates a DaskCluster, ``yarn`` starts a
        YARN application.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ClusterError
        If the cluster does not stand within ``start_timeout_s``, cannot be reached or authenticated with, or its
        workers run other code than this client; the message says which and what to do.
    """
    config = config or ClusterConfig()
    patience = {"lensflow.no-workers-timeout": config.no_workers_timeout_s}
    with _end_on_sigterm(), dask.config.set(patience), import_module(_KINDS[config.kind]).start(config) as client:
        yield client


def dashboard_link(client: Client, config: ClusterConfig) -> str | None:
    """Address of the dashboard of a client from :func:`connect`.

    Parameters
    ----------
    client : distributed.Client
        From :func:`connect`.
    config : ClusterConfig
        The client's config.

    Returns
    -------
    str or None
        URL as seen from here; None if there is no dashboard.
    """
    if config.kind not in ("local", "threads"):
        return str(client.dashboard_link) if client.dashboard_link else None
    if config.dashboard is None:
        return None
    template = dask.config.get("distributed.dashboard.link")
    if "{host}" not in template:  # a proxy in front of it, as with JupyterHub
        return str(client.dashboard_link)
    host = config.dashboard.rpartition(":")[0]
    port = client.scheduler_info(n_workers=0)["services"].get("dashboard")
    if port is None:
        return None
    if host in ("", "0.0.0.0", "::", "[::]"):
        return str(client.dashboard_link)
    return str(template.format(**{"scheme": "http", "host": host, "port": port, **os.environ}))


def progress_link(client: Client, config: ClusterConfig) -> str | None:
    """Address of the page of a run's progress, on the dashboard of a client from :func:`connect`.

    Parameters
    ----------
    client : distributed.Client
        From :func:`connect`.
    config : ClusterConfig
        The client's config.

    Returns
    -------
    str or None
        None without a dashboard, and where this process did not start the scheduler: one that was started by others
        has the page only if they told it to (docs/decisions/0018).
    """
    link = dashboard_link(client, config) if config.kind in ("local", "threads") else None
    return link.removesuffix("/").removesuffix("/status") + f"/{PATH}" if link else None


@contextlib.contextmanager
def _end_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack like Ctrl-C, so that everything started is closed."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
