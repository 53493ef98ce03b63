"""Commands that evaluate: handlings of the core, trained lens finders, the diagnostics themselves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lensflow.cli.common import (
    JUDGE,
    MEASURE,
    FinishedRun,
    Json,
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
from lensflow.errors import ConfigError, GateFailed
from lensflow.show.plain import print_line, print_sentence

commands = typer.Typer()


@commands.command("tune-core", epilog=example("tune-core runs/dr9"), rich_help_panel=JUDGE)
def tune_core(run: FinishedRun, workers: Workers = None) -> None:
    """Compare handlings of the core: choose on some hosts, report on others. Exits with 3 if nothing passes."""
    from lensflow.run import tune_core_step
    from lensflow.show.terminal import print_core
    from lensflow.store.run_folder import RunFolder

    config = load(run, None, workers)
    with session(config) as progress:
        tuning = tune_core_step(config, progress)
    print_core(console, tuning)
    print_line(console, f"Figure, tables and numbers: {RunFolder.of(config).core}")
    if not tuning.recommended:
        raise GateFailed("no core handling can be recommended. The table shows what the gates still see with each.")


@commands.command(epilog=example("score runs/dr9 my_models:finder --split val"), rich_help_panel=MEASURE)
def score(
    run: FinishedRun,
    scorer: Annotated[
        str, typer.Argument(help="package.module:name of the scorer (docs/scoring.md)", show_default=False)
    ],
    split: Annotated[str | None, typer.Option("--split", help="train, val or test; replaces scorer.split.")] = None,
    unseal: Unseal = None,
    again: Annotated[bool, typer.Option("--again", help="Score again, ignoring stored scores.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Score a trained lens finder on a run: AUROC, and its loss without the core. Exits with 3 unless both pass."""
    from lensflow.run.score import score_step, with_split
    from lensflow.show.terminal import print_scores

    config = with_split(load(run, None, workers), split)
    with session(config) as progress:
        results = score_step(config, scorer, progress, unseal_test=unseal, again=again)
    if as_json:
        print_json(gates=[g.to_dict() for g in results])
    else:
        print_scores(console, results)
    refused = [g for g in results if g.verdict != "PASS"]
    if refused:
        raise GateFailed(f"{scorer}: " + ", ".join(f"{g.name} {g.verdict}" for g in refused))


