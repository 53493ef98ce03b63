"""Stored pixels and tables are those of an earlier lensflow, bit for bit on the CPU that they were made on.

``golden.json`` was written by ``python -m tests.run.test_golden`` with the code before the rooms were moved. Write it
again only with a change that means to change pixels, and say so in the CHANGELOG.
"""

import hashlib
import json
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest

from lensflow import schema
from lensflow.store.open import open_cutouts, open_manifest, open_pairs
from tests.small_run import small_config

FLAGS = {v.name for v in schema.FLAGS}
GOLDEN = Path(__file__).with_name("golden.json")


def made(out, **changes):
    """Arrays of a small run's stores: digest of the bits, and numbers that survive another CPU's last digits."""
    from lensflow import run as steps

    config = small_config(out, **changes)
    steps.cut_step(config)
    steps.plan_step(config)
    steps.inject_step(config)
    found = {}
    for store, open_store in (("cutouts", open_cutouts), ("manifest", open_manifest), ("pairs", open_pairs)):
        opened = open_store(config.out)
        for name in sorted(map(str, opened.variables)):
            values = np.ascontiguousarray(opened[name].values)
            # As they are stored: opened flags are bool, and opened controls have no Einstein radius.
            values = values.view("u1") if name in FLAGS else values
            values = np.nan_to_num(values) if (store, name) == ("pairs", "theta_e_arcsec") else values
            if values.dtype.kind not in "OUS":
                digest = hashlib.sha256(str(values.dtype).encode() + values.tobytes()).hexdigest()[:16]
                found[f"{store}/{name}"] = [digest, float(np.nansum(np.abs(values.astype(np.float64))))]
    return found


def test_stored_arrays_are_what_they_were(tmp_path):
    kept, found = json.loads(GOLDEN.read_text()), made(tmp_path / "run")
    missing = {*kept["arrays"]} - {*found}
    assert not missing
    for name, (_, total) in kept["arrays"].items():
        assert found[name][1] == pytest.approx(total, rel=1e-5), name
    if kept["cpu"] == llvmlite.binding.get_host_cpu_name():
        other = [name for name, (digest, _) in kept["arrays"].items() if found[name][0] != digest]
        assert not other


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        arrays = made(Path(folder) / "run")
    GOLDEN.write_text(json.dumps({"cpu": llvmlite.binding.get_host_cpu_name(), "arrays": arrays}, indent=1) + "\n")
