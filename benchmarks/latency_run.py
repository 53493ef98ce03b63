"""One step of ``latency.py``, with the lensflow of PYTHONPATH: ``latency_run.py OUT ENDPOINT ROWS PER_REGION STEP``.

It does what comes before the step (``inject``, ``measure`` or ``materialise``), prints "ready", waits for a line, does
the step, prints what was measured as JSON, waits for a line, and prints the checksums of the values of every region
of pairs, and of the measurements.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any

import numpy as np

from lensflow.cluster import connect
from lensflow.config import RunConfig, load_config
from lensflow.injection import inject_block
from lensflow.manifest.build import build_manifest
from lensflow.run import freeze_cutouts, freeze_manifest, inject_step, measure_step
from lensflow.run.execute import Progress, peak_rss_mb
from lensflow.run.measure import _MeasureTask
from lensflow.stats import codec
from lensflow.store import receipts
from lensflow.store.open import stored_regions
from lensflow.store.run_folder import RunFolder
from tests.factories import make_cutouts

ROWS_PER_HOST = 9


def main(out: str, endpoint: str, rows: int, per_region: int, step: str) -> None:
    """Store what the step reads, then do it."""
    config = load_config({
        "out": out, "survey": {"root": "-", "targets": "-"}, "plan": {"injections_per_host": ROWS_PER_HOST - 1},
        "storage": {"endpoint_url": endpoint, "region": "us-east-1"},
        "store": {"samples_per_region": per_region, "inner_chunk": 12}
        | ({"pixels": "virtual"} if step == "materialise" else {}),
        "cluster": {"kind": "local", "workers": 1, "dashboard": None, "memory_limit": "2GB"},
    })  # fmt: skip
    few, n = make_cutouts(100), rows // ROWS_PER_HOST
    cutouts = few.isel(host=np.arange(n) % few.sizes["host"])
    cutouts["host_id"] = ("host", np.array([f"h{i:07d}" for i in range(n)]))
    manifest, folder = build_manifest(cutouts, config), RunFolder.of(config)
    with connect(config.cluster) as client:
        freeze_cutouts(cutouts, config)
        freeze_manifest(manifest, config)
        client.run(_load_kernels)
        if step != "inject":
            inject_step(config)
        if step == "measure":  # kernels, in the worker
            client.submit(_MeasureTask(config, stored_regions(folder.pairs, "pairs"), True, False), 0).result()
        begun = sum(client.run(time.process_time).values())
        print("ready", flush=True)
        sys.stdin.readline()
        marks: dict[int, float] = {}
        found = STEPS[step](config, lambda stage, done, total: marks.update({done: time.perf_counter()}))
        cpu, peak = sum(client.run(time.process_time).values()) - begun, max(client.run(peak_rss_mb).values())
    done = receipts.summary(receipts.read_receipts(folder.receipts("pairs")).values())
    measured: dict[str, Any] = {
        "rows": manifest.sizes["sample"], "regions": done["regions"], "seconds": marks[max(marks)] - marks[0],
        "peak_mb": peak, "cpu": cpu, "parts": done["task_seconds"],
    }  # fmt: skip
    print(json.dumps(measured), flush=True)
    sys.stdin.readline()
    # Of the values: other versions compress them otherwise, and round a magnification otherwise in its last digit.
    regions = receipts.read_receipts(folder.receipts("pairs"))
    values = {
        f"region {i}": {k: v for k, v in sorted(r.checksums.items()) if k not in ("row_checks", "metrics")}
        for i, r in sorted(regions.items())
    }
    print(json.dumps({**values, "results": found}), flush=True)


def _inject(config: RunConfig, progress: Progress) -> str:
    inject_step(config, progress)
    return ""


def _measure(config: RunConfig, progress: Progress) -> str:
    results, _ = measure_step(config, progress, gates=False)
    return hashlib.sha256(repr(codec.encode(results)).encode()).hexdigest()


def _materialise(config: RunConfig, progress: Progress) -> str:
    from lensflow.run.materialise import materialise_step  # older versions have none

    return str(materialise_step(config.out, progress=progress).regions)


STEPS = {"inject": _inject, "measure": _measure, "materialise": _materialise}


def _load_kernels() -> None:
    config = load_config({"out": "unused", "survey": {"root": "-", "targets": "-"}})
    few = make_cutouts(3)
    inject_block(few, build_manifest(few, config), config.injection, None)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
