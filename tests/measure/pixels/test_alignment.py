"""Shifts of known size and direction are found, and light that lies elsewhere is counted."""

import numpy as np
import pytest
from scipy import ndimage

from lensflow import geometry
from lensflow.measure.pixels import Alignment, Block, Settings, Status, findings
from tests.measure.conftest import CONFIG
from tests.measure.pixels.pairs_factory import pairs_block

PAIRS = pairs_block(n_hosts=16, noise=0.0)


def aligned(pairs):
    return Alignment.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))


def shifted(images, dx, dy):
    """Images moved towards larger x and y, by the phases of their transform."""
    moved = ndimage.fourier_shift(np.fft.fft2(images), (0, 0, dy, dx))
    return np.fft.ifft2(moved).real


def with_hosts(pairs, hosts):
    """Stamps of other hosts' pixels under the same arcs; controls stay as they are."""
    arc, control = pairs["arc"].values, pairs["is_control"].values
    stamp = np.where(control[:, None, None, None], pairs["stamp"].values, hosts + arc)
    return pairs.assign(stamp=(pairs["stamp"].dims, stamp.astype(np.float32)))


def correlation_peak(moved, still, upsample=100, reach=40):
    """Shift (x, y) at the peak of the upsampled phase correlation of two stacks, summed over their images.

    The Fourier sum is evaluated on a fine grid about zero (Guizar-Sicairos et al. 2008, Optics Letters 33, 156). Of
    whole frames: the edge of a mask lies where it lies in both, and holds the peak back.
    """
    cross = np.fft.fft2(moved) * np.fft.fft2(still).conj()
    phase = (cross / np.abs(cross)).sum(axis=0)
    at = np.arange(-reach, reach + 1) / upsample
    wave = np.exp(2j * np.pi * np.outer(at, np.fft.fftfreq(still.shape[-1])))
    y, x = np.unravel_index(np.argmax((wave @ phase @ wave.T).real), (at.size, at.size))
    return at[x], at[y]


@pytest.mark.parametrize(("dx", "dy"), [(0.1, 0.0), (0.0, -0.2), (-0.15, 0.05), (0.02, 0.02)])
def test_a_known_shift_is_found_with_its_size_and_direction(pairs, dx, dy):
    found = aligned(with_hosts(pairs, shifted(pairs["ctrl"].values, dx, dy)))
    for axis, put in zip("xy", (dx, dy), strict=True):
        along = found.sel(axis=axis)
        np.testing.assert_allclose(along["shift"], put, atol=0.005)
        assert (along["shift_low"] <= put + 0.005).all() and (along["shift_high"] >= put - 0.005).all()


def test_unmoved_stamps_have_no_shift():
    found = aligned(PAIRS)
    assert (abs(found["shift"]) < 1e-6).all()


@pytest.mark.parametrize(("dx", "dy"), [(0.1, -0.06), (-0.2, 0.14)])
def test_the_shift_agrees_with_phase_correlation(pairs, dx, dy):
    spoilt = with_hosts(pairs, shifted(np.nan_to_num(pairs["ctrl"].values), dx, dy))
    rows = ~pairs["is_control"].values
    found = aligned(spoilt)["shift"]
    for b in range(pairs.sizes["band"]):
        used = rows & np.isfinite(pairs["psf_fwhm_arcsec"].values[:, b])
        left = spoilt["stamp"].values[used, b].astype(float) - pairs["arc"].values[used, b]
        peak = correlation_peak(left, pairs["ctrl"].values[used, b].astype(float))
        np.testing.assert_allclose(found.isel(band=b), peak, atol=0.015)


def test_a_shift_of_the_core_alone_is_no_shift():
    size = PAIRS.sizes["x"]
    inside = geometry.disc(size, geometry.centre(size), geometry.centre(size), 14.0)
    hosts = np.where(inside, shifted(PAIRS["ctrl"].values, 0.3, 0.0), PAIRS["ctrl"].values)
    assert (abs(aligned(with_hosts(PAIRS, hosts))["shift"]) < 1e-6).all()


def test_bands_move_alone():
    hosts = PAIRS["ctrl"].values.astype(float)
    hosts[:, 1] = shifted(PAIRS["ctrl"].values, 0.1, 0.0)[:, 1]
    found = aligned(with_hosts(PAIRS, hosts))["shift"].sel(axis="x")
    np.testing.assert_allclose(found, [0, 0.1, 0], atol=0.005)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("way", [1, -1])
def test_a_whole_pixel_is_told_by_a_moved_control_that_fits_better(pairs, axis, way):
    assert (aligned(pairs)["core_rms_ratio"] > 2).all()
    found = aligned(with_hosts(pairs, np.roll(pairs["ctrl"].values, way, axis)))
    assert (found["core_rms_ratio"] < 0.01).all()


@pytest.mark.slow
def test_the_shift_put_in_is_found_with_its_size(results):
    found = results["alignment"]
    assert (found["injected_found_low"] > 0.09).all()
    np.testing.assert_allclose(found["injected_found"], 0.1, atol=0.005)


def test_localisation_counts_the_rows_whose_light_was_moved():
    control = PAIRS["is_control"].values
    rows = np.flatnonzero(~control)
    sound = aligned(PAIRS)
    assert int(sound["n_localised"]) == rows.size and float(sound["localised_share"]) == 1
    moved = rows[::4]
    stamp, arc = PAIRS["stamp"].values.copy(), PAIRS["arc"].values
    stamp[moved] += np.roll(arc[moved], 12, axis=-1) - arc[moved]
    found = aligned(PAIRS.assign(stamp=(PAIRS["stamp"].dims, stamp)))
    assert float(found["localised_share"]) == pytest.approx(1 - moved.size / rows.size)
    assert float(found["localised_share_low"]) <= 1 - moved.size / rows.size <= float(found["localised_share_high"])


def test_rows_that_are_moved_each_in_a_way_of_its_own_are_seen_in_their_scatter(pairs):
    still = aligned(pairs)
    assert (still["row_shift_std"] < 0.01).all() and (still["rows_moved"] == 0).all()
    draw = np.random.default_rng(2)
    hosts = np.nan_to_num(pairs["ctrl"].values)
    put = draw.normal(0, 0.2, (len(hosts), 2))
    hosts = np.stack([shifted(h[None], dx, dy)[0] for h, (dx, dy) in zip(hosts, put, strict=True)])
    found = aligned(with_hosts(pairs, hosts))
    rows = ~pairs["is_control"].values
    for b in range(pairs.sizes["band"]):
        used = rows & np.isfinite(pairs["psf_fwhm_arcsec"].values[:, b])
        along = found.isel(band=b)
        np.testing.assert_allclose(along["row_shift_std"], put[used].std(axis=0), rtol=0.15)
        np.testing.assert_allclose(along["row_shift_mean"], put[used].mean(axis=0), atol=0.03)
    said = {f.check: f for f in findings({"alignment": found})}
    assert said["single rows stay where they are"].status is Status.ALARM
    assert {f.check: f for f in findings({"alignment": still})}["single rows stay where they are"].status is Status.OK
