"""Against the reference renderings, and against known mistakes that the statistic must catch."""

from pathlib import Path

import numpy as np
import pytest

from lensflow.lensing import psf
from lensflow.lensing.render import render, render_arcs
from lensflow.lensing.render_reference import lensed_light, ray_positions

from .rows import error_over_peak, one_row, random_rows, scalars

TRUTH = Path(__file__).parents[2].parent / "shared" / "truth"


def load_truth(name):
    path = TRUTH / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"reference renderings are absent: {path}")
    with np.load(path) as file:
        return dict(file)


def render_truth_rows(truth, **settings):
    n = len(truth["arc"])
    arc, error, magnification = np.zeros_like(truth["arc"]), np.zeros(n), np.zeros(n)
    for model in psf.MODELS:
        rows = np.flatnonzero(truth["psf_model"] == model)
        subset = {k: v[rows] for k, v in truth.items() if k not in ("arc", "psf_model")}
        result = render(subset, psf_model=model, **settings)
        arc[rows], error[rows], magnification[rows] = result.arc, result.render_err, result.magnification
    return arc, error, magnification


def summary(values):
    return np.array([np.median(values), np.percentile(values, 95), values.max()])


# Uniform 8 x 8 rays: measured median, p95, max, with 10 % of room. The project's goal is 1e-3 for every row; the
# maxima here show what uniform rays miss (elongated cusps between two rays).
BOUNDS = {
    "dev": ([1.1e-4, 1.05e-3, 7.8e-3], [4.5e-5, 3.2e-4, 5.3e-3]),
    "devwide": ([1.9e-4, 1.6e-3, 4.2e-3], [5.2e-5, 7.5e-4, 2.0e-3]),
}


@pytest.mark.real
@pytest.mark.parametrize("name", list(BOUNDS))
def test_errors_against_the_reference_renderings_are_what_is_claimed(name):
    truth = load_truth(name)
    arc, estimate, magnification = render_truth_rows(truth)
    error = error_over_peak(arc, truth["arc"])
    sums = arc.sum(axis=(2, 3), dtype=np.float64), truth["arc"].sum(axis=(2, 3), dtype=np.float64)
    flux = np.abs(sums[0] / sums[1] - 1).max(axis=1)
    print(f"{name}: error/peak median, p95, max {summary(error)}; flux error {summary(flux)}")
    within = [np.mean(error <= factor * estimate) for factor in (1, 3)]
    print(f"  share with error <= render_err {within[0]:.2f}, <= 3 render_err {within[1]:.2f}")
    assert (summary(error) <= BOUNDS[name][0]).all()
    assert (summary(flux) <= BOUNDS[name][1]).all()
    assert (magnification >= 1).all()
    # The truth itself is good to 4e-5.
    assert (error <= 3 * estimate + 4e-5).all()
    assert np.mean(error <= estimate + 4e-5) >= 0.85
    assert 0.1 < np.median(error / estimate) < 1


@pytest.mark.real
def test_more_rays_come_closer_to_the_reference():
    truth = load_truth("dev")
    truth = {k: v[:16] for k, v in truth.items()}
    medians = [np.median(error_over_peak(render_truth_rows(truth, supersample=s)[0], truth["arc"])) for s in (2, 4, 8)]
    assert medians[0] > 2 * medians[1] > 4 * medians[2]


@pytest.mark.parametrize("n", [0.5, 1.0, 2.0, 4.0])
def test_render_err_bounds_the_error_for_other_profiles_too(n):
    rows = random_rows(12, seed=21, bands=1, src_n=n)
    coarse, fine = render(rows), render(rows, supersample=24)
    error = error_over_peak(coarse.arc, fine.arc)
    # 1e-6: the arc's own floor. All rows within 3.5 times; 96 % of 24 rows within 3 times for n = 3 and 4.
    assert (error <= 3.5 * coarse.render_err + 1e-6).all()
    assert np.median(error / coarse.render_err) < 1
    assert fine.render_err.max() < coarse.render_err.max()


# --- known mistakes --------------------------------------------------------------------------------------------

ROW = one_row(src_reff_arcsec=0.25)
GOOD = 1e-3  # what a right rendering of this row reaches


@pytest.fixture(scope="module")
def truth():
    return render_arcs(ROW, supersample=24)


def test_the_renderer_itself_passes_the_statistic(truth):
    assert error_over_peak(render_arcs(ROW), truth)[0] < GOOD


def test_one_ray_per_pixel_is_caught(truth):
    assert error_over_peak(render_arcs(ROW, supersample=1), truth)[0] > 10 * GOOD


def test_sigma_taken_for_fwhm_is_caught(truth):
    wrong = {**ROW, "psf_fwhm_arcsec": ROW["psf_fwhm_arcsec"] * 2.3548}
    assert error_over_peak(render_arcs(wrong), truth)[0] > 100 * GOOD


def test_a_centre_half_a_pixel_off_is_caught(truth):
    wrong = {**ROW, "x_center": ROW["x_center"] + 0.5}
    assert error_over_peak(render_arcs(wrong), truth)[0] > 50 * GOOD


def test_a_missing_sqrt_q_is_caught(truth):
    wrong = {**ROW, "theta_e_arcsec": ROW["theta_e_arcsec"] / np.sqrt(ROW["lens_q"])}
    assert error_over_peak(render_arcs(wrong), truth)[0] > 100 * GOOD


def test_psfsize_taken_for_the_moffat_fwhm_is_caught(truth):
    wrong = {**ROW, "psf_fwhm_arcsec": ROW["psf_fwhm_arcsec"] / 0.811}
    assert error_over_peak(render_arcs(wrong), truth)[0] > 50 * GOOD


def test_rebinning_before_the_convolution_is_caught(truth):
    # 8 x 8 rays averaged over their pixel, then convolved: the pixel is applied twice, about 1 % of the peak.
    row, s, field = scalars(ROW), 8, 96
    x, y = (ray_positions(64, 16, s, 0.262, row[k]) for k in ("x_center", "y_center"))
    light = lensed_light(row, x[None, :], y[:, None]).reshape(field, s, field, s).mean(axis=(1, 3)) * 0.262**2
    f = np.fft.fftfreq(192)
    wrong = np.zeros_like(truth)
    for band in range(3):
        hat = psf.moffat_transform(np.hypot(f[:, None], f), row["psf_fwhm_arcsec"][band] / 0.262)
        image = np.fft.ifft2(np.fft.fft2(light, s=(192, 192)) * hat).real
        wrong[0, band] = row["src_flux_nmgy"][band] * image[16:80, 16:80]
    assert error_over_peak(wrong, truth)[0] > 5 * GOOD
