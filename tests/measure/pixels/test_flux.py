"""Light added is light declared; slopes on theta_E are the least-squares ones."""

import numpy as np
import pytest

from lensflow.measure.pixels import Block, Flux, Settings, Status, findings
from lensflow.measure.pixels.flux import point_sis_magnification
from tests.measure.conftest import CONFIG
from tests.measure.pixels.pairs_factory import pairs_block


def declared(**changes):
    """Pairs whose arcs hold exactly what the manifest declares: unlensed flux x 4, all of it on the stamp."""
    pairs = pairs_block(n_hosts=12, noise=0.0, **changes)
    one = np.where(pairs["is_control"].values, np.nan, 1.0)
    return pairs.assign(magnification=("sample", 4 * one), stamp_flux_fraction=("sample", one))


PAIRS = declared()


def flux_of(pairs):
    return Flux.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))


def brighter(pairs, factor, bands=slice(None)):
    stamp = pairs["stamp"].values.copy()
    stamp[:, bands] += (factor - 1) * pairs["arc"].values[:, bands]
    return pairs.assign(stamp=(pairs["stamp"].dims, stamp))


def test_exact_sums_close():
    found = flux_of(PAIRS)
    np.testing.assert_allclose(found["closure"], 1, atol=1e-4)
    assert int(found["n_filled"].sum()) == int(found["n_not_positive"].sum()) == 0


def test_arcs_too_bright_by_a_tenth_read_one_and_a_tenth_in_their_band_alone():
    found = flux_of(brighter(PAIRS, 1.1, 1))
    np.testing.assert_allclose(found["closure"], [1, 1.1, 1], atol=1e-4)
    assert float(found["closure_low"][1]) > 1.09
    alarmed = [f for f in findings({"flux": found}) if f.status is Status.ALARM]
    assert alarmed and alarmed[0].check == "flux added over flux declared" and alarmed[0].where == "r"


def leaving(share, **columns):
    """Pairs whose stamps hold these shares of the light per band, as the renderer says and the stamps show."""
    arc = PAIRS["arc"].values * np.float32(share)[:, None, None]
    lensed = 4 * PAIRS["src_flux_nmgy"].values
    fraction = (lensed * share).sum(axis=1) / np.where(PAIRS["is_control"].values, np.nan, lensed.sum(axis=1))
    columns = {"stamp_flux_fraction": ("sample", fraction), **columns}
    pairs = PAIRS.assign(total_injected_flux_nmgy=(("sample", "band"), lensed * share), **columns)
    return pairs.assign(arc=(PAIRS["arc"].dims, arc), stamp=(PAIRS["stamp"].dims, PAIRS["ctrl"].values + arc))


# Of a stamp of 3.8 arcsec: the PSF is wider in g than in z.
WINGS = np.array([0.66, 0.70, 0.73])


def test_a_band_whose_psf_loses_more_beyond_the_stamp_is_no_alarm():
    pairs = leaving(WINGS)
    np.testing.assert_allclose(flux_of(pairs)["closure"], 1, atol=1e-4)


def test_on_such_stamps_a_band_that_is_not_as_declared_and_a_wrong_magnification_alarm():
    pairs = leaving(WINGS)
    np.testing.assert_allclose(flux_of(brighter(pairs, 1.1, 1))["closure"], [1, 1.1, 1], atol=1e-4)
    wrong = pairs.assign(magnification=pairs["magnification"] * 1.1)
    np.testing.assert_allclose(flux_of(wrong)["closure"], 1 / 1.1, atol=1e-4)


def test_where_the_stamp_holds_it_all_a_renderer_that_favours_a_band_alarms_whatever_it_declares():
    pairs = leaving(np.array([1.0, 1.1, 1.0]), stamp_flux_fraction=PAIRS["stamp_flux_fraction"])
    np.testing.assert_allclose(flux_of(pairs)["closure"], [1, 1.1, 1], atol=1e-4)


