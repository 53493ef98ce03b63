"""The command that sweeps one factor of a run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lensflow.cli.common import (
    MEASURE,
    ConfigPath,
    Json,
    Out,
    Rates,
    Unseal,
    Value,
    Workers,
    console,
    example,
    load,
    print_json,
    session,
)
from lensflow.show.plain import print_line, print_sentence

commands = typer.Typer()


@commands.command(
    epilog=example("sweep runs/dr9 --factor injection.noise=true,false --scorer my_models:finder"),
    rich_help_panel=MEASURE,
)
def sweep(
    config: ConfigPath,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            "--factor",
            help="SETTING=VALUE,VALUE (the first is the reference; one alone is compared with the config's own), or "
            "none. Without it, every finished sweep of the run is shown.",
        ),
    ] = None,
    interaction: Annotated[
        bool, typer.Option("--interaction", help="Cross two factors of two values each, and report the interaction.")
    ] = False,
    scorer: Annotated[
        str | None,
        typer.Option("--scorer", help="As for completeness; by default completeness.scorer. None: proof and gates."),
    ] = None,
    fpr: Rates = None,
    value: Value = None,
    gates: Annotated[bool, typer.Option("--gates/--no-gates", help="Run the gates of every arm.")] = True,
    unseal: Unseal = None,
    out: Out = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Change exactly one factor of a run, prove that nothing else changed, and say what that moves.

    Arms are ordinary runs below OUT/sweeps/SETTING. Those that change noise or rounding alone read stored arcs and
    render nothing. A sweep that was stopped continues. Exits with 1 if an arm differs in more than its factor.
    """
    from lensflow.run.completeness import with_options
    from lensflow.run.sweep.step import page_of, stored_sweeps, sweep_step
    from lensflow.show.sweep import HONEST, STALE, interaction_table, lines_table, sentence, strata_table

    options: dict[str, Any] = {"fpr": fpr or None, "value": value}
    loaded = with_options(load(config, out, workers), **options)
    if not factor:
        found, stale = stored_sweeps(loaded)
        if as_json:
            print_json(sweeps=[s.to_json() for s in found], stale=stale)
        if not found and not stale:
            print_line(
                console, f"{loaded.out}: no sweep is finished. Name a factor: --factor injection.noise=true,false"
            )
            return
        console.print(lines_table(found))
        for name in stale:
            print_sentence(console, STALE.format(name=name))
        print_line(console, f"Page: {page_of(loaded)}")
        return
    with session(loaded) as progress:
        done = sweep_step(loaded, factor, scorer, progress, crossed=interaction, gates=gates, unseal_test=unseal)
    if as_json:
        print_json(sweeps=[done.to_json()], stale=[])
    print_sentence(console, sentence(done))
    console.print(lines_table([done]))
    for arm in done.arms:
        if (table := strata_table(arm)) is not None and len(done.arms) == 1:
            console.print(table)
    if (crossed := interaction_table(done)) is not None:
        console.print(crossed)
    for note in done.notes:
        print_sentence(console, note)
    print_sentence(console, HONEST)
    print_line(console, f"Page: {page_of(loaded)}")
