"""Store the pixels of a run that was made without (``store.pixels``): all of them, or those of some rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lensflow.cluster.local import REGION_COPIES
from lensflow.errors import ConfigError
from lensflow.run.execute import Progress, run_tasks, silent
from lensflow.store import objects, receipts, resume
from lensflow.store.lease import Hold, hold
from lensflow.store.materialise import reveal, store_rendered
from lensflow.store.paths import is_local
from lensflow.store.read import open_array, opened_together, store_group, stored_regions
from lensflow.store.regions import Region, Regions
from lensflow.store.rendered import refuse_other_code
from lensflow.store.run_folder import RunFolder


@dataclass(frozen=True)
class Materialised:
    """What was stored.

    Attributes
    ----------
    regions, n_bytes : int
        Regions that were stored now, and the bytes of their pixels on disk.
    left : int
        Regions whose pixels are still rendered when they are read.
    """

    regions: int
    n_bytes: int
    left: int


def materialise_step(out: str, rows: Sequence[slice] = (), progress: Progress = silent) -> Materialised:
    """Render the pixels that a run does not store, compare them with its receipts, and store them.

    Parameters
    ----------
    out : str
        The run's folder, any fsspec URL.
    rows : sequence of slice, optional
        Rows of the manifest whose regions are stored (a region is stored whole); all without.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all).

    Returns
    -------
    Materialised

    Raises
    ------
    StoreError
        If the pairs are not finished, or another run is at work in the folder.
    RenderedPixelsError
        If this code, machine or folder does not render the pixels that the run had; what was stored before stays.
    ConfigError
        If there are no such rows.

    Notes
    -----
    Regions are stored one by one, the receipt last, so that the run is whole whenever this is stopped, and the same
    call continues. Results of measurements stay current; a certificate does not, since it covers the bytes on disk.
    """
    folder = RunFolder(out.rstrip("/"))
    with hold(folder.root) as held:
        group = store_group(folder.pairs, "pairs")
        regions = stored_regions(folder.pairs, "pairs")
        resume.finished_content(folder.receipts("pairs"), folder.pairs, "pairs", "lensflow inject")
        wanted = _regions_of(regions, rows)
        if not objects.created_of(group).rendered:
            return Materialised(0, 0, 0)
        refuse_other_code(folder.pairs, group)
        done = receipts.read_receipts(folder.receipts("pairs"))
        todo = [r.index for r in wanted if done[r.index].rendered]
        n_bytes = 0
        task, waiting = _Task(folder, regions, held.guard), _waiting_bytes(folder, regions)
        for written in run_tasks(task, todo, "materialise", progress, waiting):
            held.check()
            n_bytes += written
        left = sum(1 for r in receipts.read_receipts(folder.receipts("pairs")).values() if r.rendered)
        if not left:
            reveal(folder.pairs, held.guard)
    return Materialised(len(todo), n_bytes, left)


def _waiting_bytes(folder: RunFolder, regions: Regions) -> float | None:
    """Memory that storing a region takes, bytes, where it waits for an object store."""
    if is_local(folder.root):
        return None
    stamp = open_array(folder.pairs, store_group(folder.pairs, "pairs"), "stamp")
    return float(REGION_COPIES * regions.rows * stamp.dtype.itemsize * math.prod(stamp.shape[1:]))


def _regions_of(regions: Regions, rows: Sequence[slice]) -> list[Region]:
    """Regions that have some of the rows, in order.

    Raises
    ------
    ConfigError
    """
    if not rows:
        return list(regions)
    found: set[int] = set()
    for some in rows:
        start, stop, _ = some.indices(regions.n_rows)
        if start >= stop or (some.stop is not None and some.stop > regions.n_rows):
            shown = f"{some.start or 0}:{'' if some.stop is None else some.stop}"
            raise ConfigError(f"--rows {shown}: the run has rows 0:{regions.n_rows}")
        found |= set(range(start // regions.rows, -(-stop // regions.rows)))
    return [regions[k] for k in sorted(found)]


class _Task:
    """Store the pixels of one region."""

    def __init__(self, folder: RunFolder, regions: Regions, guard: Hold):
        self.folder, self.regions, self.guard = folder, regions, guard

    def __call__(self, index: int) -> int:
        folder = self.folder
        receipt = receipts.read_receipt(folder.receipts("pairs"), index)
        if receipt is None:
            return 0
        with opened_together(folder.pairs, folder.manifest, folder.cutouts):
            return store_rendered(folder.pairs, self.regions[index], receipt, self.guard)
