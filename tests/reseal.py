"""Make a store vouch for what is in it now: as if faulty code had written it, for tests of those who look at values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lensflow.store import objects, paths, pieces, receipts
from lensflow.store.create import checksum, object_key
from lensflow.store.read import _arrays
from lensflow.store.regions import Region
from lensflow.store.results import DIGEST, digest_of
from lensflow.store.shards import chunks_of_shard


def rewrite(place: Path | str, **changes: Any) -> None:
    """Change a file of results, and its digest with it: as if it had been written so."""
    content = json.loads(Path(place).read_text()) | changes
    content.pop(DIGEST, None)
    Path(place).write_text(json.dumps(content | {DIGEST: digest_of(content)}))


def reseal(url: str) -> None:
    """Write the receipts and the record of a store again, from what its objects are."""
    group, created = zarr.open_group(url, mode="r"), objects.read_created(url)
    for receipt in receipts.read_receipts(objects.folder_of(url)).values():
        region, changed = Region(receipt.region, receipt.start, receipt.stop), {}
        for name in created.arrays:
            file = Path(url, key := object_key(group[name], region))
            if file.exists():
                changed[key] = pieces.pieces_of(file.read_bytes(), chunks_of_shard(group[name]))
        checksums = {n: checksum(np.asarray(group[n][region.slice])) for n in created.arrays}
        receipts.remove_receipts(objects.folder_of(url), [region])
        again = dataclasses.replace(receipt, objects=changed, checksums=checksums)
        receipts.write_receipt(objects.folder_of(url), again)
    there = {k: pieces.pieces_of(Path(url, k).read_bytes()) for k in created.objects}
    values = {n: checksum(_values(group[n])) for n in created.values}
    root = objects.root_of(paths.read_object(f"{url}/zarr.json") or b"")
    objects.write_created(url, dataclasses.replace(created, objects=there, root=root, values=values))
    _arrays.clear()


def _values(array: zarr.Array) -> np.ndarray:
    found = np.asarray(array[:])
    return found.astype(object).astype("U64") if found.dtype.kind in "OT" else found
