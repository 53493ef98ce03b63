"""Repair damaged objects of a run with exactly their original bytes; sound ones are not touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.run.cut import create_cutouts, cutouts_identity
from lensflow.run.cut_task import CutTask
from lensflow.run.execute import Progress, Stopwatch, run_tasks
from lensflow.run.identity import cutouts_content, manifest_identity, pairs_identity
from lensflow.run.inject import InjectTask, create_pairs
from lensflow.run.plan import write_manifest
from lensflow.run.plan_size import sizes_of
from lensflow.store import objects, paths, receipts, resume, writing
from lensflow.store.lease import Hold
from lensflow.store.open import open_manifest, read_attrs, stored_regions
from lensflow.store.pieces import fault_of
from lensflow.store.run_folder import RunFolder
from lensflow.store.verify import Damage, damaged_objects
from lensflow.store.writing import Encoded


def repair_store(
    folder: RunFolder, store: str, damage: Iterable[Damage], config: RunConfig, guard: Hold, progress: Progress
) -> list[str]:
    """Repair one store of a run, as far as the same bytes can be reproduced.

    Parameters
    ----------
    folder : RunFolder
    store : {"cutouts", "manifest", "pairs"}
    damage : iterable of Damage
        What was found in it.
    config : RunConfig
        Of the run.
    guard : Hold
    progress : callable

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    StoreError
        If the bytes cannot be made again: another code, other inputs, another machine.
    """
    url, done = folder.store(store), []
    lost = [d for d in damage if d.region >= 0 and not d.array]
    struck = sorted({d.region for d in damage if d.region >= 0 and d.array})
    if any(d.region < 0 for d in damage):
        done += _mend_created(folder, store, config, guard, progress)
    if lost:
        guard()
        receipts.remove_receipts(folder.receipts(store), [stored_regions(url, store)[d.region] for d in lost])
        done.append(
            f"{store}: {len(lost)} region(s) without a valid receipt are left to the next run: the same command "
            "does them again"
        )
    if struck:
        _require_same_run(folder, store, config, progress)
        task = _MendTask(config, folder, store, guard)
        mended = [key for keys in run_tasks(task, struck, f"repair {store}", progress) for key in keys]
        shown = ", ".join(mended[:8]) + (" ..." if len(mended) > 8 else "")
        done.append(f"{store}: {len(mended)} object(s) of {len(struck)} region(s) made again ({shown})")
    return done


def _mend_created(folder: RunFolder, store: str, config: RunConfig, guard: Hold, progress: Progress) -> list[str]:
    """Metadata from the record of the store's creation; columns, tables and the record itself computed again."""
    url, done = folder.store(store), []
    try:
        created = objects.read_created(url)
    except DamagedStoreError:
        created = None
    bad = damaged_objects(url, created) if created else {}
    if created:
        for key in [k for k in bad if k == objects.ROOT or k in created.metadata]:
            guard()
            text = created.metadata.get(key) or objects.canonical(created.root)
            paths.remove(paths.join(url, key))
            paths.write_text(paths.join(url, key), text)
            del bad[key]
            done.append(f"{store}: {key} restored from the record of the store's creation")
        if not bad:
            return done
    identity = _require_same_run(folder, store, config, progress, known=created is not None)
    # Written beside the store, so that nothing sound is touched.
    scratch = RunFolder(folder.path(".repair"))
    try:
        attrs = created.root["attributes"] if created else _raw_attrs(url)
        _create_again(scratch, store, config, identity, attrs.get("parts") or [sizes_of(config)], progress)
        again = objects.read_created(scratch.store(store))
        if created is None:
            bad = damaged_objects(url, again)
            if bad.get(objects.ROOT) == "is not what was written" and _stored_identity(url):
                raise StoreError(
                    f"{url}: the record of its creation is lost, and what is made again here has other attributes than "
                    "the store (was it extended?). Nothing was changed. Put receipts/ back, or make the run again in "
                    "another out."
                )
            guard()
            objects.write_created(url, again)
            done.append(f"{store}: the record of its creation made again")
        for key, what in bad.items():
            if created and again.objects.get(key) != created.objects.get(key):
                raise StoreError(
                    f"{url}: {key} {what}, and what is made again here has other bytes than were written (another "
                    "version of a library?). Repair it where the run was made, or make the run again in another out."
                )
            content = paths.read_object(paths.join(scratch.store(store), key))
            assert content is not None
            guard()
            paths.remove(paths.join(url, key))
            paths.write_bytes(paths.join(url, key), content)
            done.append(f"{store}: {key} made again")
    finally:
        paths.remove_folder(scratch.root)
    return done


