"""Peak memory of cutting, of the worker and of the client, for runs of several sizes and workers of several limits.

    python benchmarks/cut_memory.py [--hosts 2000 8000] [--memory-limit 1GB 2GB] [--hosts-per-region 512]

Bricks of 300 x 300 pixels with 500 hosts each, in every split, so that a brick's hosts are in several regions and these
are open side by side. Each row of the table is a process of its own with one Dask worker. ``regions open`` is what
:func:`lensflow.run.strips.open_regions` allows a task with that limit; limits are ``cluster.memory_limit``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.table import Table

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))

from lensflow.cluster import connect  # noqa: E402
from lensflow.config import load_config  # noqa: E402
from lensflow.run import cut_step  # noqa: E402
from lensflow.run.execute import peak_rss_mb, task_memory_bytes  # noqa: E402
from lensflow.run.strips import open_regions  # noqa: E402
from lensflow.store import receipts  # noqa: E402
from lensflow.store.run_folder import RunFolder  # noqa: E402
from tests.survey.brick_factory import brick_wcs, write_brick  # noqa: E402

HOSTS_PER_BRICK, SIDE = 500, 300


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--memory-limit", nargs="+", default=["1GB", "2GB"])
    parser.add_argument("--hosts-per-region", type=int, default=512)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(*given.one)
        return
    names = ("hosts", "regions", "memory_limit", "regions open", "worker's peak, MB", "client's peak, MB", "hosts/s")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for n_hosts in given.hosts:
            write(Path(folder, str(n_hosts)), n_hosts)
            for limit in given.memory_limit:
                told = subprocess.run(
                    [sys.executable, __file__, "--one", f"{folder}/{n_hosts}", f"{folder}/run-{n_hosts}-{limit}", limit,
                     str(given.hosts_per_region)],
                    env={**os.environ, "PYTHONPATH": str(HERE)}, stdout=subprocess.PIPE, check=True,
                ).stdout  # fmt: skip
                found = json.loads(told.splitlines()[-1])
                print(
                    f"| {n_hosts:,} | {found['regions']} | {limit} | {found['open']:.2f} | {found['worker_mb']:.0f} | "
                    f"{found['client_mb']:.0f} | {n_hosts / found['seconds']:.0f} |",
                    flush=True,
                )


def write(folder: Path, n_hosts: int) -> None:
    """Write bricks beside each other, and targets all over them."""
    folder.mkdir()
    draw, rows = np.random.default_rng(1), {k: [] for k in ("host_id", "ra", "dec", "brickname")}
    for k in range(n_hosts // HOSTS_PER_BRICK):
        wcs, name = brick_wcs(ra_deg=10 + 0.025 * k), f"{k:04d}p050"
        write_brick(folder / "survey", name, wcs=wcs)
        x, y = draw.uniform(40, SIDE - 40, (2, HOSTS_PER_BRICK))
        ra, dec = wcs.wcs_pix2world(x, y, 0)
        rows["host_id"] += [f"{name}-{i:03d}" for i in range(HOSTS_PER_BRICK)]
        rows["ra"], rows["dec"] = [*rows["ra"], *ra], [*rows["dec"], *dec]
        rows["brickname"] += [name] * HOSTS_PER_BRICK
    Table(rows).write(folder / "targets.csv", format="ascii.csv")


def one(survey: str, out: str, memory_limit: str, hosts_per_region: str) -> None:
    """Cut once and print what it took as JSON."""
    config = load_config({
        "out": out,
        "survey": {"root": f"{survey}/survey", "targets": f"{survey}/targets.csv", "stamp_size": 64},
        "splits": {"nside": 16384, "fractions": [0.5, 0.25, 0.25]},
        "store": {"hosts_per_region": int(hosts_per_region), "inner_chunk": 16},
        "cluster": {"kind": "local", "workers": 1, "dashboard": None, "memory_limit": memory_limit},
    })  # fmt: skip
    with connect(config.cluster) as client:
        region_bytes = 4.0 * int(hosts_per_region) * len(config.bands) * config.survey.stamp_size**2
        most_open = open_regions(task_memory_bytes() or 0.0, region_bytes)
        cut_step(config)
        worker_mb = max(client.run(peak_rss_mb).values())
    done = receipts.summary(receipts.read_receipts(RunFolder.of(config).receipts("cutouts")).values())
    seconds = sum(done["task_seconds"].values())
    print(json.dumps({
        "regions": done["regions"], "open": most_open, "worker_mb": worker_mb, "client_mb": peak_rss_mb(),
        "seconds": seconds,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
