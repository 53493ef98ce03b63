"""The command that trains a network on a finished run."""

from __future__ import annotations

from typing import Annotated

import typer

from lensflow.cli.common import (
    USE,
    FinishedRun,
    Json,
    Workers,
    console,
    example,
    load,
    print_json,
    session,
)
from lensflow.errors import GateFailed
from lensflow.show.plain import print_line, print_sentence

commands = typer.Typer()


@commands.command(epilog=example("train runs/dr9"), rich_help_panel=USE)
def train(
    run: FinishedRun,
    nulls: Annotated[
        bool,
        typer.Option("--nulls", help="Also train where nothing is left to learn: the AUC must then be 0.5."),
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Train again, ignoring a stored result.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Train the network of section training on a run's train split, and judge it on val.

    Its file (summaries/training/weights.safetensors) is a scorer for score and completeness. Exits with 3 unless core
    drop, AUROC, the gap between train and val, and the controls of all strata pass.
    """
    from lensflow.show.training import sentence, tables
    from lensflow.stats import codec
    from lensflow.training.files import folder_of
    from lensflow.training.step import train_step

    config = load(run, None, workers)
    with session(config) as progress:
        found = train_step(config, progress, nulls=nulls, again=again)
    if as_json:
        kept = found.kept
        numbers, shown = codec.encode(dict(kept.numbers)), codec.encode(dict(kept.tables))
        print_json(scorer=found.scorer, gates=[g.to_dict() for g in found.gates], numbers=numbers, tables=shown)
    print_sentence(console, sentence(found.kept))
    for table in tables(found.kept) if not as_json else ():
        console.print(table)
    print_line(console, f"Network, scores, history and numbers: {folder_of(config)}")
    if found.not_passed:
        raise GateFailed(f"{found.kept.scorer}: " + ", ".join(f"{g.name} {g.verdict}" for g in found.not_passed))
