"""Cutting from a server that answers after 30 ms: one request at a time, another checkout of lensflow, and this one.

    python benchmarks/cut_network.py [--before FOLDER] [--bricks 4] [--hosts 30] [--delay-ms 30] [--rounds 3]

A synthetic survey of bricks of 2400 x 2400 pixels (RICE, three bands, 13 files) behind a web server on this machine
that understands ranges. Each cutting is a process of its own with one Dask worker (``cut_network_run.py``), in turns;
the clock runs from the first task to the last result. The cutouts of all must have the same bytes. "One request at a
time" is this code without requests in flight: neither several of a brick, nor those of the next bricks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))

from lensflow.config import SyntheticConfig  # noqa: E402
from lensflow.survey.synthetic import bricks as synthetic  # noqa: E402
from tests.fits.range_server import serve  # noqa: E402


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=lambda text: Path(text).absolute())
    parser.add_argument("--survey", type=Path, help="where the survey is written and found again")
    parser.add_argument("--bricks", type=int, default=4)
    parser.add_argument("--brick-size", type=int, default=2400, help="pixels")
    parser.add_argument("--hosts", type=int, default=30)
    parser.add_argument("--delay-ms", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ways = {"one request at a time": (HERE, "one"), "before": (given.before, "many"), "now": (HERE, "many")}
    if given.before is None:
        del ways["before"]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as temporary:
        survey = given.survey or Path(temporary, "survey")
        if not (survey / "done").exists():
            config = SyntheticConfig(
                n_bricks=given.bricks, brick_size_pix=given.brick_size, hosts_per_brick=given.hosts, bricks_without_g=0
            )
            (survey / "done").write_text(str(synthetic.write_survey(str(survey), config)))
        targets = (survey / "done").read_text()
        with serve(survey) as server:
            for k in range(given.rounds):
                for name, (folder, requests) in ways.items():
                    server.latency_s, before = given.delay_ms / 1e3, sum(server.requests.values())
                    done = subprocess.run(
                        [sys.executable, str(HERE / "benchmarks" / "cut_network_run.py"), server.url, targets,
                         f"{temporary}/{name.replace(' ', '-')}-{k}", requests],
                        env={**os.environ, "PYTHONPATH": str(folder)}, cwd=folder, stdout=subprocess.PIPE, check=True,
                    )  # fmt: skip
                    found[name].append(json.loads(done.stdout))
                    found[name][-1]["requests"] = sum(server.requests.values()) - before
                    print(name, found[name][-1], file=sys.stderr)
    assert len({run["digest"] for runs in found.values() for run in runs}) == 1, "the cutouts have other bytes"
    names = (
        "code",
        "seconds",
        "faster by",
        "files opened",
        "requests",
        "MB moved",
        "CPU s of the worker",
        "its peak, MB",
    )
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    slowest = statistics.median(run["seconds"] for run in found["one request at a time"])
    for name, runs in found.items():
        seconds, cpu = (statistics.median(run[part] for run in runs) for part in ("seconds", "cpu"))
        last, peak = runs[-1], max(run["peak_mb"] for run in runs)
        print(
            f"| {name} | {seconds:.1f} | {slowest / seconds:.1f} | {last['files: opened']:,} | {last['requests']:,} | "
            f"{last['files: bytes read'] / 1e6:.1f} | {cpu:.1f} | {peak:.0f} |"
        )


if __name__ == "__main__":
    main()
