"""The config of a small run on a synthetic survey: 24 hosts in two bricks, one of them without g."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lensflow import run
from lensflow.config import RunConfig, load_config
from tests.quick import few_images, no_figures
from tests.shared import made_once

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


def _inject(out: Path) -> None:
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(small_config(out))


def _finish(out: Path) -> None:
    with no_figures(), few_images():
        run.make_run(injected_copy(out))
        run.certify_step(small_config(out))


def injected_copy(out: Path | str) -> RunConfig:
    """Put a copy of the run, cut, planned and injected, at a place of its own."""
    shutil.copytree(made_once("small-run-injected", _inject), out)
    return small_config(out)


def finished_copy(out: Path | str) -> RunConfig:
    """Put a copy of the run, measured, reported and certified, at a place of its own; its figures are not drawn."""
    shutil.copytree(made_once("small-run-finished", _finish), out)
    return small_config(out)
