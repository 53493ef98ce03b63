"""The ``lensflow`` command: parses, calls the library, prints."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lensflow import __version__
from lensflow.config import RunConfig, load_config
from lensflow.errors import GateFailed, LensflowError, StoreError

if TYPE_CHECKING:
    from lensflow.gates import GateResult
    from lensflow.steps.execute import Progress
    from lensflow.steps.run import RunResults

app = typer.Typer(
    name="lensflow",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Put simulated gravitational-lens arcs into real survey cutouts, and prove that nothing but the arc "
    "gives them away.",
)
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
Force = Annotated[bool, typer.Option("--force", help="Take the folder over from a run that is at work there.")]


def _example(command: str) -> str:
    return f"**Example:** `lensflow {command}`"


def _load(
    path: Path,
    out: str | None,
    workers: int | None,
    kind: str | None = None,
    address: str | None = None,
    limit: int | None = None,
) -> RunConfig:
    config = load_config(path, out=out)
    if limit is not None:
        config = config.model_copy(update={"plan": config.plan.model_copy(update={"limit_hosts": max(1, limit)})})
    if address is not None and kind is None:
        kind = "address"
    return config.model_copy(update={"cluster": config.cluster.switched(kind=kind, address=address, workers=workers)})


@contextlib.contextmanager
def _session(config: RunConfig, force: bool = False) -> Iterator[Progress]:
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


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


@app.command(epilog=_example("demo --out runs/demo"))
def demo(out: Out = "runs/demo", workers: Workers = None) -> None:
    """Run everything on a small synthetic survey: pixels to verdict and report in about a minute."""
    with resources.as_file(resources.files("lensflow") / "configs" / "demo.yaml") as path:
        config = _load(path, out, workers)
    _run(config)


@app.command("warm-up", epilog=_example("warm-up"))
def warm_up() -> None:
    """Compile the kernels now: once per installation, half a minute. Without it the first run does so."""
    from lensflow.api import warm_up

    warm_up()


@app.command(epilog=_example("run workflows/configs/dr9_brick.yaml --out runs/dr9"))
def run(
    config: ConfigPath,
    out: Out = None,
    workers: Workers = None,
    cluster: Cluster = None,
    address: Address = None,
    limit: Limit = None,
    force: Force = False,
) -> None:
    """Run every step of a config; finished work is kept. Exits with 3 if a required gate does not pass."""
    loaded = _load(config, out, workers, cluster, address, limit)
    _refuse(loaded, _run(loaded, force).gates)


def _refuse(config: RunConfig, gates: Sequence[GateResult]) -> None:
    needed = [g for g in gates if g.name in config.gate.must_pass]
    refused = [g for g in needed if g.verdict != "PASS"]
    if config.gate.required and refused:
        raise GateFailed(
            f"{len(refused)} of {len(needed)} required gate(s) did not pass: "
            + ", ".join(f"{g.name} {g.verdict}" for g in refused)
            + ". The report says why; gate.required: false makes gates advisory."
        )


def _run(config: RunConfig, force: bool = False) -> RunResults:
    from lensflow.report import terminal
    from lensflow.steps.run import run as run_all

    with _session(config, force) as progress:
        results = run_all(config, progress)
    _print_cutouts(config)
    terminal.print_pairs(console, _counts(config, "pairs"))
    terminal.print_stages(console, results.stages)
    terminal.print_gates(console, results.gates)
    console.print(f"\nReport: [bold]{results.report}[/bold]", highlight=False)
    return results


def _counts(config: RunConfig, stage: str) -> dict[str, int]:
    from lensflow.steps import RunFolder
    from lensflow.store import receipts

    return receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts(stage)).values())


def _print_cutouts(config: RunConfig) -> None:
    from lensflow.report.terminal import print_cutouts
    from lensflow.steps import RunFolder
    from lensflow.store import receipts
    from lensflow.store.open import open_cutouts

    folder = RunFolder.of(config)
    done = receipts.summary(receipts.read_receipts(folder.receipts("cutouts")).values())
    print_cutouts(console, open_cutouts(folder.cutouts), done["counts"], done["messages"])


@app.command("config", epilog=_example("config workflows/configs/dr9_brick.yaml"))
def show_config(config: ConfigPath, out: Out = None) -> None:
    """Print every setting with the value in force, and the fingerprint of those that the pairs depend on."""
    from lensflow.config import fingerprint

    loaded = _load(config, out, None)
    console.print(loaded.to_yaml(), markup=False, end="")
    console.print(f"# fingerprint {fingerprint(loaded.settings_of('pairs'))}", highlight=False)


@app.command(epilog=_example("doctor workflows/configs/dr9_brick.yaml"))
def doctor(
    config: ConfigPath,
    out: Out = None,
    workers: Annotated[bool, typer.Option(help="Start or join the cluster, and look at its workers.")] = True,
) -> None:
    """Look at what a run needs before it starts: targets, survey files, access, space, workers. 1 if it would fail."""
    from lensflow.cluster import connect
    from lensflow.report.terminal import print_findings
    from lensflow.steps.doctor import Level
    from lensflow.steps.doctor import doctor as examine

    loaded = _load(config, out, None)
    findings = examine(loaded, (lambda: connect(loaded.cluster)) if workers else None)
    print_findings(console, findings)
    if any(f.level is Level.FAIL for f in findings):
        raise typer.Exit(1)


@app.command(epilog=_example("cut workflows/configs/dr9_brick.yaml"))
def cut(config: ConfigPath, out: Out = None, workers: Workers = None, force: Force = False) -> None:
    """Cut stamps for every target out of the survey's bricks (or import stamps)."""
    from lensflow import steps

    loaded = _load(config, out, workers)
    with _session(loaded, force) as progress:
        steps.cut_step(loaded, progress)
    _print_cutouts(loaded)


