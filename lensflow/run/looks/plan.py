"""Checks of the plan's inputs."""

from __future__ import annotations

from collections.abc import Iterator

from lensflow.manifest.image_sources import bank_of
from lensflow.run.looks.base import Finding, Level, Seen


def plan_table(seen: Seen) -> Iterator[Finding]:
    """Read the table of injections as the plan will."""
    table = seen.table
    if table is not None:
        what = (
            f"{seen.config.plan.table}: {table.size:,} rows with {', '.join(sorted(table.columns)) or 'host_id alone'}"
        )
        yield Finding("plan.table", Level.OK, what)


def source_images(seen: Seen) -> Iterator[Finding]:
    """Open the images of sources, and read the first."""
    bank = bank_of(seen.config)
    if bank is None:
        return
    first = bank.get(bank.ids[0])
    size = f"half-light radius {first.half_light_radius_arcsec:.2f} arcsec"
    yield Finding("sources", Level.OK, f"{len(bank):,} images; the first, {first.source_id}, has {size}")
