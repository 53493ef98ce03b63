"""Codecs and rounding on real pairs: bytes per pair, and what writing and reading cost on one core.

    python benchmarks/store.py [--run FOLDER]

Without a run, pairs are made from a small synthetic survey, or from the DR9 brick of ../shared/data where that is
there. A raw pair is stamp and control as float32: 98,304 bytes for three bands of 64 x 64.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr
from numcodecs import Blosc
from numcodecs import blosc as blosc_library
from rich.console import Console
from rich.table import Table

from lensflow.config import StoreConfig, load_config
from lensflow.injection.rounding import ARC, round_pixels, rounding_step, sky_sigma
from lensflow.run import cut_step, inject_step, plan_step
from lensflow.store.open import open_cutouts, open_pairs

ROOT = Path(__file__).parents[1]
CHUNK = StoreConfig().inner_chunk
CODECS = {
    "lz4-bitshuffle": ("lz4", 5, 2),
    "lz4-shuffle": ("lz4", 7, 1),
    "zstd1-bitshuffle": ("zstd", 1, 2),
    "zstd1-shuffle": ("zstd", 1, 1),
    "zstd3-bitshuffle": ("zstd", 3, 2),
    "zstd3-shuffle": ("zstd", 3, 1),
}


def make_run(out: str) -> str:
    """Lossless pairs of real noise where there are any, else of synthetic noise."""
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        if (ROOT.parent / "shared" / "data" / "ls_dr9_brick").is_dir():
            config = load_config(ROOT / "workflows" / "configs" / "dr9_brick.yaml", out=out)
        else:
            synthetic = {"n_bricks": 2, "brick_size_pix": 1000, "hosts_per_brick": 40}
            config = load_config({"out": out, "survey": {"synthetic": synthetic}})
        cut_step(config)
        plan_step(config)
        inject_step(config)
    finally:
        os.chdir(here)
    return out


def variants(pairs: xr.Dataset, invvar: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    sigma = sky_sigma(invvar)[pairs["host_index"].values]
    keys, stamp, arc = pairs["row_id"].values, pairs["stamp"].values, pairs["arc"].values
    out = {"stamp": stamp, "arc": arc}
    for n in (4, 8, 16):
        for power_of_two in (True, False):
            step = rounding_step(sigma, n, power_of_two)
            out[f"stamp sky/{n} {'2^k' if power_of_two else 'float'}"] = round_pixels(stamp, step, keys, seed)
    for n in (32, 64, 1024):
        out[f"arc sky/{n} 2^k"] = round_pixels(arc, rounding_step(sigma, n, True), keys, seed, ARC)
    return out


def measure(values: np.ndarray, codec: Blosc) -> tuple[float, float, float]:
    """Bytes, and microseconds of encoding and decoding, per row; the shortest of five."""
    parts = [np.ascontiguousarray(values[i : i + CHUNK]) for i in range(0, len(values), CHUNK)]
    encode = decode = np.inf
    for _ in range(5):
        start = time.perf_counter()
        coded = [codec.encode(p) for p in parts]
        middle = time.perf_counter()
        for c in coded:
            codec.decode(c)
        encode, decode = min(encode, middle - start), min(decode, time.perf_counter() - middle)
    n = len(values)
    return sum(map(len, coded)) / n, encode / n * 1e6, decode / n * 1e6


def main(run: Annotated[str | None, typer.Option(help="folder of a lossless run")] = None) -> None:
    """Codecs and rounding on real pairs: bytes per pair, and what writing and reading cost on one core."""
    blosc_library.set_nthreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        out = run or make_run(scratch)
        pairs = open_pairs(f"{out}/pairs.zarr").isel(sample=slice(0, 256))
        seed = int(pairs.attrs.get("seed", 1))
        pairs = pairs[["stamp", "arc", "host_index", "row_id"]].load()
        arrays = variants(pairs, open_cutouts(f"{out}/cutouts.zarr")["invvar"].values, seed)
    raw = 2 * arrays["stamp"][0].nbytes
    table = Table(title=f"% of a raw pair ({raw:,} bytes), microseconds to encode / decode a row", title_justify="left")
    table.add_column("array")
    for name in CODECS:
        table.add_column(name, justify="right")
    size: dict[tuple[str, str], float] = {}
    for array, values in arrays.items():
        cells = []
        for name, arguments in CODECS.items():
            size[array, name], encode, decode = measure(values, Blosc(*arguments))
            cells.append(f"{100 * size[array, name] / raw:.1f}  {encode:.0f} / {decode:.0f}")
        table.add_row(array, *cells)
    console = Console(width=160)
    console.print(table)
    lossless, rounded = "lz4-shuffle", "zstd3-shuffle"
    whole = {
        "stamp lossless, arc not counted": size["stamp", lossless],
        "stamp and arc lossless": size["stamp", lossless] + size["arc", lossless],
        "stamp lossless, quantize_arc sky/1024": size["stamp", lossless] + size["arc sky/1024 2^k", rounded],
        "quantize sky/16 (arc sky/64)": size["stamp sky/16 2^k", rounded] + size["arc sky/64 2^k", rounded],
        "quantize sky/8 (arc sky/32)": size["stamp sky/8 2^k", rounded] + size["arc sky/32 2^k", rounded],
    }
    for name, number in whole.items():
        console.print(f"{name}: {number / 1e3:.1f} kB a pair, {100 * number / raw:.1f} % of raw", highlight=False)


if __name__ == "__main__":
    typer.run(main)