@app.command(epilog=_example("plan workflows/configs/dr9_brick.yaml"))
def plan(
    config: ConfigPath,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")] = False,
    limit: Limit = None,
    large: Annotated[bool, typer.Option("--large", help="A plan of more than 20 million rows is meant.")] = False,
) -> None:
    """Say what the plan costs; draw the injection manifest for the hosts that were cut, and freeze it."""
    from lensflow import steps
    from lensflow.report.terminal import print_estimate, print_manifest, progress_display

    loaded = _load(config, out, None, limit=limit)
    print_estimate(console, *steps.estimate_step(loaded), loaded.estimate)
    if not dry_run:
        with progress_display(console) as progress:
            manifest = steps.plan_step(loaded, progress, confirmed=large)
        print_manifest(console, manifest)


@app.command(epilog=_example("inject workflows/configs/dr9_brick.yaml"))
def inject(config: ConfigPath, out: Out = None, workers: Workers = None, force: Force = False) -> None:
    """Render the manifest's arcs into the hosts and write the pairs; continues where it stopped."""
    from lensflow import steps
    from lensflow.report.terminal import print_pairs

    loaded = _load(config, out, workers)
    with _session(loaded, force) as progress:
        steps.inject_step(loaded, progress)
    print_pairs(console, _counts(loaded, "pairs"))


@app.command(epilog=_example("diagnose workflows/configs/dr9_brick.yaml"))
def diagnose(config: ConfigPath, out: Out = None, workers: Workers = None) -> None:
    """Measure the pairs, and say which of the numbers are not what they should be."""
    from lensflow import steps
    from lensflow.report.terminal import print_diagnostics, print_findings_of

    loaded = _load(config, out, workers)
    with _session(loaded) as progress:
        results = steps.diagnose_step(loaded, progress)
    print_diagnostics(console, results)
    print_findings_of(console, results)


