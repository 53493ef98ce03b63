"""A run that holds galaxies twice: named, refused across splits, and one host to the gates."""

import numpy as np
import pytest

import lensflow as lf
from lensflow.config import RunConfig
from lensflow.errors import LensflowWarning
from lensflow.measure.gate import Verdict
from lensflow.measure.zoo.small_run import small_run
from lensflow.run.measure import gate_step

pytestmark = pytest.mark.slow


def test_galaxies_that_a_run_holds_twice_fail_its_splits_and_are_one_host_to_its_gates(tmp_path):
    image = small_run(24, 1).hosts["image"].values
    image = image[np.flatnonzero(np.arange(24) % 6)]
    noise = 0.005 * np.random.default_rng(1).normal(size=image.shape).astype("f4")
    every = np.concatenate([image, np.rot90(image + noise, 1, (-2, -1))])
    n = len(image)
    tree = {
        "out": str(tmp_path / "run"),
        "survey": {"root": "-", "targets": "-"},
        "plan": {"preset": "historic", "injections_per_host": 2},
        "gate": {"recipes": ["core_r"], "advisory": [], "bootstrap": 50, "checks": ["splits"]},
        "diagnostics": {"bootstrap": 50},
        "cluster": {"kind": "threads", "workers": 2, "dashboard": None},
        "store": {"samples_per_region": 16},
    }
    config = RunConfig.model_validate(tree)
    with pytest.warns(LensflowWarning, match=rf"{n} pair\(s\) of stamps show the same pixels"):
        cutouts = lf.import_stamps(
            {b: every[:, k] for k, b in enumerate("grz")}, pixel_scale_arcsec=0.262,
            psfsize_arcsec=dict.fromkeys("grz", 1.3), ra_deg=10 + np.arange(2.0 * n), dec_deg=np.zeros(2 * n),
        )  # fmt: skip
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    gates = {g.name: g for g in gate_step(config)}
    splits = gates["splits"]
    assert splits.verdict is Verdict.FAIL
    assert "of different splits show the same pixels" in splits.reason and "turned by" in splits.reason
    pairs = next(f for f in splits.findings if f["check"] == "pixels of the hosts")
    one = next(f for f in splits.findings if f["check"] == "one galaxy under two names")
    assert pairs["value"] + one["value"] == n
    assert gates["core_r"].n_hosts == n
