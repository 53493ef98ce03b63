"""A Dask cluster as a YARN application: skein talks to YARN, distributed's Cluster class does the rest.

dask-yarn does not work with current distributed; this class replaces it, with the same parameters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import skein
from distributed import Scheduler
from distributed.core import Status, rpc
from distributed.deploy.cluster import Cluster

from lensflow.cluster.yarn.spec import WORKER, YarnSettings, application, tls
from lensflow.errors import ClusterError

T = TypeVar("T")

POLL_SECONDS = 0.5
CLOSE_SECONDS = 30
NEEDS = (
    "skein needs the commands java and yarn, as EMR's primary node has them; elsewhere install a Hadoop client and set "
    "HADOOP_CONF_DIR."
)


class YarnCluster(Cluster):
    """Start a Dask cluster on YARN, over TLS.

    Parameters
    ----------
    environment : str, optional
        Archive of a Python environment (a path or URL that YARN can read), or ``venv:///path``,
        ``python:///path/to/python`` that exist on every node.
    skein_client : skein.Client, optional
        Default: one is started, and closed with the cluster.
    start_timeout_s : float, optional
        Seconds within which the scheduler must start.
    asynchronous : bool, optional
    loop : IOLoop, optional
    **parameters
        Of dask-yarn: ``n_workers``, ``worker_vcores``, ``worker_memory``, ``deploy_mode``, ``queue``, ... What is not
        given comes from Dask's ``yarn:`` settings.

    Raises
    ------
    ClusterError
        If YARN cannot be reached, has no room in time, or the application ends before it stands.
    """

    def __init__(
        self,
        environment: str | None = None,
        *,
        skein_client: skein.Client | None = None,
        start_timeout_s: float = 300.0,
        asynchronous: bool = False,
        loop: Any = None,
        **parameters: Any,
    ):
        self.settings = YarnSettings.of(environment=environment, **parameters)
        self.spec = application(self.settings)
        self.security = tls(self.spec.master.security)
        self.application_client: skein.ApplicationClient | None = None
        self._skein, self._own_skein = skein_client, skein_client is None
        self._timeout, self._app_id = start_timeout_s, ""
        self._scheduler: Scheduler | None = None
        self._address = ""
        self._dashboard: str | None = None
        self._requested: set[str] = set()
        self._abandoned = threading.Event()
        super().__init__(asynchronous=asynchronous, loop=loop, quiet=True, name=self.settings.name)
        if not self.asynchronous:
            self._loop_runner.start()
            try:
                self.sync(self._start)
            except BaseException:
                # Also on an interrupt: an application that is not closed stays on YARN and costs money.
                self.close(timeout=CLOSE_SECONDS)
                raise

    def __await__(self) -> Any:
        async def standing() -> YarnCluster:
            if self.status == Status.created:
                await self._start()
            return self

        return standing().__await__()

    async def _start(self) -> None:
        if self.settings.deploy_mode == "local":
            self._scheduler = await Scheduler(
                protocol="tls",
                host=self.settings.host,
                port=self.settings.port,
                security=self.security,
                dashboard=True,
                dashboard_address=self.settings.dashboard_address,
            )
        try:
            await asyncio.wait_for(_in_thread(self._submit), self._timeout + CLOSE_SECONDS)
            assert self.security is not None
            self.scheduler_comm = rpc(self._address, connection_args=self.security.get_connection_args("client"))
            await super()._start()
        except BaseException:
            await self._close()
            raise

    def _submit(self) -> None:
        """Submit the application and wait for its scheduler (in a thread: skein blocks)."""
        end = time.monotonic() + self._timeout
        if self._skein is None:
            self._skein = _start_driver(self._timeout)
        client = self._skein
        try:
            self._app_id = _within(
                lambda: client.submit(self.spec),
                end - time.monotonic(),
                "the ResourceManager did not take the application. Is YARN_CONF_DIR (or HADOOP_CONF_DIR) that of the "
                "cluster, and is the ResourceManager up? (yarn node -list)",
            )
        except skein.SkeinError as error:
            raise ClusterError(f"cluster.yarn: YARN refuses the application: {error}") from error
        if self._abandoned.is_set():  # closed meanwhile, when there was no application to end yet
            client.kill_application(self._app_id)
            raise ClusterError("cluster.yarn: given up")
        report = self._wait_until_running(client, end)
        self.application_client = skein.ApplicationClient(
            f"{report.host}:{report.port}", self._app_id, security=self.spec.master.security
        )
        keys = self.application_client.kv
        if self._scheduler is not None:
            self._address = self._scheduler.address
            keys["dask.scheduler"] = self._address.encode()
        while not self._address:
            found = keys.get("dask.scheduler")
            if found is None:
                self._wait_until_running(client, end)
                self._pause(end, "its scheduler's container has not started. Is there room for it?")
                continue
            self._address, dashboard = found.decode(), keys.get("dask.dashboard")
            self._dashboard = dashboard.decode() if dashboard else None
        self._requested = self._containers()

    def _wait_until_running(self, client: skein.Client, end: float) -> Any:
        while True:
            report = client.application_report(self._app_id)
            state = str(report.state)
            if state == "RUNNING":
                return report
            said = (report.diagnostics or "").strip()
            if state in ("FINISHED", "FAILED", "KILLED"):
                raise ClusterError(
                    f"cluster.yarn: application {self._app_id} ended before the cluster stood ({state}: {said}). "
                    f"See: yarn logs -applicationId {self._app_id}"
                )
            self._pause(
                end, f"it is {state} ({said or 'no reason given'}). Is there room in queue {self.settings.queue!r}?"
            )

    def _pause(self, end: float, why: str) -> None:
        if self._abandoned.wait(POLL_SECONDS):
            raise ClusterError("cluster.yarn: given up")
        if time.monotonic() > end:
            raise ClusterError(
                f"cluster.yarn: application {self._app_id} does not stand after {self._timeout:.0f} s: {why} "
                f"See: yarn application -status {self._app_id}"
            )

    @property
    def scheduler_address(self) -> str:
        """Address of the scheduler."""
        return self._address

    @property
    def dashboard_link(self) -> str:
        """Address of the dashboard, as seen from inside the cluster's network."""
        return self._dashboard or super().dashboard_link

    @property
    def requested(self) -> set[str]:
        """Requested containers that have not ended."""
        return set(self._requested)

    plan = requested

    @property
    def observed(self) -> set[str]:
        """Names of the workers that have joined."""
        return {w["name"] for w in self.scheduler_info["workers"].values()}

    def workers(self) -> list[Any]:
        """Workers' containers, from YARN."""
        assert self.application_client is not None
        return list(self.application_client.get_containers(services=[WORKER]))

    def _containers(self) -> set[str]:
        return {c.id for c in self.workers()}

    def scale(self, n: int) -> Any:
        """Scale to ``n`` workers: new containers, or idle workers retired and their containers stopped."""
        return self.sync(self._scale, n)

    async def _scale(self, n: int) -> None:
        # Queried again: YARN may have replaced a lost container since.
        self._requested = await _in_thread(self._containers)
        surplus = len(self._requested) - n
        if surplus < 0:
            assert self.application_client is not None
            app = self.application_client
            new = await _in_thread(lambda: app.scale(WORKER, count=n))
            self._requested |= {c.id for c in new}
        elif surplus > 0:
            waiting = sorted(self._requested - self.observed)[:surplus]
            idle = []
            if surplus > len(waiting):
                idle = await self.scheduler_comm.workers_to_close(n=surplus - len(waiting), attribute="name")
                await self.scheduler_comm.retire_workers(names=list(idle), remove=True, close_workers=True)
            await self.scale_down([*waiting, *idle])

    async def scale_down(self, workers: Iterable[str]) -> None:
        """Stop containers by name; their workers have been retired."""
        names = set(workers)
        app = self.application_client

        def kill() -> None:
            for name in names:
                with contextlib.suppress(ValueError, KeyError):  # gone already
                    app.kill_container(name)  # type: ignore[union-attr]

        await _in_thread(kill)
        self._requested -= names

    def _update_worker_status(self, op: str, msg: Any) -> None:
        if op == "add":
            # A container that replaces a lost one was never requested by name.
            self._requested |= {w["name"] for w in msg["workers"].values()}
        elif op == "remove" and msg in self.scheduler_info["workers"]:
            self._requested.discard(self.scheduler_info["workers"][msg]["name"])
        super()._update_worker_status(op, msg)

    async def _close(self) -> None:
        if self.status in (Status.closing, Status.closed):  # type: ignore[has-type]
            return
        self._abandoned.set()
        with contextlib.suppress(AttributeError):  # there is one only after adapt()
            self._adaptive.stop()  # it would ask an ending application for workers
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_in_thread(self._end_application), CLOSE_SECONDS)
        if self.scheduler_comm is not None or self._scheduler is not None:
            with contextlib.suppress(OSError):
                await super()._close()
        if self._scheduler is not None:
            await self._scheduler.close()
            self._scheduler = None
        self.status = Status.closed
        if self._own_skein and self._skein is not None:
            await _in_thread(self._skein.close)

    def _end_application(self) -> None:
        if self.application_client is not None:
            with contextlib.suppress(skein.SkeinError):  # has ended by itself
                self.application_client.shutdown("SUCCEEDED")
                return
        if self._app_id and self._skein is not None:
            with contextlib.suppress(skein.SkeinError):
                self._skein.kill_application(self._app_id)


def _start_driver(seconds: float) -> skein.Client:
    """Start skein's driver, the Java process that talks to YARN, with credentials in memory only."""
    java = f"{os.environ['JAVA_HOME']}/bin/java" if "JAVA_HOME" in os.environ else "java"
    missing = [name for name in (java, "yarn") if shutil.which(name) is None]
    if missing:
        raise ClusterError(f"cluster.yarn: there is no command {' nor '.join(missing)} here. {NEEDS}")
    security = skein.Security.new_credentials()
    try:
        return _within(lambda: skein.Client(security=security), min(60.0, seconds), "skein's driver did not start")
    except (OSError, subprocess.SubprocessError, skein.SkeinError) as error:
        raise ClusterError(f"cluster.yarn: skein's driver did not start ({error}). {NEEDS}") from error


def _within(call: Callable[[], T], seconds: float, otherwise: str) -> T:
    """Return ``call()`` with a timeout of ``seconds``: skein's calls have none."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.extend((call(), None))
        except BaseException as error:
            result.extend((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if not result:
        raise ClusterError(f"cluster.yarn: {otherwise} ({seconds:.0f} s)")
    if result[1] is not None:
        raise result[1]
    value: T = result[0]
    return value


async def _in_thread(call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, call)
