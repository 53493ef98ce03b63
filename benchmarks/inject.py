"""Price of a pair beside its rendering: noise, stamp, metrics, flags, part by part, on one pinned core.

    python benchmarks/inject.py [--rounds 15] [--core 0]

A block of 256 rows of the usual priors (three bands, 64 x 64 pixels), once with seven rows a host, one of them a
control, as in the demo, and once with one injection a host. Every part runs in turn,
``rounds`` times; medians and shortest times are printed, and ratios to the rendering within each round, so that a busy
machine weighs on all alike.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import numpy as np
import typer
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1]))

from lensflow import schema
from lensflow.config import InjectionConfig
from lensflow.injection import inject_block, kernels
from lensflow.injection.inject import effective_gain, rows_of_hosts
from lensflow.injection.metrics import image_metrics, pair_metrics
from lensflow.injection.quality import pair_flags
from lensflow.lensing.noise import PURPOSE, arc_noise, variance_per_nmgy
from lensflow.lensing.render import render
from lensflow.manifest.build import build_manifest
from lensflow.rng import key_words
from tests.factories import make_config, make_cutouts

ROWS = 256


def block(rows_per_host: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Hosts and ROWS rows of a manifest."""
    n = -(-ROWS // rows_per_host)
    hosts = make_cutouts(n).assign_coords(host_index=("host", np.arange(n)))
    manifest = build_manifest(hosts, make_config(plan={"injections_per_host": max(6, rows_per_host)}))
    wanted = (manifest["replicate"].values < rows_per_host) & ~(manifest["is_control"].values & (rows_per_host == 1))
    return hosts, manifest.isel(sample=np.flatnonzero(wanted)[:ROWS])


def parts(hosts: xr.Dataset, manifest: xr.Dataset) -> dict[str, Callable[[], object]]:
    """What :func:`inject_block` does, each part by itself."""
    config = InjectionConfig()
    columns = {v.name: manifest[v.name].values for v in schema.MANIFEST}
    bands, image, invvar = [str(b) for b in manifest["band"].values], hosts["image"].values, hosts["invvar"].values
    rows = rows_of_hosts(hosts, columns["host_index"])
    settings = {
        "pixel_scale_arcsec": float(hosts.attrs["pixel_scale_arcsec"]),
        "psf_model": str(manifest.attrs["psf_model"]),
        "psf_beta": float(manifest.attrs["psf_beta"]),
    }
    rendering = render(columns, **settings)
    arc, stamp = rendering.arc, np.empty_like(rendering.arc)
    gain = effective_gain(hosts, bands, config)[rows]
    per_nmgy, none = variance_per_nmgy(gain), np.zeros(gain.shape)
    key = key_words(int(manifest.attrs["seed"]), PURPOSE)
    centre = (columns["x_center"], columns["y_center"])
    sums = kernels.Sums.of(arc, image, invvar, rows)

    def pixels() -> None:
        kernels.inject_rows(
            image, invvar, rows, arc, per_nmgy, columns["row_id"], *key, *centre, stamp, sums.band,
            sums.shape,
        )  # fmt: skip

    pixels()
    metrics = pair_metrics(rendering, sums, hosts, rows, columns, bands, none, 0.0, none, per_nmgy)
    return {
        "render": lambda: render(columns, **settings),
        "inject_block": lambda: inject_block(hosts, manifest, config),
        "noise, stamp and sums, one pass over the pixels": pixels,
        "  of which noise (arc_noise alone)": lambda: arc_noise(arc, gain, columns["row_id"], 1),
        "gain of every host and band": lambda: effective_gain(hosts, bands, config),
        "sums of every host and band": lambda: kernels.Sums.of(arc, image, invvar, rows),
        "metrics from the sums": lambda: pair_metrics(
            rendering, sums, hosts, rows, columns, bands, none, 0.0, none, per_nmgy
        ),
        "  of which image positions": lambda: image_metrics(columns),
        "flags": lambda: pair_flags(metrics, hosts, rows, columns["is_control"], config),
        "dataset": lambda: schema.dataset("pairs", {"arc": arc, "stamp": stamp, **metrics}, {"band": bands}),
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every part in every round; the first, which compiles, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if k:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(v) for name, v in seconds.items()}


def main(rounds: int = 15, core: int = 0) -> None:
    """Price of a pair beside its rendering: noise, stamp, metrics, flags, part by part, on one pinned core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    print(f"{ROWS} rows, 3 bands, 64x64 pixels, one core; medians of {rounds} rounds; load {os.getloadavg()[0]}")
    for per_host in (7, 1):
        seconds = measure(parts(*block(per_host)), rounds)
        print(f"\n{per_host} rows a host: microseconds a row (median, shortest), over the rendering (median, shortest)")
        render_s = seconds["render"]
        for name, spent in seconds.items():
            median, least = (1e6 * f(spent) / ROWS for f in (np.median, np.min))
            ratio = np.median(spent / render_s), spent.min() / render_s.min()
            print(f"{name:50s} {median:8.1f} {least:8.1f} {ratio[0]:10.3f} {ratio[1]:8.3f}")


if __name__ == "__main__":
    typer.run(main)
