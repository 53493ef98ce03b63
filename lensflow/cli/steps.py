"""Commands that run the steps of a config: all of them, or one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lensflow.cli.common import (
    JUDGE,
    MAKE,
    Address,
    Cluster,
    ConfigPath,
    Force,
    Json,
    Limit,
    Out,
    Workers,
    console,
    example,
    load,
    print_json,
    session,
)
from lensflow.config import RunConfig
from lensflow.errors import GateFailed
from lensflow.show.plain import print_line, styled

if TYPE_CHECKING:
    from lensflow.run.make_run import Step

commands = typer.Typer()


@commands.command(epilog=example("run workflows/configs/dr9_brick.yaml --out runs/dr9"), rich_help_panel=MAKE)
def run(
    config: ConfigPath,
    out: Out = None,
    workers: Workers = None,
    cluster: Cluster = None,
    address: Address = None,
    limit: Limit = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run every step of a config; finished work is kept. Exits with 3 if a required gate does not pass."""
    loaded = load(config, out, workers, cluster, address, limit)
    verdicts = run_all(loaded, force)
    if as_json:
        from lensflow.store import paths
        from lensflow.store.run_folder import RunFolder

        counts = {stage: _counts(loaded, stage) for stage in ("cutouts", "pairs")}
        page = paths.join(RunFolder.of(loaded).report, "index.html")
        print_json(out=str(loaded.out), verdicts=verdicts, counts=counts, report=page)
    _refuse(loaded, verdicts)


@commands.command(epilog=example("cut workflows/configs/dr9_brick.yaml"), rich_help_panel=MAKE)
def cut(config: ConfigPath, out: Out = None, workers: Workers = None, force: Force = False) -> None:
    """Cut stamps for every target out of the survey's bricks (or import stamps)."""
    from lensflow.run import cut_step

    loaded = load(config, out, workers)
    if _nothing_to_do(loaded, "cutouts"):
        return
    with session(loaded, force, extends=True) as progress:
        cut_step(loaded, progress)
    _print_cutouts(loaded)


@commands.command(epilog=example("plan workflows/configs/dr9_brick.yaml"), rich_help_panel=MAKE)
def plan(
    config: ConfigPath,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimated cost, and stop.")] = False,
    limit: Limit = None,
    large: Annotated[bool, typer.Option("--large", help="Confirm a plan of more than 20 million rows.")] = False,
) -> None:
    """Print the plan's cost; draw the injection manifest for the cutouts, and store it."""
    from lensflow.run import estimate_step, plan_step
    from lensflow.show.terminal import print_estimate, print_manifest, progress_display

    loaded = load(config, out, None, limit=limit)
    if not dry_run and _nothing_to_do(loaded, "manifest"):
        return
    print_estimate(console, *estimate_step(loaded), loaded.estimate)
    if not dry_run:
        with progress_display(console) as progress:
            manifest = plan_step(loaded, progress, confirmed=large)
        print_manifest(console, manifest)


@commands.command(epilog=example("inject workflows/configs/dr9_brick.yaml"), rich_help_panel=MAKE)
def inject(config: ConfigPath, out: Out = None, workers: Workers = None, force: Force = False) -> None:
    """Render the manifest's arcs into the hosts and write the pairs; continues where it stopped."""
    from lensflow.run import inject_step
    from lensflow.show.terminal import print_pairs

    loaded = load(config, out, workers)
    if _nothing_to_do(loaded, "pairs"):
        return
    with session(loaded, force, extends=True) as progress:
        inject_step(loaded, progress)
    print_pairs(console, _counts(loaded, "pairs"))


@commands.command(epilog=example("diagnose workflows/configs/dr9_brick.yaml"), rich_help_panel=JUDGE)
def diagnose(config: ConfigPath, out: Out = None, workers: Workers = None, as_json: Json = False) -> None:
    """Measure the pairs, and list the numbers that are not as expected."""
    from lensflow.run import diagnose_step
    from lensflow.run.kinds import kinds_of
    from lensflow.show.terminal import print_diagnostics
    from lensflow.stats import codec

    loaded = load(config, out, workers)
    with session(loaded) as progress:
        results = diagnose_step(loaded, progress)
    if as_json:
        print_json(diagnostics=codec.encode(results))
        return
    print_diagnostics(console, results, kinds_of(loaded))


@commands.command(epilog=example("gate workflows/configs/dr9_brick.yaml"), rich_help_panel=JUDGE)
def gate(config: ConfigPath, out: Out = None, workers: Workers = None, as_json: Json = False) -> None:
    """Test whether selected pixels alone distinguish stamps from controls. Exits with 3 if a required gate fails."""
    from lensflow.run import gate_step
    from lensflow.show.terminal import print_gates

    loaded = load(config, out, workers)
    with session(loaded) as progress:
        results = gate_step(loaded, progress)
    if as_json:
        print_json(gates=[g.to_dict() for g in results])
    else:
        print_gates(console, results)
    _refuse(loaded, {g.name: str(g.verdict) for g in results})


