"""A server between a run and S3 that breaks requests: errors, resets, cut replies, lost replies, a slow link."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message><RequestId>0</RequestId></Error>'
STATUS = {"SlowDown": 503, "InternalError": 500, "ExpiredToken": 403}
METHODS = ("GET", "PUT", "POST", "HEAD", "DELETE")
PIECE = 65_536


@dataclass
class Faults:
    """What happens to requests.

    Attributes
    ----------
    error, error_share : str, float
        One of STATUS, answered instead of passing the request on; to this share of the requests.
    reset_share : float
        The connection is reset before the request is passed on.
    lost_reply_share : float
        The request is passed on and done; the connection is reset before the reply.
    truncated_share : float
        The connection ends in the middle of a reply's body.
    bytes_per_s : float
        0 for as fast as it goes.
    delay_s : float
        How long each request waits before it is passed on.
    methods : tuple of str
        Requests that are struck.
    first : int
        Only the first so many requests are struck; 0 for all.
    """

    error: str = ""
    error_share: float = 0.0
    reset_share: float = 0.0
    lost_reply_share: float = 0.0
    truncated_share: float = 0.0
    bytes_per_s: float = 0.0
    delay_s: float = 0.0
    methods: tuple[str, ...] = METHODS
    first: int = 0


@dataclass
class Proxy:
    """A running proxy; set ``faults`` at any time, ``counts`` says what was done."""

    upstream_port: int
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    counts: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _strikes(self, share: float, what: str, method: str) -> bool:
        faults = self.faults
        if method not in faults.methods or (faults.first and self.counts["struck"] >= faults.first):
            return False
        if self._random.random() >= share:
            return False
        self.counts.update((what, "struck"))
        return True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the requests of one connection, one after another."""
        server: asyncio.StreamWriter | None = None
        try:
            up_reader, server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            while await self._one(reader, writer, up_reader, server):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            for one in (writer, server):
                if one is not None:
                    one.transport.abort()

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> bool:
        """Pass one request on, or strike it; False ends the connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, faults = head.split(b" ", 1)[0].decode(), self.faults
        self.counts["requests"] += 1
        waits = b"100-continue" in head.lower()
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if self._strikes(faults.reset_share, "reset", method):
            return False
        if self._strikes(faults.error_share, faults.error, method):
            if not waits:
                await self._copy(reader, None, head)
            body = b"" if method == "HEAD" else ERROR.format(code=faults.error).encode()
            said = f"HTTP/1.1 {STATUS[faults.error]} X\r\nContent-Type: application/xml\r\nConnection: close\r\n"
            writer.write(f"{said}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            return False
        server.write(head)
        if waits:
            writer.write(await up_reader.readuntil(b"\r\n\r\n"))
        await self._copy(reader, server, head)
        reply = await up_reader.readuntil(b"\r\n\r\n")
        status = int(reply.split(b" ")[1])
        if status == 412:
            self.counts["refused: exists already"] += 1
        if self._strikes(faults.lost_reply_share, "lost reply", method):
            return False
        writer.write(reply)
        if method != "HEAD" and status not in (204, 304):
            length = int(_header(reply, b"content-length") or 0)
            cut = length > 1 and status in (200, 206) and self._strikes(faults.truncated_share, "truncated", method)
            await self._copy(up_reader, writer, reply, length // 2 if cut else None)
        await writer.drain()
        return True

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter | None, head: bytes, cut: int | None = None
    ) -> None:
        """Copy a body, of a given length or in HTTP's chunks, no faster than the link; cut it where asked."""
        done = 0

        async def give(data: bytes) -> None:
            nonlocal done
            if sink is not None:
                sink.write(data)
                await sink.drain()
            done += len(data)
            if self.faults.bytes_per_s:
                await asyncio.sleep(len(data) / self.faults.bytes_per_s)
            if cut is not None and done >= cut:
                raise ConnectionResetError

        if b"chunked" in (_header(head, b"transfer-encoding") or b"").lower():
            size = 1
            while size:
                line = await source.readline()
                size = int(line.split(b";")[0], 16)
                await give(line + await source.readexactly(size + 2))
            return
        left = int(_header(head, b"content-length") or 0)
        while left:
            data = await source.read(min(PIECE, left))
            if not data:
                raise ConnectionResetError
            left -= len(data)
            await give(data)


def _header(head: bytes, name: bytes) -> bytes | None:
    match = re.search(rb"\r\n" + name + rb":\s*([^\r\n]*)", head, re.IGNORECASE)
    return match[1] if match else None


@contextlib.contextmanager
def running_proxy(upstream_port: int) -> Iterator[Proxy]:
    """Run a proxy before the server of this port, in a thread."""
    proxy, ready, loop = Proxy(upstream_port), threading.Event(), asyncio.new_event_loop()

    async def main() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.run_forever()
        open_connections = asyncio.all_tasks(loop)
        for task in open_connections:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*open_connections, return_exceptions=True))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
