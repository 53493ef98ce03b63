"""Planning lazy pairs: Dask tasks a chunk, seconds and memory, before anything is rendered.

    python benchmarks/lazy.py [ROWS]

A manifest of ROWS rows (default 1,000,000; those of 200 made-up hosts, repeated) is handed to ``lf.inject``, in memory
and lazy, and the graph of what a notebook looks at is made and optimised as it is for ``compute``: the stamps, the four
pixel arrays, every variable. Nothing is rendered; seconds are CPU time, memory is what the process grew by.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import dask
import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1]))

import lensflow as lf
from tests.factories import make_config, make_cutouts

WANTED = {"stamp": ["stamp"], "arc, stamp, ctrl, has_data": ["arc", "stamp", "ctrl", "has_data"], "every result": None}


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def n_tasks(pairs: xr.Dataset) -> int:
    """Tasks of a dataset's graph, as it is."""
    return len(dict(pairs.__dask_graph__() or {}))


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    config, cutouts = make_config(), make_cutouts(200)
    few = lf.plan_injections(cutouts, config)
    index = np.sort(np.arange(rows) % few.sizes["sample"])
    in_memory = few.isel(sample=index)
    print(f"{rows:,} rows, {in_memory.nbytes / 1e6:.0f} MB of manifest")
    for kind, manifest in (("in memory", in_memory), ("lazy", in_memory.chunk(sample=100_000))):
        before, start = peak_mb(), time.process_time()
        pairs = lf.inject(cutouts, manifest, config)
        seconds, chunks = time.process_time() - start, len(pairs.chunksizes["sample"])
        print(f"manifest {kind}: lf.inject {seconds:.2f} s, {peak_mb() - before:.0f} MB, {chunks:,} chunks")
        results = [n for n in pairs.data_vars if n not in manifest.variables]
        for name, wanted in WANTED.items():
            start = time.process_time()
            # Coordinates are the manifest's.
            part = pairs[wanted or results].reset_coords(drop=True)
            first, (best,) = n_tasks(part), dask.optimize(part)
            count = n_tasks(best)
            print(
                f"  {name:28s} {first / chunks:6.2f} tasks a chunk, optimised {count / chunks:6.2f}; "
                f"{time.process_time() - start:.2f} s, {peak_mb() - before:.0f} MB"
            )


if __name__ == "__main__":
    main()
