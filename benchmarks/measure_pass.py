"""Where the time of the diagnostics' pass goes: microseconds of the processor a row, by measurement.

    python benchmarks/measure_pass.py [--rows 10000] [--per-region 0] [--regions 30]

One process makes a run (hosts, injections and controls of ``scale.py``; ``--per-region`` rows a region, 0 for as many
as the config chooses) and then does the work of its regions itself, as a worker does: read, measure, join. Processor
time, the shortest of three rounds; two regions before them compile. ``--keep FOLDER`` keeps the run, or measures it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lensflow.config import RunConfig, load_config
from lensflow.manifest.build import build_manifest
from lensflow.measure.measurement import Measured
from lensflow.measure.pixels import Block
from lensflow.run import freeze_cutouts, freeze_manifest, inject_step
from lensflow.run.kinds import kinds_of
from lensflow.run.measure import origin_of, region_block
from lensflow.run.tree import FAN_IN
from lensflow.store.open import stored_regions
from lensflow.store.run_folder import RunFolder

Costs = dict[str, float]


def config_of(out: str, per_region: int) -> RunConfig:
    """Settings of ``scale.py``'s chain."""
    settings: dict[str, Any] = {
        "out": out,
        "survey": {"root": "-", "targets": "-"},
        "plan": {"injections_per_host": 9},
    }
    if per_region:
        settings["store"] = {"samples_per_region": per_region, "inner_chunk": min(per_region, 128)}
    return load_config(settings)


def make(config: RunConfig, n_rows: int) -> None:
    """Hosts to pairs, in this process."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import numpy as np

    from tests.factories import make_cutouts

    n_hosts = max(1, n_rows // 10)
    few = make_cutouts(min(n_hosts, 200))
    cutouts = few.isel(host=np.arange(n_hosts) % few.sizes["host"])
    cutouts["host_id"] = ("host", np.array([f"h{i:07d}" for i in range(n_hosts)]))
    manifest = build_manifest(cutouts, config)
    freeze_cutouts(cutouts, config)
    freeze_manifest(manifest, config)
    inject_step(config)


def timed(costs: Costs, name: str, work: Callable[[], Any]) -> Any:
    """Do some work and add the processor's seconds to its name."""
    start = time.process_time()
    found = work()
    costs[name] += time.process_time() - start
    return found


def one_region(config: RunConfig, origin: Any, region: Any, costs: Costs) -> Measured:
    """Read and measure a region, each part timed."""
    pairs, known = timed(costs, "read", lambda: region_block(config, origin, region))
    block = Block(pairs, config.diagnostics, known)
    timed(costs, "differences", lambda: block.differences)
    return Measured({k.name: timed(costs, k.name, lambda k=k: k.measure(block)) for k in kinds_of(config)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--per-region", type=int, default=0)
    parser.add_argument("--regions", type=int, default=30, help="measured, after two that compile")
    parser.add_argument("--keep", help="folder of the run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(given.keep or folder, given.per_region)
        if not Path(RunFolder.of(config).pairs).exists():
            make(config, given.rows)
        origin, regions = origin_of(config), list(stored_regions(RunFolder.of(config).pairs, "pairs"))
        for region in regions[:2]:
            one_region(config, origin, region, defaultdict(float))
        measured = regions[2 : 2 + given.regions]
        rounds = []
        for _ in range(3):
            costs: Costs = defaultdict(float)
            values = [one_region(config, origin, region, costs) for region in measured]
            while len(values) > 1:
                groups = [values[k : k + FAN_IN] for k in range(0, len(values), FAN_IN)]
                values = [timed(costs, "join", lambda g=g: Measured.joined(g)) if len(g) > 1 else g[0] for g in groups]
            rounds.append(costs)
    n = sum(r.size for r in measured)
    every = min(sum(c.values()) for c in rounds)
    table = Table(title=f"{n:,} rows in {len(measured)} regions: {n / every:,.0f} rows/s and core, of processor time")
    table.add_column("part")
    table.add_column("us a row", justify="right")
    for name in rounds[0]:
        table.add_row(name, f"{min(c[name] for c in rounds) / n * 1e6:.1f}")
    table.add_row("together", f"{every / n * 1e6:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