def test_slopes_are_the_least_squares_ones_of_every_response(pairs):
    found = flux_of(pairs)
    rows = ~pairs["is_control"].values
    for b in range(pairs.sizes["band"]):
        used = rows & np.isfinite(pairs["psf_fwhm_arcsec"].values[:, b])

        def of(name, used=used):
            return pairs[name].values[used].astype(float)

        added = (of("stamp")[:, b] - of("ctrl")[:, b]).sum(axis=(1, 2))
        source = of("src_flux_nmgy")[:, b]
        point = point_sis_magnification(*(of(k) for k in (
            "theta_e_arcsec", "src_x_arcsec", "src_y_arcsec", "src_reff_arcsec")))  # fmt: skip
        responses = {
            "added": added,
            "expected": source * of("magnification") * of("stamp_flux_fraction"),
            "prior": source * point,
        }
        for name, response in responses.items():
            slope = np.polyfit(np.log10(of("theta_e_arcsec")), np.log10(response), 1)[0]
            assert float(found[f"slope_{name}"][b]) == pytest.approx(slope, rel=1e-8), name
        excess = float(found["slope_added"][b] - found["slope_expected"][b])
        assert float(found["slope_excess"][b]) == pytest.approx(excess, abs=1e-12)
        assert int(found["n_rows"][b]) == used.sum()


def test_arcs_that_grow_too_fast_with_theta_e_have_a_slope_in_excess():
    theta = np.where(PAIRS["is_control"].values, 1.0, PAIRS["theta_e_arcsec"].values)
    extra = PAIRS["arc"].values * (theta**0.3 - 1)[:, None, None, None]
    found = flux_of(PAIRS.assign(stamp=(PAIRS["stamp"].dims, PAIRS["stamp"].values + extra)))
    np.testing.assert_allclose(found["slope_excess"], 0.3, atol=1e-3)


def test_light_in_an_absent_band_is_counted_by_row():
    absent = ~np.isfinite(PAIRS["psf_fwhm_arcsec"].values[:, 0])
    stamp = PAIRS["stamp"].values.copy()
    stamp[absent, 0] += PAIRS["arc"].values[absent, 1]
    found = flux_of(PAIRS.assign(stamp=(PAIRS["stamp"].dims, stamp)))
    assert found["n_filled"].values.tolist() == [absent.sum(), 0, 0] and absent.sum() > 0
    np.testing.assert_allclose(found["closure"], 1, atol=1e-4)  # and they are in no sum


def test_rows_without_positive_flux_are_in_no_line_and_counted():
    row = int(np.flatnonzero(~PAIRS["is_control"].values)[3])
    stamp = PAIRS["stamp"].values.copy()
    stamp[row, 2] = PAIRS["ctrl"].values[row, 2] - 0.001
    found = flux_of(PAIRS.assign(stamp=(PAIRS["stamp"].dims, stamp)))
    assert found["n_not_positive"].values.tolist() == [0, 0, 1]
    assert int(found["n_rows"][2]) == int(found["n_rows"][1]) - 1


@pytest.mark.slow
def test_a_real_run_closes_and_its_arcs_on_the_stamp_hold_the_magnified_flux(results):
    found = results["flux"]
    np.testing.assert_allclose(found["closure"], 1, atol=0.01)
    assert ((found["magnified"] > 0.95) & (found["magnified"] < 1.01)).all()


@pytest.mark.parametrize(("beta", "magnification"), [(0.5, 4.0), (1.0, 2.0), (2.0, 1.5)])
def test_a_point_behind_a_singular_isothermal_sphere_is_magnified_as_the_textbook_says(beta, magnification):
    one = np.ones(1)
    found = point_sis_magnification(one, beta * one, 0 * one, 0.01 * one)
    assert float(found[0]) == pytest.approx(magnification)
    # Right behind it: the mean over a disc of the source's half-light radius, 2 theta_E / (2/3 R).
    assert float(point_sis_magnification(one, 0 * one, 0 * one, 0.1 * one)[0]) == pytest.approx(30)
