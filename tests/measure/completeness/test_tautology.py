"""A scorer that is a cut on the truth is named with its cut; one with noise is not."""

import numpy as np
import pytest

from lensflow.measure.completeness import tautology
from lensflow.measure.completeness.tautology import reproduced_by, walls

TREE = "a tree of cuts: src_mag_r at 24, theta_e_arcsec at "


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    n = 4000
    theta, psf, mag = rng.uniform(0.3, 2.5, n), rng.uniform(1.0, 1.6, n), rng.uniform(22, 26, n)
    snr = 10 ** (-0.4 * (mag - 26)) * theta / psf * rng.uniform(0.5, 1, n)
    return {"theta_e_arcsec": theta, "theta_e_over_psfsize_r": theta / psf, "theta_e_over_fwhm_r": theta / psf / 0.811,
            "src_mag_r": mag, "src_reff_arcsec": rng.uniform(0.1, 1, n), "snr_peak_r": snr,
            "snr_matched_r": snr * rng.uniform(3, 4, n)}  # fmt: skip


def test_the_cut_that_began_this_is_named_with_both_numbers(truth):
    recovered = (truth["snr_peak_r"] >= 5) & (truth["theta_e_over_psfsize_r"] >= 0.8)
    found = reproduced_by(truth, recovered)
    at = {name: float(number) for name, number in (part.split(" >= ") for part in found.split(" and "))}
    assert at.pop("snr_peak_r") == pytest.approx(5, abs=0.02)
    # The same cut in the other definition of the PSF would reproduce it too.
    assert at == {"theta_e_over_psfsize_r": pytest.approx(0.8, abs=0.005)}


@pytest.mark.parametrize("wrong", [0.002, 0.02])
def test_a_cut_with_a_few_rows_of_noise_is_none(truth, wrong):
    recovered = (truth["snr_peak_r"] >= 5) & (truth["theta_e_over_psfsize_r"] >= 0.8)
    noisy = recovered ^ (np.random.default_rng(1).random(4000) < wrong)
    assert reproduced_by(truth, noisy) is None


def test_a_detection_that_is_a_smooth_function_of_snr_is_none(truth):
    chance = 1 / (1 + np.exp(-(truth["snr_peak_r"] - 5)))
    assert reproduced_by(truth, np.random.default_rng(2).random(4000) < chance) is None


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (lambda t: t["snr_peak_r"] >= 5, "snr_peak_r >= 5"),
        (lambda t: t["src_mag_r"] < 24, "src_mag_r <= 2"),
        (lambda t: (t["src_mag_r"] < 23) | (t["theta_e_arcsec"] > 2), " or src_mag_r < 23"),
        (lambda t: (t["theta_e_arcsec"] > 1) == (t["src_reff_arcsec"] > 0.5), None),
        (lambda t: np.where(t["src_mag_r"] < 24, t["theta_e_arcsec"] > 0.4, t["theta_e_arcsec"] > 2.4), TREE),
    ],
)
def test_cuts_of_other_forms_are_named_where_two_levels_can(truth, cut, text):
    found = reproduced_by(truth, cut(truth))
    assert found is None if text is None else text in found


@pytest.mark.parametrize(("bright", "faint"), [(0.4, 2.4), (2.4, 0.4), (1.2, 2.3), (0.6, 1.1)])
def test_a_tree_among_many_rows_is_found_as_among_few(truth, monkeypatch, bright, faint):
    """Of many rows some are tried first; what two cuts explain there is looked for among all."""
    cut = np.where(truth["src_mag_r"] < 23, truth["theta_e_arcsec"] > bright, truth["theta_e_arcsec"] > faint)
    noisy = cut ^ (np.random.default_rng(0).random(len(cut)) < 0.02)
    expected = reproduced_by(truth, cut)
    monkeypatch.setattr(tautology, "_ROWS_OF_TREE", 500)
    assert reproduced_by(truth, cut) == expected and (expected is None or "a tree of cuts" in expected)
    assert reproduced_by(truth, noisy) is None


def test_few_rows_of_a_class_and_rows_without_a_number_are_no_proof(truth):
    rare = truth["snr_peak_r"] >= np.sort(truth["snr_peak_r"])[-199]
    assert reproduced_by(truth, rare) is None and reproduced_by(truth, np.ones(4000, bool)) is None
    gaps = {"snr_peak_r": np.where(np.arange(4000) % 7, truth["snr_peak_r"], np.nan), "none": np.full(4000, np.nan)}
    assert reproduced_by(gaps, truth["snr_peak_r"] >= 5) is None
    assert reproduced_by(gaps, np.nan_to_num(gaps["snr_peak_r"]) >= 5).startswith("snr_peak_r >= 5")


def test_a_wall_is_an_empty_bin_of_many_rows_beside_a_full_one():
    rows, hosts = [5000, 5000, 5000], [300, 300, 300]
    assert walls(rows, [0, 1500, 4000], hosts) == [(0,)]
    assert walls(rows, [1, 1500, 4000], hosts) == []
    assert walls(rows, [0, 1000, 4000], hosts) == []
    assert walls([999, 5000, 5000], [0, 1500, 4000], hosts) == []
    assert walls(rows, [0, 1500, 4000], [99, 300, 300]) == []
    assert walls(np.full((2, 2), 5000), [[0, 100], [4000, 0]], np.full((2, 2), 300)) == [(0, 0), (1, 1)]
    assert walls([5000], [0], [300]) == []
