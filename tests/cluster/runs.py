"""A tiny run, by command or in this process, and the bytes that it left."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from lensflow import steps
from lensflow.config import RunConfig, load_config
from tests.cluster.external import ROOT

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "survey": {
        "synthetic": {"n_bricks": 2, "brick_size_pix": 500, "hosts_per_brick": 12, "bricks_without_g": 1},
        "failure_budget": 0.3,
    },
    "plan": {"injections_per_host": 3},
    "store": {"samples_per_region": 8, "hosts_per_region": 8, "inner_chunk": 8},
    "gate": {"bootstrap": 50, "required": False},
    "diagnostics": {"bootstrap": 50},
    "cluster": {"workers": 2, "dashboard": None},
}


def command_of(folder: Path, command: str, *options: str, **cluster: Any) -> subprocess.Popen[bytes]:
    """Start ``lensflow COMMAND`` on the tiny run in ``folder/run``, in a process group of its own as in a terminal."""
    path = folder / "run.yaml"
    tree = {**TINY, "out": str(folder / "run"), "cluster": {**TINY["cluster"], **cluster}}
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
    """Cut, plan and inject the tiny run into ``folder/run``, on the client in force."""
    config = load_config({**TINY, "out": str(folder / "run")})
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
