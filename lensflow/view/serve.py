"""Serve the page on this machine only, until Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
import webbrowser
from collections.abc import Callable
from typing import Any

from lensflow.errors import ConfigError, LensflowError
from lensflow.view.shared import Shared

ADDRESS = "127.0.0.1"
# The first that is free of these is taken where none is asked for.
PORTS = range(5007, 5027)


def serve(shared: Shared, port: int | None = None, open_browser: bool = True,
          ready: Callable[[str], None] = lambda address: None) -> None:  # fmt: skip
    """Serve the pages of a run on 127.0.0.1 until Ctrl-C or SIGTERM.

    Parameters
    ----------
    shared : Shared
    port : int, optional
        0: any free one. By default the first free one from 5007 on.
    open_browser : bool
    ready : callable
        Gets the page's address once it is served. It has a secret part: other users of this machine cannot guess it.

    Raises
    ------
    ConfigError
        If the port is taken, or bokeh is not installed.
    """
    try:
        from bokeh.application import Application
        from bokeh.application.handlers.function import FunctionHandler
        from bokeh.server.server import BaseServer
        from bokeh.server.tornado import BokehTornado
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop
    except ImportError as error:
        raise ConfigError(f"lensflow view needs bokeh ({error}): pip install 'lensflow[view]'") from error
    from lensflow.view.page import Page

    for noisy in ("tornado.access", "bokeh.server.views.ws"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    sockets, taken = _bind(port)
    place = f"/{secrets.token_urlsafe(12)}"
    app = Application(FunctionHandler(lambda document: Page(shared, document).build()))
    tornado = BokehTornado(
        {place: app},
        extra_websocket_origins=[f"{ADDRESS}:{taken}", f"localhost:{taken}"],
        use_index=False,
    )
    loop: Any = IOLoop.current()
    http = HTTPServer(tornado)
    http.add_sockets(sockets)
    server = BaseServer(loop, tornado, http)
    address = f"http://{ADDRESS}:{taken}{place}"
    before = signal.signal(signal.SIGTERM, lambda *_: loop.add_callback_from_signal(loop.stop))
    try:
        server.start()
        ready(address)
        if open_browser:
            loop.add_callback(lambda: webbrowser.open(address))
        with contextlib.suppress(KeyboardInterrupt):
            loop.start()
    finally:
        signal.signal(signal.SIGTERM, before)
        with contextlib.suppress(KeyboardInterrupt):
            server.stop(wait=False)
            http.stop()
        shared.close()


def _bind(port: int | None) -> tuple[list[Any], int]:
    from bokeh.server.util import bind_sockets

    if port is not None and not 0 <= port < 1 << 16:  # the system would take its last 16 bits
        raise ConfigError(f"--port {port}: a port lies between 0 and 65535; --port 0 takes any free one")
    tried = PORTS if port is None else (port,)
    for candidate in tried:
        try:
            sockets, taken = bind_sockets(ADDRESS, candidate)
            return sockets, int(taken)
        except (OSError, OverflowError) as error:
            problem: LensflowError = ConfigError(
                f"--port {candidate}: cannot be used on {ADDRESS} ({getattr(error, 'strerror', None) or error}). "
                "Another page may be open there: choose another port, or --port 0 for any free one."
            )
    if port is None:
        return bind_sockets(ADDRESS, 0)
    raise problem
