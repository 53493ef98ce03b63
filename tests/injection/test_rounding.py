import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import run as steps
from lensflow.api import inject, write_pairs
from lensflow.config import GateConfig, StoreConfig
from lensflow.injection.rounding import ARC, STAMP, round_pixels, rounding_attrs, rounding_step, sky_sigma
from lensflow.manifest.build import build_manifest
from lensflow.measure.gate import Features
from lensflow.measure.gates import run_gate
from tests.factories import BANDS, SIGMA, make_config, make_cutouts
from tests.measure.gate.made_rows import rows_with

SIGMAS = np.array([SIGMA[b] for b in BANDS])


def ids(n, start=0):
    return np.arange(start, start + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


@settings(max_examples=30, deadline=None)
@given(st.floats(-50, 50), st.sampled_from(["power_of_two", "float"]), st.integers(0, 2**31))
def test_the_mean_over_rows_is_the_value_and_no_error_reaches_a_step(in_sigma, kind, seed):
    n, sigma = 2000, 0.0024
    step = rounding_step(np.full((n, 1), sigma), 16, kind == "power_of_two")
    value = np.float32(in_sigma * sigma)
    out = round_pixels(np.full((n, 1, 2, 3), value), step, ids(n), seed).astype(np.float64)
    error = out - np.float64(value)
    assert step.max() <= np.float32(sigma / 16) and np.abs(error).max() < step[0, 0] * (1 + 1e-6)
    # A two-point distribution: its scatter is at most step / 2.
    assert abs(error.mean()) < 5 * 0.5 * step[0, 0] / np.sqrt(error.size) + 1e-7 * abs(value)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-(2**20), 2**20), min_size=9, max_size=9))
def test_zeros_and_whole_steps_stay_bit_for_bit(multiples):
    step = np.full((1, 1), 2.0**-13, np.float32)
    values = (np.array(multiples, np.float32) * step[0, 0]).reshape(1, 1, 3, 3)
    values[0, 0, 1, 1] = 0
    assert np.array_equal(round_pixels(values, step, ids(1), 1), values)


def test_a_row_alone_is_rounded_as_in_a_batch_and_bands_without_sigma_are_left_alone():
    rng = np.random.default_rng(1)
    values = rng.normal(0, SIGMAS[:, None, None], (5, 3, 7, 7)).astype(np.float32)
    sigma = np.broadcast_to(SIGMAS, (5, 3)).copy()
    sigma[2, 0] = np.nan
    step = rounding_step(sigma, 16, True)
    out = round_pixels(values, step, ids(5), 3)
    for i in range(5):
        assert np.array_equal(round_pixels(values[i : i + 1], step[i : i + 1], ids(5)[i : i + 1], 3)[0], out[i])
    assert np.array_equal(out[2, 0], values[2, 0]) and not np.array_equal(out[1, 0], values[1, 0])
    assert not np.array_equal(round_pixels(values, step, ids(5), 3, ARC), out)


def test_sky_sigma_is_that_of_the_pixels_with_data():
    invvar = np.zeros((1, 2, 4, 4), np.float32)
    invvar[0, 0, :3] = 1 / 0.002**2
    assert sky_sigma(invvar)[0] == pytest.approx([0.002, np.nan], rel=1e-6, nan_ok=True)


def test_the_attrs_state_the_error_of_every_band():
    said = rounding_attrs(16, "float", BANDS)
    assert said["quantize"] == "sky/16" and said["quantize_error_max_in_sky_sigma"] == dict.fromkeys(BANDS, 1 / 16)


@pytest.fixture(scope="module")
def galaxies():
    """Images of 200 galaxies in noise as 1000 rows (five a host), and the same rounded to sky/16."""
    cutouts = make_cutouts(200, size=32, seed=4)
    host = np.repeat(np.arange(200), 5)
    image = cutouts["image"].values.astype(np.float32)[host]
    step = rounding_step(sky_sigma(cutouts["invvar"].values), 16, False)[host]
    return image, step, host, ids(1000)


