"""Two small runs of the same hosts: 36 of them, twelve a split; made once in a process, a copy for each test file."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow.config import RunConfig
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts

# Few tables of few cells: each is written, and read, number by number.
STRATA = {"theta_e_arcsec": "plan", "magnification": "plan", "psfsize_r": [1.0, 1.5, 2.0]}
AXES = [
    {"variable": "theta_e_arcsec", "edges": [0.5, 1.0, 1.5, 3.0]},
    {"variable": "src_mag_r", "edges": [20, 23, 26]},
    {"variable": "psfsize_r", "edges": [1.0, 1.5, 2.0]},
    {"variable": "psfdepth_r", "edges": [23, 25]},
]
_made: dict[str, RunConfig] = {}


def completeness_run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Three injections on each host."""
    return _run(tmp_path_factory, "completeness", plan={"injections_per_host": 3})


def other_run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Another seed, rounded, and rows for half of the hosts only: six of the twelve of val have no injection."""
    store = {"samples_per_region": 16, "hosts_per_region": 8, "inner_chunk": 4, "quantize": "sky/16"}
    return _run(tmp_path_factory, "other", seed=6, plan={"injections_per_host": 3, "limit_hosts": 18}, store=store)


def hosts() -> xr.Dataset:
    split = np.repeat(np.arange(3, dtype=np.uint8), 12)
    return with_measurements(make_cutouts(36)).assign(split=("host", split))


def _run(tmp_path_factory: pytest.TempPathFactory, name: str, **changes: Any) -> RunConfig:
    if name not in _made:
        config = make_config(
            str(tmp_path_factory.mktemp(name) / "run"),
            completeness={"threshold": {"fpr": [0.1, 0.5]}, "bootstrap": 60, "axes": AXES, "strata": STRATA},
            **changes,
        )  # fmt: skip
        cutouts = hosts()
        lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
        paths.write_text(RunFolder.of(config).config, config.to_yaml())
        _made[name] = config
    # Nobody sees what another file measured or unsealed: the order of files is the machine's.
    copy = tmp_path_factory.mktemp(name) / "run"
    shutil.copytree(_made[name].out, copy)
    return config_of(str(copy))
