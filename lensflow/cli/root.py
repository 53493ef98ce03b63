"""The app: the commands in the order of the help, and error handling."""

from __future__ import annotations

import atexit
import gc
import re
import sys
from typing import Annotated

import typer

from lensflow._version import __version__
from lensflow.cli import check_export, exports, judge, look, start, steps, sweep, train, trust
from lensflow.cli.common import console, errors
from lensflow.errors import GateFailed, LensflowError
from lensflow.show.plain import print_error, print_line

# Made since the last collection of garbage; Python's 700 suits programs that make few.
NEW_OBJECTS = 10_000
# Pages that messages name.
_PAGE = re.compile(r"docs/([a-z0-9-]+)\.md")

app = typer.Typer(
    name="lensflow",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Inject simulated gravitational-lens arcs into real survey cutouts, and prove that nothing but the arc gives "
    "them away.",
    epilog="**Exit codes:** 0 done; 1 an error, or damage found; 2 a wrong setting or option; 3 a required gate or a "
    "check of an export did not pass; 4 `certify --check` found a run that is not as certified; 130 stopped with "
    "Ctrl-C (the same command continues). See `lensflow docs exit-codes`.",
)
for module in (start, steps, judge, sweep, exports, check_export, train, look, trust):
    app.add_typer(module.commands)


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


def main() -> None:
    """Run the command; lensflow's own errors are printed without a traceback and set the exit code."""
    # Half a million objects of imported modules are never garbage: neither looked through often while they are made,
    # nor once more when the process ends, which takes a second.
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
    try:
        app()
    except LensflowError as error:
        kind = "Gate" if isinstance(error, GateFailed) else "Error"
        print_error(errors, kind, str(error))
        for page in dict.fromkeys(_PAGE.findall(str(error))):
            print_line(errors, f"lensflow docs {page} shows that page.")
        sys.exit(error.exit_code)
