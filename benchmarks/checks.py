"""What it costs to check everything that is read: one region of pairs, read with its checks and without, on one core.

    python benchmarks/checks.py

The store has the layout of a run: two arrays of noise, 1,296 rows of three bands of 64 x 64, chunks of 16 rows.
"""

from __future__ import annotations

import tempfile
import time

import numpy as np
import zarr
from google_crc32c import implementation
from numcodecs import blosc
from rich.console import Console

from lensflow.store import objects, paths
from lensflow.store.create import CODECS, LOSSLESS, object_key
from lensflow.store.pieces import pieces_of_parts
from lensflow.store.regions import Region
from lensflow.store.shards import encode_shard

ROWS, CHUNK, SHAPE = 1296, 16, (3, 64, 64)


def make(url: str) -> dict[str, str]:
    """Write one region; returns what its receipt would say."""
    recorder = objects.RecordingStore(paths.zarr_store(url, read_only=False))
    group = zarr.open_group(recorder, mode="w", zarr_format=3)
    pieces = {}
    for k, name in enumerate(("stamp", "arc")):
        shards, chunks = (ROWS, *SHAPE), (CHUNK, *SHAPE)
        array = group.create_array(
            name, shape=shards, dtype="f4", shards=shards, chunks=chunks, compressors=CODECS[LOSSLESS], fill_value=0
        )
        data = encode_shard(array, np.random.default_rng(k).normal(size=shards).astype("f4"))
        assert data is not None
        key = object_key(array, Region(0, 0, ROWS))
        paths.write_bytes(paths.join(url, key), b"".join(data))
        pieces[key] = pieces_of_parts(data)
    objects.write_created(url, recorder.created(["stamp", "arc"], {}, {}))
    return pieces


def seconds(group: zarr.Group, rows: slice) -> float:
    """Least processor time of seven readings: other work on the machine does not count."""
    best = np.inf
    for _ in range(7):
        start = time.process_time()
        for name in ("stamp", "arc"):
            array = group[name]
            assert isinstance(array, zarr.Array)
            array[rows]
        best = min(best, time.process_time() - start)
    return float(best)


def main() -> None:
    blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1})
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        url = f"{scratch}/pairs.zarr"
        pieces = make(url)
        plain = paths.open_group(url)
        checked = paths.open_group(url, wrapped=lambda store: objects.CheckedStore(store, url, vouched=pieces))
        console.print(f"crc32c: {implementation}")
        for what, rows in (("a whole region", slice(0, ROWS)), ("40 rows of it", slice(600, 640))):
            a, b = seconds(plain, rows), seconds(checked, rows)
            a, b = min(a, seconds(plain, rows)), min(b, seconds(checked, rows))  # in turns, for a busy machine
            console.print(f"{what}: {1e3 * a:.1f} ms plain, {1e3 * b:.1f} ms checked, ratio {b / a:.3f}")


if __name__ == "__main__":
    main()
