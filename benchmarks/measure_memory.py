"""Peak memory of the client and of a worker that measure and gate a run, against its number of regions.

    python benchmarks/measure_memory.py [--regions 64 512 4096]

Regions are tiny (8 rows of 32 x 32 pixels, 2 hosts): what grows with their number is what is asked. Each size is a
process of its own, so that one's peak is not another's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS, HOSTS = 8, 2


def measure(n_regions: int) -> None:
    """Make a run of so many regions, without timing it; then measure and gate it on two workers."""
    from lensflow.api import inject, write_pairs
    from lensflow.cluster import connect
    from lensflow.config import load_config
    from lensflow.manifest.build import build_manifest
    from lensflow.run import measure_step
    from lensflow.run.execute import peak_rss_mb
    from tests.factories import make_cutouts

    n_hosts = HOSTS * n_regions
    with tempfile.TemporaryDirectory() as out:
        config = load_config(
            {
                "out": out,
                "survey": {"root": "-", "targets": "-", "stamp_size": 32},
                "plan": {"injections_per_host": 3, "controls_per_host": 1},
                "store": {"samples_per_region": ROWS, "hosts_per_region": 256, "inner_chunk": ROWS},
                "gate": {"max_pairs": 500, "bootstrap": 50, "checks": ["diagnostics", "balance"]},
                "diagnostics": {"bootstrap": 50},
                "cluster": {"kind": "local", "workers": 2, "dashboard": None},
            }
        )
        few = make_cutouts(min(n_hosts, 64), size=32)
        cutouts = few.isel(host=np.arange(n_hosts) % few.sizes["host"])
        cutouts["host_id"] = ("host", np.array([f"h{i:07d}" for i in range(n_hosts)]))
        write_pairs(inject(cutouts, build_manifest(cutouts, config), config), config)
        with connect(config.cluster) as client:
            client.run(_reset_peak)
            _reset_peak()
            before, start = _now_mb(), time.perf_counter()
            measure_step(config)
            seconds = time.perf_counter() - start
            workers = max(client.run(peak_rss_mb).values())
        print(
            f"{n_regions:6,d} regions: client peak {peak_rss_mb():.0f} MB, {peak_rss_mb() - before:.0f} MB above what "
            f"it began with; worker peak {workers:.0f} MB; {seconds:.1f} s",
            flush=True,
        )


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _now_mb() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS:"))
    return float(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, nargs="+", default=[64, 512, 4096])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        measure(given.one)
        return
    for n in given.regions:
        subprocess.run([sys.executable, __file__, "--one", str(n)], check=True)


if __name__ == "__main__":
    main()
