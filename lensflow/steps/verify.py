"""Verify a run: read its stores back and compare every region with its receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lensflow.errors import ManifestError, StoreError
from lensflow.injection.quality import bands_without_psf
from lensflow.manifest.check import check_declared
from lensflow.steps.execute import Progress, run_tasks, silent
from lensflow.steps.run_folder import RunFolder
from lensflow.store import paths, receipts
from lensflow.store.lease import hold
from lensflow.store.open import host_tables, open_cutouts, open_manifest, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.verify import Damage, check_region, check_table

STORES = ("cutouts", "pairs")
ROWS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Verification:
    """What was read, and what was found.

    Attributes
    ----------
    checked, regions : dict
        Store -> number of regions that were read, and that it has.
    damage : tuple of Damage
        Regions without a valid receipt are damage too: nothing vouches for them.
    """

    checked: dict[str, int]
    regions: dict[str, int]
    damage: tuple[Damage, ...]


def verify_step(
    out: str, sample: int | None = None, *, repair: bool = False, progress: Progress = silent
) -> Verification:
    """Read a run's cutouts and pairs back and compare them with their receipts.

    Parameters
    ----------
    out : str
        The run's folder, any fsspec URL.
    sample : int, optional
        Regions to read of each store, drawn anew at every call; all without.
    repair : bool
        Delete the receipts of damaged regions: the next run does those again, to the same bytes.
    progress : callable, optional

    Returns
    -------
    Verification

    Raises
    ------
    StoreError
        If there is no store in the folder.
    """
    folder = RunFolder(out.rstrip("/"))
    present = [s for s in STORES if paths.group_exists(folder.store(s))]
    if not present:
        raise StoreError(f"{out}: no cutouts and no pairs here. Is this the folder of a run (its config's out)?")
    damage: list[Damage] = []
    checked, regions = {}, {}
    for store in present:
        here = stored_regions(folder.store(store), store)
        expected = str(paths.open_group(folder.store(store)).attrs.get("fingerprint"))
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
    damage += _manifest(folder)
    if repair:
        with hold(folder.root):
            for store in present:
                struck = {d.region for d in damage if d.store == store}
                here = stored_regions(folder.store(store), store)
                receipts.remove_receipts(folder.receipts(store), [here[i] for i in struck])
    return Verification(checked, regions, tuple(sorted(damage, key=lambda d: (d.store, d.region, d.array))))


def _manifest(folder: RunFolder) -> list[Damage]:
    """Compare the manifest with its checksums, and with what the pairs were made from."""
    if not paths.group_exists(folder.manifest):
        return []
    damage = check_table(folder.manifest, "manifest")
    if paths.group_exists(folder.cutouts) and not damage:
        damage += _dark_injections(folder)
    if paths.group_exists(folder.pairs):
        identity: Any = paths.open_group(folder.pairs).attrs.get("identity", {})
        if paths.open_group(folder.manifest).attrs.get("fingerprint") != identity.get("inputs.manifest"):
            what = "not the manifest that the pairs were made from"
            damage.append(Damage("manifest", 0, "", folder.manifest, what))
    return damage or _declared(folder)


def _declared(folder: RunFolder) -> list[Damage]:
    """Compare a planned manifest with what it declares; one that was given declares nothing of its own."""
    identity: Any = paths.open_group(folder.manifest).attrs.get("identity", {})
    if "inputs.manifest" in identity or not paths.group_exists(folder.cutouts):
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
            return [Damage("manifest", 0, "", folder.manifest, f"not as declared: from row {start} on, {error}")]
    return []


def _dark_injections(folder: RunFolder) -> list[Damage]:
    """Rows called injections that have no arc in a band which their host has observed."""
    manifest = open_manifest(folder.manifest)
    bands = [str(b) for b in manifest["band"].values]
    cutouts = open_cutouts(folder.cutouts)
    rows = manifest["host_index"].values
    problem = bands_without_psf(manifest, cutouts["covered"].values[rows], bands)
    return [Damage("manifest", 0, "psf_fwhm_arcsec", folder.manifest, problem)] if problem else []


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
