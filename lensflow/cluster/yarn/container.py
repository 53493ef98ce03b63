"""Program of a YARN container: ``python -m lensflow.cluster.yarn.container scheduler|worker``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import skein
from distributed import Nanny, Scheduler
from distributed.utils import get_ip

from lensflow.cluster.yarn.spec import tls

# A container without a scheduler must not keep running and cost money.
SECONDS_WITHOUT_SCHEDULER = 120
# The rest of a container's memory is for the nanny; YARN kills what exceeds the whole.
WORKERS_SHARE = 0.9


async def scheduler(app: skein.ApplicationClient) -> None:
    """Run the scheduler, and publish its address in the application's key-value store."""
    server = Scheduler(
        protocol="tls", port=0, security=tls(app.security), dashboard_address=f"{get_ip()}:0", dashboard=True
    )
    async with server:
        _close_on_sigterm(server)
        # The client waits for the scheduler's address: the dashboard's must be published before.
        port = server.services["dashboard"].port
        app.kv["dask.dashboard"] = f"http://{urlparse(server.address).hostname}:{port}/status".encode()
        app.kv["dask.scheduler"] = server.address.encode()
        await server.finished()


async def worker(app: skein.ApplicationClient) -> None:
    """Run a worker of the container's size under a nanny, with the container's name."""
    resources = skein.properties.container_resources
    options: dict[str, Any] = {
        "nthreads": resources.vcores,
        "memory_limit": int(WORKERS_SHARE * resources.memory * 2**20),
        "death_timeout": SECONDS_WITHOUT_SCHEDULER,
        **json.loads(os.environ.get("LENSFLOW_WORKER_OPTIONS", "{}")),
    }
    name = skein.properties.container_id
    address = await _scheduler_address(app)
    async with Nanny(
        address, name=name, security=tls(app.security), local_directory=str(Path.cwd()), **options
    ) as nanny:
        _close_on_sigterm(nanny)
        await nanny.finished()


async def _scheduler_address(app: skein.ApplicationClient) -> str:
    for _ in range(SECONDS_WITHOUT_SCHEDULER):
        found = app.kv.get("dask.scheduler")
        if found is not None:
            return str(found.decode())
        await asyncio.sleep(1)
    sys.exit(f"no scheduler told its address in {SECONDS_WITHOUT_SCHEDULER} s")


def _close_on_sigterm(server: Any) -> None:
    """Close in order when YARN takes the container: running tasks return to the scheduler."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(server.close()))


if __name__ == "__main__":
    asyncio.run({"scheduler": scheduler, "worker": worker}[sys.argv[1]](skein.ApplicationClient.from_current()))
