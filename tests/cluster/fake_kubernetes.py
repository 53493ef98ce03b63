"""The few calls of the Kubernetes API that a client of a DaskCluster makes, over real HTTP, with an operator's acts."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class FakeKubernetes:
    """Serves version, DaskClusters and pods; ``pods`` is what an operator would have made of a DaskCluster."""

    def __init__(self) -> None:
        self.clusters: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.crds, self.status, self.deletes, self.silent = True, 200, True, threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.answer(self, "GET")

            def do_POST(self):
                fake.answer(self, "POST")

            def do_DELETE(self):
                fake.answer(self, "DELETE")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self, path: Path) -> Path:
        name = "fake"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": name,
                    "clusters": [{"name": name, "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
                    "users": [{"name": name, "user": {"token": "none"}}],
                    "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "survey"}}],
                }
            )
        )
        return path

    def answer(self, request: BaseHTTPRequestHandler, method: str) -> None:
        if self.silent.is_set():
            threading.Event().wait(30)
        length = int(request.headers.get("Content-Length") or 0)
        sent = json.loads(request.rfile.read(length)) if length else None
        path = request.path.partition("?")[0].rstrip("/")
        self.calls.append(f"{method} {path}")
        status, body = self.reply(method, path, sent)
        raw = json.dumps(body).encode() if body is not None else b"404 page not found\n"
        request.send_response(status)
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)

    def reply(self, method: str, path: str, sent: Any) -> tuple[int, Any]:
        if path == "/version":
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.1"}
        if self.status != 200:
            return self.status, {"kind": "Status", "message": "not for you", "code": self.status}
        if path == "/api/v1/namespaces/survey/pods":
            return 200, {"kind": "PodList", "items": self.pods if self.clusters else []}
        found = re.fullmatch(r"/apis/kubernetes\.dask\.org/v1/namespaces/survey/daskclusters(?:/(.+))?", path)
        if not found or not self.crds:
            return 404, None
        if method == "POST":
            self.clusters[sent["metadata"]["name"]] = sent
            return 201, sent
        if found[1] not in self.clusters:
            return 404, {"kind": "Status", "reason": "NotFound", "message": f"{found[1]} not found", "code": 404}
        if method == "DELETE":
            return 200, self.clusters.pop(found[1]) if self.deletes else self.clusters[found[1]]
        return 200, self.clusters[found[1]]


def pod(component: str, ready: bool = True, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"lensflow-{component}", "labels": {"dask.org/component": component}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}], **status},
    }
