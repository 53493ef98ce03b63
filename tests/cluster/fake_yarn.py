"""YARN without a ResourceManager: skein's two gRPC services, with containers that are processes of this machine.

skein's own client, its TLS, its messages and the containers' scripts are the real ones; what is made up is where
containers run and that there is always room (or, if ``room`` is false, never).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import skein
from skein.proto import skein_pb2 as messages
from skein.proto import skein_pb2_grpc as services

ROOT = Path(__file__).parents[2]


def serve(add: Any, servicer: Any, credentials: skein.Security) -> tuple[grpc.Server, int]:
    cert, key = credentials._get_bytes("cert"), credentials._get_bytes("key")
    server = grpc.server(ThreadPoolExecutor(8))
    add(servicer, server)
    trust = grpc.ssl_server_credentials([(key, cert)], root_certificates=cert, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", trust)
    server.start()
    return server, port


class FakeYarn(services.DriverServicer):
    """What skein's driver would be."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.applications, self.killed = folder, {}, []
        self.room, self.fails, self.silent = True, "", False
        self.closed = threading.Event()
        self.security = skein.Security.new_credentials()
        self.server, port = serve(services.add_DriverServicer_to_server, self, self.security)
        self.client = skein.Client(address=f"127.0.0.1:{port}", security=self.security)

    def close(self) -> None:
        self.closed.set()
        for application in self.applications.values():
            application.end("KILLED")
        self.client.close()
        self.server.stop(0).wait()

    def ping(self, request, context):
        return messages.Empty()

    def submit(self, request, context):
        if self.silent:
            self.closed.wait(20)
            context.abort(grpc.StatusCode.UNAVAILABLE, "closed")
        name = f"application_1_{len(self.applications) + 1:04d}"
        spec = skein.ApplicationSpec.from_protobuf(request)
        self.applications[name] = FakeApplication(name, spec, self.folder / name, start=self.room and not self.fails)
        return messages.Application(id=name)

    def getStatus(self, request, context):
        application = self.applications[request.id]
        state, said = application.state, ""
        if self.fails:
            state, said = "FAILED", self.fails
        elif not self.room:
            state, said = "ACCEPTED", "Queue's AM resource limit exceeded"
        return messages.ApplicationReport(
            id=request.id,
            host="127.0.0.1",
            port=application.port,
            diagnostics=said,
            state=state,
            final_status="UNDEFINED",
            usage=messages.ResourceUsageReport(),
        )

    def kill(self, request, context):
        self.killed.append(request.id)
        self.applications[request.id].end("KILLED")
        return messages.Empty()


class FakeApplication(services.AppMasterServicer):
    """What an application master would be."""

    def __init__(self, name: str, spec: skein.ApplicationSpec, folder: Path, start: bool) -> None:
        self.name, self.spec, self.folder = name, spec, folder
        self.state, self.final, self.port = "ACCEPTED", None, 0
        self.keys: dict[str, bytes] = {}
        self.containers: dict[str, tuple[Any, subprocess.Popen]] = {}
        self.count: dict[str, int] = {}
        self.lock = threading.RLock()
        if start:
            self.server, self.port = serve(services.add_AppMasterServicer_to_server, self, spec.master.security)
            for service in sorted(spec.services, key=lambda s: len(spec.services[s].depends)):
                for _ in range(spec.services[service].instances):
                    self.launch(service)
            self.state = "RUNNING"
            threading.Thread(target=self._watch, daemon=True).start()

    def launch(self, service: str) -> Any:
        with self.lock:
            instance = self.count[service] = self.count.get(service, -1) + 1
            spec, name = self.spec.services[service], f"{service}_{instance}"
            place = self.folder / "local" / name
            place.mkdir(parents=True)
            (place / ".skein.crt").write_bytes(self.spec.master.security._get_bytes("cert"))
            (place / ".skein.pem").write_bytes(self.spec.master.security._get_bytes("key"))
            for file, source in spec.files.items():
                localize(source, place / file)
            environment = {
                **{k: v for k, v in os.environ.items() if not k.startswith("DASK_")},
                **spec.env,
                "PYTHONPATH": str(ROOT),
                "SKEIN_APPLICATION_ID": self.name,
                "SKEIN_APPMASTER_ADDRESS": f"127.0.0.1:{self.port}",
                "SKEIN_CONTAINER_ID": name,
                "SKEIN_RESOURCE_MEMORY": str(spec.resources.memory),
                "SKEIN_RESOURCE_VCORES": str(spec.resources.vcores),
                "CONTAINER_ID": name,
                "LOCAL_DIRS": str(self.folder / "local"),
            }
            with (place / "log.txt").open("wb") as log:
                process = subprocess.Popen(
                    ["bash", "-c", spec.script],
                    cwd=place,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            container = messages.Container(
                service_name=service, instance=instance, state="RUNNING", yarn_container_id=name, start_time=1
            )
            self.containers[name] = (container, process)
            return container

    def _watch(self) -> None:
        """Replace containers that ended badly, as often as the service allows."""
        restarts = dict.fromkeys(self.spec.services, 0)
        while self.state == "RUNNING":
            with self.lock:
                for name, (container, process) in list(self.containers.items()):
                    if process.poll() is None:
                        continue
                    del self.containers[name]
                    service = container.service_name
                    allowed = self.spec.services[service].max_restarts
                    if process.returncode and (allowed < 0 or restarts[service] < allowed):
                        restarts[service] += 1
                        self.launch(service)
            time.sleep(0.1)

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        with self.lock:
            found = self.containers.pop(name, None)
        if found:
            with_group(found[1], number)

    def end(self, final: str) -> None:
        self.final = self.final or final
        self.state = "FINISHED"
        for name in list(self.containers):
            self.stop(name)

    def logs(self) -> str:
        return "\n".join(p.read_text() for p in sorted(self.folder.rglob("log.txt")))

    def shutdown(self, request, context):
        final = messages.FinalStatus.Type.Name(request.final_status)
        threading.Thread(target=self.end, args=(final,)).start()
        return messages.Empty()

    def PutKey(self, request, context):
        self.keys[request.key] = request.value
        return messages.PutKeyResponse()

    def GetRange(self, request, context):
        found = [messages.KeyValue(key=k, value=v) for k, v in self.keys.items() if request.start <= k < request.end]
        return messages.GetRangeResponse(count=len(found), result_type=request.result_type, result=found)

    def getContainers(self, request, context):
        with self.lock:
            wanted = [
                c for c, _ in self.containers.values() if not request.services or c.service_name in request.services
            ]
        return messages.ContainersResponse(containers=wanted)

    def scale(self, request, context):
        with self.lock:
            live = [c for c, _ in self.containers.values() if c.service_name == request.service_name]
            new = [self.launch(request.service_name) for _ in range(request.count - len(live))]
        return messages.ContainersResponse(containers=new)

    def killContainer(self, request, context):
        name = f"{request.service_name}_{request.instance}"
        if name not in self.containers:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no container {name}")
        self.stop(name)
        return messages.Empty()


def localize(source: skein.File, target: Path) -> None:
    """Put a file beside a container's working directory, archives unpacked, as a NodeManager does."""
    path = source.source.removeprefix("file://")
    if str(source.type) == "ARCHIVE":
        with tarfile.open(path) as archive:
            archive.extraction_filter = lambda member, path: member  # Python before 3.11.4 knows none by name
            archive.extractall(target)
    else:
        shutil.copy(path, target)


def with_group(process: subprocess.Popen, number: int) -> None:
    """Signal a container as YARN does: the whole process group."""
    try:
        os.killpg(process.pid, number)
        process.wait(10)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
