"""Commands that show: one row, a page of the documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lensflow.cli.common import (
    CARE,
    USE,
    Json,
    RunPath,
    Unseal,
    console,
    example,
    folder_of,
    print_json,
)
from lensflow.errors import ConfigError
from lensflow.show.plain import print_line

commands = typer.Typer()


@commands.command("row", epilog=example("row runs/demo 0591m305-0002:5 --png row.png"), rich_help_panel=USE)
def show_row(
    run: RunPath,
    row: Annotated[
        str,
        typer.Argument(
            help="HOST:REPLICATE (HOST:c0 for its first control), the row's number in the manifest, or its row_id",
            show_default=False,
        ),
    ],
    png: Annotated[
        str | None, typer.Option("--png", help="File for the picture: host, arc and stamp in one stretch.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Say what each value is.")] = False,
    unseal: Unseal = None,
    as_json: Json = False,
) -> None:
    """Show a row: every truth value, measurement and flag, and its pixels as a picture."""
    from lensflow.run.open_run import open_run
    from lensflow.show.row_card import row_picture, row_table, row_values, viewer_link

    if png is not None and not png.endswith(".png"):
        raise ConfigError(f"--png {png}: the picture is a PNG, give a name that ends in .png")
    opened = open_run(folder_of(run))
    found = opened.row(row, unseal_test=unseal)
    host = opened.cutouts[["ra_deg", "dec_deg"]].isel(host=int(found["host_index"])).load()
    found = found.assign({n: host[n].variable for n in ("ra_deg", "dec_deg")})
    if as_json:
        print_json(row=row_values(found))
    else:
        console.print(row_table(found, full))
        if link := viewer_link(found, real=opened.config.survey.synthetic is None):
            print_line(console, f"Legacy Surveys viewer: {link}")
    if png is not None:
        Path(png).write_bytes(row_picture(found, float(found.attrs["pixel_scale_arcsec"])))
        print_line(console, f"Picture: {png}")


@commands.command("docs", epilog=example("docs gates"), rich_help_panel=CARE)
def show_page(
    page: Annotated[
        str | None, typer.Argument(help="Name of a page, as messages have it (docs/NAME.md)", show_default=False)
    ] = None,
) -> None:
    """Show a page of the documents, which come with lensflow; without a name, list them."""
    from lensflow.show.documents import page_text, page_titles

    if page is None:
        for name, title in page_titles().items():
            print_line(console, f"{name}: {title}")
    else:
        typer.echo(page_text(page))


@commands.command("view", epilog=example("view runs/demo --tags demo-tags.csv"), rich_help_panel=USE)
def view(
    run: RunPath,
    port: Annotated[
        int | None,
        typer.Option("--port", help="Port on 127.0.0.1; 0: any free one. Default: the first free one from 5007 on."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    tags: Annotated[
        str | None, typer.Option("--tags", help="CSV file for tags of rows. Default: NAME-tags.csv, here.")
    ] = None,
    unseal: Unseal = None,
) -> None:
    """Look through a run in the browser: pictures, plots, filters, completeness, tags. Ctrl-C ends it.

    The page is served to this machine alone. The run is read, never written.
    """
    from lensflow.store.run_folder import RunFolder, config_of
    from lensflow.view.serve import serve
    from lensflow.view.shared import Shared
    from lensflow.view.tags import Tags, file_for

    config = config_of(run)
    RunFolder.of(config).require_some_store()
    kept = Tags(tags or file_for(config.name))
    kept.every()  # a file that is none of tags is refused before a page is open

    shared = Shared(config, kept, unseal)
    shared.look()  # a test split that cannot be opened ends here
    kept.every()  # and so do tags of another run's rows

    def ready(address: str) -> None:
        print_line(console, f"{config.name}: {address}")
        print_line(console, f"Tags: {kept.path}. Ctrl-C ends the page.")

    serve(shared, port, not no_browser, ready)
