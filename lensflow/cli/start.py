"""Commands before a run: demo, compile, show the config, check what it needs."""

from __future__ import annotations

import json
import sys
from importlib import resources
from typing import TYPE_CHECKING, Annotated

import typer

from lensflow.cli.common import (
    MAKE,
    ConfigPath,
    Json,
    Out,
    Workers,
    console,
    example,
    load,
    print_json,
)
from lensflow.cli.steps import run_all
from lensflow.errors import ConfigError
from lensflow.show.plain import print_line

if TYPE_CHECKING:
    from lensflow.config import RunConfig
    from lensflow.run.completeness import Completeness
    from lensflow.run.execute import Progress

commands = typer.Typer()


@commands.command(epilog=example("demo --out runs/demo"), rich_help_panel=MAKE)
def demo(out: Out = "runs/demo", workers: Workers = None) -> None:
    """Run everything on a small synthetic survey: pixels to verdict and report in half a minute.

    At the end a toy lens finder is fitted on the train split, and its completeness on val is measured.
    """
    with resources.as_file(resources.files("lensflow") / "configs" / "demo.yaml") as path:
        config = load(str(path), out, workers)
    kept: list[Completeness] = []

    def toy(config: RunConfig, progress: Progress) -> None:
        from lensflow.run.toy import toy_step  # when the cluster has been started

        kept.append(toy_step(config, progress))

    run_all(config, also={"toy finder": toy})
    from lensflow.show.terminal import print_completeness

    found = kept[-1]
    print_completeness(console, found.scorer, found.split, found, found.path)


@commands.command(
    "init",
    epilog=example("init my-run.yaml --survey legacysurvey --root dr10/south --targets hosts.csv"),
    rich_help_panel=MAKE,
)
def init(
    file: Annotated[str, typer.Argument(help="The new YAML file", show_default=False)],
    survey: Annotated[
        str | None,
        typer.Option(
            "--survey",
            help="legacysurvey, hsc, des, kids, euclid, lsst, pattern (files of your own), stamps or synthetic.",
        ),
    ] = None,
    root: Annotated[str | None, typer.Option("--root", help="Folder of the survey, or of the stamps.")] = None,
    targets: Annotated[str | None, typer.Option("--targets", help="Table of the host galaxies.")] = None,
    out: Out = None,
) -> None:
    """Write a commented config to begin with. What no option says is asked, in a terminal."""
    from lensflow.config.starters import STARTERS, starter, write_starter

    asks = sys.stdin.isatty()
    if survey is None and asks:
        for name, what in STARTERS.items():
            print_line(console, f"{name}: {what}")
        survey = typer.prompt("Survey", default="legacysurvey")
    if survey is None:
        raise ConfigError(f"--survey: say which of {', '.join(STARTERS)}")
    if survey in STARTERS and survey != "synthetic" and asks:
        root = root or typer.prompt("Folder of the survey (a path, s3:// or https://)")
        targets = targets or typer.prompt("Table of the host galaxies")
    write_starter(file, starter(survey, file, root=root or "", targets=targets or "", out=out or ""))
    print_line(console, f"{file} is written. Next: lensflow doctor {file}")


@commands.command("warm-up", epilog=example("warm-up"), rich_help_panel=MAKE)
def warm_up() -> None:
    """Compile the kernels now: once per installation, one to three minutes. Otherwise the first run does it."""
    from lensflow.api import warm_up

    warm_up()


@commands.command("config", epilog=example("config workflows/configs/dr9_brick.yaml"), rich_help_panel=MAKE)
def show_config(
    config: ConfigPath,
    out: Out = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are not the defaults.")] = False,
) -> None:
    """Print every setting with its current value, and the fingerprint of those that the pairs depend on."""
    from lensflow.config import fingerprint

    loaded = load(config, out, None)
    if changed:
        for name, value in loaded.changed().items():
            print_line(console, f"{name}: {json.dumps(value)}")
    else:
        print_line(console, loaded.to_yaml().rstrip("\n"))
    print_line(console, f"# fingerprint {fingerprint(loaded.settings_of('pairs'))}")


@commands.command(epilog=example("doctor workflows/configs/dr9_brick.yaml"), rich_help_panel=MAKE)
def doctor(
    config: ConfigPath,
    out: Out = None,
    workers: Annotated[bool, typer.Option(help="Start or join the cluster, and check its workers.")] = True,
    as_json: Json = False,
) -> None:
    """Check what a run needs before it starts: targets, survey files, access, space, workers. 1 if it would fail."""
    from lensflow.cluster import connect
    from lensflow.run.doctor import Level
    from lensflow.run.doctor import doctor as examine
    from lensflow.show.terminal import print_looks

    loaded = load(config, out, None)
    findings = examine(loaded, (lambda: connect(loaded.cluster)) if workers else None)
    if as_json:
        looks = [{"check": f.check, "level": str(f.level), "what": f.what, "advice": f.advice} for f in findings]
        print_json(findings=looks)
    else:
        print_looks(console, findings)
    if any(f.level is Level.FAIL for f in findings):
        raise typer.Exit(1)
