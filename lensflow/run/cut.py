"""Cut stamps for every target: tasks go along the sky, brick by brick, and write region by region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import SurveyError
from lensflow.injection.inject import NEEDED, OPTIONAL
from lensflow.run.cut_parts import Parts
from lensflow.run.cut_stamps import GivenStamps, StampTask
from lensflow.run.cut_task import CutTask, JoinTask, StripTask, write_hosts
from lensflow.run.execute import Progress, Several, Stopwatch, n_threads, run_tasks, silent, task_memory_bytes
from lensflow.run.identity import keep_config, refuse_other_cut
from lensflow.run.sources import check_tables, dataset_content, find_targets, pixel_scale_arcsec, survey_layout
from lensflow.run.strips import open_regions, plan_strips
from lensflow.schema import PsfSource, Status, reason_names
from lensflow.store import create, objects, paths, receipts, resume
from lensflow.store.lease import Held, hold
from lensflow.store.open import host_tables, open_cutouts, read_attrs, read_head, stored_regions
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region
from lensflow.store.run_folder import RunFolder, rows_of_a_region
from lensflow.survey.psf_ratio import map_psfsizes, sample_bricks
from lensflow.survey.psfsize import REFERENCE_BAND, measured_band_ratio
from lensflow.targets.in_memory import Targets

# Lines about single files in the error of a run that stops.
MESSAGES_SHOWN = 5
# Hosts named in it; hosts that may fail in any run, however small the fraction.
HOSTS_SHOWN, FEW_HOSTS = 5, 3
# Last strips, for each thread of the workers, whose regions are joined by tasks of their own.
STRIPS_APART = 2


def cut_step(config: RunConfig, progress: Progress = silent, *, targets: Targets | None = None) -> xr.Dataset:
    """Cut every target of a config's survey into its cutouts store; finished regions are not redone.

    Parameters
    ----------
    config : RunConfig
        ``survey.root`` (bricks), ``survey.synthetic`` (bricks that are written first) or ``survey.stamps``.
    progress : callable, optional
    targets : Dataset, Table or DataFrame, optional
        In place of ``survey.targets``.

    Returns
    -------
    Dataset
        The open cutouts: one row per target, whatever happened to it.

    Raises
    ------
    ConfigError
        If targets are given twice, or not at all.
    TargetError, SurveyError, StoreError
        For input that cannot be used, when more hosts fail than ``survey.failure_budget`` allows, or when another
        run is at work in the folder.
    """
    check_tables(config, targets)
    with hold(RunFolder.of(config).root) as held:
        return _cut(config, progress, held, targets)


def _cut(config: RunConfig, progress: Progress, held: Held, table: Targets | None) -> xr.Dataset:
    folder = RunFolder.of(config)
    refuse_other_cut(config)  # before a synthetic survey is written
    stamps = None if config.survey.stamps is None else GivenStamps(config)
    targets, inputs = find_targets(config, progress, table, None if stamps is None else stamps.block)
    identity = resume.identity(config, "cutouts", inputs)
    resuming = resume.may_resume(folder.cutouts, identity)
    keep_config(config)
    if not resuming:
        _create(config, targets, identity, store_attrs(config, targets, progress), held)
    budget = _Budget(config, targets.sizes["host"])
    return cut_regions(config, folder, fingerprint(identity), progress, held, budget, stamps)


def cut_regions(
    config: RunConfig,
    folder: RunFolder,
    stamp: str,
    progress: Progress,
    held: Held,
    budget: Budget | None = None,
    stamps: GivenStamps | None = None,
) -> xr.Dataset:
    """Cut the regions of a created store that have no valid receipt, within a budget of failures (None: any).

    ``stamps`` are those of ``survey.stamps``, if already read.
    """
    regions = stored_regions(folder.cutouts, "cutouts")
    todo = receipts.unfinished_regions(folder.receipts("cutouts"), regions, stamp)
    done = receipts.read_receipts(folder.receipts("cutouts"))
    waiting = {r.index for r in todo}
    budget = budget or Budget()
    for region in regions:
        if region.index not in waiting:
            budget.add(done[region.index])
    budget.check()
    # Read back, not measured again: a continued run fills holes like its first regions.
    ratio: Any = read_attrs(folder.cutouts, "cutouts").get("psf_band_ratio", {})
    task = CutTask(config, stamp, regions, ratio, held.guard, folder)
    if config.survey.stamps is not None:
        cutting = _cut_stamps(task, todo, stamps or GivenStamps(config), progress, held)
    else:
        cutting = _cut_bricks(task, todo, progress, held)
    for receipt in cutting:
        held.check()
        budget.add(receipt)
        budget.check()
    receipts.require_finished(folder.receipts("cutouts"), folder.cutouts, regions, stamp)
    return open_cutouts(folder.cutouts)


def _cut_stamps(
    task: CutTask, todo: list[Region], stamps: GivenStamps, progress: Progress, held: Held
) -> Iterator[Receipt]:
    """Cut regions of stamps, which this process has read."""
    parts = _new_parts(task.folder, held)
    stamps.leave(task, todo, parts)
    yield from run_tasks(StampTask(task, parts), [r.index for r in todo], "cut", progress)
    held.guard()
    paths.remove_folder(task.folder.parts)


def _new_parts(folder: RunFolder, held: Held) -> Parts:
    """Where tasks find and leave parts of regions, those of a run that was stopped removed."""
    held.guard()
    paths.remove_folder(folder.parts)
    return Parts(paths.join(folder.parts, held.lease.owner), held.guard)


def _cut_bricks(task: CutTask, todo: list[Region], progress: Progress, held: Held) -> Iterator[Receipt]:
    """Cut regions of bricks, a strip of sky at a time."""
    folder = task.folder
    parts = _new_parts(folder, held)
    head = read_head(folder.cutouts, "cutouts", names=("brickname", "cell"))
    config, memory = task.config, task_memory_bytes()
    region_bytes = 4.0 * task.regions.rows * len(config.bands) * config.survey.stamp_size**2
    most_open = 1.0 if memory is None else open_regions(memory, region_bytes)
    strips = plan_strips(head["brickname"].values.astype(str), head["cell"].values, task.regions, todo, most_open)
    # Not on an object store, where parts would be written and read once more.
    cut = StripTask(task, strips, parts, STRIPS_APART * n_threads() if paths.is_local(folder.root) else 0)
    several = Several(len(todo))
    yield from run_tasks(cut, range(len(strips)), "cut", progress, several=several)
    left = [r.index for r in todo if r.index not in several.seen]
    yield from run_tasks(JoinTask(cut), left, "cut", progress, several=several)
    held.guard()
    paths.remove_folder(folder.parts)


def cutouts_identity(
    config: RunConfig, progress: Progress = silent
) -> tuple[xr.Dataset, dict[str, Any], dict[str, Any]]:
    """Targets, identity and attributes of the cutouts store of a config; nothing is cut."""
    targets, inputs = find_targets(config, progress)
    return targets, resume.identity(config, "cutouts", inputs), store_attrs(config, targets, progress)


def store_attrs(config: RunConfig, targets: xr.Dataset, progress: Progress) -> dict[str, Any]:
    """Attributes measured or counted before cutting, and kept for a run that is continued."""
    counted = ("n_read", "n_removed", "removed", "n_duplicates", "hosts_by_split")
    return {
        **{k: targets.attrs[k] for k in counted},
        "notes": list(targets.attrs.get("notes", ())),
        "psf_band_ratio": psf_band_ratio(config, targets, progress),
        "pixel_scale_arcsec": pixel_scale_arcsec(config, targets),
    }


def psf_band_ratio(config: RunConfig, targets: xr.Dataset, progress: Progress = silent) -> dict[str, float]:
    """Median PSF size of each band over r, from the maps of ``survey.psf_ratio_bricks`` bricks at their targets.

    Read before anything is cut, one task a brick, so that a hole in one band's map is filled alike in every region.
    Bands without a host that has both sizes are left out: the theory stands in for them.
    """
    survey = config.survey
    if survey.stamps is not None or REFERENCE_BAND not in config.bands or len(config.bands) == 1:
        return {}
    layout, names = survey_layout(config), targets["brickname"].values.astype(str)
    bricks = sample_bricks(names, survey.psf_ratio_bricks)
    place = {b: targets[["ra_deg", "dec_deg"]].isel(host=names == b) for b in bricks}
    position = {b: (at["ra_deg"].values, at["dec_deg"].values) for b, at in place.items()}

    def measure(index: int) -> list[list[float]]:
        return map_psfsizes(layout, bricks[index], config.bands, *position[bricks[index]]).tolist()

    sizes = [row for rows in run_tasks(measure, range(len(bricks)), "psf sizes", progress) for row in rows]
    size = np.array(sizes, dtype=np.float64).reshape(-1, len(config.bands))
    source = np.where(size > 0, PsfSource.MAP, PsfSource.NONE)
    return {band: round(value, 6) for band, value in measured_band_ratio(size, source, config.bands).items()}


def freeze_cutouts(cutouts: xr.Dataset, config: RunConfig) -> None:
    """Store given cutouts (imported stamps, a subset) as the cutouts of a run, unless they are stored already.

    Raises
    ------
    StaleStoreError
        If the run folder holds other cutouts.
    """
    with hold(RunFolder.of(config).root) as held:
        _freeze(cutouts, config, held)


def _freeze(cutouts: xr.Dataset, config: RunConfig, held: Held) -> None:
    folder = RunFolder.of(config)
    opened = cutouts.attrs.get("fingerprint")
    if opened and paths.group_exists(folder.cutouts):
        stored = open_cutouts(folder.cutouts)
        if stored.attrs["fingerprint"] == opened and same_hosts(cutouts, stored):
            return
    block = cutouts.compute()
    identity = resume.identity(config, "cutouts", {"cutouts": dataset_content(block)})
    store_block(block, config, folder, identity, held, resuming=resume.may_resume(folder.cutouts, identity))


def store_block(
    block: xr.Dataset, config: RunConfig, folder: RunFolder, identity: dict[str, Any], held: Held, *, resuming: bool
) -> None:
    """Store cutouts in memory as those of a folder; what has a valid receipt is not written again."""
    stamp = fingerprint(identity)
    if not resuming:
        attrs = {"pixel_scale_arcsec": float(block.attrs["pixel_scale_arcsec"])}
        _create(config, block, identity, attrs, held, folder)
    regions = stored_regions(folder.cutouts, "cutouts")
    for region in receipts.unfinished_regions(folder.receipts("cutouts"), regions, stamp):
        write_hosts(folder, block.isel(host=region.slice), region, stamp, Stopwatch(), held.guard)


def same_hosts(cutouts: xr.Dataset, stored: xr.Dataset) -> bool:
    """Whether cutouts that were opened from a store are still the store's, in all that pairs depend on."""
    if cutouts.sizes != stored.sizes:
        return False
    for name in ("host_id", *NEEDED, *OPTIONAL):
        if (name in cutouts.variables) != (name in stored.variables):
            return False
        if name not in stored.variables:
            continue
        one, other = cutouts[name].variable, stored[name].variable
        if one.chunks is not None and getattr(one.data, "name", "") == getattr(other.data, "name", None):
            continue  # the name of a store's array contains its fingerprint
        if not bool(one.equals(other)):
            return False
    return True


