"""Pairs with and without stored pixels: processor time of making and reading a row, bytes of a pair, in turns.

    python benchmarks/rendered.py [--regions 8] [--rounds 3]

One process, whole regions of 1,302 rows (three bands, 64 x 64 pixels), ten rows a host, as benchmarks/scale.py. Every
round makes the pairs of each kind and reads them back once: region by region, as measurements do, and single rows.
Processor seconds are printed, medians over the rounds, and the rates of a core that they are.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from lensflow.config import RunConfig, load_config
from lensflow.manifest.build import build_manifest
from lensflow.run import freeze_cutouts, freeze_manifest, inject_step
from lensflow.run.execute import Stopwatch, peak_rss_mb
from lensflow.run.inject import InjectTask
from lensflow.store import paths, receipts
from lensflow.store.open import read_attrs, read_pairs_block, read_pixels, stored_regions
from lensflow.store.run_folder import RunFolder
from tests.factories import make_cutouts

KINDS = ("full", "stamp", "virtual")
REGION = 1296


class Processor(Stopwatch):
    """Seconds of the processor by phase."""

    def lap(self, phase: str) -> None:
        """Add the processor's time since the last lap to ``phase``."""
        now = time.process_time()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def prepare(out: str, kind: str, regions: int) -> RunConfig:
    """Hosts, manifest and an empty pairs store."""
    n_rows = regions * REGION
    config = load_config(
        {
            "out": f"{out}/{kind}",
            "survey": {"root": "-", "targets": "-"},
            "plan": {"injections_per_host": 9},
            "store": {"samples_per_region": REGION} | ({} if kind == "full" else {"pixels": kind}),
            "cluster": {"kind": "threads", "dashboard": None},
        }
    )
    n_hosts = -(-n_rows // 10)
    few = make_cutouts(min(n_hosts, 200))
    cutouts = few.isel(host=np.arange(n_hosts) % few.sizes["host"])
    cutouts["host_id"] = ("host", np.array([f"h{i:07d}" for i in range(n_hosts)]))
    freeze_cutouts(cutouts, config)
    freeze_manifest(build_manifest(cutouts, config), config)
    inject_step(config)
    return config


def make(config: RunConfig) -> dict[str, float]:
    """Make all pairs again; processor seconds by phase, and rows."""
    folder = RunFolder.of(config)
    regions = stored_regions(folder.pairs, "pairs")
    stamp = str(read_attrs(folder.pairs, "pairs")["fingerprint"])
    receipts.remove_receipts(folder.receipts("pairs"), regions)
    task = InjectTask(config, stamp, regions)
    start, n = time.process_time(), 0
    for region in regions:
        n += sum(v for k, v in task(region.index).counts.items() if k == "rows")
    seconds = time.process_time() - start
    watch = Processor()
    watch._last = time.process_time()
    for region in regions:
        task.block(region, watch)
    return {"rows": n, "seconds": seconds, **watch.seconds}


def read(config: RunConfig, single: int = 200) -> tuple[float, float]:
    """Processor seconds of a row, read by regions, and read alone."""
    folder = RunFolder.of(config)
    regions = stored_regions(folder.pairs, "pairs")
    start = time.process_time()
    for region in regions:
        read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, region)
    by_region = (time.process_time() - start) / regions.n_rows
    rows = np.random.default_rng(0).choice(regions.n_rows, single, replace=False)
    start = time.process_time()
    for row in rows.tolist():
        read_pixels(folder.pairs, "pairs", slice(row, row + 1), ("stamp", "arc"))
    return by_region, (time.process_time() - start) / single


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        configs = {kind: prepare(out, kind, given.regions) for kind in given.kinds}
        found = defaultdict(list)
        for _ in range(given.rounds):
            for kind, config in configs.items():
                made = make(config)
                parts = {k: v / made["rows"] * 1e6 for k, v in made.items() if k not in ("rows", "seconds")}
                found[kind].append((made["seconds"] / made["rows"] * 1e6, *(1e6 * s for s in read(config)), parts))
        for kind, config in configs.items():
            folder = RunFolder.of(config)
            done = list(receipts.read_receipts(folder.receipts("pairs")).values())
            n = sum(r.stop - r.start for r in done)
            size = sum(sum(paths.sizes_below(u).values()) for u in (folder.pairs, folder.receipts("pairs"))) / n
            us, by_region, alone = (float(np.median([f[k] for f in found[kind]])) for k in range(3))
            parts = {k: round(float(np.median([f[3][k] for f in found[kind]]))) for k in found[kind][0][3]}
            print(
                f"{kind}: made in {us:.0f} us ({1e6 / us:,.0f} rows/s and core; without writing: {parts}); read by "
                f"regions in {by_region:.0f} us a row, a row alone in {alone:.0f} us; {size:,.0f} bytes a pair"
            )
        print(f"peak memory of the process: {peak_rss_mb():.0f} MB")


if __name__ == "__main__":
    main()
