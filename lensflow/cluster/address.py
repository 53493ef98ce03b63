"""An external scheduler: joined, never stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client
from distributed.security import Security

from lensflow.cluster.agreement import check_agreement
from lensflow.cluster.security import client_security
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError

# A running scheduler answers at once; this is for slow networks.
ANSWER_SECONDS = 15


@contextlib.contextmanager
def start(config: ClusterConfig) -> Iterator[Client]:
    """Join the scheduler at ``config.address``."""
    assert config.address is not None
    security = client_security(config) if config.address.startswith("tls://") else None
    with join(config.address, security, config) as client:
        yield client


@contextlib.contextmanager
def join(cluster: Any, security: Security | None, config: ClusterConfig) -> Iterator[Client]:
    """Connect to a running scheduler, once its workers have joined and run the same code as this process.

    Parameters
    ----------
    cluster : str or distributed.deploy.Cluster
    security : Security or None
    config : ClusterConfig
        ``min_workers`` and ``start_timeout_s`` bound the wait for workers.

    Raises
    ------
    ClusterError
    """
    name = getattr(cluster, "scheduler_address", cluster)
    seconds = min(ANSWER_SECONDS, config.start_timeout_s)
    try:
        client = Client(cluster, security=security, timeout=seconds)
    except (OSError, TimeoutError) as error:
        raise ClusterError(_no_answer(name, error, seconds)) from error
    with client:
        wait_for_workers(client, config.min_workers, config.start_timeout_s)
        check_agreement(client)
        yield client


def _no_answer(address: str, error: BaseException, seconds: float) -> str:
    """Explain a failed connection: refused, silent, or the TLS handshake."""
    causes, cause = [], error
    while cause is not None:
        causes.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    text = " ".join(causes)
    start = f"cluster.address: no Dask scheduler answers at {address} within {seconds:.0f} s. "
    if any(word in text for word in ("CERTIFICATE", "certificate", "SSLError", "SSLCertVerification")):
        return start + (
            f"The TLS handshake failed ({causes[-1]}): tls_ca_file, tls_cert and tls_key must come from the CA that "
            "signed the scheduler's certificate, and be in date."
        )
    return start + (
        f"({causes[-1]}). Is it running, is the port open from here, and does it speak {address.partition('://')[0]}?"
    )


def wait_for_workers(client: Client, count: int, seconds: float) -> None:
    """Wait until ``count`` workers have joined.

    Raises
    ------
    ClusterError
        If fewer have after ``seconds``.
    """
    end = time.monotonic() + seconds
    while (joined := len(client.scheduler_info(n_workers=-1)["workers"])) < count:
        if time.monotonic() > end:
            raise ClusterError(
                f"{joined} of the {count} worker(s) of cluster.min_workers joined the scheduler in {seconds:.0f} s. "
                "Are workers running, with its address and TLS files? For a cluster that starts workers only when "
                "there is work: cluster.min_workers: 0."
            )
        time.sleep(0.1)
