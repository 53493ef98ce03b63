"""Injection into a store that answers after 30 ms, and measuring there: this code beside another checkout, in turns.

    python benchmarks/latency.py [--step inject|measure|materialise] [--before FOLDER] [--rows 5184]
                                 [--rows-per-region 324] [--delay-ms 30] [--rounds 3]

A real S3 server on this machine (tests/s3/install.sh), behind a proxy that keeps every request for a while. Each round
is a process of its own with one Dask worker (``latency_run.py``): it does what comes before the step without delay, and
then the clock runs from the first task of the step to its last result. ``--before`` is a folder with another version of
lensflow (``git worktree add /tmp/before c86da4a``); pixels and flags of both must be the same to the bit, and with
``--same-results`` what was measured on them, too (other versions may differ in their last digits).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))

from tests.s3.proxy import Faults, Proxy, running_proxy  # noqa: E402
from tests.s3.server import environment, make_bucket, running_server  # noqa: E402


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=lambda text: Path(text).absolute())
    parser.add_argument("--step", choices=["inject", "measure", "materialise"], default="inject")
    parser.add_argument("--same-results", action="store_true")
    parser.add_argument("--rows", type=int, default=5184)
    parser.add_argument("--rows-per-region", type=int, default=324)
    parser.add_argument("--delay-ms", type=float, nargs="+", default=[0, 30])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    code = {"before": given.before, "now": HERE} if given.before else {"now": HERE}
    names = ("delay, ms", "code", "rows/s by the clock", "requests a region", "worker's peak, MB", "CPU, us a row")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    with running_server() as server, running_proxy(server.port) as proxy:
        bucket = f"lensflow-{uuid.uuid4().hex[:12]}"
        make_bucket(server, bucket, environment())
        for delay in given.delay_ms:
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in code}
            for _ in range(given.rounds):
                for name, folder in code.items():
                    sizes = (str(given.rows), str(given.rows_per_region), given.step)
                    found[name].append(one(folder, f"s3://{bucket}/{uuid.uuid4().hex}", proxy, delay / 1e3, sizes))
                    print(name, {k: v for k, v in found[name][-1].items() if k != "digests"}, file=sys.stderr)
            results = {run["digests"].pop("results") for runs in found.values() for run in runs}
            stores = {json.dumps(run["digests"]) for runs in found.values() for run in runs}
            assert len(stores) == 1, "pixels or flags differ"
            assert len(results) == 1 or not given.same_results, "measured values differ"
            print(f"pixels and flags of all runs: the same; results: {len(results)} version(s)", file=sys.stderr)
            for name, runs in found.items():
                rate, requests, cpu = (
                    statistics.median(r[part] / r[whole] for r in runs)
                    for part, whole in (("rows", "seconds"), ("requests", "regions"), ("cpu", "rows"))
                )
                peak = max(r["peak_mb"] for r in runs)
                print(
                    f"| {delay:g} | {name} | {rate:,.0f} | {requests:.0f} | {peak:.0f} | {1e6 * cpu:.0f} |", flush=True
                )


def one(folder: Path, out: str, proxy: Proxy, delay_s: float, sizes: tuple[str, str, str]) -> dict[str, Any]:
    """Do the step once with the lensflow of a folder; the proxy waits while the clock runs."""
    proxy.faults = Faults()
    child = subprocess.Popen(
        [sys.executable, str(HERE / "benchmarks" / "latency_run.py"), out, proxy.endpoint_url, *sizes],
        env={**os.environ, **environment(), "PYTHONPATH": str(folder)},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    assert (line := child.stdout.readline()) == "ready\n", line
    proxy.faults, before = Faults(delay_s=delay_s), proxy.counts["requests"]
    child.stdin.write("\n")
    child.stdin.flush()
    measured = json.loads(child.stdout.readline())
    measured["requests"] = proxy.counts["requests"] - before
    proxy.faults = Faults()
    child.stdin.write("\n")
    child.stdin.flush()
    measured["digests"] = json.loads(child.stdout.readline())
    assert child.wait() == 0
    return measured


if __name__ == "__main__":
    main()