@commands.command(epilog=example("completeness runs/dr9 my_models:finder --fpr 1e-2"), rich_help_panel=MEASURE)
def completeness(
    run: FinishedRun,
    scorer: Annotated[
        str,
        typer.Argument(
            help="package.module:name of what scores images (docs/scoring.md), an estimator saved by joblib, a table "
            "of scores (parquet, CSV), or blue_ring, snr_matched, snr_peak",
            show_default=False,
        ),
    ],
    fpr: Rates = None,
    value: Value = None,
    negatives: Annotated[
        str | None,
        typer.Option("--negatives", help="controls, cutouts, or a table of scores. Replaces completeness.negatives."),
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="The scorer, or who made the table, reads what was injected.")
    ] = False,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Write every injection with its density and what was recovered, as parquet."),
    ] = False,
    unseal: Unseal = None,
    again: Annotated[bool, typer.Option("--again", help="Score again, ignoring what is stored.")] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Another run of the same manifest: what it gains and loses; nothing is kept."),
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Which injections does a scorer recover? By resolution, size, brightness and seeing, with intervals over hosts.

    Exits with 3 where nothing can be measured, or what completeness.require asks for is not reached.
    """
    from lensflow.measure.completeness.population.injection_set import injections_beside
    from lensflow.run.completeness import completeness_step, with_options
    from lensflow.run.completeness.paired_runs import paired
    from lensflow.show.completeness import required, sentence, tables
    from lensflow.stats import codec

    if as_json and against is not None:
        raise ConfigError("--json is for the completeness of one run; what another gains is printed as text")
    options: dict[str, Any] = {"fpr": fpr or None, "value": value, "negatives": negatives, "truth": truth}
    config = with_options(load(run, None, workers), **options)
    if against is not None:
        with session(config) as progress:
            both = paired(config, against, scorer, **options, unseal_test=unseal, progress=progress)
        for line in repr(both).splitlines():
            print_line(console, line)
        return
    with session(config) as progress:
        found = completeness_step(config, scorer, progress, unseal_test=unseal, again=again, publish=publish)
    if as_json:
        gates = [found.gate.to_dict()] if found.gate is not None else []
        print_json(scorer=found.scorer, split=found.split, gates=gates, tables=codec.encode(dict(found)))
    print_sentence(console, sentence(found.scorer, found.split, found))
    for table in tables(found) if not as_json else ():
        console.print(table)
    if found.gate is not None:
        console.print(required(found.gate))
        print_sentence(console, f"{found.gate.name} {found.gate.verdict}: {found.gate.reason}")
    print_line(console, f"Numbers: {found.path}")
    if publish and "thresholds" in found:
        print_line(console, f"Injections: {injections_beside(found.path)}")
    if found.verdict not in (None, "PASS"):
        raise GateFailed(f"{found.scorer}: completeness {found.verdict}: {found.reason}")


@commands.command(
    epilog=example("realism runs/dr9 --real lenses.csv --scorer my_models:finder"), rich_help_panel=MEASURE
)
def realism(
    run: FinishedRun,
    real: Annotated[
        str | None,
        typer.Option("--real", help="Table of real lenses and known non-lenses; replaces realism.table."),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option("--scorer", help="package.module:name of what scores images: its recall of real lenses too."),
    ] = None,
    fpr: Annotated[
        list[float] | None,
        typer.Option("--fpr", help="With --scorer: false-positive rate; may be repeated. Replaces the threshold."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="module:callable, images to features; replaces realism.encoder.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure again, ignoring what is stored.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Are injections like real lenses? On matched hosts, with power stated; and which real lenses does a scorer find?

    Exits with 3 where a verdict is FAIL or ERROR; with realism.required, unless all pass.
    """
    from lensflow.run.completeness import with_options
    from lensflow.run.realism.step import realism_step
    from lensflow.show.realism import sentence, tables
    from lensflow.stats import codec

    if fpr and scorer is None:
        raise ConfigError("--fpr sets the thresholds of a scorer: name it with --scorer")
    config = load(run, None, workers)
    config = with_options(config, fpr=fpr) if fpr else config
    if encoder is not None:
        changed = type(config.realism).model_validate({**config.realism.model_dump(), "encoder": encoder})
        config = config.model_copy(update={"realism": changed})
    with session(config) as progress:
        found = realism_step(config, real, scorer, progress, again=again)
    if as_json:
        print_json(gates=[g.to_dict() for g in found.gates], tables=codec.encode(dict(found)))
    print_sentence(console, sentence(found.kept))
    for table in tables(found.kept) if not as_json else ():
        console.print(table)
    print_line(console, f"Numbers: {found.path}")
    accepted = ("PASS",) if config.realism.required else ("PASS", "INCONCLUSIVE", "NOT_TESTABLE")
    refused = [g for g in found.gates if g.verdict not in accepted]
    if refused:
        raise GateFailed("; ".join(f"{g.name} {g.verdict}: {g.reason}" for g in refused))


@commands.command(epilog=example("zoo runs/dr9"), rich_help_panel=JUDGE)
def zoo(
    run: Annotated[
        str | None, typer.Argument(help="Folder of a run, or its YAML file: its report will show the matrix.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder that gets zoo.json and zoo.png, or leaks.json.")
    ] = None,
    leaks: Annotated[
        bool,
        typer.Option("--leaks", help="Graded leaks instead: which pass, and can a classifier read them? Ten minutes."),
    ] = False,
    hosts: Annotated[
        int | None, typer.Option("--hosts", help="With --leaks: hosts of the small run.", show_default=False)
    ] = None,
) -> None:
    """Inject known faults into a small run, one at a time: which diagnostics detect them? Exits with 1 if one is
    missed.

    Takes a minute or two. A matrix in the run's folder is reused if the same code made it. With --leaks: leaks of
    rising amplitude, the amplitude at which the required set detects each, and what a classifier reads of those that
    pass.
    """
    if leaks:
        _leaks(run, out, hosts)
        return
    if hosts is not None:
        raise ConfigError("--hosts is for zoo --leaks; the zoo of faults has its own run")
    from lensflow.run import zoo_step
    from lensflow.show.terminal import print_zoo, progress_display

    config = load(run, None, None) if run else None
    with session(config) if config else progress_display(console) as progress:
        found = zoo_step(config, out, progress)
    if print_zoo(console, found):
        raise typer.Exit(1)


def _leaks(run: str | None, out: str | None, hosts: int | None) -> None:
    from lensflow.run.leaks import HOSTS, leaks_step
    from lensflow.show.terminal import print_leaks, progress_display

    if run is not None:
        raise ConfigError("zoo --leaks makes its own run and takes none. Give a folder for its numbers with --out")
    with progress_display(console) as progress:
        table = leaks_step(HOSTS if hosts is None else hosts, out, progress)
    if print_leaks(console, table):
        raise typer.Exit(1)
