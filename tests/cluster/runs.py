"""A tiny run, and the bytes that it left."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "survey": {
        "synthetic": {"n_bricks": 2, "brick_size_pix": 500, "hosts_per_brick": 12, "bricks_without_g": 1},
        "failure_budget": 0.3,
    },
    "plan": {"injections_per_host": 3},
    "store": {"samples_per_region": 8, "hosts_per_region": 8, "inner_chunk": 8},
    "gate": {"bootstrap": 50, "required": False},
    "diagnostics": {"bootstrap": 50},
}


def digests(out: Path) -> dict[str, str]:
    """Digest of every array object of a run's stores; what names the run (paths, times) stands elsewhere."""
    stores = [out / f"{name}.zarr" for name in ("cutouts", "manifest", "pairs")]
    return {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for store in stores
        for file in sorted(store.rglob("*"))
        if file.is_file() and file.name != "zarr.json"
    }
