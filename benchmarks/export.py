"""Rows per second of each format of an export, beside reading the same units alone.

    python benchmarks/export.py [pairs]

Samples of 3 x 64 x 64 pixels are drawn by a view without a run, so that what is timed is the export: order, files,
digests. "reads" is the same view read whole, which every format but zarr does once. "zarr alone" writes the same
samples as one array in whole shards of 1,024 rows, as a run writes them (chunks of 16, lz4 with bitshuffle), and reads
them: nothing but zarr, no order, no digest. On a busy machine the rate per second of CPU says more than by the clock.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).parents[1]))

from lensflow.export.formats.folder import Folder
from lensflow.export.formats.registry import writer_of
from lensflow.export.formats.writer import Settings
from lensflow.run.export.write_files import write_files
from lensflow.store.create import CODECS, LOSSLESS
from tests.export.formats.fake_view import FakeView, fake_view

SHAPE = (3, 64, 64)
UNIT_PAIRS = 512


class Stored(FakeView):
    """Samples whose pixels are rolled out of one block: as fast as memory is copied."""

    def read(self, unit: int) -> dict[str, np.ndarray]:
        """Samples of a unit."""
        mine = self.samples.isel(sample=self.samples["unit"].values == unit)
        block = np.random.default_rng(unit).normal(size=(64, *SHAPE)).astype(np.float32)
        x = np.resize(block, (mine.sizes["sample"], *SHAPE))
        return {"x": x, **{k: mine[k].values for k in ("sample_id", "row_id", "y")}}


def zarr_alone(view: Stored, place: Path) -> None:
    """Print the rates of writing all samples with zarr, and of reading them."""
    n = view.samples.sizes["sample"]
    array = zarr.create_array(
        place, shape=(n, *SHAPE), shards=(2 * UNIT_PAIRS, *SHAPE), chunks=(16, *SHAPE), dtype="f4",
        compressors=CODECS[LOSSLESS], fill_value=0,
    )  # fmt: skip

    def write() -> None:
        for unit in range(view.n_units):
            x = view.read(unit)["x"]
            array[2 * UNIT_PAIRS * unit : 2 * UNIT_PAIRS * unit + len(x)] = x

    def read() -> None:
        for first in range(0, n, 2 * UNIT_PAIRS):
            array[first : first + 2 * UNIT_PAIRS]

    for name, work in (("zarr alone, written", write), ("zarr alone, read", read)):
        begun, cpu = time.perf_counter(), time.process_time()
        work()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        size = sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) / 1e6
        print(f"{name:<24}{n / seconds:>10,.0f}{n / cpu:>10,.0f}{size:>8,.0f}")


def main(pairs: int) -> None:
    """Print a table."""
    plain = fake_view(pairs, unit_pairs=UNIT_PAIRS, per_host=8)
    view = Stored(plain.samples, shape=SHAPE)
    n = view.samples.sizes["sample"]
    print(f"{n:,} samples of {SHAPE}, {view.n_units} units; rows per second, rows per second of CPU, MB written")
    begun, cpu = time.perf_counter(), time.process_time()
    for unit in range(view.n_units):
        view.read(unit)
    print(f"{'reads':<24}{n / (time.perf_counter() - begun):>10,.0f}{n / (time.process_time() - cpu):>10,.0f}")
    root = Path(tempfile.mkdtemp(prefix="lensflow-bench-"))
    try:
        zarr_alone(view, root / "alone.zarr")
        for form, dtype in (
            ("zarr", "float32"), ("npy", "float32"), ("npy", "float16"), ("parquet", "float32"),
            ("parquet", "float16"), ("webdataset", "float32"),
        ):  # fmt: skip
            # Imports and the digest of the code are of the first export of a process, not of its rows.
            first = Stored(fake_view(8).samples, shape=SHAPE)
            write_files(
                Folder(str(root / f"first-{form}-{dtype}")), {"train": first}, writer_of(form), Settings(1), {}, {}
            )
            folder = Folder(str(root / "out"))
            begun, cpu = time.perf_counter(), time.process_time()
            head = {"lensflow.certificate_verdict": "PASS"}
            files = write_files(folder, {"train": view}, writer_of(form), Settings(1, dtype=dtype), {}, head)
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
            size = sum(f.bytes for f in files) / 1e6
            print(f"{form + ' ' + dtype:<24}{n / seconds:>10,.0f}{n / cpu:>10,.0f}{size:>8,.0f}")
            shutil.rmtree(folder.root)
    finally:
        shutil.rmtree(root)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8_192)
