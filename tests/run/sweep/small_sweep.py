"""A small run to sweep: 12 hosts, two injections on each, cut and planned; made once in a session."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, load_config
from lensflow.run.cut import freeze_cutouts
from lensflow.run.inject import inject_step
from lensflow.run.plan import plan_step
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts
from tests.shared import made_once

N_HOSTS, PER_HOST = 12, 2
SECTIONS: dict[str, Any] = {
    "plan": {"injections_per_host": PER_HOST},
    "completeness": {"threshold": {"fpr": [0.25]}, "strata": {"theta_e_arcsec": "plan", "src_mag_r": [18, 21, 24]}},
    "gate": {"recipes": ["brightness_all"], "advisory": [], "checks": [], "bootstrap": 50, "required": False},
    "diagnostics": {"bootstrap": 50},
}


def hosts() -> xr.Dataset:
    """Four hosts of train, six of val, two of test."""
    split = np.repeat(np.arange(3, dtype=np.uint8), (4, 6, 2))
    return with_measurements(make_cutouts(N_HOSTS)).assign(split=("host", split))


def config_of(out: Path | str, **sections: Any) -> RunConfig:
    return make_config(str(out), **{**SECTIONS, **sections})


def _make(out: Path) -> None:
    config = config_of(out)
    freeze_cutouts(hosts(), config)
    plan_step(config)
    inject_step(config)


def swept_run(out: Path | str) -> RunConfig:
    """Put a copy of the run at a place of its own."""
    shutil.copytree(made_once("small-sweep", _make), out)
    return load_config(config_of(out).effective())
