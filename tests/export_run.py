"""A small run with a certificate, for tests of exports and loaders: 60 hosts, 48 of them with three injections each.

The certificate is true of the stores and false of the gates, which are not run: its verdict is whatever a test needs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import lensflow as lf
from lensflow.config import RunConfig
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.verdicts import Verdict
from lensflow.run.certificate import make_certificate
from lensflow.run.certified import state_of
from lensflow.store import create, paths, resume
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts
from tests.shared import made_once

N_HOSTS, N_INJECTED, PER_HOST = 60, 48, 3
# Of 64 x 64 pixels; every host is clean but for a few without data, which are told below.
HOLE = 6


def hosts(n: int = N_HOSTS, size: int = 64) -> xr.Dataset:
    """Half of the hosts in train, a quarter in val and in test; one of them lacks some pixels far out."""
    cutouts = make_cutouts(n, size)
    for name in ("image", "invvar"):
        cutouts[name].values[HOLE, :, :4, :9] = 0
    split = np.tile(np.array([0, 1, 0, 2], np.uint8), n // 4)
    return with_measurements(cutouts).assign(split=("host", split))


def make_run(out: Path | str, n: int = N_HOSTS, size: int = 64, **changes: Any) -> RunConfig:
    """Injected, stored and certified as PASS."""
    plan = {"injections_per_host": PER_HOST, "limit_hosts": N_INJECTED * n // N_HOSTS} | changes.pop("plan", {})
    config = make_config(str(out), plan=plan, **changes)
    cutouts = hosts(n, size)
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    certify_as(config, "PASS")
    return config


def certify_as(config: RunConfig, verdict: str, measured: list[GateResult] | None = None) -> None:
    """Write a certificate of the stores that are there, with one verdict for every required gate, or with theirs."""
    folder, state = RunFolder.of(config), state_of(config)
    state["run"]["versions"] = {}
    if measured:
        state["run"]["code"] |= {"measured_by": resume.measuring_code_fingerprint()}
    gates = measured or [
        GateResult(name, {"check": name}, "0" * 16, 0.65, Verdict(verdict), "as this test needs it")
        for name in state["required"]
    ]
    certificate = make_certificate(state, gates, "2026-11-27T00:00:00+00:00")
    paths.write_json(folder.certificate, certificate)
    create.write_attrs(folder.pairs, {"certificate": {k: certificate[k] for k in ("seal", "verdict", "made")}})


def export_copy(out: Path | str) -> RunConfig:
    """Put a copy of the run at a place of its own."""
    shutil.copytree(made_once("export-run", lambda at: make_run(at)), out)
    return config_of(str(out))


def export_run() -> RunConfig:
    """The run that tests share; none of them writes to it."""
    return config_of(str(made_once("export-run", lambda at: make_run(at))))