def test_aperture_photometry_does_not_see_the_rounding(galaxies):
    image, step, _, keys = galaxies
    y, x = np.mgrid[:32, :32]
    aperture = np.hypot(x - 15.5, y - 15.5) < 10
    exact = image[..., aperture].astype(np.float64).sum(axis=(0, 2))
    rounded = round_pixels(image, step, keys, 9)[..., aperture].astype(np.float64).sum(axis=(0, 2))
    assert np.abs(rounded / exact - 1).max() < 1e-4


def gate(stamp, ctrl, host):
    n, box = len(stamp), np.s_[:, :, 11:21, 11:21]
    block = rows_with(
        {"core_raw": Features(stamp[box].reshape(n, 3, -1), ctrl[box].reshape(n, 3, -1))},
        covered=np.ones((n, 3), bool),
        sky_sigma=np.broadcast_to(SIGMAS, (n, 3)).astype(np.float32),
        host_index=host.astype(np.int64),
        row_id=ids(n),
        theta_e_arcsec=np.ones(n),
        arc_snr=np.ones(n),
        split=np.zeros(n, np.uint8),
    )
    return run_gate(block, "core_r", GateConfig(bootstrap=200), BANDS, seed=1)


@pytest.mark.slow
def test_the_core_gate_does_not_tell_rounded_stamps_from_exact_ones_nor_two_roundings_of_one_host(galaxies):
    image, step, host, keys = galaxies
    rounded = round_pixels(image, step, keys, 9)
    for other in (image, round_pixels(image, step, ids(1000, start=5000), 9)):
        found = gate(rounded, other, host)
        assert found.auc_low <= 0.5 <= found.auc_high and abs(found.auc - 0.5) < 0.02


def off_grid(images, step):
    """Mean distance of each row's pixels to the nearest multiple of the step: what a sharp-eyed classifier sees."""
    phase = images.astype(np.float64) / step[:, :, None, None]
    return np.abs(phase - np.round(phase)).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("copy", [False, True])
def test_the_served_control_lies_on_the_stamps_grid_where_a_raw_one_would_tell_itself(tmp_path, copy):
    store = {"samples_per_region": 16, "hosts_per_region": 8, "inner_chunk": 4, "quantize": "sky/16", "copy_ctrl": copy}
    config = make_config(tmp_path, store=store, survey={"root": "-", "targets": "-", "stamp_size": 32})
    cutouts = make_cutouts(6, size=32)
    pairs = write_pairs(inject(cutouts, build_manifest(cutouts, config), config), config).load()
    step, host = pairs["quantize_step_nmgy"].values, pairs["host_index"].values
    raw = cutouts["image"].values[host]
    stamp, ctrl, control = pairs["stamp"].values, pairs["ctrl"].values, pairs["is_control"].values
    assert off_grid(stamp, step).max() == off_grid(ctrl, step).max() == 0 < 0.2 < off_grid(raw, step).min()
    assert (stamp[control] == ctrl[control]).all() and control.any()
    unlit = np.broadcast_to(~control[:, None, None, None], stamp.shape) & (
        steps.inject(cutouts, pairs, config.injection)["arc"].values == 0
    )
    assert (stamp[unlit] == ctrl[unlit]).all()
    assert np.abs(ctrl - raw).max() <= step.max()
    assert pairs["stamp"].attrs["quantize"] == "sky/16" and pairs["arc"].attrs["quantize"] == "sky/64"
    assert (tmp_path / "pairs.zarr" / "ctrl").exists() == copy


def test_the_arc_has_finer_steps_of_its_own_and_may_be_rounded_alone():
    assert StoreConfig(quantize="sky/16").arc_steps_per_sigma == 64
    only = StoreConfig(quantize_arc="sky/1024")
    assert (only.stamp_steps_per_sigma, only.arc_steps_per_sigma) == (0, 1024)
    assert StoreConfig(quantize="sky/8", quantize_arc="none").arc_steps_per_sigma == 0
    assert STAMP != ARC
