"""Verify a run: read its stores back, compare them with their receipts, and mend what can be made again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lensflow.config import RunConfig
from lensflow.errors import ConfigError, DamagedStoreError, ManifestError, StoreError
from lensflow.injection.quality import bands_without_psf
from lensflow.manifest.check import check_declared
from lensflow.measure.pixels import Block
from lensflow.measure.pixels.rendering import Rerendered
from lensflow.run.execute import Progress, run_tasks, silent
from lensflow.run.measure import origin_of, region_block
from lensflow.store import objects, paths, receipts, resume
from lensflow.store.lease import hold
from lensflow.store.open import host_tables, open_cutouts, open_manifest, read_attrs, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.store.verify import Damage, check_created, check_region

STORES = ("cutouts", "manifest", "pairs")
ROWS_AT_ONCE = 500_000
# Damage of a record hides that of its regions, so mending goes in rounds.
ROUNDS = 4


@dataclass(frozen=True)
class Verification:
    """What was read, and what was found.

    Attributes
    ----------
    checked, regions : dict
        Store -> number of regions that were read, and that it has.
    damage : tuple of Damage
        Regions without a valid receipt are damage too: nothing vouches for them.
    mended : tuple of str
        What ``repair`` did.
    left : tuple of Damage
        What is still damaged after it; all of ``damage`` without ``repair``.
    """

    checked: dict[str, int]
    regions: dict[str, int]
    damage: tuple[Damage, ...]
    mended: tuple[str, ...] = ()
    left: tuple[Damage, ...] = ()


def verify_step(
    out: str,
    sample: int | None = None,
    *,
    repair: bool = False,
    render: bool = False,
    progress: Progress = silent,
) -> Verification:
    """Read a run's stores back and compare every byte with what was written: metadata, columns, tables, pixels.

    Parameters
    ----------
    out : str
        The run's folder, any fsspec URL.
    sample : int, optional
        Regions to read of each store, drawn again at every call; all without. What was written when the stores were
        created is always read.
    repair : bool
        Make damaged objects again: metadata from its record, cutouts from the survey, the manifest from the config,
        pairs from both. Only what then has the bytes that were written is put in place; sound objects are not touched.
        Regions without a valid receipt are left to the next run.
    render : bool
        Render the arcs of all rows of the regions that are read again, and name what is not as stored beyond the
        rendering's documented error. Nothing mends such a row: its bytes are those that were written.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all).

    Returns
    -------
    Verification

    Raises
    ------
    StoreError
        If there is no store in the folder, or something cannot be made again to the same bytes here.
    """
    folder = RunFolder(out.rstrip("/"))
    present = [s for s in STORES if paths.group_exists(folder.store(s)) or _has_record(folder, s)]
    if not present or present == ["manifest"]:
        raise StoreError(f"{out}: no cutouts and no pairs here. Is this the folder of a run (its config's out)?")
    found = _check(folder, present, sample, progress)
    if repair and found.damage:
        found = _mended(folder, present, found, progress)
    if render and "pairs" in present and not found.left:
        odd = tuple(_rendered_again(folder, sample, progress))
        found = replace(found, damage=(*found.damage, *odd), left=odd)
    return found


def _mended(folder: RunFolder, present: list[str], found: Verification, progress: Progress) -> Verification:
    """Make again what can be made again."""
    mended: list[str] = []
    now = found
    with hold(folder.root) as held:
        config = _config(folder)
        for _ in range(ROUNDS):
            before = now.left
            mended += _repair(folder, now, config, held.guard, progress, mended)
            now = _check(folder, present, None, progress)
            if not now.left or now.left == before:
                break
    return Verification(found.checked, found.regions, found.damage, tuple(mended), now.left)


def _rendered_again(folder: RunFolder, sample: int | None, progress: Progress) -> list[Damage]:
    """Render the arcs of every region of pairs again (of some with ``sample``)."""
    regions = stored_regions(folder.pairs, "pairs")
    chosen = [r.index for r in regions]
    if sample is not None and sample < len(chosen):
        chosen = sorted(np.random.default_rng().choice(chosen, sample, replace=False).tolist())
    task = RenderTask(_config(folder), regions)
    return [d for d in run_tasks(task, chosen, "render pairs", progress) if d is not None]


class RenderTask:
    """Render the arcs of one region again and compare them with the stored ones."""

    def __init__(self, config: RunConfig, regions: Regions):
        self.config, self.regions = config, regions
        self.origin = replace(origin_of(config), last_key=None, specimen_key=None)

    def __call__(self, index: int) -> Damage | None:
        """Compare region ``index``; the row that is furthest off."""
        folder = RunFolder.of(self.config)
        pairs, origin = region_block(self.config, self.origin, self.regions[index])
        found = Rerendered.from_block(Block(pairs, origin=origin))
        if not (worst := found.worst() or found.why):
            return None
        return Damage("pairs", index, "arc", folder.pairs, worst)


def _repair(
    folder: RunFolder, found: Verification, config: RunConfig, guard: Any, progress: Progress, before: list[str]
) -> list[str]:
    from lensflow.run.repair import repair_store

    done: list[str] = []
    try:
        for store in STORES:
            damage = [d for d in found.left if d.store == store]
            done += repair_store(folder, store, damage, config, guard, progress) if damage else []
    except StoreError as error:
        finished = [*before, *done]
        raise StoreError(f"{error}" + "".join(f"\n  done before that: {m}" for m in finished)) from error
    return done


def _config(folder: RunFolder) -> RunConfig:
    """Config of a run: the one in its folder, else the settings in its stores."""
    from lensflow.run.rerender import settings_in_stores

    try:
        return config_of(folder.root)
    except (ConfigError, StoreError):
        if (config := settings_in_stores(folder)) is not None:
            return config
    raise StoreError(
        f"{folder.root}: neither config.yaml nor any store has the run's settings, so nothing can be repaired. Put "
        f"config.yaml back."
    )


def _has_record(folder: RunFolder, store: str) -> bool:
    return paths.exists(objects.record_url(folder.store(store)))


def _check(folder: RunFolder, present: list[str], sample: int | None, progress: Progress) -> Verification:
    damage: list[Damage] = []
    checked, regions = {}, {}
    for store in present:
        url = folder.store(store)
        damage += check_created(url, store)
        try:
            attrs = read_attrs(url, store)
        except DamagedStoreError:
            continue  # reported already; its regions are not to be told from others
        except StoreError as error:  # of another version, or never finished
            damage = [d for d in damage if d.store != store]
            damage.append(Damage(store, -1, "", url, str(error)))
            continue
        if store == "manifest":
            continue  # written at once, so all of it is read already
        here = stored_regions(url, store)
        expected = str(attrs.get("fingerprint"))
        lost = {r.index for r in receipts.missing_regions(folder.receipts(store), here, expected)}
        chosen = [r.index for r in here if r.index not in lost]
        if sample is not None and sample < len(chosen):
            chosen = sorted(np.random.default_rng().choice(chosen, sample, replace=False).tolist())
        for i in sorted(lost):
            at = receipts.receipt_url(folder.receipts(store), i)
            damage.append(Damage(store, i, "", at, "no valid receipt: not finished"))
        for found in run_tasks(_VerifyTask(folder, store, here), chosen, f"verify {store}", progress):
            damage += found
        checked[store], regions[store] = len(chosen), len(here)
    damage += _foreign(folder, present)
    if {"cutouts", "manifest"} <= set(present) and not any(d.store in ("cutouts", "manifest") for d in damage):
        try:
            damage += _dark_injections(folder) or _declared(folder)
        except DamagedStoreError as error:  # an object that no region or column asked for
            store = "cutouts" if error.url == folder.cutouts else "manifest"
            damage.append(Damage(store, -1, "", error.url, f"{error.key} {error.what}"))
    for store in {"cutouts", "pairs"} & {d.store for d in damage}:
        checked.setdefault(store, 0)
        regions.setdefault(store, 0)
    every = tuple(sorted(damage, key=lambda d: (d.store, d.region, d.array, d.object)))
    return Verification(checked, regions, every, (), every)


def _foreign(folder: RunFolder, present: list[str]) -> list[Damage]:
    """Stores that the pairs were not made from."""
    if not {"manifest", "pairs"} <= {*present}:
        return []
    try:
        others = resume.other_inputs(folder.pairs, folder.manifest, folder.cutouts)
    except StoreError:
        return []  # reported already
    what = {"manifest": "not the manifest", "cutouts": "not the hosts"}
    return [Damage(store, -1, "", url, f"{what[store]} that the pairs were made from") for store, url in others.items()]


def _declared(folder: RunFolder) -> list[Damage]:
    """Compare a planned manifest with what it declares; one that was given declares nothing of its own."""
    identity: Any = read_attrs(folder.manifest, "manifest").get("identity", {})
    if "inputs.manifest" in identity:
        return []
    manifest = open_manifest(folder.manifest)
    read, _ = host_tables(folder.cutouts)
    for start in range(0, manifest.sizes["sample"], ROWS_AT_ONCE):
        rows = manifest.isel(sample=slice(start, start + ROWS_AT_ONCE)).load()
        first, last = int(rows["host_index"].min()), int(rows["host_index"].max())
        hosts = read(first, last + 1)
        try:
            check_declared(rows, hosts, manifest.attrs["declared"], manifest.attrs.get("given", ()), first)
        except ManifestError as error:
            return [Damage("manifest", -1, "", folder.manifest, f"not as declared: from row {start} on, {error}")]
    return []


def _dark_injections(folder: RunFolder) -> list[Damage]:
    """Rows called injections that have no arc in a band which their host has observed."""
    manifest = open_manifest(folder.manifest)
    bands = [str(b) for b in manifest["band"].values]
    cutouts = open_cutouts(folder.cutouts)
    rows = manifest["host_index"].values
    problem = bands_without_psf(manifest, cutouts["covered"].values[rows], bands)
    return [Damage("manifest", -1, "psf_fwhm_arcsec", folder.manifest, problem)] if problem else []


class _VerifyTask:
    """Check one region against the receipt that stands there now."""

    def __init__(self, folder: RunFolder, store: str, regions: Regions):
        self.folder, self.store, self.regions = folder, store, regions

    def __call__(self, index: int) -> list[Damage]:
        receipt = receipts.read_receipt(self.folder.receipts(self.store), index)
        if receipt is None:  # gone since the receipts were listed
            at = receipts.receipt_url(self.folder.receipts(self.store), index)
            return [Damage(self.store, index, "", at, "no valid receipt: not finished")]
        return check_region(self.folder.store(self.store), self.store, self.regions[index], receipt)
