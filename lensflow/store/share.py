"""Give another run the same store: the objects of regions are linked where the disk can, everything else is copied."""

from __future__ import annotations

import os
from typing import Any

from lensflow.errors import StaleStoreError, StoreError
from lensflow.store import objects, paths
from lensflow.store.objects import Guard, unguarded
from lensflow.store.run_folder import RunFolder


def share_store(source: RunFolder, target: RunFolder, store: str, guard: Guard = unguarded) -> None:
    """Give a run folder the cutouts or the manifest of another; what is there already is kept.

    Parameters
    ----------
    source, target : RunFolder
    store : {"cutouts", "manifest"}
    guard : callable, optional
        Raises once the folder is another run's.

    Raises
    ------
    StoreError
        If the source has no such store; StaleStoreError if the target has another one.

    Notes
    -----
    An object of a region is written once and never changed in place (a repair puts another file in its place), so a
    hard link is as good as a copy. The group's metadata comes last: until then there is no store, and the same call
    continues.
    """
    url = source.store(store)
    if not paths.group_exists(url):
        raise StoreError(f"{url}: no {store} to share. Run the step that makes them first.")
    if paths.group_exists(target.store(store)):
        stamps: list[Any] = [objects.open_group(f.store(store)).attrs.get("fingerprint") for f in (source, target)]
        if stamps[0] != stamps[1]:
            raise StaleStoreError(
                f"{target.store(store)}: holds other {store} than {url}, which may have been made again. Delete "
                f"{target.root} and run the same command again: it makes the arm anew."
            )
    folders = [(url, target.store(store)), (objects.folder_of(url), objects.folder_of(target.store(store)))]
    if store == "cutouts" and paths.exists(source.survey):
        folders.append((source.survey, target.survey))
    last: list[tuple[str, str]] = []
    for here, there in folders:
        known = paths.sizes_below(there)
        for key, size in sorted(paths.sizes_below(here).items()):
            pair = (paths.join(here, key), paths.join(there, key))
            if key in (objects.ROOT, "created.json"):
                last.append(pair)
            elif known.get(key) != size or key.endswith(".json"):
                guard()
                _give(*pair, linked="/c/" in key or here == source.survey)
    for pair in sorted(last, key=lambda pair: pair[0].endswith(objects.ROOT)):
        guard()
        _give(*pair, linked=False)


def _give(here: str, there: str, linked: bool) -> None:
    if linked and paths.is_local(here) and paths.is_local(there):
        path = paths.local_path(there)
        with paths.explain_errors(there):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            try:
                os.link(paths.local_path(here), path)
                return
            except OSError:  # another device, or one without links
                pass
    if paths.is_local(here) == paths.is_local(there) and not paths.is_local(here):
        (fs, place), (_, target) = paths.filesystem(here), paths.filesystem(there)
        with paths.explain_errors(there):
            fs.cp_file(place, target)
        return
    content = paths.read_object(here)
    if content is None:
        raise StoreError(f"{here}: disappeared while it was shared. Is another process writing to this folder?")
    paths.write_bytes(there, content)