def _create(
    config: RunConfig,
    head: xr.Dataset,
    identity: dict[str, Any],
    attrs: dict[str, Any],
    held: Held,
    folder: RunFolder | None = None,
) -> None:
    folder = folder or RunFolder.of(config)
    held.guard()
    receipts.clear(folder.receipts("cutouts"))
    create_cutouts(folder.cutouts, config, head, identity, attrs, held.guard)


def create_cutouts(
    url: str,
    config: RunConfig,
    head: xr.Dataset,
    identity: dict[str, Any],
    attrs: dict[str, Any],
    guard: objects.Guard = objects.unguarded,
) -> None:
    """Create the cutouts store of a config, without any region."""
    create.create_store(
        url,
        "cutouts",
        head.sizes["host"],
        config.bands,
        head=head,
        stamp_size=config.survey.stamp_size,
        psf_size=config.survey.psf_image_size,
        optional=("psf_kernel",) if _has_psf_images(config, head) else (),
        rows_per_region=config.store.hosts_per_region or rows_of_a_region(config, head.sizes["host"]),
        inner_chunk=config.store.inner_chunk,
        codec=config.store.codec,
        attrs={**attrs, "identity": identity, "fingerprint": fingerprint(identity)},
        guard=guard,
    )


def _has_psf_images(config: RunConfig, head: xr.Dataset) -> bool:
    """Bricks have them where the config asks; cutouts that are frozen where they come with them."""
    if "image" in head:
        return "psf_kernel" in head
    stamps = config.survey.stamps
    return config.survey.psf_images if stamps is None else bool(stamps.psf_files)


