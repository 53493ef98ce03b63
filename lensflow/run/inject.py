"""Inject every row of the manifest, region by region, into the pairs store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig, fingerprint
from lensflow.injection import Room, inject_block
from lensflow.injection.metrics import invariant_failures
from lensflow.injection.rounding import as_stored, rounding_attrs
from lensflow.manifest.image_sources import bank_of
from lensflow.run.execute import Progress, Stopwatch, peak_rss_mb, run_tasks, silent, waiting_bytes
from lensflow.run.extend import extend_pairs, parts_of
from lensflow.run.identity import cutouts_content, keep_config, pairs_identity, refuse_unstored
from lensflow.store import create, objects, receipts, resume
from lensflow.store.blocks import hosts_among, hosts_of, read_manifest_block
from lensflow.store.lease import Held, hold
from lensflow.store.open import (
    open_manifest,
    open_pairs,
    read_attrs,
    read_pixels,
    stored_regions,
)
from lensflow.store.read import opened_together
from lensflow.store.receipts import Receipt
from lensflow.store.region_writer import RegionWriter
from lensflow.store.regions import Region, Regions
from lensflow.store.run_folder import RunFolder, rows_of_a_region


def inject_step(config: RunConfig, progress: Progress = silent, make: MakeTask | None = None) -> xr.Dataset:
    """Inject the run's manifest into its pairs store, one task per region; finished regions are not done again.

    Parameters
    ----------
    config : RunConfig
        Its cutouts and manifest must exist.
    progress : callable, optional
    make : callable, optional
        Makes the task of a region, ``make(config, fingerprint, regions, guard)``; by default :class:`InjectTask`.
        Another one must give the same bits.

    Returns
    -------
    Dataset
        The open pairs.

    Raises
    ------
    StaleStoreError
        If the store holds another run's pairs; the message names the differing settings.
    StoreError
        If another run is at work in the folder.
    """
    with hold(RunFolder.of(config).root) as held:
        return _inject(config, progress, held, make or InjectTask)


def _inject(config: RunConfig, progress: Progress, held: Held, make: MakeTask) -> xr.Dataset:
    folder = RunFolder.of(config)
    refuse_unstored(config)
    manifest = open_manifest(folder.manifest)
    identity = pairs_identity(config, cutouts_content(config), str(manifest.attrs["fingerprint"]))
    stamp = fingerprint(identity)
    n_rows = manifest.sizes["sample"]
    extend_pairs(config, identity, n_rows, held.guard)
    resuming = resume.may_resume(folder.pairs, identity)
    keep_config(config)
    if not resuming:
        held.guard()
        receipts.clear(folder.receipts("pairs"))
        several = schema.COMPONENTS[0].name in manifest
        create_pairs(folder.pairs, config, n_rows, identity, parts_of(config), held.guard, several)
    regions = stored_regions(folder.pairs, "pairs")
    todo = receipts.unfinished_regions(folder.receipts("pairs"), regions, stamp)
    task = make(config, stamp, regions, held.guard)
    for _ in run_tasks(task, [r.index for r in todo], "inject", progress, waiting_bytes(config)):
        held.check()
    receipts.require_finished(folder.receipts("pairs"), folder.pairs, regions, stamp)
    _require_readable(folder, regions)
    return open_pairs(folder.pairs)


def _require_readable(folder: RunFolder, regions: Regions) -> None:
    """Read rows back as readers will, where pixels are not stored: the store alone must lead to them."""
    if not objects.read_created(folder.pairs).rendered:
        return
    rows = np.array([regions[0].start, regions[len(regions) - 1].stop - 1])
    read_pixels(folder.pairs, "pairs", rows, ("arc", "stamp"))


def create_pairs(
    url: str,
    config: RunConfig,
    n_rows: int,
    identity: dict[str, Any],
    parts: list[dict[str, int | None]],
    guard: objects.Guard = objects.unguarded,
    several: bool = False,
) -> None:
    """Create the pairs store of a config, without any region; ``several``: sources have bulges or knots."""
    optional = ["ctrl"] if config.store.copy_ctrl else []
    optional += [v.name for v in schema.COMPONENT_METRICS] if several else []
    pixel_scale = read_attrs(RunFolder.of(config).cutouts, "cutouts")["pixel_scale_arcsec"]
    create.create_store(
        url,
        "pairs",
        n_rows,
        config.bands,
        stamp_size=config.survey.stamp_size,
        rows_per_region=config.store.samples_per_region or rows_of_a_region(config, n_rows),
        inner_chunk=config.store.inner_chunk,
        optional=optional,
        codec=config.store.codec,
        rounded=_rounded_arrays(config),
        virtual=config.store.rendered,
        attrs={
            "identity": identity,
            "fingerprint": fingerprint(identity),
            "pixel_scale_arcsec": pixel_scale,
            "parts": parts,
        },
        guard=guard,
    )


def _rounded_arrays(config: RunConfig) -> dict[str, dict[str, Any]]:
    store = config.store
    n, m = store.stamp_steps_per_sigma, store.arc_steps_per_sigma
    steps = {"stamp": n, "ctrl": n, "arc": m}
    return {name: rounding_attrs(k, store.quantize_step, config.bands) for name, k in steps.items() if k}


class InjectTask:
    """Inject one region and write it, the receipt last."""

    def __init__(self, config: RunConfig, stamp: str, regions: Regions, guard: objects.Guard = objects.unguarded):
        self.config, self.stamp, self.regions, self.guard = config, stamp, regions, guard

    def __call__(self, index: int) -> Receipt:
        """Do region ``index``: read, then render, measure, round and compress some rows at a time; the receipt last."""
        folder = RunFolder.of(self.config)
        with opened_together(folder.pairs, folder.manifest, folder.cutouts):
            return self._do(self.regions[index], folder)

    def _do(self, region: Region, folder: RunFolder) -> Receipt:
        watch, counts = Stopwatch(), dict[str, int]()
        with RegionWriter(folder.pairs, "pairs", region, self.guard) as writer:
            manifest, hosts = self.read(region, watch)
            parts = list(self.parts(writer))
            room = Room.of(max(part.size for part in parts), hosts)
            for part in parts:
                rows = manifest.isel(sample=slice(part.start - region.start, part.stop - region.start))
                block, found = self.make(part, rows, hosts_among(hosts, rows["host_index"].values), watch, room)
                writer.add(block)
                counts = {name: counts.get(name, 0) + n for name, n in _counts(block, rows, found).items()}
                watch.lap("write")
            written = writer.finish()
        watch.lap("write")
        receipt = Receipt(
            region=region.index,
            start=region.start,
            stop=region.stop,
            fingerprint=self.stamp,
            checksums=written["checksums"],
            counts=counts,
            seconds=watch.seconds,
            bytes=written["bytes"],
            objects=written["objects"],
            peak_rss_mb=peak_rss_mb(),
            rendered=written["rendered"],
        )
        return receipts.write_receipt(folder.receipts("pairs"), receipt)

    def block(self, region: Region, watch: Stopwatch) -> xr.Dataset:
        """All rows of a region as they are stored; nothing is written."""
        return self.make(region, *self.read(region, watch), watch)[0]

    def parts(self, writer: RegionWriter) -> Iterable[Region]:
        """Rows of a region that are made together."""
        return writer.parts()

    def read(self, region: Region, watch: Stopwatch) -> tuple[xr.Dataset, xr.Dataset]:
        """Read a region's rows of the manifest, and their hosts."""
        folder = RunFolder.of(self.config)
        manifest = read_manifest_block(folder.manifest, region)
        hosts = hosts_of(folder.cutouts, manifest["host_index"].values)
        watch.lap("read")
        return manifest, hosts

    def make(
        self, rows: Region, manifest: xr.Dataset, hosts: xr.Dataset, watch: Stopwatch, room: Room | None = None
    ) -> tuple[xr.Dataset, dict[str, int]]:
        """Inject some rows of a region: the block as it is stored, and counts such as those of broken invariants.

        Parameters
        ----------
        rows : Region
            Some of a region's.
        manifest : Dataset
            These rows.
        hosts : Dataset
            At least theirs.
        watch : Stopwatch
        room : Room, optional
            Memory for the block's pixels.
        """
        block = inject_block(hosts, manifest, self.config.injection, bank_of(self.config), room=room)
        watch.lap("render and measure")
        broken = invariant_failures(block, manifest, hosts)
        block = as_stored(block, hosts, manifest, self.config.store, with_ctrl=self.config.store.copy_ctrl)
        watch.lap("round")
        return block, broken


def _counts(block: xr.Dataset, manifest: xr.Dataset, found: dict[str, int]) -> dict[str, int]:
    control = manifest["is_control"].values
    return {
        "rows": control.size,
        "injections": int((~control).sum()),
        "controls": int(control.sum()),
        **{f"flag: {v.name}": int(block.variables[v.name].values.sum()) for v in schema.FLAGS},
        **found,
    }


MakeTask = Callable[[RunConfig, str, Regions, objects.Guard], InjectTask]
