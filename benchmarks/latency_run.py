"""One injection of ``latency.py``, with the lensflow of PYTHONPATH: ``latency_run.py OUT ENDPOINT ROWS PER_REGION``.

It prints "ready", waits for a line, injects, prints what was measured as JSON, waits for a line, and prints the digest
of every object of the pairs.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from lensflow.cluster import connect
from lensflow.config import load_config
from lensflow.injection import inject_block
from lensflow.manifest.build import build_manifest
from lensflow.run import freeze_cutouts, freeze_manifest, inject_step
from lensflow.store import receipts
from lensflow.store.run_folder import RunFolder
from tests.factories import make_cutouts
from tests.s3.compare import store_digests

ROWS_PER_HOST = 9


def main(out: str, endpoint: str, rows: int, per_region: int) -> None:
    """Store hosts and manifest, then inject."""
    config = load_config({
        "out": out, "survey": {"root": "-", "targets": "-"}, "plan": {"injections_per_host": ROWS_PER_HOST - 1},
        "storage": {"endpoint_url": endpoint, "region": "us-east-1"},
        "store": {"samples_per_region": per_region, "inner_chunk": 12},
        "cluster": {"kind": "local", "workers": 1, "dashboard": None, "memory_limit": "2GB"},
    })  # fmt: skip
    few, n = make_cutouts(100), rows // ROWS_PER_HOST
    cutouts = few.isel(host=np.arange(n) % few.sizes["host"])
    cutouts["host_id"] = ("host", np.array([f"h{i:07d}" for i in range(n)]))
    manifest = build_manifest(cutouts, config)
    with connect(config.cluster) as client:
        freeze_cutouts(cutouts, config)
        freeze_manifest(manifest, config)
        client.run(_load_kernels)
        begun = sum(client.run(time.process_time).values())
        print("ready", flush=True)
        sys.stdin.readline()
        marks: dict[int, float] = {}
        inject_step(config, lambda stage, done, total: marks.update({done: time.perf_counter()}))
        cpu = sum(client.run(time.process_time).values()) - begun
    folder = RunFolder.of(config)
    done = receipts.summary(receipts.read_receipts(folder.receipts("pairs")).values())
    measured: dict[str, Any] = {
        "rows": manifest.sizes["sample"], "regions": done["regions"], "seconds": marks[max(marks)] - marks[0],
        "peak_mb": done["peak_rss_mb"], "cpu": cpu, "parts": done["task_seconds"],
    }  # fmt: skip
    print(json.dumps(measured), flush=True)
    sys.stdin.readline()
    digests = store_digests(folder.root)
    print(json.dumps({k: v for k, v in digests.items() if k.startswith("/pairs.zarr") and "/c/" in k}), flush=True)


def _load_kernels() -> None:
    config = load_config({"out": "unused", "survey": {"root": "-", "targets": "-"}})
    few = make_cutouts(3)
    inject_block(few, build_manifest(few, config), config.injection, None)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