@commands.command(epilog=example("report workflows/configs/dr9_brick.yaml"), rich_help_panel=JUDGE)
def report(config: ConfigPath, out: Out = None) -> None:
    """Write the HTML report of a finished run, with its figures as PNG."""
    from lensflow.run import report_step

    loaded = load(config, out, None)
    print_line(console, f"Report: {report_step(loaded)}")


def run_all(config: RunConfig, force: bool = False, also: Mapping[str, Step] | None = None) -> dict[str, str]:
    """Run every step of a config and print the results; the caller acts on the gates' verdicts.

    If nothing is left to do, it says so and starts no cluster. Steps ``also`` come before the report; of a finished run
    they read what they kept.
    """
    from lensflow.cluster.forked import forking
    from lensflow.store import paths
    from lensflow.store.run_folder import RunFolder

    # What takes longest of starting local workers begins before this process imports what it needs itself.
    to_do = config.cluster.kind == "local" and not paths.exists(RunFolder.of(config).timings)
    with forking() if to_do else contextlib.nullcontext():
        return _run_all(config, force, also)


def _run_all(config: RunConfig, force: bool, also: Mapping[str, Step] | None) -> dict[str, str]:
    from lensflow.run.execute import silent
    from lensflow.run.finished import finished_run
    from lensflow.run.identity import refuse_other_run
    from lensflow.run.inputs import read_inputs

    refuse_other_run(config)
    done = finished_run(config)
    if done is not None:
        rows = f"{done.counts.get('injections', 0):,} injections and {done.counts.get('controls', 0):,} controls"
        print_line(console, f"Nothing to do: {config.out} is finished, {rows}.")
        _print_verdict(config, done.verdicts)
        for step in (also or {}).values():
            step(config, silent)
        page = done.report
        if also:
            from lensflow.run.report import report_if_stale  # draws

            page = report_if_stale(config)
        print_line(console, f"Report: {page}")
        return done.verdicts
    read_inputs(config)
    from lensflow.run import make_run
    from lensflow.show import terminal

    _compile_first(config)
    with session(config, force, extends=True) as progress:
        results = make_run(config, progress, also)
    _print_cutouts(config)
    terminal.print_pairs(console, _counts(config, "pairs"))
    terminal.print_stages(console, results.stages)
    terminal.print_gates(console, results.gates)
    verdicts = {g.name: str(g.verdict) for g in results.gates}
    _print_verdict(config, verdicts)
    print_line(console, styled("\nReport: ", (results.report, "bold")))
    return verdicts


def _compile_first(config: RunConfig) -> None:
    """Compile in this process what every local worker would else compile for itself, at the same time."""
    from lensflow.run.kernels import are_compiled

    if config.cluster.kind == "local" and not are_compiled():
        from lensflow.api import warm_up

        print_line(console, "Compiling the kernels: once per installation, one to three minutes.")
        warm_up()


def _nothing_to_do(config: RunConfig, stage: str) -> bool:
    """Return whether a stage is finished for this config, and print it. A store of other settings is refused here."""
    from lensflow.run.finished import finished_stage
    from lensflow.store.run_folder import RunFolder

    if not finished_stage(config, stage):
        return False
    what = RunFolder.of(config).store(stage)
    print_line(console, f"Nothing to do: {what} is finished.")
    return True


def _print_verdict(config: RunConfig, verdicts: Mapping[str, str]) -> None:
    needed = {n: verdicts.get(n, "not run") for n in config.must_pass}
    good = _good(config)
    refused = ", ".join(f"{n} {v}" for n, v in needed.items() if v not in good)
    kind = "required" if config.gate.required else "advisory"
    line = f"Verdict: {sum(v in good for v in needed.values())} of {len(needed)} {kind} gates pass"
    console.print(line + (f"; {refused}." if refused else "."), highlight=False, markup=False)


def _good(config: RunConfig) -> tuple[str, ...]:
    """Return the verdicts that count as passed, as in ``GateResult.passes``."""
    return ("PASS", "EXPLAINED") if config.gate.accept_explained else ("PASS",)


def _refuse(config: RunConfig, verdicts: Mapping[str, str]) -> None:
    needed = {n: v for n, v in verdicts.items() if n in config.must_pass}
    refused = {n: v for n, v in needed.items() if v not in _good(config)}
    if config.gate.required and refused:
        raise GateFailed(
            f"{len(refused)} of {len(needed)} required gate(s) did not pass: "
            + ", ".join(f"{name} {verdict}" for name, verdict in refused.items())
            + ". The report says why; gate.required: false makes gates advisory."
        )


def _counts(config: RunConfig, stage: str) -> dict[str, int]:
    from lensflow.store import receipts
    from lensflow.store.run_folder import RunFolder

    return receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts(stage)).values())


def _print_cutouts(config: RunConfig) -> None:
    from lensflow.show.terminal import print_cutouts
    from lensflow.store import receipts
    from lensflow.store.open import open_cutouts
    from lensflow.store.run_folder import RunFolder

    folder = RunFolder.of(config)
    done = receipts.summary(receipts.read_receipts(folder.receipts("cutouts")).values())
    print_cutouts(console, open_cutouts(folder.cutouts), done["counts"], done["messages"])
