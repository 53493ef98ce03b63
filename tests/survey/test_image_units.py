"""Units of images: astropy is the judge of what a unit is worth."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from lensflow.schema import Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.image_units import UnitError, image_factor, stated_factor, weight_factor
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import BRICK, SURVEY, file_of, targets, write_brick


def header(**cards):
    return fits.Header(cards).get


def in_nanomaggies(zero_point):
    """Nanomaggies of one unit with an AB zero point, by astropy's own magnitudes."""
    return ((zero_point * u.ABmag).to(u.Jy) / (22.5 * u.ABmag).to(u.Jy)).value


@pytest.mark.parametrize(
    "name",
    ["nanomaggy", "nanomaggies", "Nanomaggies", "nMgy", "nmgy", "nMgy/pixel", "nanomaggy / pix", "nmaggy", "1E-9 maggy",
     "1e-9 mgy", "nanomaggies per pixel"],
)  # fmt: skip
def test_nanomaggies_by_any_name_are_left_as_they_are(name):
    assert image_factor(header(BUNIT=name), None) == pytest.approx(1)


@pytest.mark.parametrize("name", ["Jy", "mJy", "uJy", "nJy", "nJy/pixel", "Jy/pix"])
def test_janskys_are_converted_as_astropy_converts_them(name):
    jansky = u.Unit(name.split("/")[0]).to(u.Jy)
    expected = jansky / (22.5 * u.ABmag).to(u.Jy).value
    assert image_factor(header(BUNIT=name), None) == pytest.approx(expected, rel=1e-9)
    # Rubin's nanojanskys have zero point 31.4.
    assert stated_factor("nJy") == pytest.approx(10 ** (-0.4 * (31.4 - 22.5)), rel=1e-3)


@pytest.mark.parametrize(
    "name",
    ["ADU", "adu", "counts", "COUNT", "electron", "electrons/s", "e-/s", "DN", "DN/s", "MJy/sr", "mag", "banana", "K",
     "erg/(s cm2 Angstrom)", "Jy/beam", "arcsec"],
)  # fmt: skip
def test_a_unit_that_is_no_flux_is_refused_with_the_way_out(name):
    with pytest.raises(UnitError, match=r"BUNIT.*survey\.zero_point: 30"):
        image_factor(header(BUNIT=name, MAGZERO=30.0), None)


@given(zero=st.floats(-5, 40), setting=st.sampled_from(["number", "card", "flux"]), unit=st.sampled_from(["ADU", None]))
def test_a_zero_point_makes_counts_into_nanomaggies(zero, setting, unit):
    cards = {"number": {}, "card": {"PHOTZPT": zero}, "flux": {"FLUXMAG0": 10 ** (0.4 * zero)}}[setting]
    named = {"number": zero, "card": "PHOTZPT", "flux": "FLUXMAG0"}[setting]
    factor = image_factor(header(**cards, **({"BUNIT": unit} if unit else {})), named)
    assert factor == pytest.approx(in_nanomaggies(zero), rel=1e-6)
    assert weight_factor(header(), factor) == pytest.approx(factor**-2)


@pytest.mark.parametrize("card", ["MAGZERO", "PHOTZPT", "ZP", "MAGZP", "PHOTZP", "ZPT"])
def test_a_zero_point_that_no_setting_names_is_refused_by_name(card):
    with pytest.raises(UnitError, match=rf"{card} = 27.*22\.5.*survey\.zero_point"):
        image_factor(header(**{card: 27.0}), None)
    assert image_factor(header(**{card: 22.5}), None) == 1


