"""Cut stamps for every target: one task per region of hosts, in order of split, sky cell and brick."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig, fingerprint
from lensflow.errors import SurveyError
from lensflow.schema import Reason, Status
from lensflow.steps.execute import Progress, Stopwatch, peak_rss_mb, run_tasks, silent
from lensflow.steps.run_folder import RunFolder
from lensflow.steps.sources import dataset_content, find_targets, pixel_scale_arcsec, survey_layout
from lensflow.store import create, paths, receipts, resume
from lensflow.store.open import open_cutouts, read_head
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region, plan_regions, region_at
from lensflow.survey.cutouts import cut_block
from lensflow.survey.photometry import with_aperture_flux
from lensflow.survey.stamps import read_stamps


def cut_step(config: RunConfig, progress: Progress = silent) -> xr.Dataset:
    """Cut every target of a config's survey into its cutouts store; finished regions are not done again.

    Parameters
    ----------
    config : RunConfig
        ``survey.root`` (bricks), ``survey.synthetic`` (bricks that are written first) or ``survey.stamps``.
    progress : callable, optional

    Returns
    -------
    Dataset
        The open cutouts: one row per target, whatever happened to it.

    Raises
    ------
    TargetError, SurveyError, StoreError
        For input that cannot be used, or when more hosts fail than ``survey.failure_budget`` allows.
    """
    folder = RunFolder.of(config)
    targets, inputs = find_targets(config, progress)
    identity = resume.identity(config, "cutouts", inputs)
    stamp, n_hosts = fingerprint(identity), targets.sizes["host"]
    regions = plan_regions(n_hosts, config.store.hosts_per_region)
    if not resume.may_resume(folder.cutouts, identity):
        attrs = {k: targets.attrs[k] for k in ("n_read", "n_removed", "removed", "n_duplicates", "hosts_by_split")}
        _create(config, targets, identity, {"pixel_scale_arcsec": pixel_scale_arcsec(config, targets), **attrs})
    todo = receipts.missing_regions(folder.receipts("cutouts"), regions, stamp)
    done = receipts.read_receipts(folder.receipts("cutouts"))
    waiting = {r.index for r in todo}
    finished = [done[r.index] for r in regions if r.index not in waiting]
    _check_budget(config, finished, n_hosts)
    for receipt in run_tasks(_CutTask(config, stamp, n_hosts), [r.index for r in todo], "cut", progress):
        finished.append(receipt)
        _check_budget(config, finished, n_hosts)
    return open_cutouts(folder.cutouts)


def freeze_cutouts(cutouts: xr.Dataset, config: RunConfig) -> None:
    """Make given cutouts (imported stamps, a subset) the cutouts of a run; nothing to do if they are already.

    Raises
    ------
    StaleStoreError
        If the run folder holds other cutouts.
    """
    folder = RunFolder.of(config)
    opened = cutouts.attrs.get("fingerprint")
    if opened and paths.group_exists(folder.cutouts):
        stored = open_cutouts(folder.cutouts)
        if stored.attrs["fingerprint"] == opened and stored.sizes == cutouts.sizes:
            return
    block = cutouts.compute()
    identity = resume.identity(config, "cutouts", {"cutouts": dataset_content(block)})
    stamp = fingerprint(identity)
    if not resume.may_resume(folder.cutouts, identity):
        _create(config, block, identity, {"pixel_scale_arcsec": float(block.attrs["pixel_scale_arcsec"])})
    regions = plan_regions(block.sizes["host"], config.store.hosts_per_region)
    for region in receipts.missing_regions(folder.receipts("cutouts"), regions, stamp):
        _write(config, block.isel(host=region.slice), region, stamp, Stopwatch())


def _create(config: RunConfig, head: xr.Dataset, identity: dict[str, Any], attrs: dict[str, Any]) -> None:
    folder = RunFolder.of(config)
    receipts.clear(folder.receipts("cutouts"))
    create.create_store(
        folder.cutouts,
        "cutouts",
        head.sizes["host"],
        config.bands,
        head=head,
        stamp_size=config.survey.stamp_size,
        rows_per_region=config.store.hosts_per_region,
        inner_chunk=config.store.inner_chunk,
        attrs={**attrs, "identity": identity, "fingerprint": fingerprint(identity)},
    )


def _write(config: RunConfig, block: xr.Dataset, region: Region, stamp: str, watch: Stopwatch) -> Receipt:
    """Write one region of hosts, and its receipt last."""
    folder = RunFolder.of(config)
    written = create.write_region(block, folder.cutouts, "cutouts", region)
    watch.lap("write")
    receipt = Receipt(
        region=region.index,
        start=region.start,
        stop=region.stop,
        fingerprint=stamp,
        checksums=written["checksums"],
        counts=count_hosts(block),
        seconds=watch.seconds,
        bytes=written["bytes"],
        messages=list(block.attrs.get("messages", [])),
        peak_rss_mb=peak_rss_mb(),
    )
    receipts.write_receipt(folder.receipts("cutouts"), receipt)
    return receipt


class _CutTask:
    """Cut one region of hosts and write it; a class, so that Dask ships the config once per task, pickled."""

    def __init__(self, config: RunConfig, stamp: str, n_hosts: int):
        self.config, self.stamp, self.n_hosts = config, stamp, n_hosts

    def __call__(self, index: int) -> Receipt:
        watch, config = Stopwatch(), self.config
        region = region_at(index, self.n_hosts, config.store.hosts_per_region)
        head = read_head(RunFolder.of(config).cutouts, "cutouts", region.slice)
        watch.lap("read targets")
        if config.survey.stamps is not None:
            every = read_stamps(config.survey.stamps, config.bands, config.survey)
            where = {name: i for i, name in enumerate(every["host_id"].values)}
            block = every.isel(host=[where[name] for name in head["host_id"].values])
        else:
            # The catalogue's PSF size goes in under the name of what comes out: the size that is used.
            head = head.rename(catalogue_psfsize_arcsec="psfsize_arcsec")
            block = cut_block(head, survey_layout(config), config.bands, config.survey)
        watch.lap("read and decompress")
        return _write(config, with_aperture_flux(block), region, self.stamp, watch)


def count_hosts(block: xr.Dataset) -> dict[str, int]:
    """Hosts by status and by reason (with the band's name), for receipts and summaries."""
    status = block["status"].values
    counts = {"hosts": len(status), **{f"status: {s.name}": int((status == s).sum()) for s in Status}}
    for k, band in enumerate(block["band"].values):
        for reason in Reason:
            if reason & schema.BAND_REASONS:
                number = int((block["band_reasons"].values[:, k] & int(reason) > 0).sum())
                counts.update({f"reason: {reason.name}_{band}": number} if number else {})
    of_host = block["reasons"].values & ~np.bitwise_or.reduce(block["band_reasons"].values, axis=1)
    for reason in Reason:
        number = int((of_host & int(reason) > 0).sum())
        counts.update({f"reason: {reason.name}": number} if number else {})
    return counts


def _check_budget(config: RunConfig, finished: list[Receipt], n_hosts: int) -> None:
    counts = receipts.total_counts(finished)
    failed = counts.get("status: FAILED", 0)
    if failed > config.survey.failure_budget * n_hosts:
        reasons = ", ".join(f"{k.removeprefix('reason: ')} {v}" for k, v in counts.items() if k.startswith("reason: "))
        messages = [m for r in finished for m in r.messages][:5]
        raise SurveyError(
            f"{failed} of {n_hosts} hosts failed, more than survey.failure_budget = {config.survey.failure_budget:g} "
            f"allows ({counts['hosts']} hosts tried; {reasons})."
            + "".join(f"\n  {m}" for m in messages)
            + "\nMend the input and start in a new out, or raise survey.failure_budget and run again."
        )
