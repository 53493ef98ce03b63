"""Rows a second and memory of the loader, beside reading whole shards with zarr alone in the same run.

    python benchmarks/loader.py [HOSTS [REPEATS]]

A run of HOSTS made-up hosts (default 1,700) with four injections each is made and certified in a temporary folder:
64 x 64 pixels, 3 bands, float32, shards of 1,024 rows. One unit (a shard) of the view ``single`` (stamps, controls once
each) is read, and read and handed out in batches of 256, normalised, turned and flipped; zarr alone reads one shard of
stamps. They are measured in turn, REPEATS times (default 20), and the best of each counts: with other work on the
machine that is the nearest to an idle core. Then whole epochs, and memory: what the process grows by in an epoch of
windows of 8 units of 256 rows, beyond what an epoch of small windows left, against the samples of two windows.
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
from lensflow.export.view import TrainingView
from lensflow.run.export.open_view import open_view
from lensflow.store.run_folder import RunFolder
from tests.export_run import certify_as
from tests.factories import make_config, make_cutouts

ROWS_PER_SHARD = 1024
ALONE = "zarr alone, a shard of stamps"
SHARES = {"control": 1.0, "counterfactual": 0.0, "host_other": 0.0}


def make_run(out: str, n_hosts: int, rows: int = ROWS_PER_SHARD) -> RunConfig:
    """Four injections on each host, all of them train."""
    store = {"samples_per_region": rows, "hosts_per_region": 512, "inner_chunk": 16}
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
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as folder:
        config = make_run(f"{folder}/run", n_hosts)
        view = open_view(config, negatives=SHARES)
        one = view.select(view.samples["unit"].values == 0)
        stamps = zarr.open_group(RunFolder.of(config).pairs, mode="r")["stamp"]

        def epoch(of: TrainingView, window: int = 8, **settings: object) -> int:
            return sum(len(b["y"]) for b in Batches(of, LoaderConfig(window=window, **settings), 1, epochs=2))

        kinds: dict[str, Callable[[], int]] = {
            ALONE: lambda: len(stamps[:ROWS_PER_SHARD]),
            "unit as it is": lambda: len(one.raw(0)["x"]),
            "unit, normalised": lambda: len(one.unit(0).x),
            "unit, in batches": lambda: epoch(one),
            "unit, in batches, core masks": lambda: epoch(one, core_mask={"r0": 4, "r1": 7}),
        }
        load = os.getloadavg()[0]
        n = view.samples.sizes["sample"]
        print(f"{view.counts.text()}; {n:,} samples in {view.n_units} units; load {load:.1f}")
        best = best_of(kinds, repeats)
        for name, (wall, cpu) in best.items():
            share = wall / best[ALONE][0]
            print(f"{name:32s} {wall:9,.0f} rows/s wall, {cpu:9,.0f} rows/s of CPU, {share:5.2f} of zarr alone")
        place = lf.export(config.out, f"{folder}/npy", format="npy", check=False, split="train", negatives=SHARES).path
        exported = lf.batches(place, seed=1)
        whole = {
            "epoch": lambda: epoch(view),
            "epoch of the npy export": lambda: sum(len(b["y"]) for b in exported),
            "every shard with zarr alone": lambda: sum(
                len(stamps[k : k + ROWS_PER_SHARD]) for k in range(0, stamps.shape[0], ROWS_PER_SHARD)
            ),
        }
        for name, (wall, cpu) in best_of(whole, 3).items():
            print(f"{name:32s} {wall:9,.0f} rows/s wall, {cpu:9,.0f} rows/s of CPU")
        small = make_run(f"{folder}/small", n_hosts, 256)
        view = open_view(small, negatives=SHARES)
        epoch(view, 1)
        two = 2 * 8 * view.samples.sizes["sample"] / view.n_units * np.prod(view.shape) * 4 / 1e6
        most = grown(lambda: epoch(view))
        print(f"memory, windows of 8 units: {most:.0f} MB; two windows are {two:.0f} MB ({most / two:.2f})")


def best_of(kinds: dict[str, Callable[[], int]], repeats: int) -> dict[str, tuple[float, float]]:
    """Best rates of each, measured in turn."""
    for work in kinds.values():  # compiled, and in the page cache
        work()
    best = dict.fromkeys(kinds, (0.0, 0.0))
    for _ in range(repeats):
        for name, work in kinds.items():
            wall, cpu = timed(work)
            best[name] = max(wall, best[name][0]), max(cpu, best[name][1])
    return best


if __name__ == "__main__":
    main()
