"""A web server that understands Range, counts what it serves, and misbehaves when asked to."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """Serves a folder; ``fail[name]`` answers are errors (status, or "reset") before that file is served."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.served: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.heads: Counter[str] = Counter()  # requests of a file's first bytes, and of missing files
        self.fail: dict[str, list[int | str]] = {}
        self.takes_ranges = True
        self.latency_s = 0.0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: unbuffered ones wait for each other's acknowledgement

    def do_GET(self) -> None:
        server, path = self.server, self.server.folder / self.path.lstrip("/")
        time.sleep(server.latency_s)
        with server.lock:
            server.requests[path.name] += 1
            server.heads[path.name] += re.match(r"bytes=0-|$", self.headers.get("Range", "")) is not None
            trouble = server.fail[path.name].pop(0) if server.fail.get(path.name) else None
        if trouble == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if trouble is not None or not path.is_file():
            self._answer(int(trouble or 404), b"")
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or not server.takes_ranges:
            self._answer(200, content)
            return
        start, stop = int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else len(content)
        if start >= len(content):
            self._answer(416, b"")
            return
        self._answer(206, content[start:stop], f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}")

    def do_HEAD(self) -> None:
        path = self.server.folder / self.path.lstrip("/")
        with self.server.lock:
            self.server.requests[f"HEAD {path.name}"] += 1
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
        self.end_headers()

    def _answer(self, status: int, body: bytes, content_range: str = "") -> None:
        with self.server.lock:
            self.server.served[Path(self.path).name] += len(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[RangeServer]:
    with RangeServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
