"""A headless Chromium that opens pages, runs scripts in them, and clicks; through its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
MISSING = "" if CHROMIUM else "no chromium is installed"
WIDTH, HEIGHT = 1366, 900


class Tab:
    """One tab of the browser."""

    def __init__(self, socket_url: str):
        self._loop = asyncio.new_event_loop()
        self._number, self.errors = 0, []

        async def connected() -> Any:
            return await websocket_connect(socket_url, max_message_size=2**28)

        self._socket = self._loop.run_until_complete(connected())
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")
        self.resize(WIDTH, HEIGHT)

    def resize(self, width: int, height: int) -> None:
        """Have a screen of this size, pixels."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = json.dumps({"id": self._number, "method": method, "params": params})

        async def answer() -> dict[str, Any]:
            await self._socket.write_message(message)
            while True:
                text = await self._socket.read_message()
                assert text is not None, "the browser has gone"
                found = json.loads(text)
                if found.get("method") == "Runtime.exceptionThrown":
                    self.errors.append(found["params"]["exceptionDetails"])
                if found.get("id") == self._number:
                    return found

        found = self._loop.run_until_complete(asyncio.wait_for(answer(), 60))
        assert "error" not in found, found
        return found["result"]

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Value of an expression in the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Value of an expression once it is true."""
        end = time.monotonic() + seconds
        while True:
            value = self.run(script)
            if value:
                return value
            assert time.monotonic() < end, f"not within {seconds} s: {script}\n{self.text()[:2000]}"
            time.sleep(0.1)

    def text(self) -> str:
        """All text of the page, in shadow roots too."""
        return str(self.run(
            "(() => { const all = n => (n.shadowRoot ? all(n.shadowRoot) : '') + [...n.childNodes].map(c =>"
            " c.nodeType == 3 ? (['STYLE', 'SCRIPT'].includes(n.nodeName) ? '' : c.data) : all(c)).join(' ');"
            " return all(document.documentElement) })()"
        ))  # fmt: skip

    def model(self, name: str) -> str:
        """Script for a model of bokeh by its name."""
        return f"Bokeh.documents[0].get_model_by_name({json.dumps(name)})"

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        self._ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self._ask("Input.dispatchMouseEvent", type="mouseMoved", x=x0, y=y0)
        self._ask("Input.dispatchMouseEvent", type="mousePressed", x=x0, y=y0, button="left", clickCount=1)
        for k in range(1, 6):
            at = {"x": x0 + (x1 - x0) * k / 5, "y": y0 + (y1 - y0) * k / 5}
            self._ask("Input.dispatchMouseEvent", type="mouseMoved", **at, button="left", buttons=1)
        self._ask("Input.dispatchMouseEvent", type="mouseReleased", x=x1, y=y1, button="left", clickCount=1)

    def place(self, name: str) -> dict[str, float]:
        """Rectangle on the screen of a view of bokeh, and of a plot's frame in it."""
        return self.run(
            f"(() => {{ const v = Bokeh.index.find_one({self.model(name)}); const r = v.el.getBoundingClientRect();"
            " const f = v.frame ? v.frame.bbox : null; return {x: r.x + (f ? f.x0 : 0), y: r.y + (f ? f.y0 : 0),"
            " width: f ? f.width : r.width, height: f ? f.height : r.height} })()"
        )

    def screenshot(self, path: str | Path, height: int | None = None) -> None:
        if height:
            self.resize(WIDTH, height)
            time.sleep(1)
        found = self._ask("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """Leave the page; one that is only no longer looked at goes on drawing and asking the server."""

        async def closed() -> None:
            await self._socket.write_message(json.dumps({"id": 0, "method": "Page.close"}))
            while await self._socket.read_message() is not None:
                pass
            self._socket.close()

        self._loop.run_until_complete(asyncio.wait_for(closed(), 60))
        self._loop.close()


class Browser:
    """A running Chromium."""

    def __init__(self, port: int):
        self._at = f"http://127.0.0.1:{port}"

    def tab(self) -> Tab:
        request = urllib.request.Request(f"{self._at}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Tab(json.load(answer)["webSocketDebuggerUrl"])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    folder = tempfile.mkdtemp(prefix="lensflow-chromium-")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--remote-debugging-port=0", f"--user-data-dir={folder}", f"--window-size={WIDTH},{HEIGHT}"]  # fmt: skip
    log = (Path(folder) / "log").open("w")
    process = subprocess.Popen([CHROMIUM, *options, "about:blank"], stdout=log, stderr=log, start_new_session=True)
    try:
        said, end = Path(folder) / "DevToolsActivePort", time.monotonic() + 60
        while not (said.exists() and said.read_text().strip()):
            assert process.poll() is None and time.monotonic() < end, (Path(folder) / "log").read_text()
            time.sleep(0.1)
        yield Browser(int(said.read_text().splitlines()[0]))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