class Budget:
    """What cutting may lose: anything."""

    def add(self, receipt: Receipt) -> None:
        """Count a region."""

    def check(self) -> None:
        """Raise if too much is lost."""


class _Budget(Budget):
    """Running sums over receipts: hosts by status and reason, against ``survey.failure_budget``."""

    def __init__(self, config: RunConfig, n_hosts: int):
        self.config, self.n_hosts = config, n_hosts
        self.share = config.survey.failure_budget
        self.allowed = allowed_failures(self.share, n_hosts, synthetic=config.survey.synthetic is not None)
        self.counts: dict[str, int] = {}
        self.struck: list[Receipt] = []

    def add(self, receipt: Receipt) -> None:
        for name, number in receipt.counts.items():
            self.counts[name] = self.counts.get(name, 0) + number
        if receipt.counts.get("status: FAILED"):
            self.struck.append(receipt)

    def check(self) -> None:
        """Raise a SurveyError if more hosts have failed than the budget allows."""
        failed = self.counts.get("status: FAILED", 0)
        if failed <= self.allowed:
            return
        by_number = sorted((k for k in self.counts if k.startswith("reason: ")), key=lambda k: -self.counts[k])
        reasons = ", ".join(f"{k.removeprefix('reason: ')} {self.counts[k]}" for k in by_number)
        names, lines = self._who_failed()
        more = f" and {failed - len(names)} more" if failed > len(names) else ""
        causes = [m for r in self.struck for m in r.messages if any(n in m for n in names)][:MESSAGES_SHOWN]
        raise SurveyError(
            f"{failed} of {self.n_hosts} hosts failed, more than survey.failure_budget = {self.share:g} "
            f"allows ({self.allowed} here; {self.counts['hosts']} hosts tried; {reasons})."
            + "".join(f"\n  {line}" for line in lines)
            + (f"\n {more}" if more else "")
            + "".join(f"\n  {m}" for m in dict.fromkeys(causes))
            + "\nMend the input and start in a new out, or raise survey.failure_budget and run again. "
            "docs/cutouts.md lists the reasons."
        )

    def _who_failed(self) -> tuple[list[str], list[str]]:
        """Names of the first hosts that FAILED, and a line for each, from the reasons in the store."""
        read, names, lines = host_tables(RunFolder.of(self.config).cutouts)[0], list[str](), list[str]()
        for receipt in self.struck:
            block = read(receipt.start, receipt.stop)
            for i in np.flatnonzero(block["status"].values == Status.FAILED)[: HOSTS_SHOWN - len(names)]:
                bits = zip(self.config.bands, block["band_reasons"].values[i], strict=True)
                why = [w for band, b in bits for w in reason_names(int(b), band)]
                why = why or reason_names(int(block["reasons"].values[i]))
                names.append(str(block["host_id"].values[i]))
                lines.append(f"host {names[-1]}: {', '.join(why)}")
        return names, lines


def allowed_failures(share: float, n_hosts: int, synthetic: bool = False) -> int:
    """Number of hosts that may fail before a run stops.

    A share of few hosts is less than one: up to ``FEW_HOSTS`` may always fail, though no more than half of the hosts.
    A synthetic survey has hosts that are made to fail; only where more than half of its hosts do is it broken. A share
    of 0 allows none.

    Parameters
    ----------
    share : float
        As ``survey.failure_budget``.
    n_hosts : int
    synthetic : bool
    """
    if share == 0 and not synthetic:
        return 0
    half = n_hosts // 2
    return max(int(share * n_hosts), half if synthetic else min(FEW_HOSTS, half))
