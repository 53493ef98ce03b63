"""One small certified run, for the tests of certificates: fourteen hosts with four injections each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import lensflow as lf
from lensflow import run as steps
from lensflow.config import RunConfig, load_config
from lensflow.run import signing
from lensflow.run.certificate import SIGNED, UNSIGNED, parse_certificate, seal_of, signed_bytes
from lensflow.store import create, paths
from lensflow.store.run_folder import RunFolder, config_of
from tests.factories import imported_galaxies
from tests.quick import few_images, no_figures
from tests.shared import made_once

N_HOSTS = 14


def make_run(out: Path | str, **gate: Any) -> RunConfig:
    """Injected and stored, with the config that its folder keeps; nothing is measured."""
    rows = np.arange(N_HOSTS)
    # Placed on the sky, far from each other, so that the gate ``splits`` has something to say.
    cutouts = imported_galaxies(N_HOSTS).assign(ra_deg=("host", 10.0 + rows), dec_deg=("host", np.zeros(N_HOSTS)))
    config = load_config(
        {
            "out": str(out),
            "survey": {"root": "-", "targets": "-"},
            "plan": {"injections_per_host": 4},
            "store": {"samples_per_region": 32, "hosts_per_region": 8, "inner_chunk": 8},
            "gate": {"bootstrap": 50, "recipes": ["core_r"], "advisory": [], **gate},
            "diagnostics": {"bootstrap": 50},
            "cluster": {"kind": "threads", "dashboard": None},
        }
    )
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config


def _certify(out: Path) -> None:
    with no_figures(), few_images():
        config = make_run(out)
        steps.certify_step(config)
        steps.report_step(config)


def certified_copy(out: Path | str) -> RunConfig:
    """Put a copy of the certified run, with its report, at a place of its own.

    Its verdict is EXPLAINED, so not PASS; it is not signed.
    """
    shutil.copytree(made_once("certified-run", _certify), out)
    return config_of(str(out))


def certificate_of(config: RunConfig) -> dict[str, Any]:
    place = RunFolder.of(config).certificate
    return parse_certificate(paths.read_object(place) or b"", place)


def put_certificate(config: RunConfig, certificate: dict[str, Any], key: Any = None, *, sealed: bool = True) -> None:
    """Write a certificate as whoever forges one would: with its seal, carried by the pairs, signed with ``key``."""
    certificate = json.loads(json.dumps(certificate))
    if sealed:
        certificate |= {"signer": None, "signature": None, "protection": UNSIGNED}
        if key is not None:
            certificate |= {"signer": signing.public_key_of(key), "protection": SIGNED}
        certificate["seal"] = seal_of(certificate)
        if key is not None:
            certificate["signature"] = signing.sign(key, signed_bytes(certificate))
    folder = RunFolder.of(config)
    paths.write_json(folder.certificate, certificate)
    create.write_attrs(folder.pairs, {"certificate": {k: certificate[k] for k in ("seal", "verdict", "made")}})