@app.command(epilog=_example("gate workflows/configs/dr9_brick.yaml"))
def gate(config: ConfigPath, out: Out = None, workers: Workers = None) -> None:
    """Ask whether given pixels alone tell stamps from controls. Exits with 3 if a required gate does not pass."""
    from lensflow import steps
    from lensflow.report.terminal import print_gates

    loaded = _load(config, out, workers)
    with _session(loaded) as progress:
        results = steps.gate_step(loaded, progress)
    print_gates(console, results)
    _refuse(loaded, results)


@app.command(epilog=_example("certify runs/dr9 --check"))
def certify(
    run: Annotated[str, typer.Argument(help="Folder of a finished run, or its YAML file", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="Hold the run against the certificate that it has.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --check: trust the receipts, do not read the pixels back.")
    ] = False,
) -> None:
    """Bind the gates' verdicts to the data in a certificate. Exits with 3 unless every required gate passes.

    With --check nothing is written and every value is read back: changed settings, rows, pixels, checksums or results
    exit with 4.
    """
    from lensflow.report.terminal import print_gates, progress_display
    from lensflow.steps import certify as step

    config = step.config_of(run)
    if check:
        with progress_display(console) as progress:
            certificate = step.check_step(config, progress, reread=not quick)
        said = step.NOT_REREAD if quick else step.REREAD
        console.print(f"As certified on {certificate['made']}. {said}", highlight=False)
    else:
        with _session(config) as progress:
            certificate = step.certify_step(config, progress)
        print_gates(console, step.gates_of(certificate))
    console.print(f"Certificate: {certificate['verdict']}, seal {certificate['seal'][:16]}", highlight=False)
    if certificate["verdict"] != "PASS":
        raise GateFailed(f"the certificate's verdict is {certificate['verdict']}. {certificate['reason']}")


@app.command("tune-core", epilog=_example("tune-core runs/dr9"))
def tune_core(
    run: Annotated[str, typer.Argument(help="Folder of a finished run, or its YAML file", show_default=False)],
    workers: Workers = None,
) -> None:
    """Sweep ways of handling the core: choose on some hosts, report on others. Exits with 3 if nothing passes."""
    from lensflow.report.terminal_core import print_core
    from lensflow.steps import RunFolder, tune_core_step
    from lensflow.steps.certify import config_of

    config = config_of(run)
    config = config.model_copy(update={"cluster": config.cluster.switched(kind=None, address=None, workers=workers)})
    with _session(config) as progress:
        tuning = tune_core_step(config, progress)
    print_core(console, tuning)
    console.print(f"Figure, tables and numbers: {RunFolder.of(config).core}", highlight=False)
    if not tuning.recommended:
        raise GateFailed("no core handling can be recommended. The table says what each leaves to be seen.")


@app.command(epilog=_example("score runs/dr9 my_models:finder --split val"))
def score(
    run: Annotated[str, typer.Argument(help="Folder of a finished run, or its YAML file", show_default=False)],
    scorer: Annotated[
        str, typer.Argument(help="package.module:name of what scores images (docs/scoring.md)", show_default=False)
    ],
    split: Annotated[str | None, typer.Option("--split", help="train, val or test; replaces scorer.split.")] = None,
    unseal: Annotated[
        str | None, typer.Option("--unseal", help="Why the sealed test split is opened; logged beside the store.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Score anew, whatever is stored.")] = False,
    workers: Workers = None,
) -> None:
    """Judge a trained lens finder on a run: AUROC, and its loss without the core. Exits with 3 unless both pass."""
    from lensflow.report.terminal_scorer import print_scores
    from lensflow.steps.certify import config_of
    from lensflow.steps.score import score_step, with_split

    config = with_split(config_of(run), split)
    config = config.model_copy(update={"cluster": config.cluster.switched(kind=None, address=None, workers=workers)})
    with _session(config) as progress:
        results = score_step(config, scorer, progress, unseal_test=unseal, again=again)
    print_scores(console, results)
    refused = [g for g in results if g.verdict != "PASS"]
    if refused:
        raise GateFailed(f"{scorer}: " + ", ".join(f"{g.name} {g.verdict}" for g in refused))


