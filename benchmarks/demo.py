"""The demo from nothing to the report: seconds by stage, peak memory, and a run that finds all done.

Run with ``make bench``. Compare numbers of one machine only.
"""

from __future__ import annotations

import os
import tempfile
import time
from importlib import resources

from rich.console import Console
from rich.table import Table

from lensflow.cluster import connect
from lensflow.config import load_config
from lensflow.run import make_run
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as out:
        with resources.as_file(resources.files("lensflow") / "configs" / "demo.yaml") as path:
            config = load_config(path, out=out)
        passes = []
        for _ in range(2):
            start = time.perf_counter()
            with connect(config.cluster):
                results = make_run(config)
            passes.append((time.perf_counter() - start, results))
        timings = paths.read_json(RunFolder.of(config).timings)
    table = Table(title=f"demo, {os.cpu_count()} cores", title_justify="left")
    for column in ("stage", "rows", "seconds", "rows/s"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in passes[0][1].stages:
        table.add_row(stage["stage"], f"{stage['rows']:,}", f"{stage['seconds']:.1f}", f"{stage['rows_per_s']:,.0f}")
    console.print(table)
    console.print(f"whole, cluster start included: {passes[0][0]:.1f} s; found done: {passes[1][0]:.1f} s")
    console.print(
        f"peak memory: workers {max(timings['worker_peak_rss_mb'].values()):.0f} MB, "
        f"driver {timings['driver_peak_rss_mb']:.0f} MB"
    )


if __name__ == "__main__":
    main()
