"""Arcs are no finer than their PSF: what was put into arc and stamp alike is noticed without another rendering."""

import numpy as np
import pytest
from scipy import signal

from lensflow.config import InjectionConfig
from lensflow.injection.core.masks import keep_weights
from lensflow.lensing import psf
from lensflow.measure.pixels import Block, Sharpness, Status, findings
from lensflow.measure.pixels.sharpness import BETA, FINEST_FROM, KAISER_BETA, LEAST_ROWS, WINDOW_LEAKS, kaiser, transfer
from lensflow.measure.zoo.small_run import SmallRun, small_run

BOARD = (-1.0) ** np.add.outer(np.arange(64), np.arange(64))


@pytest.fixture(scope="module")
def few():
    return small_run(14, 4, seed=8)


@pytest.fixture(scope="module")
def few_pairs(few):
    return few.pairs()


def judged(pairs, origin=None):
    (found,) = findings({"sharpness": Sharpness.from_block(Block(pairs, origin=origin)).result()})
    return found


def changed(pairs, arc):
    return pairs.assign(arc=(pairs["arc"].dims, arc.astype(np.float32)))


def masked(pairs, radius, method="hard"):
    keep = keep_weights(64, pairs["x_center"].values, pairs["y_center"].values, radius, method)
    return changed(pairs, pairs["arc"].values * keep[:, None])


def test_a_sound_run_is_far_from_an_alarm(few_pairs):
    found = judged(few_pairs)
    assert found.status is Status.OK and found.value < 0.1


@pytest.mark.parametrize("amplitude", [2e-4, 2e-3])
def test_a_checkerboard_in_arc_and_stamp_alike_is_noticed_with_its_frequency(few_pairs, amplitude):
    arc = few_pairs["arc"].values
    found = judged(changed(few_pairs, arc + amplitude * arc.max(axis=(2, 3), keepdims=True) * BOARD * (arc != 0)))
    assert found.status is Status.ALARM and "0.5, -0.5 cycles/pixel" in found.where


@pytest.mark.parametrize("radius", [5.0, 7.0])
def test_a_hard_mask_that_nobody_speaks_of_is_noticed(few_pairs, radius):
    assert judged(masked(few_pairs, radius)).status is Status.ALARM


def test_a_mask_of_the_settings_is_left_to_its_gate_and_this_is_said(few):
    config = few.config.model_copy(update={"injection": InjectionConfig(core_mask_radius_pix=5.0)})
    run = SmallRun(few.hosts, few.manifest, config)
    for origin in (run.origin, None):  # the rows say so themselves
        found = judged(run.pairs(), origin)
        assert found.status is Status.NOT_TESTED and "mask_edge" in found.text


def test_arcs_with_holes_where_the_survey_has_no_data_are_left_out(few_pairs):
    has_data = few_pairs["has_data"].values.copy()
    has_data[:, :, 30:34, 36:40] = False
    arc = np.where(has_data, few_pairs["arc"].values, 0)
    holes = changed(few_pairs, arc).assign(has_data=(few_pairs["has_data"].dims, has_data))
    assert judged(holes).status is Status.NOT_TESTED


def test_noise_of_another_phase_in_every_row_is_no_pattern(few_pairs):
    arc = few_pairs["arc"].values
    noise = np.random.default_rng(0).normal(size=arc.shape)
    assert judged(changed(few_pairs, arc + 1e-3 * arc.max(axis=(2, 3), keepdims=True) * noise)).status is Status.OK


def test_few_rows_and_narrow_psfs_are_not_tested(few_pairs):
    assert judged(few_pairs.isel(sample=slice(0, LEAST_ROWS // 2))).status is Status.NOT_TESTED
    narrow = few_pairs.assign(psf_fwhm_arcsec=few_pairs["psf_fwhm_arcsec"] * 0.2)
    assert judged(narrow).status is Status.NOT_TESTED


def test_any_blocks_in_any_order_say_the_same(few_pairs):
    whole = Sharpness.from_block(Block(few_pairs)).result()
    parts = [
        Sharpness.from_block(Block(few_pairs.isel(sample=slice(k, k + 9))))
        for k in range(0, few_pairs.sizes["sample"], 9)
    ]
    total = parts[-1]
    for part in parts[:-1]:
        total = total + part
    np.testing.assert_allclose(total.result()["over_limit"], whole["over_limit"], rtol=1e-9)


@pytest.mark.parametrize("fwhm_pix", [3.0, 4.5])
def test_no_psf_of_the_models_lets_more_through_than_is_allowed(fwhm_pix):
    """Steeper profiles than that of the limit let through less at every frequency that is looked at."""
    size = 256
    axis = np.arange(size) - size // 2
    window = kaiser(size)
    np.testing.assert_array_equal(window, signal.windows.kaiser(size, KAISER_BETA))
    frequency = np.abs(np.fft.fftfreq(size))
    for model, beta in (("moffat", BETA + 0.6), ("moffat", 3.5), ("gaussian", 3.5)):
        image = psf.profile(np.hypot(axis[:, None], axis), fwhm_pix, model, beta)
        through = np.abs(np.fft.fft2(image / image.sum() * np.outer(window, window)))[0]
        assert (through <= transfer(frequency, fwhm_pix) + WINDOW_LEAKS)[frequency >= FINEST_FROM].all()
