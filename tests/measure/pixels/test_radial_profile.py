import numpy as np
import pytest
from scipy.special import ive

from lensflow import geometry
from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Block, RadialProfile, Settings, Stratified
from lensflow.measure.pixels.radial_profile import half_light_radius
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig()


def blurred_ring(size, x, y, radius, sigma):
    """Thin ring convolved with a Gaussian: exp(-(r^2 + R^2) / 2 s^2) I0(r R / s^2)."""
    r = geometry.radius_pix(size, x, y)
    light = np.exp(-((r - radius) ** 2) / (2 * sigma**2)) * ive(0, r * radius / sigma**2)
    return light / light.sum()


@pytest.fixture(scope="module")
def rings():
    """Pairs without noise whose arcs are blurred rings of 8 pix and FWHM 1.5 arcsec."""
    pairs = pairs_block(n_hosts=12, size=64, noise=0.0, absent_band_every=0)
    sigma = 1.5 / 0.262 / 2.3548
    for i in np.flatnonzero(~pairs["is_control"].values):
        ring = blurred_ring(64, pairs["x_center"].values[i], pairs["y_center"].values[i], 8.0, sigma)
        pairs["arc"][i] = ring.astype(np.float32)
        pairs["stamp"][i] = pairs["ctrl"][i] + pairs["arc"][i]
    return pairs


def test_profile_of_blurred_rings_equals_direct_computation(rings):
    out = RadialProfile.from_block(Block(rings, CONFIG)).result(Settings(CONFIG, 1))
    injections = np.flatnonzero(~rings["is_control"].values)
    light, pixels = np.zeros(CONFIG.n_rings), np.zeros(CONFIG.n_rings)
    for i in injections:
        r = geometry.radius_pix(64, rings["x_center"].values[i], rings["y_center"].values[i])
        difference = rings["stamp"].values[i, 1].astype(float) - rings["ctrl"].values[i, 1].astype(float)
        for k in range(CONFIG.n_rings):
            inside = (r >= k) & (r < k + 1)
            light[k] += difference[inside].sum()
            pixels[k] += inside.sum()
    np.testing.assert_allclose(out["profile"][0, 1], light / pixels, rtol=1e-10)
    np.testing.assert_array_equal(out["n_pixels"][0, 1], pixels)
    np.testing.assert_allclose(out["profile_expected"][0, 1], out["profile"][0, 1], atol=1e-7)
    core = light[:5].sum() / pixels[:5].sum()
    assert float(out["core_over_peak"][0, 1]) == pytest.approx(core / (light / pixels).max(), rel=1e-10)
    assert int(np.argmax(out["profile"].values[0, 1])) in (7, 8)


def test_ring_of_8_pix_and_fwhm_1_5_has_7_7_percent_within_5_pix(rings):
    out = Stratified.from_block(Block(rings, CONFIG)).result(Settings(CONFIG, 1))
    assert float(out["leakage_pct_pooled"][0, 1]) == pytest.approx(7.7, abs=0.15)


def test_half_of_the_light_lies_within_the_half_light_radius(rings):
    out = RadialProfile.from_block(Block(rings, CONFIG)).result(Settings(CONFIG, 1))
    radius = float(out["half_light_radius_pix"][0, 1])
    i = int(np.flatnonzero(~rings["is_control"].values)[0])
    r = geometry.radius_pix(64, rings["x_center"].values[i], rings["y_center"].values[i])
    inside = rings["arc"].values[i, 1][r < radius].sum()
    assert inside == pytest.approx(0.5, abs=0.03)


def test_half_light_radius_is_linear_within_a_ring_and_nan_beyond_the_last():
    assert half_light_radius(np.array([1.0, 2.0, 1.0, 0.0])) == pytest.approx(1.5)
    assert half_light_radius(np.array([4.0, 0.0, 0.0, 1.0])) == pytest.approx(0.625)
    assert np.isnan(half_light_radius(np.array([1.0, 1.0, 5.0])))
    assert np.isnan(half_light_radius(np.zeros(4)))


def test_strata_add_up_to_all():
    out = RadialProfile.from_block(Block(pairs_block(), CONFIG)).result(Settings(CONFIG, 1))
    np.testing.assert_array_equal(out["n_pixels"][0], out["n_pixels"][1:].sum("stratum"))
    light = (out["profile"] * out["n_pixels"]).fillna(0)
    np.testing.assert_allclose(light[0], light[1:].sum("stratum"), rtol=1e-9, atol=1e-12)


def test_rings_beyond_the_stamp_are_nan():
    config = DiagnosticsConfig(n_rings=60)
    out = RadialProfile.from_block(Block(pairs_block(), config)).result(Settings(config, 1))
    assert np.isnan(out["profile"][0, 1, 40:]).all()
    assert np.isfinite(out["profile"][0, 1, :30]).all()
