"""Digests of a store's bytes: SHA-256 of every object, combined in a tree of fixed shape.

Receipts and the record of creation hold crc32c and xxh3: they detect accidents, but can be forged. Nobody can find
other bytes with the same SHA-256. Nothing here relies on receipts or records for the list of objects: the store is
listed, so that an extra object changes the digest as well.

The leaves of the tree are the objects, its nodes the parts of a store (each attribute, each array that was written
when the store was created, each region), its root is the store's digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lensflow.errors import StoreError
from lensflow.store import objects, paths, receipts
from lensflow.store.create import LAYOUTS

REGION = "region/"


@dataclass(frozen=True)
class Part:
    """A node of the tree: objects whose digests are hashed together.

    Attributes
    ----------
    name : str
        ``array/<name>`` for what was written when the store was created (of an array that is written by regions: its
        metadata), ``region/<number>`` for the objects of a region.
    sizes : dict
        Key of each object in the store -> its bytes.
    """

    name: str
    sizes: Mapping[str, int]

    @property
    def of_region(self) -> bool:
        """Whether it holds pixels and tables of a region."""
        return self.name.startswith(REGION)


def sha256_of(value: Any) -> str:
    """SHA-256 of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def parts_of(url: str, store: str) -> list[Part]:
    """List a store's objects by part, except its group's metadata (see :func:`digests_of_group`).

    Parameters
    ----------
    url, store : str
        The zarr store and its name.
    """
    layout = LAYOUTS[store]
    by_region = {v.name for v in (*layout.pixels, *layout.optional)}
    if layout.pixels:  # a manifest's tables are written at once
        by_region |= {*(layout.tables or {}), receipts.ROW_CHECKS}
    found: dict[str, dict[str, int]] = {}
    for key, size in sorted(paths.sizes_below(url).items()):
        if key == objects.ROOT:
            continue
        array, _, chunk = key.partition("/c/")
        name = f"{REGION}{chunk.split('/')[0]}" if chunk and array in by_region else f"array/{key.split('/')[0]}"
        found.setdefault(name, {})[key] = size
    return [Part(name, sizes) for name, sizes in found.items()]


def digest_part(url: str, part: Part) -> str:
    """SHA-256 over keys, sizes and SHA-256 of a part's objects; every byte is read.

    Raises
    ------
    StoreError
        If an object disappeared since it was listed.
    """
    node = hashlib.sha256()
    for key, size in sorted(part.sizes.items()):
        leaf = paths.sha256(paths.join(url, key))
        if leaf is None:
            raise StoreError(f"{url}: {key} disappeared while it was read. Is another process writing to this folder?")
        node.update(f"{key}\0{size}\0{leaf}\n".encode())
    return node.hexdigest()


def digests_of_group(url: str) -> dict[str, str]:
    """SHA-256 of each attribute of a store (``attribute/<name>``), and of the rest of its group's metadata.

    What is added after a store is made (``objects.LATER_ATTRS``) is left out.
    """
    content = paths.read_object(paths.join(url, objects.ROOT))
    if content is None:
        return {}
    try:
        root = objects.root_of(content)
        attributes = root.pop("attributes")
        found = {f"attribute/{name}": sha256_of(value) for name, value in attributes.items()}
        return {**found, "metadata": sha256_of(root)}
    except (ValueError, TypeError, KeyError, AttributeError):  # not written by lensflow: its exact bytes count
        return {"metadata": hashlib.sha256(content).hexdigest()}


def digests_of_receipts(url: str) -> dict[str, str]:
    """SHA-256 of each receipt of a store and of the record of its creation, by name; seconds and memory left out."""
    folder = objects.folder_of(url)
    names = [n for n in paths.list_names(folder) if n.endswith(".json") and not n.startswith(".")]
    contents = paths.read_many([paths.join(folder, n) for n in names])
    bound = {n: receipts.bound_content(c) for n, c in zip(names, contents, strict=True)}
    return {n: hashlib.sha256(c).hexdigest() for n, c in bound.items()}


def digest_of_names(parts: Sequence[Part]) -> str:
    """SHA-256 of names and sizes of all objects of a store, without reading them."""
    sizes = {key: size for part in parts for key, size in part.sizes.items()}
    return sha256_of(sizes)
