"""What two runs have in common: every byte of their stores, wherever they lie."""

from __future__ import annotations

import hashlib

from lensflow.store import paths

STORES = ("cutouts.zarr", "manifest.zarr", "pairs.zarr")


def store_digests(out: str) -> dict[str, str]:
    """Digest of every object of a run's stores, by its key below the run."""
    fs, root = paths.filesystem(out)
    names = [n for store in STORES for n in sorted(fs.find(f"{root}/{store}"))]
    return {n.removeprefix(root): hashlib.sha256(fs.cat_file(n)).hexdigest() for n in names}


def everything(out: str) -> dict[str, bytes]:
    """Every object of a run."""
    fs, root = paths.filesystem(out)
    return {n.removeprefix(root): fs.cat_file(n) for n in sorted(fs.find(root))}
