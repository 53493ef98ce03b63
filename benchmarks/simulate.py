"""Where a large run would bind: many workers simulated from measured times of one task.

    python benchmarks/simulate.py [--rows 10000000] [--workers 240]

Each region is read (requests over a shared link), computed on one core, written (bytes over the same link) and handed
in to one scheduler. Workers are drawn from a queue; requests and bytes are limited by the store's rates. The defaults
are the measurements in benchmarks/README.md; change them to yours.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rates:
    """What one task takes, and what the shared parts give.

    Attributes
    ----------
    rows_per_region : int
    core_s_per_row : float
        Render, measure, compress, on one core.
    spread : float
        Standard deviation of the logarithm of a task's time.
    kb_read, kb_written : float
        Bytes of a row, kB (10^3).
    requests, deep : int
        Requests of a region, and how many of them follow one another.
    latency_s : float
        Of one request.
    scheduler_s : float
        One process's time for one task.
    store_requests_s, store_mb_s : float
        What the store gives to all workers together.
    worker_mb_s : float
        What one worker's link gives.
    in_flight : int
        Regions that a worker has at work: one is computed while others are read or written.
    """

    rows_per_region: int = 1_296
    core_s_per_row: float = 465e-6
    spread: float = 0.15
    kb_read: float = 10.0
    kb_written: float = 78.0
    requests: int = 28
    deep: int = 15
    latency_s: float = 0.03
    scheduler_s: float = 1 / 500
    store_requests_s: float = 5_500.0
    store_mb_s: float = 12_500.0
    worker_mb_s: float = 80.0
    in_flight: int = 2


@dataclass(frozen=True)
class Outcome:
    """What a simulated run took, seconds, and how busy each shared part was, shares of that."""

    seconds: float
    workers: float
    scheduler: float
    requests: float
    bandwidth: float


def simulate(n_rows: int, n_workers: int, rates: Rates, seed: int = 1) -> Outcome:
    """Work off every region: each shared part serves one region after another, each at its own rate."""
    n_tasks = -(-n_rows // rates.rows_per_region)
    rng = np.random.default_rng(seed)
    compute = rates.core_s_per_row * rates.rows_per_region * rng.lognormal(0, rates.spread, n_tasks)
    mb = (rates.kb_read + rates.kb_written) * rates.rows_per_region / 1e3
    waits, moves = rates.deep * rates.latency_s, mb / rates.worker_mb_s
    requests_s, bytes_s = rates.requests / rates.store_requests_s, mb / rates.store_mb_s
    free = [(0.0, worker) for worker in range(n_workers)] * rates.in_flight
    heapq.heapify(free)
    core, own_link, busy, end = [0.0] * n_workers, [0.0] * n_workers, 0.0, 0.0  # when each is free
    scheduler = requests = link = 0.0  # when each is free again
    for own in compute:
        start, worker = heapq.heappop(free)
        scheduler = max(scheduler, start) + rates.scheduler_s
        requests = max(requests, scheduler) + requests_s
        link = max(link, scheduler) + bytes_s
        own_link[worker] = max(own_link[worker], scheduler) + moves
        ready = max(scheduler + waits + moves, own_link[worker], requests, link)
        done = core[worker] = max(ready, core[worker]) + own
        busy += own
        end = max(end, done)
        heapq.heappush(free, (done, worker))
    return Outcome(
        end,
        busy / (end * n_workers),
        n_tasks * rates.scheduler_s / end,
        n_tasks * requests_s / end,
        n_tasks * bytes_s / end,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 16, 60, 120, 240, 480, 960, 1920, 3840])
    parser.add_argument("--usd-per-core-hour", type=float, default=0.05)
    parser.add_argument("--in-flight", type=int, default=Rates.in_flight)
    parser.add_argument("--requests", type=int, default=Rates.requests)
    parser.add_argument("--deep", type=int, default=Rates.deep)
    given = parser.parse_args()
    rates = Rates(in_flight=given.in_flight, requests=given.requests, deep=given.deep)
    names = ("workers", "minutes", "rows/s", "USD", "computing", "scheduler", "S3 requests", "S3 bytes")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    for n in given.workers:
        o = simulate(given.rows, n, rates)
        usd = o.seconds / 3600 * n * given.usd_per_core_hour
        shares = " | ".join(f"{100 * x:.0f} %" for x in (o.workers, o.scheduler, o.requests, o.bandwidth))
        print(f"| {n} | {o.seconds / 60:.1f} | {given.rows / o.seconds:,.0f} | {usd:.2f} | {shares} |")


if __name__ == "__main__":
    main()
