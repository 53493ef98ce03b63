import numpy as np
import pytest

from lensflow import geometry
from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Annulus, Block, Settings
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig()


def result(pairs, config=CONFIG):
    return Annulus.from_block(Block(pairs, config)).result(Settings(config, 1))


@pytest.mark.parametrize("n_rings", [8, 30])
def test_means_equal_a_plain_loop_whatever_the_number_of_rings(n_rings):
    pairs = pairs_block(n_hosts=4)
    out = result(pairs, DiagnosticsConfig(n_rings=n_rings))
    stamp, ctrl = pairs["stamp"].values.astype(float), pairs["ctrl"].values.astype(float)
    for b in range(3):
        core, outer = [], []
        for i in range(pairs.sizes["sample"]):
            if pairs["is_control"].values[i] or np.isnan(pairs["psf_fwhm_arcsec"].values[i, b]):
                continue
            x, y = pairs["x_center"].values[i], pairs["y_center"].values[i]
            difference = stamp[i, b] - ctrl[i, b]
            core.append(difference[geometry.disc(48, x, y)])
            outer.append(difference[geometry.annulus(48, x, y, geometry.ANNULUS_INNER_PIX)])
        assert out["core_mean"].values[b] == pytest.approx(np.concatenate(core).mean(), rel=1e-10)
        assert out["annulus_mean"].values[b] == pytest.approx(np.concatenate(outer).mean(), rel=1e-10)
        quotient = np.concatenate(outer).mean() / np.concatenate(core).mean()
        assert out["annulus_over_core"].values[b] == pytest.approx(quotient, rel=1e-10)


def test_a_known_pedestal_is_recovered_within_its_interval():
    pedestal = 2e-3
    clean, found = result(pairs_block(n_hosts=20)), result(pairs_block(n_hosts=20, pedestal=pedestal))
    assert (found["annulus_residual_low"] <= pedestal + 1e-9).all()
    assert (found["annulus_residual_high"] >= pedestal - 1e-9).all()
    assert (found["annulus_residual_low"] > 0).all()
    assert (clean["annulus_residual_low"] <= 0).all()
    assert (clean["annulus_residual_high"] >= 0).all()
    np.testing.assert_allclose(found["annulus_mean"] - clean["annulus_mean"], pedestal, rtol=1e-5)


@pytest.mark.slow
def test_a_pedestal_of_the_stated_power_is_seen_in_most_draws():
    seen = total = 0
    for seed in range(15):
        size = {"n_hosts": 16, "noise": 1.0, "absent_band_every": 0, "size": 44, "seed": seed}
        smallest = result(pairs_block(**size))["core_residual_power"].values.min()
        with_leak = result(pairs_block(**size, pedestal=smallest))
        band = int(np.argmin(result(pairs_block(**size))["core_residual_power"].values))
        seen += float(with_leak["core_residual_low"][band]) > 0
        total += 1
    assert seen / total > 0.5  # 0.8 expected; 15 draws


def test_controls_are_counted_and_must_be_their_hosts():
    pairs = pairs_block()
    out = result(pairs)
    assert int(out["n_controls"]) == 8
    assert float(out["max_control_change"]) == 0
    assert int(out["n_controls_changed"]) == 0

    changed = pairs.copy(deep=True)
    row = int(np.flatnonzero(pairs["is_control"])[2])
    changed["stamp"][row, 1, 3, 4] += 0.5
    out = result(changed)
    assert int(out["n_controls_changed"]) == 1
    assert float(out["max_control_change"]) == pytest.approx(0.5, rel=1e-5)
