"""Commands that compare a run with its records, with rows rendered again, and with another run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lensflow.cli.common import (
    CARE,
    JUDGE,
    MEASURE,
    FinishedRun,
    Json,
    RunPath,
    console,
    errors,
    example,
    folder_of,
    load,
    print_json,
    reading,
    session,
)
from lensflow.errors import GateFailed, StoreError
from lensflow.show.plain import print_line

commands = typer.Typer()
_AS_WRITTEN = "Every value read is as it was written."


@commands.command(epilog=example("certify runs/dr9 --check"), rich_help_panel=JUDGE)
def certify(
    run: FinishedRun,
    check: Annotated[bool, typer.Option("--check", help="Compare the run with its certificate.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="With --check: do not read pixels, metrics, flags.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="With --check: compute diagnostics and gates again, and compare.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--key", help="File of a private key (make-key): sign the certificate.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option("--public-key", help="With --check: file of the key that must have signed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Gate a finished run and write a certificate of the verdicts and the data. Exits with 3 unless all gates pass.

    Everything is measured again: stored results are not used. With --check nothing is written: settings,
    bytes, receipts or results that are not as certified exit with 4. docs/certificates.md says what each check reads.
    """
    from lensflow.run import signing

    needs_check = {"--quick": quick, "--full": full, "--public-key": public_key is not None}
    if lost := [name for name, given in needs_check.items() if given and not check]:
        raise typer.BadParameter(f"{lost[0]} belongs to --check.")
    if check and key is not None:
        raise typer.BadParameter("--key signs a new certificate; --check takes the signer's --public-key.")
    if quick and full:
        raise typer.BadParameter("--quick leaves out the pixels that --full measures.")
    # Before hours of work.
    trusted = signing.read_public_key(public_key) if public_key is not None else None
    private = signing.read_private_key(key) if key is not None else None
    from lensflow.run import certify as step
    from lensflow.show.terminal import print_gates

    config = load(run, None, None)
    if check:
        with reading(config, full) as progress:
            checked = step.check_step(config, progress, quick=quick, full=full, public_key=trusted)
        certificate = checked.certificate
        print_line(console, f"As certified on {certificate['made']}.")
        for line in (*checked.looked_at, *checked.left_out, *checked.notes):
            print_line(console, line)
    else:
        with session(config) as progress:
            certificate = step.certify_step(config, progress, key=private)
        if not as_json:
            print_gates(console, step.gates_of(certificate))
        signed = f", by the key {certificate['signer']}" if certificate["signer"] else ""
        print_line(console, f"{certificate['protection'].capitalize()}{signed}.")
    if as_json:
        print_json(**certificate)
    console.print(f"Certificate: {certificate['verdict']}, seal {certificate['seal'][:16]}", highlight=False)
    if certificate["verdict"] != "PASS":
        raise GateFailed(f"the certificate's verdict is {certificate['verdict']}. {certificate['reason']}")


@commands.command("make-key", epilog=example("make-key ~/.config/lensflow/certify.pem"), rich_help_panel=CARE)
def make_key(
    file: Annotated[str, typer.Argument(help="File of the private key, outside every run", show_default=False)],
) -> None:
    """Make a key pair to sign certificates: FILE is the private key, FILE.pub the public one."""
    from lensflow.run import signing

    public, name = signing.make_key(file)
    print_line(console, f"Private key: {file}, which only you can read. Anyone who has it can sign in your name.")
    print_line(console, f"Public key: {public}, {name}")


