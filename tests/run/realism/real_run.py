"""A small run with real lenses in its bricks: galaxies of the synthetic survey that are no hosts of the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.table import Table

from lensflow import run
from lensflow.config import RunConfig, SyntheticConfig, load_config
from lensflow.run.realism.stamps import cut_real
from lensflow.survey.synthetic.bricks import write_survey
from lensflow.targets.lenses import read_lenses
from tests.shared import made_once

N_HOSTS, N_REAL = 44, 12


def _survey(folder: Path) -> None:
    table = Table.read(write_survey(str(folder), SyntheticConfig(n_bricks=2, brick_size_pix=700, hosts_per_brick=28)))
    random = np.random.default_rng(0)
    order = random.permutation(len(table))
    table[np.sort(order[:N_HOSTS])].write(folder / "hosts.fits")
    lenses = table[np.sort(order[N_HOSTS : N_HOSTS + N_REAL])]
    lenses.write(folder / "lenses.fits")


def tree(place: Path | str, **sections: Any) -> dict[str, Any]:
    return {
        "out": str(Path(place) / "run"),
        "seed": 5,
        "survey": {"root": f"{place}/survey", "targets": f"{place}/survey/hosts.fits", "failure_budget": 0.5},
        "splits": {"fractions": [0.34, 0.33, 0.33], "nside": 2048},
        "plan": {"injections_per_host": 2},
        "store": {"samples_per_region": 32, "hosts_per_region": 8, "inner_chunk": 8},
        "realism": {"hosts_per_lens": 2, "caliper_sd": 50.0},
        "cluster": {"kind": "threads", "workers": 2, "dashboard": None},
        **sections,
    }


def _make(place: Path) -> None:
    place.mkdir()
    _survey(place / "survey")
    config = load_config(tree(place))
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)


def made(place: Path) -> RunConfig:
    """Put a copy of the run, cut, planned and injected, with its survey, at a place of its own."""
    shutil.copytree(made_once("real-lens-run", _make), place, dirs_exist_ok=True)
    return load_config(tree(place))


def lenses_of(config: RunConfig) -> Table:
    """The survey's galaxies that are no hosts, as a table of real lenses."""
    assert config.survey.root is not None
    found = Table.read(f"{config.survey.root}/lenses.fits")
    n = len(found)
    names = [f"real{k}" for k in range(n)]
    columns = {"ra": found["ra_deg"], "dec": found["dec_deg"], "theta_e": np.linspace(0.8, 2, n)}
    return Table({"name": names, "tier": ["A"] * n, **columns})


def with_real(config: RunConfig) -> xr.Dataset:
    """Cut the real lenses of the run."""
    return cut_real(config, read_lenses(lenses_of(config)))
