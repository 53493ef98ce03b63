"""Commands that hand a run to a training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lensflow.cli.common import USE, FinishedRun, Json, Workers, console, errors, example, load, print_json
from lensflow.errors import GateFailed
from lensflow.show.plain import print_line

commands = typer.Typer()


@commands.command(
    epilog=example("export runs/dr9 lenses --format parquet --split train --split val"), rich_help_panel=USE
)
def export(
    run: FinishedRun,
    out: Annotated[str, typer.Argument(help="Folder of the export, a path or URL", show_default=False)],
    form: Annotated[
        str | None, typer.Option("--format", help="zarr, npy, parquet, webdataset or hats; replaces export.format.")
    ] = None,
    view: Annotated[
        str | None,
        typer.Option("--view", help="single, concat, residual, pairs or triplet; replaces export.view."),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", help="search, study or deploy; replaces export.purpose.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="train, val or test; may be repeated. Default: train and val.")
    ] = None,
    open_test: Annotated[
        str | None, typer.Option("--open-test", help="Why the sealed test split is opened; logged beside the store.")
    ] = None,
    quantize: Annotated[
        str | None, typer.Option("--quantize", help="none or sky/N: round both classes; replaces export.quantize.")
    ] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="float32 or float16; replaces export.dtype.")] = None,
    tags: Annotated[
        str | None, typer.Option("--tags", help="CSV of tagged rows (lensflow view); replaces export.tags.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option("--leave-out", help="Tag whose injections are no positives; may be repeated."),
    ] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not check what was written.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Write the samples of a certified run for a training, with card and Croissant, and check what was written.

    An interrupted export continues. One that fails its check keeps the suffix .failed, and the command exits with 3.
    """
    from lensflow.cluster import connect
    from lensflow.run.export.open_view import with_export
    from lensflow.run.export.step import DEFAULT_SPLITS, export_step
    from lensflow.show.exports import exported_tables
    from lensflow.show.terminal import progress_display

    own = load(run, None, workers)
    given: dict[str, Any] = {"format": form, "view": view, "purpose": purpose, "quantize": quantize, "dtype": dtype,
                             "tags": tags, "leave_out": leave_out}  # fmt: skip
    config = with_export(own, own, {k: v for k, v in given.items() if v is not None})
    try:
        with connect(config.cluster), progress_display(console) as progress:
            done = export_step(
                config, out, progress, splits=split or DEFAULT_SPLITS, unseal_test=open_test, check=not no_check
            )
    except KeyboardInterrupt:
        errors.print("Stopped. Finished files are kept: the same command continues.")
        raise typer.Exit(130) from None
    if as_json:
        print_json(path=str(done.path), record=done.record, verdicts=done.verdicts)
    for table in exported_tables(done.record):
        console.print(table)
    print_line(console, f"Export: {done.path}")
    if not done.passed:
        failed = ", ".join(k for k, v in done.verdicts.items() if v == "FAIL")
        raise GateFailed(
            f"{done.path}: the check of what was written failed: {failed}. export_check.json there says what was "
            "measured; delete the folder before the next export."
        )
