"""The command that checks an export."""

from __future__ import annotations

from typing import Annotated

import typer

from lensflow.cli.common import (
    USE,
    Json,
    console,
    example,
    print_json,
)
from lensflow.errors import GateFailed
from lensflow.show.plain import print_line, print_sentence

commands = typer.Typer()


@commands.command("check-export", epilog=example("check-export exports/dr9"), rich_help_panel=USE)
def check_export(
    out: Annotated[str, typer.Argument(help="Folder of an export", show_default=False)],
    run: Annotated[
        str | None, typer.Option("--run", help="Folder of its run, where export.json names another place.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read an export as a stranger would: does anything but the pixels say the class? Exits with 3 if a check fails.

    Ten checks, docs/check-export.md: order, bytes, format, bits, norm_stats, metadata, duplicates, labels, nan,
    roundtrip. Writes export_check.json into the export.
    """
    from lensflow.export.check.shown import sentence, table
    from lensflow.run.export.run_checks import RESULT
    from lensflow.run.export.run_checks import check_export as check

    found = check(out, run)
    if as_json:
        print_json(**found.to_dict())
    print_sentence(console, sentence(found))
    if not as_json:
        console.print(table(found))
    print_line(console, f"Every number: {out.rstrip('/')}/{RESULT}")
    if found.failed:
        raise GateFailed(f"{out}: failed {', '.join(found.failed)}")
