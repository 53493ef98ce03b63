"""Gates that need more than pairs of stamps, through the stored run."""

from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.config import load_config
from lensflow.run.measure import measure_step
from lensflow.store import paths
from lensflow.store.open import open_all_pairs
from lensflow.store.run_folder import RunFolder
from tests.factories import imported_galaxies


@pytest.fixture(scope="module")
def disjoint(tmp_path_factory):
    """Forty hosts, half of them with controls only."""
    cutouts = imported_galaxies(40)
    config = load_config(
        {
            "out": str(tmp_path_factory.mktemp("measure") / "run"),
            "survey": {"root": "-", "targets": "-"},
            "plan": {"injections_per_host": 4, "controls": "disjoint"},
            "store": {"samples_per_region": 32, "hosts_per_region": 8, "inner_chunk": 8},
            "gate": {
                "recipes": ["brightness_r"],
                "advisory": ["metadata_all", "brightness_all+trees"],
                "checks": [],
                "bootstrap": 50,
                "max_pairs": 60,
            },
            "cluster": {"kind": "threads", "dashboard": None},
        }
    )
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config, {g.name: g for g in measure_step(config, diagnostics=False)[1]}


@pytest.mark.slow
def test_metadata_is_compared_with_control_rows_of_hosts_without_an_injection(disjoint):
    config, gates = disjoint
    pairs = open_all_pairs(RunFolder.of(config).pairs)
    injected = set(pairs["host_index"].values[~pairs["is_control"].values])
    assert not injected & set(pairs["host_index"].values[pairs["is_control"].values])
    found = gates["metadata_all"]
    assert np.isfinite(found.auc) and found.auc_low <= found.auc <= found.auc_high
    assert 40 < found.n_rows <= 60 and found.n_hosts > gates["brightness_r"].n_hosts
    assert {"sky_sigma_nmgy_g", "psf_fwhm_arcsec_r", "x_center"} <= set(found.recipe["columns"])


@pytest.mark.slow
def test_stored_gates_are_those_of_the_opened_pairs(disjoint):
    config, gates = disjoint
    pairs = open_all_pairs(RunFolder.of(config).pairs)
    again = {g.name: g for g in lf.gate(pairs, config)}
    required = ["brightness_r", "host_all", "host_all+trees"]
    assert list(again) == list(gates) == [*required, "metadata_all", "brightness_all+trees"]
    assert config.must_pass == tuple(required)
    assert again["metadata_all"].to_json() == gates["metadata_all"].to_json()
    assert again["brightness_all+trees"].auc == pytest.approx(gates["brightness_all+trees"].auc, abs=1e-9)


@pytest.mark.slow
def test_the_report_shows_them_by_their_names(disjoint):
    config, _ = disjoint
    text = Path(steps.report_step(config)).read_text()
    for words in ("metadata_all", "brightness_all+trees", "metadata moved between hosts", "HistGradientBoosting"):
        assert words in text
