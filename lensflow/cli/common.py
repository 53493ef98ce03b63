"""Shared by the commands: options, the config with the options applied, the session around a step."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lensflow.config import RunConfig
from lensflow.show.plain import PlainConsole, print_line

if TYPE_CHECKING:
    from lensflow.run.execute import Progress

# Groups of commands in the help.
MAKE, JUDGE, MEASURE, USE, CARE = "Make", "Judge", "Measure", "Use", "Look after"

console = PlainConsole()
errors = PlainConsole(stderr=True)

ConfigPath = Annotated[
    str,
    typer.Argument(help="YAML file of the run (settings: docs/config.md), or the folder of a run", show_default=False),
]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Folder of the run; replaces the config's out.")]
Workers = Annotated[int | None, typer.Option("--workers", "-w", help="Workers; replaces cluster.workers.")]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="local, threads, address, kubernetes or yarn; replaces cluster.kind."),
]
Address = Annotated[
    str | None, typer.Option("--address", help="tls://host:port of a running scheduler; replaces cluster.address.")
]
Limit = Annotated[int | None, typer.Option("--limit", help="Use only the first N hosts; replaces plan.limit_hosts.")]
RunPath = Annotated[str, typer.Argument(help="Folder of a run, or its YAML file", show_default=False)]
FinishedRun = Annotated[str, typer.Argument(help="Folder of a finished run, or its YAML file", show_default=False)]
Rates = Annotated[
    list[float] | None, typer.Option("--fpr", help="False-positive rate; may be repeated. Replaces the threshold.")
]
Value = Annotated[
    float | None, typer.Option("--value", help="Score from which on a row is recovered. Replaces the threshold.")
]
Unseal = Annotated[
    str | None, typer.Option("--unseal", help="Why the sealed test split is opened; logged beside the store.")
]


def _all_else_to_stderr(wanted: bool) -> bool:
    console.stderr = wanted
    return wanted


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_all_else_to_stderr,
        help="Print the result as one JSON document; everything else goes to standard error.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Take the folder over from a run that is active there.")]


def print_json(**parts: Any) -> None:
    """Print plain JSON types (:mod:`lensflow.stats.codec`) on standard output, for ``--json``."""
    typer.echo(json.dumps(parts, allow_nan=False))


def example(command: str) -> str:
    """Return the line below a command's help."""
    return f"**Example:** `lensflow {command}`"


def load(
    run: str,
    out: str | None,
    workers: int | None,
    kind: str | None = None,
    address: str | None = None,
    limit: int | None = None,
) -> RunConfig:
    """Read the config of a YAML file or a run's folder and apply the command line's options; None keeps its value."""
    from lensflow.store.run_folder import config_of

    config = config_of(run, out)
    if limit is not None:
        config = config.model_copy(update={"plan": config.plan.model_copy(update={"limit_hosts": max(1, limit)})})
    if address is not None and kind is None:
        kind = "address"
    return config.model_copy(update={"cluster": config.cluster.switched(kind=kind, address=address, workers=workers)})


def folder_of(run: str) -> str:
    """Return the folder of a run, given the folder or a YAML file."""
    from lensflow.store import paths
    from lensflow.store.run_folder import config_of

    is_folder = not run.endswith((".yaml", ".yml")) and not (paths.is_local(run) and paths.local_path(run).is_file())
    return run.rstrip("/") if is_folder else config_of(run).out.rstrip("/")


@contextlib.contextmanager
def session(config: RunConfig, force: bool = False, *, extends: bool = False) -> Iterator[Progress]:
    """Open a cluster, print its dashboard's address, show progress, and lock the run's folder."""
    from lensflow.cluster import connect, dashboard_link, progress_link
    from lensflow.cluster.local import check_region_fits
    from lensflow.run.identity import refuse_other_settings
    from lensflow.show.terminal import progress_display
    from lensflow.store.lease import hold
    from lensflow.store.run_folder import RunFolder, largest_region_bytes

    refuse_other_settings(config, larger=extends)  # before a lease is written and a cluster is started
    check_region_fits(config.cluster, largest_region_bytes(config))
    try:
        with (
            hold(RunFolder.of(config).root, force),
            connect(config.cluster) as client,
            progress_display(console) as progress,
        ):
            if link := dashboard_link(client, config.cluster):
                print_line(console, f"Dask dashboard: {link}")
            if page := progress_link(client, config.cluster):
                print_line(console, f"Progress of the run: {page}")
            yield progress
    except KeyboardInterrupt:
        errors.print("Stopped. Finished regions keep their receipts: the same command continues.")
        raise typer.Exit(130) from None


@contextlib.contextmanager
def reading(config: RunConfig, cluster: bool) -> Iterator[Progress]:
    """Show progress, and open a cluster if there is much to compute; nothing is written to the folder."""
    from lensflow.cluster import connect
    from lensflow.show.terminal import progress_display

    with connect(config.cluster) if cluster else contextlib.nullcontext(), progress_display(console) as progress:
        yield progress