@app.command(epilog=_example("zoo runs/dr9"))
def zoo(
    run: Annotated[
        str | None, typer.Argument(help="Folder of a run, or its YAML file: its report will show the matrix.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", help="Folder that gets zoo.json and zoo.png.")] = None,
) -> None:
    """Put known faults into a small run, one at a time: which diagnostic notices? Exits with 1 if one goes unnoticed.

    A minute or two. A matrix that this very code made is read where it lies in the run's folder.
    """
    from lensflow.report.terminal import print_zoo, progress_display
    from lensflow.steps import zoo_step
    from lensflow.steps.certify import config_of

    config = config_of(run) if run else None
    with _session(config) if config else progress_display(console) as progress:
        found = zoo_step(config, out, progress)
    if print_zoo(console, found):
        raise typer.Exit(1)


@app.command(epilog=_example("compare runs/before runs/after"))
def compare(
    before: Annotated[str, typer.Argument(help="Folder of a run, or its YAML file", show_default=False)],
    after: Annotated[str, typer.Argument(help="Folder of another run, or its YAML file", show_default=False)],
    html: Annotated[str | None, typer.Option("--html", help="Where the page goes; default: AFTER/report.")] = None,
) -> None:
    """Put two runs side by side: settings, gates, diagnostics, counts, and what differs beyond its interval."""
    from lensflow.report.terminal_compare import print_comparison
    from lensflow.steps import compare_step

    found, page = compare_step(before, after, html)
    print_comparison(console, found)
    console.print(f"Comparison: {page}", highlight=False)


@app.command(epilog=_example("report workflows/configs/dr9_brick.yaml"))
def report(config: ConfigPath, out: Out = None) -> None:
    """Write the HTML report of a finished run, with its figures as PNG."""
    from lensflow import steps

    loaded = _load(config, out, None)
    console.print(f"Report: {steps.report_step(loaded)}", highlight=False)


@app.command(epilog=_example("verify runs/demo"))
def verify(
    run: RunPath,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Regions to read of each store, drawn anew; default all.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Let the next run do the damaged regions again.")] = False,
) -> None:
    """Read a run's stores back and compare them with their receipts. Exits with 1 if anything is damaged."""
    from lensflow.report.terminal import progress_display
    from lensflow.steps import verify_step

    with progress_display(console) as progress:
        found = verify_step(run, sample, repair=repair, progress=progress)
    for store, number in found.checked.items():
        console.print(f"{store}: {number} of {found.regions[store]} regions read", highlight=False)
    for damage in found.damage:
        errors.print(str(damage), markup=False, highlight=False)
    if not found.damage:
        console.print("Every value read is as it was written.")
        return
    way_out = (
        "Their receipts are deleted: run the same command again and it does them anew."
        if repair
        else "--repair lets the next run do them again."
    )
    raise StoreError(f"{run}: {len(found.damage)} thing(s) are not as they were written. {way_out}")


@app.command(epilog=_example("rerender runs/demo --row 1234567890123456789"))
def rerender(
    run: RunPath, row: Annotated[int, typer.Option("--row", min=0, help="row_id of the manifest", show_default=False)]
) -> None:
    """Make one row anew and compare it with the stored bits. Exits with 1 if they differ."""
    from lensflow.steps import rerender as make_anew

    again = make_anew(run, row)
    if not again.attrs["identical"]:
        code = "" if again.attrs["same_code"] else " This is not the code that the run was made with."
        raise StoreError(
            f"{run}: row {row} differs from what is stored in {', '.join(again.attrs['differing'])}.{code}"
        )
    console.print(f"Row {row}: the bits are the stored ones.", highlight=False)


def main() -> None:
    """Run the command; errors of ours are printed without a traceback and set the exit code."""
    try:
        app()
    except LensflowError as error:
        kind = "Gate" if isinstance(error, GateFailed) else "Error"
        errors.print(f"[bold red]{kind}:[/bold red]", end=" ")
        errors.print(str(error), markup=False, highlight=False)
        sys.exit(error.exit_code)
