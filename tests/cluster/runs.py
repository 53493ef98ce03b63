"""A small run, by command or in this process, and the bytes that it left."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from lensflow import run as steps
from lensflow.config import RunConfig
from tests.cluster.external import ROOT
from tests.small_run import small_config, small_tree

# Many regions, so that a worker that is lost has some left to do.
STORE = {"samples_per_region": 8, "hosts_per_region": 8, "inner_chunk": 8}
CLUSTER = {"workers": 2, "dashboard": None}


def command_of(folder: Path, command: str, *options: str, **cluster: Any) -> subprocess.Popen[bytes]:
    """Start ``lensflow COMMAND`` on the small run in ``folder/run``, in a process group of its own as in a terminal."""
    path = folder / "run.yaml"
    tree = small_tree(folder / "run", store=STORE, cluster={**CLUSTER, **cluster})
    path.write_text(yaml.safe_dump(tree))
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lensflow", command, str(path), *options],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )


def write_pixels(folder: Path) -> RunConfig:
    """Cut, plan and inject the small run into ``folder/run``, on the client in force."""
    config = small_config(folder / "run", store=STORE, cluster=CLUSTER)
    for step in (steps.cut_step, steps.plan_step, steps.inject_step):
        step(config)
    return config


def digests(out: Path) -> dict[str, str]:
    """Digest of every array object of a run's stores; what names the run (paths, times) stands elsewhere."""
    stores = [out / f"{name}.zarr" for name in ("cutouts", "manifest", "pairs")]
    return {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for store in stores
        for file in sorted(store.rglob("*"))
        if file.is_file() and file.name != "zarr.json"
    }
