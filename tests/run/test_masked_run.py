"""A run whose arcs are masked: the gate of the mask's edge is run, needed, and the same from the store and lazily."""

import json
from pathlib import Path

import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.errors import GateError
from lensflow.store.run_folder import RunFolder
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole

# As bright as their lenses, under a hard mask.
SETTINGS = {
    "plan": {"injections_per_host": 2},
    "injection": {"core_mask_radius_pix": 4},
    "gate": {"recipes": ["core_r"], "checks": [], "bootstrap": 50, "folds": 2},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = make_config(str(tmp_path_factory.mktemp("masked") / "run"), **SETTINGS)
    cutouts = with_measurements(make_cutouts(24))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    return config


@pytest.fixture(scope="module")
def gates(config):
    return {g.name: g for g in steps.gate_step(config)}


def test_the_masks_edge_is_needed_and_seen(config, gates):
    assert config.must_pass == ("core_r", "mask_edge") and set(gates) == {"core_r", "mask_edge"}
    assert gates["mask_edge"].verdict in ("FAIL", "INCONCLUSIVE") and gates["mask_edge"].auc > 0.65
    assert {v["what"].split()[0] for v in gates["core_r"].controls["looked_at"]} == {"box", "disc"}


def test_what_is_stored_is_what_was_found(config, gates):
    stored = json.loads(Path(RunFolder.of(config).gates).read_text())["results"]
    assert [g["name"] for g in stored] == list(gates)
    assert stored == [g.to_dict() for g in gates.values()]


@pytest.mark.slow
def test_pairs_measured_lazily_agree_with_the_store(config, gates):
    pairs = lf.open_pairs(config.out, unseal_test="to compare with the store")
    found = {g.name: g for g in lf.gate(pairs, config, lf.open_cutouts(config.out))}
    for name, gate in gates.items():
        assert found[name].to_dict() == gate.to_dict()


def test_gates_that_are_not_told_of_the_mask_are_refused(config):
    unaware = make_config(config.out, **{**SETTINGS, "injection": {}})
    with pytest.raises(GateError, match="masked at r < 4 pixels"):
        lf.gate(lf.open_pairs(config.out), unaware).compute()
    with pytest.raises(GateError, match="masked at r < 4 pixels"):
        lf.measure_core(lf.open_pairs(config.out), unaware)
    with pytest.raises(GateError, match="masked already"):
        lf.tune_core(config)
