import numpy as np
import pytest
from scipy.stats import t as student

from lensflow import geometry
from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Block, Regression, Settings
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig()
PAIRS = pairs_block(n_hosts=12, per_host=6)
RESULT = Regression.from_block(Block(PAIRS, CONFIG)).result(Settings(CONFIG, 1))


def table(band):
    """Response, all predictors and host of the covered injection rows."""
    rows = np.flatnonzero(~PAIRS["is_control"].values & np.isfinite(PAIRS["psf_fwhm_arcsec"].values[:, band]))
    core = geometry.disc(48, PAIRS["x_center"].values[rows], PAIRS["y_center"].values[rows])
    difference = PAIRS["stamp"].values[rows, band].astype(float) - PAIRS["ctrl"].values[rows, band]
    p = {name: PAIRS[name].values[rows].astype(float) for name in PAIRS.data_vars if PAIRS[name].dims == ("sample",)
         and PAIRS[name].dtype.kind != "U"}  # fmt: skip
    p["total_injected_flux_nmgy"] = PAIRS["total_injected_flux_nmgy"].values[rows, band].astype(float)
    p["log10_src_flux_nmgy"] = np.log10(PAIRS["src_flux_nmgy"].values[rows, band])
    p["src_offset_arcsec"] = np.hypot(p["src_x_arcsec"], p["src_y_arcsec"])
    return (difference * core).sum(axis=(1, 2)) / core.sum(axis=(1, 2)), p, p["host_index"]


def lstsq(x, y, hosts):
    """Coefficients, R^2 and cluster-robust errors, written out."""
    design = np.column_stack([np.ones(len(y)), *x])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    rest = y - design @ beta
    bread = np.linalg.inv(design.T @ design)
    meat = sum(np.outer(s, s) for s in (design[hosts == h].T @ rest[hosts == h] for h in np.unique(hosts)))
    g, (n, k) = len(np.unique(hosts)), design.shape
    error = np.sqrt(np.diag(g / (g - 1) * (n - 1) / (n - k) * bread @ meat @ bread))
    p = 2 * student.sf(np.abs(beta / error), g - 1)
    return beta, error, 1 - rest @ rest / np.sum((y - y.mean()) ** 2), p


@pytest.mark.parametrize("band", [0, 1, 2])
@pytest.mark.parametrize("predictor", ["theta_e_arcsec", "total_injected_flux_nmgy", "arc_snr"])
def test_slope_error_and_r2_equal_the_closed_form(predictor, band):
    y, columns, hosts = table(band)
    beta, error, r2, p = lstsq([columns[predictor]], y, hosts)
    here = RESULT.sel(predictor=predictor).isel(band=band)
    assert float(here["intercept"]) == pytest.approx(beta[0], rel=1e-8)
    assert float(here["slope"]) == pytest.approx(beta[1], rel=1e-8)
    assert float(here["r2"]) == pytest.approx(r2, rel=1e-8)
    assert float(here["p_value"]) == pytest.approx(p[1], rel=1e-6)
    half = student.ppf(0.975, len(np.unique(hosts)) - 1) * error[1]
    assert float(here["slope_high"] - here["slope_low"]) == pytest.approx(2 * half, rel=1e-8)
    assert int(here["n_rows"]) == len(y)
    assert int(here["n_hosts"]) == len(np.unique(hosts))


def test_regression_on_manifest_parameters_equals_the_closed_form():
    y, columns, hosts = table(1)
    names = [str(v) for v in RESULT["term"].values[1:]]
    beta, error, r2, p = lstsq([columns[n] for n in names], y, hosts)
    np.testing.assert_allclose(RESULT["manifest_coefficient"][:, 1], beta, rtol=1e-8)
    np.testing.assert_allclose(RESULT["manifest_std_error"][:, 1], error, rtol=1e-8)
    np.testing.assert_allclose(RESULT["manifest_p_value"][:, 1], p, rtol=1e-6)
    assert float(RESULT["manifest_r2"][1]) == pytest.approx(r2, rel=1e-8)


def test_predictors_that_contain_the_response_are_marked():
    assert RESULT["predictor_contains_response"].values.tolist() == [False, True, True]


def test_a_parameter_that_does_not_vary_has_no_coefficient_and_spoils_no_other():
    pairs = PAIRS.assign(src_reff_arcsec=PAIRS["src_reff_arcsec"] * 0 + 0.3)
    out = Regression.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))
    assert np.isnan(out["manifest_coefficient"].sel(term="src_reff_arcsec")).all()
    assert np.isfinite(out["manifest_coefficient"].sel(term="theta_e_arcsec")).all()

    pairs = PAIRS.assign(theta_e_arcsec=PAIRS["theta_e_arcsec"] * 0 + 1.1)
    out = Regression.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))
    assert np.isnan(out["slope"].sel(predictor="theta_e_arcsec")).all()
    assert np.isfinite(out["slope"].sel(predictor="arc_snr")).all()


def test_rows_without_snr_leave_only_the_regression_on_snr():
    pairs = PAIRS.copy(deep=True)
    pairs["arc_snr"][1] = np.nan
    out = Regression.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))
    assert (out["n_rows"].sel(predictor="arc_snr") == RESULT["n_rows"].sel(predictor="arc_snr") - 1).all()
    assert (out["n_rows"].sel(predictor="theta_e_arcsec") == RESULT["n_rows"].sel(predictor="theta_e_arcsec")).all()
