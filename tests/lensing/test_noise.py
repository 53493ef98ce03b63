import numpy as np
import pytest

from lensflow import rng
from lensflow.errors import RenderError
from lensflow.lensing.noise import arc_noise, gain_from_exposure, gain_from_invvar, updated_invvar

ROWS = np.array([7, 123456789012345678, 2**64 - 1], dtype=np.uint64)


def an_arc(n=3, bands=2, size=16):
    arc = np.random.default_rng(0).uniform(0.1, 2.0, (n, bands, size, size)).astype(np.float32)
    arc[:, :, :4] = 0
    return arc


def test_a_row_gets_the_same_bits_alone_and_in_any_batch():
    arc, gain = an_arc(), np.array([[50.0, 80.0]] * 3)
    whole = arc_noise(arc, gain, ROWS, seed=5)
    for i in range(3):
        alone = arc_noise(arc[i : i + 1], gain[i : i + 1], ROWS[i : i + 1], seed=5)
        np.testing.assert_array_equal(alone[0], whole[i])
    np.testing.assert_array_equal(arc_noise(arc[::-1], gain, ROWS[::-1], seed=5), whole[::-1])


def test_a_band_gets_the_same_bits_alone_when_its_lane_is_named():
    arc = an_arc()
    whole = arc_noise(arc, 50.0, ROWS, seed=5)
    np.testing.assert_array_equal(arc_noise(arc[:, 1:], 50.0, ROWS, seed=5, lane0=1), whole[:, 1:])


def test_the_numbers_are_those_of_the_registry_of_random_numbers():
    arc = an_arc()
    z = rng.normal_f4(5, ROWS, "arc_noise", arc[0, 0].size, lane=1).reshape(3, 16, 16)
    expected = np.where(arc[:, 1] > 0, np.sqrt(arc[:, 1].astype(np.float64) / 50.0) * z, 0).astype(np.float32)
    np.testing.assert_allclose(arc_noise(arc, 50.0, ROWS, seed=5)[:, 1], expected, rtol=1e-6)


def test_noise_is_only_where_the_arc_is():
    noise = arc_noise(an_arc(), 50.0, ROWS, seed=1)
    assert (noise[:, :, :4] == 0).all()
    assert (noise[:, :, 4:] != 0).all()
    assert (arc_noise(-an_arc(), 50.0, ROWS, seed=1) == 0).all()


def test_infinite_gain_is_exactly_no_noise():
    assert (arc_noise(an_arc(), np.inf, ROWS, seed=1) == 0).all()


def test_the_variance_is_arc_over_gain():
    arc = np.full((20, 1, 64, 64), 0.3, dtype=np.float32)
    noise = arc_noise(arc, 12.0, np.arange(20), seed=3)
    count = noise.size
    assert noise.var() == pytest.approx(0.3 / 12, rel=4 * np.sqrt(2 / count))
    assert abs(noise.mean()) < 4 * np.sqrt(0.3 / 12 / count)


def test_another_seed_gives_other_numbers():
    assert (arc_noise(an_arc(), 50.0, ROWS, seed=1) != arc_noise(an_arc(), 50.0, ROWS, seed=2))[:, :, 4:].all()


@pytest.mark.parametrize("gain", [0.0, -1.0, np.nan])
def test_an_arc_where_there_is_no_gain_is_refused_and_named(gain):
    gains = np.full((3, 2), 50.0)
    gains[1, 1] = gain
    with pytest.raises(RenderError, match=r"row 1 \(row_id 123456789012345678\), band 1: gain must be positive"):
        arc_noise(an_arc(), gains, ROWS, seed=1)
    without = an_arc()
    without[1, 1] = 0
    assert (arc_noise(without, gains, ROWS, seed=1)[1, 1] == 0).all()


def test_a_sky_limited_gain_gives_back_the_variance_of_the_sky():
    sky_nmgy_per_pixel = 10 ** (-0.4 * (20.91 - 22.5)) * 0.262**2
    gain = float(gain_from_invvar(400.0, 20.91, 0.262))
    assert sky_nmgy_per_pixel / gain == pytest.approx(1 / 400.0)
    assert float(gain_from_invvar(0.0, 20.91, 0.262)) == 0


def test_both_gains_agree_for_an_exposure_limited_by_its_sky():
    rate, seconds, nexp = 53.0, 90.0, 3
    electrons = rate * seconds * nexp
    sky = 10 ** (-0.4 * (20.91 - 22.5)) * 0.262**2
    invvar = electrons / sky  # var(nMgy) = sky electrons / electrons^2 per nMgy^2
    by_exposure = float(gain_from_exposure(nexp, seconds, rate))
    assert float(gain_from_invvar(invvar, 20.91, 0.262)) == pytest.approx(by_exposure)


def test_updated_invvar_adds_variances_and_keeps_no_data():
    invvar = np.array([[0.0, 100.0], [400.0, 400.0]], dtype=np.float32)
    arc = np.array([[5.0, 1.0], [0.0, -1.0]], dtype=np.float32)
    got = updated_invvar(invvar, arc, 50.0)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[0.0, 1 / (1 / 100 + 1 / 50)], [400.0, 400.0]], rtol=1e-6)
    np.testing.assert_array_equal(updated_invvar(invvar, arc, np.inf), invvar)


def test_updated_invvar_takes_a_gain_per_row_and_band():
    invvar, arc = np.full((3, 2, 16, 16), 100.0), an_arc()
    gain = np.arange(1.0, 7.0).reshape(3, 2)
    got = updated_invvar(invvar, arc, gain)
    np.testing.assert_allclose(got, 1 / (0.01 + arc / gain[:, :, None, None]), rtol=1e-6)
