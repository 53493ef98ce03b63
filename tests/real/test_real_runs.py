"""`lensflow run` on real pixels, with the configs that ship under workflows/configs/."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from lensflow import run as steps
from lensflow.config import RunConfig, load_config
from lensflow.schema import Reason, Status
from lensflow.store import receipts
from lensflow.store.open import open_cutouts, open_pairs
from lensflow.store.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here: no real pixels to run on"),
]


def run(name: str, tmp_path_factory, **plan) -> tuple[RunConfig, steps.RunResults]:
    out = tmp_path_factory.mktemp("real") / name
    tree = yaml.safe_load((ROOT / "workflows" / "configs" / f"{name}.yaml").read_text())
    config = load_config({**tree, "plan": {**tree["plan"], **plan}}, out=str(out))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # the configs' paths are relative to the project's root
        return config, steps.make_run(config)


def reasons_of(config: RunConfig) -> dict[str, list[str]]:
    cutouts = open_cutouts(RunFolder.of(config).cutouts)
    out = {}
    for i, name in enumerate(cutouts["host_id"].values):
        bands = zip(config.bands, cutouts["band_reasons"].values[i], strict=True)
        out[str(name)] = [f"{r.name}_{b}" for b, bits in bands for r in Reason if int(bits) & r]
    return out


def check_pairs(config: RunConfig, n_rows: int) -> None:
    folder = RunFolder.of(config)
    counts = receipts.total_counts(receipts.read_receipts(folder.receipts("pairs")).values())
    assert counts["rows"] == n_rows
    assert not any(v for k, v in counts.items() if k.startswith("invariant: "))
    pairs = open_pairs(folder.pairs)
    injected = ~pairs["is_control"].values
    assert (pairs["magnification"].values[injected] >= 1 - 2e-3).all()
    assert Path(folder.report, "index.html").stat().st_size > 50_000


@pytest.mark.slow
def test_dr9_three_whole_stamps_are_injected_and_two_are_reported_as_partial(tmp_path_factory):
    config, results = run("dr9_brick", tmp_path_factory)
    cutouts = open_cutouts(RunFolder.of(config).cutouts)
    status = dict(zip(cutouts["host_id"].values, cutouts["status"].values, strict=True))
    assert sorted(k for k, v in status.items() if v == Status.PARTIAL) == ["dr9-02", "dr9-03"]
    assert sum(v == Status.OK for v in status.values()) == 3
    assert reasons_of(config)["dr9-03"] == ["PARTIAL_STAMP_g", "PARTIAL_STAMP_r", "PARTIAL_STAMP_z"]
    check_pairs(config, 3 * 17)
    assert {g.verdict for g in results.gates if g.fitted} == {"NOT_TESTABLE"}


@pytest.mark.slow
def test_dr6_every_host_of_a_brick_that_is_mostly_not_there_has_its_reasons(tmp_path_factory):
    config, _ = run("dr6_brick", tmp_path_factory)
    reasons = reasons_of(config)
    for name in ("g-covered-1", "g-covered-2", "g-covered-3", "g-covered-4", "g-covered-5"):
        assert reasons[name] == ["ASSUMED_PSF_g", "MISSING_FILE_r", "NO_COVERAGE_z"]
    assert "PARTIAL_STAMP_g" in reasons["g-partly-covered"] and "PARTIAL_STAMP_g" in reasons["g-below-edge"]
    assert "NO_COVERAGE_g" in reasons["no-exposure"] and "NO_COVERAGE_z" not in reasons["z-corner"]
    cutouts = open_cutouts(RunFolder.of(config).cutouts)
    failed = cutouts["host_id"].values[cutouts["status"].values == Status.FAILED]
    assert sorted(failed) == ["no-exposure", "outside-brick"]
    pairs = open_pairs(RunFolder.of(config).pairs)
    assert not pairs["arc"].sel(band="r").values.any()
    check_pairs(config, 8 * 17)


@pytest.mark.slow
def test_des_31_hosts_with_16_bright_injections_each_give_a_gate_by_host(tmp_path_factory):
    config, results = run("des_lrg", tmp_path_factory, preset="historic")
    check_pairs(config, 31 * 17)
    pairs = open_pairs(RunFolder.of(config).pairs)
    theta_e = pairs["theta_e_arcsec"].values[~pairs["is_control"].values]
    assert theta_e.min() >= 0.5 and theta_e.max() <= 2.5
    assert pairs["assumed_noise"].values.all() and pairs["assumed_psf"].values.all()
    gate = {g.name: g for g in results.gates}
    assert gate["core_r"].n_hosts == 31 and gate["core_r"].n_rows == 31 * 16
    # Published for this kind of host: 0.96 with all bands; what is held here is only that bright arcs are seen.
    assert gate["core_all"].auc_low > 0.8
    assert np.isfinite(gate["core_r"].auc_high) and gate["core_r"].controls["null"]["holds_half"]
