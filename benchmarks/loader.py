"""Rows a second and memory of the loader, beside reading whole shards with zarr alone in the same run.

    python benchmarks/loader.py [HOSTS [REPEATS]]

A run of HOSTS made-up hosts (default 1,700) with four injections each is made and certified in a temporary folder:
64 x 64 pixels, 3 bands, float32, shards of 1,024 rows. An epoch of the view ``single`` (stamps, controls once each) is
handed out in batches of 256 from windows of 8 units, normalised, turned and flipped. Zarr alone reads every shard of
stamps whole. Both are measured in turn, REPEATS times (default 3); the best of each counts. Seconds of CPU are those of
all threads: on a busy machine they say what wall seconds do on an idle core. Memory is what the process grows by beyond
what a first epoch of small windows left, against two windows of samples.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import zarr

sys.path.insert(0, str(Path(__file__).parents[1]))

import lensflow as lf
from lensflow.config import LoaderConfig, RunConfig
from lensflow.export.loader.batches import Batches
from lensflow.export.open_view import open_view
from lensflow.store.run_folder import RunFolder
from tests.export_run import certify_as
from tests.factories import make_config, make_cutouts

ROWS_PER_SHARD = 1024
SHARES = {"control": 1.0, "counterfactual": 0.0, "host_other": 0.0}


def make_run(out: str, n_hosts: int) -> RunConfig:
    """Four injections on each host, all of them train."""
    store = {"samples_per_region": ROWS_PER_SHARD, "hosts_per_region": 512, "inner_chunk": 16}
    config = make_config(out, plan={"injections_per_host": 4, "controls_per_host": 0}, store=store)
    cutouts = make_cutouts(n_hosts)
    cutouts = cutouts.assign(split=("host", np.zeros(n_hosts, np.uint8)))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    Path(RunFolder.of(config).config).write_text(config.to_yaml())
    certify_as(config, "PASS")
    return config


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Rows a wall second, and a second of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work()
    return rows / (time.perf_counter() - wall), rows / (time.process_time() - cpu)


def grown(work: Callable[[], int]) -> float:
    """Most resident memory, MB, beyond that at the start, looked at from a thread."""
    import threading

    process, most, done = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    work()
    done.set()
    thread.join()
    return (most - before) / 1e6


def main() -> None:
    n_hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 1_700
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        config = make_run(f"{folder}/run", n_hosts)
        view = open_view(config, negatives=SHARES)
        stamps = zarr.open_group(RunFolder.of(config).pairs, mode="r")["stamp"]
        shards = range(0, stamps.shape[0], ROWS_PER_SHARD)

        def plain() -> int:
            return sum(len(stamps[k : k + ROWS_PER_SHARD]) for k in shards)

        def units() -> int:
            return sum(len(view.unit(u).x) for u in range(view.n_units))

        def epoch(window: int = 8, **settings: object) -> int:
            return sum(len(b["y"]) for b in Batches(view, LoaderConfig(window=window, **settings), 1, epochs=2))

        def raw() -> int:
            return sum(len(view.raw(u)["x"]) for u in range(view.n_units))

        kinds = {
            "zarr alone, whole shards of stamps": plain,
            "view, units not normalised": raw,
            "view, units normalised": units,
            "loader, single": epoch,
            "loader, with core masks": lambda: epoch(core_mask={"r0": 4, "r1": 7}),
        }
        load = os.getloadavg()[0]
        print(
            f"{view.counts.text()}; {view.samples.sizes['sample']:,} samples in {view.n_units} units; load {load:.1f}"
        )
        for work in kinds.values():  # compiled, and in the page cache
            work()
        best: dict[str, tuple[float, float]] = {}
        for _ in range(repeats):
            for name, work in kinds.items():
                found = timed(work)
                best[name] = tuple(max(a, b) for a, b in zip(found, best.get(name, (0.0, 0.0)), strict=True))
        for name, (wall, cpu) in best.items():
            share = cpu / best["zarr alone, whole shards of stamps"][1]
            print(f"{name:36s} {wall:9,.0f} rows/s wall, {cpu:9,.0f} rows/s of CPU, {share:5.2f} of zarr alone")
        place = lf.export(config.out, f"{folder}/npy", format="npy", check=False, split="train", negatives=SHARES).path
        exported = lf.batches(place, seed=1)
        sum(len(b["y"]) for b in exported)
        wall, cpu = timed(lambda: sum(len(b["y"]) for b in exported))
        print(f"{'loader, npy export':36s} {wall:9,.0f} rows/s wall, {cpu:9,.0f} rows/s of CPU")
        epoch(1)
        window = 2
        two = 2 * window * view.samples.sizes["sample"] / view.n_units * np.prod(view.shape) * 4 / 1e6
        most = grown(lambda: epoch(window))
        print(
            f"memory with windows of {window} units: {most:.0f} MB for two windows of {two:.0f} MB ({most / two:.2f})"
        )


if __name__ == "__main__":
    main()
