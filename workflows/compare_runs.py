"""Two finished runs side by side: settings, gates, and the numbers that differ beyond their intervals.

    python workflows/compare_runs.py --config runs/after/config.yaml --before runs/before/config.yaml

Exits with 1 if a gate's verdict differs in the second run. The full comparison is written as a page, whose path is
printed.
"""

from typing import Annotated

import typer
from options import command

import lensflow as lf

SHOWN = 20


@command(__doc__)
def main(
    config: Annotated[str, typer.Option(help="YAML file of the later run, or its folder")],
    before: Annotated[str, typer.Option(help="YAML file of the run that it is held against, or its folder")],
) -> None:
    """Compare, print what changed, and write the page."""
    found, page = lf.compare_runs(before, config)

    print(f"A: {found.a.folder}\nB: {found.b.folder}")
    for setting, a, b in found.settings:
        print(f"  {setting}: {a} -> {b}")
    for gate, (a, b) in found.verdicts.items():
        print(f"  {gate}: {a} -> {b}")
    for change in found.differing[:SHOWN]:
        by = change.difference
        print(f"  {change.what}, {change.where}: differs by {by.value:.3g} [{by.low:.3g}, {by.high:.3g}]")
    print(f"{found.summary()}\nComparison: {page}")
    raise typer.Exit(int(any(a != b for a, b in found.verdicts.values())))


if __name__ == "__main__":
    main()
