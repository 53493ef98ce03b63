"""A synthetic sky with lenses, and a run on its other galaxies: made once in a session of tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lensflow import run
from lensflow.config import RunConfig, load_config
from lensflow.run.realism.synthetic_sky import synthetic_sky
from tests.quick import few_images, no_figures
from tests.shared import made_once

SURVEY = {"n_bricks": 2, "brick_size_pix": 640, "hosts_per_brick": 90, "bricks_without_g": 0}
PLAN: dict[str, Any] = {
    "preset": "realistic", "psf_beta": 3.5, "src_mag_range": {"min": 20.5, "max": 22.5},
    "theta_e_from": "prior", "theta_e_arcsec": {"min": 1.2, "max": 2.0},
}  # fmt: skip
N_LENSES = 36


def sky_tree(out: Path | str, sky: Path, **sections: Any) -> dict[str, Any]:
    """Config of a run on the galaxies of the sky that are no lenses."""
    tree: dict[str, Any] = {
        "name": "beside real lenses", "out": str(out), "seed": 4,
        "survey": {"root": str(sky / "survey"), "targets": str(sky / "targets.fits"), "failure_budget": 0.5},
        "splits": {"fractions": [0.1, 0.45, 0.45], "nside": 4096},
        "plan": {**PLAN, "injections_per_host": 2},
        "gate": {"recipes": ["core_r"], "bootstrap": 50, "required": False},
        "diagnostics": {"bootstrap": 50},
        "realism": {"table": str(sky / "lenses.csv"), "hosts_per_lens": 2, "bootstrap": 100, "permutations": 99,
                    "caliper_sd": 3.0, "min_sets": 10},
        "completeness": {"threshold": {"fpr": [0.1]}},
        "cluster": {"kind": "threads", "workers": 2, "dashboard": None},
    }  # fmt: skip
    return {**tree, **sections}


def _sky(folder: Path) -> None:
    synthetic_sky(folder, N_LENSES, survey=SURVEY, plan=PLAN, seed=7)


def _injected(out: Path) -> None:
    config = load_config(sky_tree(out, the_sky()))
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)


def _finished(out: Path) -> None:
    with no_figures(), few_images():
        run.make_run(injected_run(out))


def the_sky() -> Path:
    """Folder of the sky: ``survey``, ``targets.fits``, ``lenses.csv``."""
    return made_once("sky-with-lenses", _sky)


def injected_run(out: Path | str, **sections: Any) -> RunConfig:
    """Put a copy of the run, cut, planned and injected, at a place of its own."""
    shutil.copytree(made_once("run-beside-lenses", _injected), out)
    return load_config(sky_tree(out, the_sky(), **sections))


def finished_run(out: Path | str, **sections: Any) -> RunConfig:
    """Put a copy of the finished run at a place of its own."""
    shutil.copytree(made_once("finished-run-beside-lenses", _finished), out)
    return load_config(sky_tree(out, the_sky(), **sections))
