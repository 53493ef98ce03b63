"""Shared by the scripts: options, the command, the session on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

import lensflow as lf

Config = Annotated[str, typer.Option("--config", help="YAML file of the run")]
RunConfig = Annotated[str, typer.Option("--config", help="YAML file of the run, or its folder")]
Out = Annotated[str | None, typer.Option("--out", help="folder of the run; replaces the config's out")]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="local, threads, address, kubernetes or yarn; replaces cluster.kind"),
]
Address = Annotated[
    str | None, typer.Option("--address", help="tls://host:port of a running scheduler, with --cluster address")
]


def command(text: str | None) -> Callable[[Callable[..., None]], typer.Typer]:
    """Make a script's function its command; the script's docstring is the help, line by line."""

    def decorated(main: Callable[..., None]) -> typer.Typer:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(help="\n\n".join(f"\b\n{part}" for part in (text or "").strip().split("\n\n")))(main)
        return app

    return decorated


@contextmanager
def session(config: Any, cluster: str | None, address: str | None) -> Iterator[None]:
    """Run on the config's cluster, or the one of the command line; the dashboard's address is printed."""
    settings = config.cluster.switched(kind=cluster, address=address)
    with lf.connect(settings) as client:
        if link := lf.dashboard_link(client, settings):
            print(f"Dask dashboard: {link}")
        yield
