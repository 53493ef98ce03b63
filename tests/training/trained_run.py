"""A certified run for trainings: 420 hosts of many brightnesses, bright arcs, 2,000 pairs of train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import lensflow as lf
from lensflow.config import RunConfig
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.survey.photometry import with_measurements
from tests.export_run import certify_as
from tests.factories import make_config, make_cutouts
from tests.shared import made_once

TINY: dict[str, Any] = {
    "model": "tiny", "epochs": 3, "batch_size": 64, "learning_rate": 3e-3, "warm_up_epochs": 0.3, "pretrained": False,
}  # fmt: skip


def hosts(n: int, seed: int = 0) -> xr.Dataset:
    """Round galaxies, 0.4 to 2.5 times the factory's flux; four fifths train, nearly all others val."""
    cutouts = make_cutouts(n, seed=seed)
    draw = np.random.default_rng(seed)
    scale = np.exp(draw.uniform(np.log(0.4), np.log(2.5), n))
    y, x = np.mgrid[:64, :64]
    r2 = (x - cutouts["x_center"].values[:, None, None]) ** 2 + (y - cutouts["y_center"].values[:, None, None]) ** 2
    light = np.exp(-0.5 * r2 / 9) / (2 * np.pi * 9)
    more = (scale - 1)[:, None, None, None] * np.array([2.0, 8.0, 16.0])[:, None, None] * light[:, None]
    cutouts["image"].values[:] += more.astype(np.float32)
    # Surveys keep a value where there is no weight; two hosts of val and two of train have such pixels.
    for host in (4, 9, 10, 11):
        cutouts["invvar"].values[host, :, 3:9, 40:52] = 0
    split = np.where(np.arange(n) % 5 == 4, 1, 0).astype(np.uint8)
    split[-6:] = 2
    return with_measurements(cutouts).assign(split=("host", split))


def make_run(out: Path | str, n: int = 420, per_host: int = 6, psf_scatter: float = 0.0, **changes: Any) -> RunConfig:
    """Injected, stored and certified as PASS; with ``psf_scatter`` every host has a seeing of its own."""
    plan = {
        "injections_per_host": per_host, "dmag": {"min": 3.5, "max": 5.0}, "theta_e_arcsec": {"min": 1.0, "max": 2.5},
    } | changes.pop("plan", {})  # fmt: skip
    store = {"samples_per_region": 480, "hosts_per_region": 160, "inner_chunk": 32}
    config = make_config(str(out), plan=plan, store=store, training=TINY, scorer={"max_pairs": 400},
                         **changes)  # fmt: skip
    cutouts = hosts(n)
    seeing = np.random.default_rng(2).uniform(1 - psf_scatter, 1 + psf_scatter, (n, 1))
    cutouts["psfsize_arcsec"] = cutouts["psfsize_arcsec"] * seeing.astype(np.float32)
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    certify_as(config, "PASS")
    return config


def trained_run() -> RunConfig:
    """The run that tests share; none of them writes to it."""
    return config_of(str(made_once("training-run", lambda at: make_run(at))))
