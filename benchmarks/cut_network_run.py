"""One cutting of ``cut_network.py``, with the lensflow of PYTHONPATH: ``cut_network_run.py ROOT TARGETS OUT one|many``.

Prints what was measured, and a digest of every object of the cutouts, as JSON. ``one``: one request at a time.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

from lensflow.cluster import connect
from lensflow.config import load_config
from lensflow.run import cut_step
from lensflow.store import receipts
from lensflow.store.run_folder import RunFolder


def main(root: str, targets: str, out: str, requests: str) -> None:
    """Cut with one worker, first from disk: what is compiled or loaded then is not timed."""
    # The same requests in all: "auto" would read whole files where they are cheaper than many ranges.
    survey = {"root": root, "targets": targets, "stamp_size": 64, "failure_budget": 0.5, "access": "ranges"}
    tree = {
        "out": out,
        "survey": survey,
        "splits": {"nside": 4096},
        "store": {"hosts_per_region": 64, "inner_chunk": 16},
    }
    tree["cluster"] = {"kind": "local", "workers": 1, "dashboard": None}
    config = load_config(tree)
    from_disk = load_config({**tree, "out": f"{out}-warm", "survey": {**survey, "root": str(Path(targets).parent)}})
    marks: dict[int, float] = {}
    with connect(config.cluster) as client:
        cut_step(from_disk)
        client.run(_prepare, requests == "one")
        begun = sum(client.run(time.process_time).values())
        cut_step(config, lambda stage, done, total: marks.update({done: time.perf_counter()} if stage == "cut" else {}))
        cpu = sum(client.run(time.process_time).values()) - begun
    folder = RunFolder.of(config)
    done = receipts.summary(receipts.read_receipts(folder.receipts("cutouts")).values())
    files = sorted(p for p in Path(folder.cutouts).rglob("*") if "c" in p.parts and p.is_file())
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()
    counts = {k: done["counts"][k] for k in ("hosts", "files: opened", "files: bytes read")}
    measured = {"seconds": marks[max(marks)] - marks[0], "cpu": cpu, "peak_mb": done["peak_rss_mb"], "digest": digest}
    print(json.dumps({**counts, **measured}), flush=True)


def _prepare(one: bool) -> None:
    """Allow one request at a time."""
    from lensflow.fits import transport

    if one:
        from lensflow.survey import ahead

        transport.CONCURRENT, ahead.AHEAD = 1, 1


if __name__ == "__main__":
    main(*sys.argv[1:])
