"""How far one scheduler goes: planning and submitting no-op region tasks, and the memory that they take.

    python benchmarks/scale.py [--regions 40000] [--rows 0]

With ``--rows N`` also a chain of N rows, hosts to pairs, once for each of ``--workers`` processes: rate, bytes, peak
memory of a worker, the time in which a second call finds everything done and in which the pairs are measured, and what
the workers gain.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
import psutil

from lensflow.api import inject, write_pairs
from lensflow.cluster import connect
from lensflow.config import ClusterConfig, load_config
from lensflow.manifest.build import build_manifest
from lensflow.run import freeze_cutouts, freeze_manifest, inject_step, measure_step
from lensflow.run.execute import run_tasks
from lensflow.run.inject import InjectTask
from lensflow.store import receipts
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder


class _Nothing(InjectTask):
    """A region task with the payload of a real one that does nothing."""

    def __call__(self, index: int) -> int:
        return self.regions[index].size


def submit(n_regions: int) -> None:
    rows = 1296
    config = load_config({"out": "unused", "survey": {"root": "-", "targets": "-"}})
    regions = Regions(n_regions * rows, rows)
    with connect(ClusterConfig(kind="local", workers=2, dashboard=None)):
        list(run_tasks(_Nothing(config, "f", regions), range(100), "warm-up"))
        process = psutil.Process()  # the scheduler lives in this process
        before, start, first = process.memory_info().rss, time.perf_counter(), None
        peak, total = before, 0
        for i, size in enumerate(run_tasks(_Nothing(config, "f", regions), range(n_regions), "nothing")):
            first = first or time.perf_counter() - start
            total += size
            if i % 500 == 0:
                peak = max(peak, process.memory_info().rss)
        seconds = time.perf_counter() - start
    assert total == n_regions * rows
    print(
        f"{n_regions:,} regions ({n_regions * rows:,} rows): first result after {first:.1f} s, "
        f"all after {seconds:.1f} s ({n_regions / seconds:,.0f} tasks/s); client + scheduler {peak / 2**20:.0f} MB, "
        f"{(peak - before) / 2**20:.0f} MB more than before"
    )


def chain(n_rows: int, workers: int) -> float:
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.factories import make_cutouts

    n_hosts = max(1, n_rows // 10)
    with tempfile.TemporaryDirectory() as out:
        config = load_config(
            {
                "out": out,
                "survey": {"root": "-", "targets": "-"},
                "plan": {"injections_per_host": 9},
                "cluster": {"kind": "local", "workers": workers, "dashboard": None},
            }
        )
        few = make_cutouts(min(n_hosts, 200))
        cutouts = few.isel(host=np.arange(n_hosts) % few.sizes["host"])
        cutouts["host_id"] = ("host", np.array([f"h{i:07d}" for i in range(n_hosts)]))
        manifest = build_manifest(cutouts, config)
        with connect(config.cluster):
            warm = inject(cutouts.isel(host=slice(0, 2)), manifest.isel(sample=slice(0, 4)), _warm(config, out))
            write_pairs(warm, _warm(config, out))
            freeze_cutouts(cutouts, config)
            freeze_manifest(manifest, config)
            start = time.perf_counter()
            inject_step(config)
            seconds = time.perf_counter() - start
            start = time.perf_counter()
            inject_step(config)
            again = time.perf_counter() - start
            marks = {"start": time.perf_counter()}
            measure_step(config, lambda stage, *_: marks.update({stage: time.perf_counter()}))
            passed, gated = marks["measure"] - marks["start"], marks["gate"] - marks["measure"]
        done = receipts.summary(receipts.read_receipts(RunFolder.of(config).receipts("pairs")).values())
    n = manifest.sizes["sample"]
    busy = sum(done["task_seconds"].values())
    parts = ", ".join(f"{k} {v / n * 1e6:.0f} us" for k, v in done["task_seconds"].items())
    size = done["stored_bytes"] / n
    print(
        f"{n:,} rows in {done['regions']} regions, {workers} workers: {n / busy:,.0f} rows/s and core in the tasks "
        f"({parts}), {seconds:.1f} s by the clock; {size / 1e3:.1f} kB a pair "
        f"({size / (2 * 3 * 64**2 * 4):.0%} of a raw stamp and control); worker peak {done['peak_rss_mb']:.0f} MB; "
        f"a second call finds all done in {again:.1f} s; diagnostics' pass {passed:.1f} s "
        f"({n / passed / workers:,.0f} rows/s and core), their intervals and the gates {gated:.1f} s"
    )
    return n / seconds


def _warm(config, out: str):  # type: ignore[no-untyped-def]
    return config.model_copy(update={"out": f"{out}/warm"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=40_000)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    if given.regions:
        submit(given.regions)
    if given.rows:
        rates = [chain(given.rows, n) for n in given.workers]
        for n, rate in zip(given.workers[1:], rates[1:], strict=True):
            print(f"{n} workers are {rate / rates[0]:.2f} times {given.workers[0]}, by the clock")


if __name__ == "__main__":
    main()
