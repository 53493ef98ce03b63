"""Make the pairs of a sweep's arms: rendered, or from the stored arcs of another arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.injection import Room
from lensflow.injection.metrics import invariant_failures
from lensflow.injection.other_noise import with_other_noise
from lensflow.injection.rounding import as_stored
from lensflow.run.execute import Progress, Stopwatch
from lensflow.run.inject import InjectTask, inject_step
from lensflow.run.sweep.arms import Arm, Design
from lensflow.store import objects, receipts
from lensflow.store.open import read_arcs_block, read_attrs
from lensflow.store.region_writer import RegionWriter
from lensflow.store.regions import Region, Regions
from lensflow.store.run_folder import RunFolder

# Count in the receipts of an arm that was not rendered.
FROM_ARCS = "arcs: read from another arm"


@dataclass(frozen=True)
class Made:
    """How an arm's pairs were made.

    Attributes
    ----------
    n_rows, n_rendered : int
        Rows, and those whose arc was rendered for this arm, as its receipts count them.
    """

    n_rows: int
    n_rendered: int


def make_arm(design: Design, arm: Arm, progress: Progress) -> None:
    """Make an arm's pairs; what is finished is kept.

    Parameters
    ----------
    design : Design
    arm : Arm
        Its cutouts and manifest are there. The arm whose arcs the others read is to be made first.
    progress : callable

    Raises
    ------
    StoreError
        If it has another manifest than the arm whose arcs it would read.
    """
    source = design.source_of(arm)
    if source is None:
        inject_step(arm.config, progress)
    else:
        urls = [RunFolder.of(a.config).manifest for a in (source, arm)]
        one, other = (read_attrs(u, "manifest").get("fingerprint") for u in urls)
        if one != other:
            raise StoreError(f"{urls[1]}: is not the manifest {urls[0]}, whose arcs this arm would read")
        inject_step(arm.config, progress, FromArcs(source.config))


def made_of(arm: Arm) -> Made:
    """Count the rows of an arm, and those that were rendered for it.

    Parameters
    ----------
    arm : Arm
        Finished.
    """
    total = receipts.total_counts(receipts.read_receipts(RunFolder.of(arm.config).receipts("pairs")).values())
    return Made(total["rows"], total["rows"] - total.get(FROM_ARCS, 0))


@dataclass(frozen=True)
class FromArcs:
    """Makes the tasks of an arm that reads the arcs of another.

    Attributes
    ----------
    source : RunConfig
        Of the arm with exact arcs.
    """

    source: RunConfig

    def __call__(
        self, config: RunConfig, stamp: str, regions: Regions, guard: objects.Guard = objects.unguarded
    ) -> InjectTask:
        """Make the task of a config's regions."""
        return FromArcsTask(config, stamp, regions, guard, self.source)


class FromArcsTask(InjectTask):
    """Make one region of an arm from the arcs that another arm has stored; nothing is rendered."""

    def __init__(self, config: RunConfig, stamp: str, regions: Regions, guard: objects.Guard, source: RunConfig):
        super().__init__(config, stamp, regions, guard)
        self.source = source

    def parts(self, writer: RegionWriter) -> Iterable[Region]:
        """All rows at once: on an object store reading stored arcs is the wait, and one request for all is shortest."""
        return [writer.region]

    def make(
        self, rows: Region, manifest: xr.Dataset, hosts: xr.Dataset, watch: Stopwatch, room: Room | None = None
    ) -> tuple[xr.Dataset, dict[str, int]]:
        """Noise, stamp and rounding of some rows, from stored arcs: as :meth:`InjectTask.make`, bit for bit."""
        stored = read_arcs_block(RunFolder.of(self.source).pairs, rows)
        watch.lap("read")
        block = with_other_noise(stored, hosts, manifest, self.config.injection)
        watch.lap("noise")
        broken = invariant_failures(block, manifest, hosts)
        block = as_stored(block, hosts, manifest, self.config.store)
        watch.lap("round")
        return block, {**broken, FROM_ARCS: rows.size}