@commands.command(epilog=example("verify runs/demo"), rich_help_panel=CARE)
def verify(
    run: RunPath,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of random regions of each store to read; default all.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair damaged objects; sound ones stay.")] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Render the arcs of all rows again, and compare them with the stored ones.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a run's stores back and compare every byte with its checksum. Exits with 1 if anything is damaged.

    With --repair, damaged objects are computed again: metadata from its record, cutouts from the survey, the manifest
    from the config, pairs from both, with exactly the original bytes. With --render, the arcs of all rows are rendered
    again (the diagnostics do so for about 900 of them).
    """
    from lensflow.run import verify_step
    from lensflow.show.terminal import progress_display

    run = folder_of(run)
    with progress_display(console) as progress:
        found = verify_step(run, sample, repair=repair, render=render, progress=progress)
    if as_json:
        print_json(run=run, **asdict(found))
    for store, number in found.checked.items():
        console.print(f"{store}: {number} of {found.regions[store]} regions read", highlight=False)
    console.print("All metadata, columns and tables were read, including the manifest's.", highlight=False)
    unread = {s: found.regions[s] - n for s, n in found.checked.items() if found.regions[s] > n}
    if unread and sample is not None:
        console.print(f"Not read: {', '.join(f'{n} regions of {s}' for s, n in unread.items())}.", highlight=False)
    for damage in found.damage:
        print_line(errors, str(damage))
    for mended in found.mended:
        print_line(console, mended)
    if not found.left:
        console.print("Every value is again as it was written." if found.damage else _AS_WRITTEN)
        return
    way_out = "Run the same command as before: it does what is left." if repair else "--repair restores what it can."
    if render and all(d.what.startswith("row_id") for d in found.left):
        way_out = "Its bytes are as written, so --repair cannot help: repeat the run in another out."
    raise StoreError(f"{run}: {len(found.left)} thing(s) are not as they were written. {way_out}")


@commands.command(epilog=example("materialise runs/virtual --rows 0:2000"), rich_help_panel=CARE)
def materialise(
    run: RunPath,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--rows", help="A:B, rows of the manifest whose regions are stored, whole; may repeat. All without."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Store the pixels of a run made with `store.pixels: virtual` or `stamp`, which are rendered when they are read.

    They are compared with the run's receipts before anything is written. The code must be that of the run. Stopped, the
    same command continues; the run can be read all the while.
    """
    from lensflow.run import materialise_step
    from lensflow.show.terminal import amount

    config = load(run, None, None)
    some = [_slice_of(text) for text in rows or ()]
    with session(config) as progress:
        done = materialise_step(str(config.out), some, progress)
    if as_json:
        print_json(run=str(config.out), **asdict(done))
    left = f"; {done.left} region(s) are still rendered when they are read" if done.left else ""
    if not done.regions:
        print_line(console, f"Nothing to do: {'these' if some else 'all'} pixels are stored already{left}.")
        return
    print_line(console, f"Pixels of {done.regions} region(s) stored, {amount(done.n_bytes)}{left}.")


def _slice_of(text: str) -> slice:
    """Rows ``A:B``; either end may be left out."""
    ends = text.split(":")
    if len(ends) != 2 or not all(e == "" or e.isdecimal() for e in ends):
        raise typer.BadParameter(f"--rows {text}: give A:B, two row numbers, such as 0:2000.")
    start, stop = (int(e) if e else None for e in ends)
    return slice(start, stop)


@commands.command(epilog=example("rerender runs/demo --row 0500p000-0012:3"), rich_help_panel=CARE)
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
    from lensflow.run import rerender as render_again

    run = folder_of(run)
    again = render_again(run, row)
    name = again.attrs["name"]
    if not again.attrs["identical"]:
        code = "" if again.attrs["same_code"] else " The run was made with other code."
        raise StoreError(f"{run}: {name} differs from what is stored in {', '.join(again.attrs['differing'])}.{code}")
    console.print(f"{name}: the bits are the stored ones.", highlight=False, markup=False)


@commands.command(epilog=example("compare runs/before runs/after"), rich_help_panel=MEASURE)
def compare(
    before: Annotated[str, typer.Argument(help="Folder of a run, or its YAML file", show_default=False)],
    after: Annotated[str, typer.Argument(help="Folder of another run, or its YAML file", show_default=False)],
    html: Annotated[str | None, typer.Option("--html", help="File for the page; default: in AFTER/report.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs: settings, gates, diagnostics, counts, and what differs beyond its interval."""
    from lensflow.run import compare_step
    from lensflow.show.terminal import print_comparison

    found, page = compare_step(before, after, html)
    if as_json:
        print_json(**found.to_json(), page=str(page))
    print_comparison(console, found)
    print_line(console, f"Comparison: {page}")
