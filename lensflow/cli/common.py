"""What the commands share: their options, the config with those applied, the session around a step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lensflow.config import RunConfig, load_config

if TYPE_CHECKING:
    from lensflow.steps.execute import Progress

console = Console()
errors = Console(stderr=True)

ConfigPath = Annotated[Path, typer.Argument(help="YAML file of the run; settings: docs/config.md", show_default=False)]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Folder of the run; replaces the config's out.")]
Workers = Annotated[int | None, typer.Option("--workers", "-w", help="Workers; replaces cluster.workers.")]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="local, threads, address, kubernetes or yarn; replaces cluster.kind."),
]
Address = Annotated[
    str | None, typer.Option("--address", help="tls://host:port of a running scheduler; replaces cluster.address.")
]
Limit = Annotated[int | None, typer.Option("--limit", help="Use the first so many hosts; replaces plan.limit_hosts.")]
RunPath = Annotated[str, typer.Argument(help="Folder of a run: its config's out", show_default=False)]
FinishedRun = Annotated[str, typer.Argument(help="Folder of a finished run, or its YAML file", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Take the folder over from a run that is at work there.")]


def example(command: str) -> str:
    """Line below a command's help."""
    return f"**Example:** `lensflow {command}`"


def load(
    path: Path,
    out: str | None,
    workers: int | None,
    kind: str | None = None,
    address: str | None = None,
    limit: int | None = None,
) -> RunConfig:
    """Read a config and put the command line's options in; None leaves what the file says."""
    config = load_config(path, out=out)
    if limit is not None:
        config = config.model_copy(update={"plan": config.plan.model_copy(update={"limit_hosts": max(1, limit)})})
    if address is not None and kind is None:
        kind = "address"
    return config.model_copy(update={"cluster": config.cluster.switched(kind=kind, address=address, workers=workers)})


def load_finished(run: str, workers: int | None = None) -> RunConfig:
    """Read the config that a run's folder keeps (or a YAML file), with another number of workers if one is given."""
    from lensflow.steps.certify import config_of

    config = config_of(run)
    return config.model_copy(update={"cluster": config.cluster.switched(kind=None, address=None, workers=workers)})


@contextlib.contextmanager
def session(config: RunConfig, force: bool = False) -> Iterator[Progress]:
    """Give a cluster with its dashboard's address printed and a progress display, alone in the run's folder."""
    from lensflow.cluster import connect
    from lensflow.report.terminal import progress_display
    from lensflow.steps import RunFolder
    from lensflow.store.lease import hold

    try:
        with (
            hold(RunFolder.of(config).root, force),
            connect(config.cluster) as client,
            progress_display(console) as progress,
        ):
            if client.dashboard_link and config.cluster.dashboard:
                console.print(f"Dask dashboard: [link]{client.dashboard_link}[/link]", highlight=False)
            yield progress
    except KeyboardInterrupt:
        errors.print("Stopped. Finished regions keep their receipts: the same command continues.")
        raise typer.Exit(130) from None
