"""A run of ``cut`` where nearly every brick is missing: 200,000 targets over 500 brick names, four of which exist.

``python benchmarks/cut_missing.py [--rows N] [--stamp N]`` prints seconds, processor seconds, peak memory and the
hosts by status, and fails unless every row is accounted for. One process, in threads.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from astropy.table import Table, vstack
from rich.console import Console

from lensflow.config import SyntheticConfig, load_config
from lensflow.run import cut_step
from lensflow.store import receipts
from lensflow.store.run_folder import RunFolder
from lensflow.survey.synthetic import bricks as synthetic

BRICKS = 500


def main(rows: int = 200_000, stamp: Annotated[int, typer.Option(help="stamp size in pixels")] = 16) -> None:
    """A run of cut where nearly every brick is missing: 200,000 targets over 500 brick names, four of which exist."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = synthetic.write_survey(str(root / "survey"), SyntheticConfig(n_bricks=4, brick_size_pix=600))
        table(Table.read(made), rows).write(root / "targets.fits")
        survey = {"root": str(root / "survey"), "targets": str(root / "targets.fits"), "failure_budget": 1.0,
                  "stamp_size": stamp}  # fmt: skip
        config = load_config({"out": str(root / "run"), "survey": survey})
        start, cpu = time.perf_counter(), time.process_time()
        out = cut_step(config)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        counts = receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts("cutouts")).values())
    status = {k.removeprefix("status: "): n for k, n in counts.items() if k.startswith("status: ")}
    merged = int(out.attrs["n_duplicates"])
    assert sum(status.values()) + merged == rows, (status, merged)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    Console().print(
        f"{rows:,} rows: {status}, {merged} merged; {seconds:.0f} s, {cpu:.0f} s of processor, {rss:.0f} MB; "
        f"files opened {counts.get('files: opened', 0)}"
    )


def table(there: Table, rows: int) -> Table:
    """Return the hosts of the bricks that exist, and rows of bricks that do not, on a strip of sky."""
    n, rng = rows - len(there), np.random.default_rng(1)
    brick = np.arange(n) % (BRICKS - 4)
    names = np.char.add(np.char.zfill((9000 - brick).astype(str), 4), "m600")
    missing = {
        "host_id": np.char.add("m", np.arange(n).astype(str)),
        "ra_deg": 0.5 * (brick + rng.random(n)),
        "dec_deg": -60 + 0.25 * rng.random(n),
        "brickname": names,
    }
    return vstack([Table({name: np.asarray(there[name]) for name in missing}), Table(missing)])


if __name__ == "__main__":
    typer.run(main)