def _create_again(
    scratch: RunFolder,
    store: str,
    config: RunConfig,
    identity: Mapping[str, Any],
    parts: list[dict[str, int | None]],
    progress: Progress,
) -> None:
    url = scratch.store(store)
    if store == "cutouts":
        create_cutouts(url, config, *cutouts_identity(config, progress))
    elif store == "manifest":
        write_manifest(url, config, dict(identity), parts, progress)
    else:
        n_rows = open_manifest(RunFolder.of(config).manifest).sizes["sample"]
        create_pairs(url, config, n_rows, dict(identity), parts)


def _require_same_run(
    folder: RunFolder, store: str, config: RunConfig, progress: Progress, known: bool = True
) -> Mapping[str, Any]:
    """Identity of a store, if settings, inputs and code here would make the same one.

    Raises
    ------
    StoreError
    """
    url = folder.store(store)
    identities: dict[str, Callable[[], Mapping[str, Any]]] = {
        "cutouts": lambda: cutouts_identity(config, progress)[1],
        "manifest": lambda: manifest_identity(config, cutouts_content(config)),
        "pairs": lambda: pairs_identity(config, cutouts_content(config), _manifest_fingerprint(config)),
    }
    if known:
        stored: Any = read_attrs(url, store).get("identity", {})
    else:
        stored = _stored_identity(url)
    if stored.get("lensflow.code") not in (None, resume.code_fingerprint()):
        raise StoreError(
            f"{url}: made by lensflow {stored.get('lensflow.version')} with other code ({stored['lensflow.code']}, "
            f"here {resume.code_fingerprint()}), which may make other bytes: nothing was changed. Repair it with the "
            "lensflow that made it, or make the run again in another out."
        )
    wanted = identities[store]()
    if stored and fingerprint(stored) != fingerprint(wanted):
        keys = resume.differing_keys(stored, wanted)
        raise StoreError(
            f"{url}: cannot be made again from what is here: {', '.join(keys[:8])} differ from what it was made with. "
            "Nothing was changed. Restore them (cutouts and manifests that were given in memory must be given again), "
            "or make the run again in another out."
        )
    return wanted


def _manifest_fingerprint(config: RunConfig) -> str:
    return str(read_attrs(RunFolder.of(config).manifest, "manifest")["fingerprint"])


def _stored_identity(url: str) -> Mapping[str, Any]:
    identity = _raw_attrs(url).get("identity")
    return identity if isinstance(identity, Mapping) else {}


def _raw_attrs(url: str) -> Mapping[str, Any]:
    """Attributes of a store as they are there, unchecked: for a store whose record is lost."""
    content = paths.read_object(paths.join(url, objects.ROOT))
    try:
        attributes = objects.root_of(content or b"")["attributes"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return attributes if isinstance(attributes, Mapping) else {}


class _MendTask:
    """Compute one region again in memory, compare it with its receipt, and write the damaged objects."""

    def __init__(self, config: RunConfig, folder: RunFolder, store: str, guard: Hold):
        self.config, self.folder, self.store, self.guard = config, folder, store, guard

    def __call__(self, index: int) -> list[str]:
        url = self.folder.store(self.store)
        regions = stored_regions(url, self.store)
        region, receipt = regions[index], receipts.read_receipt(self.folder.receipts(self.store), index)
        if receipt is None:
            return []
        damaged = {key for key, pieces in receipt.objects.items() if _is_damaged(paths.join(url, key), pieces)}
        watch = Stopwatch()
        if self.store == "pairs":
            block = InjectTask(self.config, receipt.fingerprint, regions).block(region, watch)
        else:
            ratio = read_attrs(url, "cutouts").get("psf_band_ratio", {})
            block = CutTask(self.config, receipt.fingerprint, regions, ratio).block(region, watch)
        again: list[Encoded] = list(writing.encode_region(block, url, self.store, region, receipt.rendered))
        other = [one.key for one in again if one.pieces != receipt.objects.get(one.key, "")]
        if other:
            raise StoreError(
                f"{url}: region {index} is made again here with other bytes than its receipt says ("
                f"{', '.join(other)}): another type of machine or version of a library. Nothing of it was changed. "
                "Repair it where the run was made, or make the run again in another out."
            )
        # An array of zeros has no object; an unexpected one is removed.
        wrong = [
            one for one in again if one.key in damaged or (one.data is None and paths.exists(paths.join(url, one.key)))
        ]

        def may_write() -> bool:
            self.guard()
            return True

        writing.write_objects(url, wrong, may_write)
        return [one.key for one in wrong]


def _is_damaged(url: str, pieces: str) -> bool:
    content = paths.read_object(url)
    return content is None or bool(fault_of(content, pieces))
