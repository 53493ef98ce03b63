import numpy as np
import pytest

from lensflow.errors import GateError
from lensflow.measure.scorer.core_noise import annulus_noise, fill_core_with_noise
from tests.factories import make_cutouts


@pytest.fixture(scope="module")
def filled():
    hosts = make_cutouts(6)
    ctrl = hosts["image"].values.astype(np.float32)
    ctrl[2, 1, :3] = np.nan
    stamp = ctrl.copy()
    stamp[:, :, 28:36, 28:36] += 5.0
    stamp[:, :, 50:54, 30:34] += 1.0
    x, y = hosts["x_center"].values, hosts["y_center"].values
    radius, key = np.linspace(3, 8, 6), np.arange(6, dtype=np.uint64)
    noise = annulus_noise(ctrl)
    both = [fill_core_with_noise(image, noise, x, y, radius, key, 1) for image in (stamp, ctrl)]
    inside = np.hypot(*(np.mgrid[:64, :64] - np.stack([y, x])[:, :, None, None].swapaxes(0, 1)).swapaxes(0, 1))
    return stamp, ctrl, *both, inside < radius[:, None, None], noise


def test_a_stamp_and_its_control_have_the_same_core(filled):
    stamp, ctrl, of_stamp, of_ctrl, inside, _ = filled
    core = np.broadcast_to(inside[:, None], stamp.shape)
    np.testing.assert_array_equal(of_stamp[core], of_ctrl[core])
    assert not np.array_equal(stamp[core], ctrl[core], equal_nan=True)


def test_pixels_outside_of_the_core_keep_their_bits(filled):
    stamp, ctrl, of_stamp, of_ctrl, inside, _ = filled
    away = np.broadcast_to(~inside[:, None], stamp.shape)
    np.testing.assert_array_equal(of_stamp[away], stamp[away])
    np.testing.assert_array_equal(of_ctrl[away], ctrl[away])


def test_the_core_has_the_noise_of_the_annulus_and_never_zeros(filled):
    _, ctrl, of_stamp, _, inside, (level, sigma) = filled
    core = of_stamp[5][:, inside[5]]
    assert (core != 0).all()
    np.testing.assert_allclose(core.std(axis=1), sigma[5], rtol=0.25)
    np.testing.assert_allclose(core.mean(axis=1), level[5], atol=4 * sigma[5].max() / np.sqrt(core.shape[1]))
    assert (np.nanmax(ctrl[5], axis=(1, 2)) > 4 * core.max(axis=1)).any()  # the host's own core was brighter


def test_an_unknown_psf_size_is_refused(filled):
    stamp, _, _, _, _, noise = filled
    with pytest.raises(GateError, match="core of image 1: a radius of nan"):
        fill_core_with_noise(
            stamp, noise, np.full(6, 31.5), np.full(6, 31.5), [5, np.nan, 5, 5, 5, 5], np.arange(6, dtype=np.uint64), 1
        )
