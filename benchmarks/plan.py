"""Planning a manifest: rows per second and peak memory, in memory and into a store, and what the rows cost on disk.

Run with ``python benchmarks/plan.py [ROWS]`` (default 1,000,000); on a busy machine read the CPU seconds. Every
variant runs in a process of its own on one pinned core; hosts are made up, with six injections and one control each.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from lensflow import schema
from lensflow.config import RunConfig, load_config
from lensflow.manifest.build import Planner
from lensflow.store.tables import TableWriter

BANDS = ("g", "r", "z")
VARIANTS: dict[str, dict[str, Any]] = {
    "random": {},
    "random, ranges": {
        "theta_e_arcsec": {"min": 0.5, "max": 2.5, "distribution": "log"},
        "src_n": {"min": 1, "max": 4},
    },
    "low_discrepancy": {"design": "low_discrepancy"},
    "sigma_v and host light": {"theta_e_from": "sigma_v", "lens_shape": "host_light"},
    "two images": {"src_min_images": 2, "src_position_fails": "drop"},
    "four images": {"src_min_images": 4, "src_position_fails": "drop", "lens_e": [0.2, 0.4]},
}


def cutouts_tables(start: int, stop: int) -> xr.Dataset:
    """Tables of made-up hosts ``start:stop``."""
    n = stop - start
    per_band = (n, len(BANDS))
    arrays = {
        "host_id": np.char.add("host-", np.arange(start, stop).astype(str)),
        "flux_nmgy": np.full(per_band, 8.0),
        "aperture_flux_nmgy": np.full(per_band, 8.0),
        "psfsize_arcsec": np.full(per_band, 1.3),
        "covered": np.ones(per_band, bool),
        "band_reasons": np.zeros(per_band),
        "status": np.zeros(n),
        "x_center": np.full(n, 31.5),
        "y_center": np.full(n, 31.5),
        "host_q": np.full(n, 0.8),
        "host_phi_rad": np.full(n, 0.4),
        "sigma_v_km_s": np.full(n, 250.0),
        "z_lens": np.full(n, 0.4),
        "split": np.zeros(n),
    }
    return schema.dataset("cutouts", arrays, {"band": list(BANDS)})


def config_of(plan: dict[str, Any]) -> RunConfig:
    survey = {"root": "-", "targets": "-"}
    return load_config({"out": "-", "survey": survey, "bands": BANDS, "plan": {"max_rows": 100_000_000, **plan}})


def measure(plan: dict[str, Any], n_hosts: int, out: str | None) -> dict[str, float]:
    """Plan once for the compiler and the imports, then timed."""
    config = config_of(plan)
    list(Planner(config, cutouts_tables, 100).blocks())
    start, cpu = time.perf_counter(), time.process_time()
    planner = Planner(config, cutouts_tables, n_hosts)
    planner.refuse(confirmed=True)
    writer = TableWriter(out, "manifest", planner.size.rows, BANDS, {}) if out else None
    rows = 0
    for block in planner.blocks():
        rows += block.sizes["sample"]
        if writer:
            writer.append(block)
    if writer:
        writer.finish(planner.attrs())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    stored = sum(f.stat().st_size for f in Path(out).rglob("*") if f.is_file()) if out else 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "seconds": seconds, "cpu": cpu, "peak_mb": peak, "bytes_per_row": stored / rows}


def alone(plan: dict[str, Any], n_hosts: int, out: str | None) -> dict[str, float]:
    """Run ``measure`` in a fresh process on one core."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=os.sched_setaffinity, initargs=(0, {0})) as pool:
        return pool.apply(measure, (plan, n_hosts, out))


def main() -> None:
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    table = Table(title=f"plan of about {n_rows:,} rows, one core", title_justify="left")
    for column in ("variant", "rows", "seconds", "CPU seconds", "rows per CPU second", "peak MB", "bytes/row on disk"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for name, plan in VARIANTS.items():
            stored = f"{folder}/manifest.zarr"
            found = alone(plan, n_rows // 7, stored)
            table.add_row(
                name,
                f"{found['rows']:,.0f}",
                f"{found['seconds']:.1f}",
                f"{found['cpu']:.1f}",
                f"{found['rows'] / found['cpu']:,.0f}",
                f"{found['peak_mb']:.0f}",
                f"{found['bytes_per_row']:.0f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