@pytest.mark.parametrize(
    ("cards", "setting", "why"),
    [
        ({"BUNIT": "nanomaggy", "MAGZERO": 30.0}, None, "BUNIT = 'nanomaggy' and MAGZERO"),
        ({"BUNIT": "nanomaggy"}, 30.0, "survey.zero_point makes 1 unit magnitude 30"),
        ({"BUNIT": "nJy"}, 27.0, "survey.zero_point makes 1 unit magnitude 27"),
        ({"FLUXMAG0": 0.0}, None, "no zero point"),
        ({"MAGZERO": "thirty"}, None, "no number"),
        ({"BUNIT": "ADU"}, "MAGZERO", "no card MAGZERO"),
        ({"BUNIT": "ADU", "MAGZERO": 31.0}, 30.0, "MAGZERO = 31.0.*survey.zero_point says 30"),
        ({"FLUXMAG0": 6.3e10}, None, "zero point of 26.99"),
    ],
)
def test_contradictions_are_refused(cards, setting, why):
    with pytest.raises(UnitError, match=why):
        image_factor(header(**cards), setting)


@pytest.mark.parametrize("name", ["1/nanomaggy^2", "1 / nMgy**2", "nanomaggy^-2", "nmgy**(-2)", "1/(nanomaggy)^2"])
def test_weights_that_state_their_own_unit_keep_it(name):
    assert weight_factor(header(BUNIT=name), 1e-3) == pytest.approx(1)


def test_a_variance_by_its_own_name_is_refused():
    with pytest.raises(UnitError, match="a variance"):
        weight_factor(header(BUNIT="nanomaggy^2"), 1.0)


def in_counts(root, zero_point, **cards):
    """Rewrite a brick's images and weights in counts."""
    scale = 10 ** (0.4 * (zero_point - 22.5))
    for band in "grz":
        for product, factor in (("image", scale), ("invvar", scale**-2)):
            path = file_of(root, product, band)
            data, about = fits.getdata(path, 1), fits.getheader(path, 1)
            hdu = fits.ImageHDU((data * factor).astype(np.float32), about)
            if product == "image":
                hdu.header.update(cards)
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [30.0, "MAGZERO", {"g": 30.0, "r": "MAGZERO", "z": 30}])
def test_bricks_in_counts_become_the_bricks_in_nanomaggies(tmp_path, setting):
    write_brick(tmp_path)
    hosts, layout = targets([150], [150]), Layout(str(tmp_path))
    want = cut_block(hosts, layout, "grz", SURVEY)
    in_counts(tmp_path, 30.0, BUNIT="ADU", MAGZERO=30.0)
    got = cut_block(hosts, layout, "grz", SURVEY.model_copy(update={"zero_point": setting}))
    np.testing.assert_allclose(got["image"], want["image"], rtol=1e-5)
    np.testing.assert_allclose(got["invvar"], want["invvar"], rtol=1e-5)
    assert (got["status"] == Status.OK).all()


def test_a_brick_in_counts_without_a_setting_is_refused_by_name(tmp_path):
    write_brick(tmp_path)
    in_counts(tmp_path, 30.0, BUNIT="ADU", MAGZERO=30.0)
    out = cut_block(targets([150, 60], [150, 60]), Layout(str(tmp_path)), "grz", SURVEY)
    assert (out["status"] == Status.FAILED).all()
    assert (out["band_reasons"] & int(Reason.UNKNOWN_UNIT) > 0).all()
    assert not out["image"].values.any()
    line = out.attrs["messages"][0]
    assert "BUNIT = 'ADU', MAGZERO = 30.0" in line
    assert BRICK in line
    assert "survey.zero_point" in line
    assert line.count("UNKNOWN_UNIT_g") == 1


def test_a_flux_of_0_for_magnitude_0_states_no_zero_point_and_a_number_in_the_config_does():
    assert image_factor(header(FLUXMAG0=0.0), 27.0) == pytest.approx(in_nanomaggies(27.0))
    for setting in (None, "FLUXMAG0"):
        with pytest.raises(UnitError, match=r"FLUXMAG0 = 0\.0, which is no zero point"):
            image_factor(header(FLUXMAG0=0.0), setting)
    with pytest.raises(UnitError, match="FLUXMAG0 = -1"):
        image_factor(header(FLUXMAG0=-1.0), 27.0)
    with pytest.raises(UnitError, match="MAGZERO = 30"):
        image_factor(header(FLUXMAG0=0.0, MAGZERO=30.0), 27.0)
