"""Commands that hold a run against what is written about it, against a row made anew, against another run."""

from __future__ import annotations

from typing import Annotated

import typer

from lensflow.cli.common import FinishedRun, RunPath, console, errors, example, folder_of, load, session
from lensflow.errors import GateFailed, StoreError
from lensflow.report.plain import print_line

commands = typer.Typer()
_AS_WRITTEN = "Every value read is as it was written."


@commands.command(epilog=example("certify runs/dr9 --check"))
def certify(
    run: FinishedRun,
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

    config = load(run, None, None)
    if check:
        with progress_display(console) as progress:
            certificate = step.check_step(config, progress, reread=not quick)
        said = step.NOT_REREAD if quick else step.REREAD
        console.print(f"As certified on {certificate['made']}. {said}", highlight=False)
    else:
        with session(config) as progress:
            certificate = step.certify_step(config, progress)
        print_gates(console, step.gates_of(certificate))
    console.print(f"Certificate: {certificate['verdict']}, seal {certificate['seal'][:16]}", highlight=False)
    if certificate["verdict"] != "PASS":
        raise GateFailed(f"the certificate's verdict is {certificate['verdict']}. {certificate['reason']}")


@commands.command(epilog=example("verify runs/demo"))
def verify(
    run: RunPath,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Regions to read of each store, drawn anew; default all.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged objects again; sound ones stay.")] = False,
) -> None:
    """Read a run's stores back and compare every byte with what was written. Exits with 1 if anything is damaged.

    With --repair, what is damaged is made again: metadata from its record, cutouts from the survey, the manifest from
    the config, pairs from both, to the very bytes that were written.
    """
    from lensflow.report.terminal import progress_display
    from lensflow.steps import verify_step

    run = folder_of(run)
    with progress_display(console) as progress:
        found = verify_step(run, sample, repair=repair, progress=progress)
    for store, number in found.checked.items():
        console.print(f"{store}: {number} of {found.regions[store]} regions read", highlight=False)
    console.print("Metadata, columns and tables, the manifest's too: all of them read.", highlight=False)
    unread = {s: found.regions[s] - n for s, n in found.checked.items() if found.regions[s] > n}
    if unread and sample is not None:
        console.print(f"Not read: {', '.join(f'{n} regions of {s}' for s, n in unread.items())}.", highlight=False)
    for damage in found.damage:
        print_line(errors, str(damage))
    for mended in found.mended:
        print_line(console, mended)
    if not found.left:
        console.print("Every value is as it was written again." if found.damage else _AS_WRITTEN)
        return
    way_out = (
        "Run the same command as before: it does what is left." if repair else "--repair mends what can be mended."
    )
    raise StoreError(f"{run}: {len(found.left)} thing(s) are not as they were written. {way_out}")


@commands.command(epilog=example("rerender runs/demo --row 0500p000-0012:3"))
def rerender(
    run: RunPath,
    row: Annotated[
        str,
        typer.Option(
            "--row",
            help="HOST:REPLICATE (HOST:c0 for its first control), the row's number in the manifest, or its row_id.",
            show_default=False,
        ),
    ],
) -> None:
    """Render one row again and compare it with the stored bits. Exits with 1 if they differ."""
    from lensflow.steps import rerender as render_again

    run = folder_of(run)
    again = render_again(run, row)
    name = again.attrs["name"]
    if not again.attrs["identical"]:
        code = "" if again.attrs["same_code"] else " This is not the code that the run was made with."
        raise StoreError(f"{run}: {name} differs from what is stored in {', '.join(again.attrs['differing'])}.{code}")
    console.print(f"{name}: the bits are the stored ones.", highlight=False, markup=False)


@commands.command(epilog=example("compare runs/before runs/after"))
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
    print_line(console, f"Comparison: {page}")
