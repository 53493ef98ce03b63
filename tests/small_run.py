"""The config of a small run on a synthetic survey: 24 hosts in two bricks, one of them without g."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from lensflow import run
from lensflow.config import RunConfig, load_config

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "survey": {
        "synthetic": {"n_bricks": 2, "brick_size_pix": 500, "hosts_per_brick": 12, "bricks_without_g": 1},
        "failure_budget": 0.3,
    },
    "plan": {"injections_per_host": 3},
    "store": {"samples_per_region": 32, "hosts_per_region": 8, "inner_chunk": 8},
    # One fit of a hundred features.
    "gate": {"recipes": ["core_r"], "bootstrap": 50, "required": False},
    "diagnostics": {"bootstrap": 50},
    "cluster": {"kind": "threads", "workers": 2, "dashboard": None},
}


def small_tree(out: Path | str, **sections: Any) -> dict[str, Any]:
    """Return the config as it stands in a YAML file; ``sections`` take the place of whole sections."""
    return {**SMALL, "out": str(out), **sections}


def small_config(out: Path | str, **sections: Any) -> RunConfig:
    return load_config(small_tree(out, **sections))


@cache
def _injected() -> Path:
    """The run cut, planned and injected, once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="lensflow-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = small_config(folder / "run")
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)
    return folder / "run"


def injected_copy(out: Path | str) -> RunConfig:
    """Put a copy of the injected run at a place of its own."""
    shutil.copytree(_injected(), out)
    return small_config(out)
