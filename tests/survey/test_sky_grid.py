"""Sky to pixel and back, with astropy's answer to the whole header as the judge."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.fits.header import FormatError, Header
from lensflow.survey.sky_grid import grid_of

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
SCALE = 0.262 / 3600
SHAPE = (200, 180)
CDELT = {"CDELT1": -SCALE, "CDELT2": SCALE}
CD = {"CD1_1": -SCALE, "CD2_2": SCALE}
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-5, "B_1_1": -2e-5}
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV1_4": 0.5, "PV2_1": 1.0, "PV2_5": -0.4}


def cards(**more):
    plain = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 90.5, "CRPIX2": 101.0, "CRVAL1": 10.0, "CRVAL2": 5.0}
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", 180), ("NAXIS2", 200)])
    for key, value in {**plain, **more}.items():
        if value is not None:
            header[key] = value
    return header


def grid(header):
    return grid_of(Header.parse(header.tostring().encode("latin-1"), 0), SHAPE)


def assert_equals_astropy(header):
    ours, theirs = grid(header), WCS(header)
    x, y = np.random.default_rng(1).uniform(0, 180, (2, 40))
    sky = theirs.pixel_to_world(x, y)
    assert isinstance(sky, SkyCoord)
    found = ours.to_pixel(sky.icrs.ra.deg, sky.icrs.dec.deg)
    np.testing.assert_allclose(found, [x, y], atol=2e-3)
    back = SkyCoord(*ours.to_sky(x, y), unit="deg")
    assert back.separation(sky.icrs).arcsec.max() < 1e-6
    return ours


@pytest.mark.parametrize(
    "more",
    [
        CD,
        {**CDELT, "PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0},
        CDELT,
        {**CD, "RADESYS": "ICRS"},
        {**CD, "RADESYS": "FK5", "EQUINOX": 2000.0},
        {**CD, "CRVAL1": 359.999},
        {**CD, "CRVAL2": -89.99},
        {**CD, "CD1_1": SCALE},
        {"CD1_1": -SCALE * 0.6, "CD1_2": SCALE * 0.8, "CD2_1": SCALE * 0.8, "CD2_2": SCALE * 0.6},
    ],
    ids=lambda more: " ".join(more),
)
def test_a_plain_tangent_projection_is_read_by_its_numbers_and_equals_astropys(more):
    assert assert_equals_astropy(cards(**more)).through_astropy == ""


@pytest.mark.parametrize(
    "more",
    [
        {**CDELT, "CROTA2": 30.0},
        {**CD, **SIP},
        {**CD, **TPV},
        {**CD, "CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0},
        {**CD, "CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 118.9, "CRVAL2": -57.8},
        {**CD, "EQUINOX": 1950.0},
        {**CD, "RADESYS": "FK4", "EQUINOX": 1950.0},
        {**CD, "RADESYS": "FK5", "EQUINOX": 1975.0},
        {**CD, "EQUINOX": 2000.0},
        {**CD, "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 5.0, "CRVAL2": 10.0},
        {**CD, "LONPOLE": 90.0},
        {
            "CDELT1": -0.262,
            "CDELT2": 0.262,
            "CRVAL1": 36000.0,
            "CRVAL2": 18000.0,
            "CUNIT1": "arcsec",
            "CUNIT2": "arcsec",
        },
        {**CDELT, "PC001001": 0.8, "PC001002": -0.6, "PC002001": 0.6, "PC002002": 0.8},
        {**CD, "CTYPE1A": "LINEAR"},
        {**CD, "CTYPE1": "RA---ARC", "CTYPE2": "DEC--ARC"},
        {**CD, "RADECSYS": "FK5"},
        {**CD, "WCSAXES": 2, "EPOCH": 2000.0},
        {**CD, **SIP, "AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": 0.3},
        {**CD, "PV1_1": 0.0, "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    ],
    ids=lambda more: " ".join(map(str, more)),
)
def test_any_other_wcs_is_astropys_or_refused_by_name(more):
    header = cards(**more)
    try:
        found = assert_equals_astropy(header)
    except FormatError as error:
        assert "WCS" in str(error)
        assert "PC001001" in more  # the old name of a matrix, which astropy reads only in part
        return
    assert found.through_astropy or "CTYPE1A" in more


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({**CD, "CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX"}, "TNX"),
        ({**CD, "PV1_1": 1.001, "PV2_1": 1.0}, "two readings"),
        ({"CD1_1": -1.25 * SCALE, "CD2_2": SCALE}, "not square"),
        ({"CD1_1": -SCALE, "CD1_2": 0.3 * SCALE, "CD2_2": SCALE}, "square"),
        ({**CD, "CTYPE1": "FREQ", "CTYPE2": "DEC--TAN"}, "celestial"),
        ({**CD, "CRPIX1": None}, "CRPIX1"),
        ({}, "pixel scale"),
        ({**CD, "A_ORDER": 10**6, "CTYPE1": "RA---TAN-SIP"}, "A_ORDER"),
        ({**CD, "WCSAXES": 10**9}, "WCSAXES"),
        ({**CD, "CUNIT1": "furlong", "CUNIT2": "furlong"}, "furlong"),
        ({"CD1_1": 0.0, "CD2_2": 0.0}, "singular"),
        ({**CD, **{k: v * 40 if k[1] == "_" and k[2].isdigit() else v for k, v in SIP.items()}}, "square"),
        ({**CD, "CTYPE1": "RA---TAB", "CTYPE2": "DEC--TAB"}, "TAB"),
        ({**CD, "PROJP1": 1.0}, "PROJP"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_nobody_reads_right_is_refused_with_its_name(more, named):
    with pytest.raises(FormatError, match=f"WCS.*{named}"):
        grid(cards(**more))


def test_a_card_given_twice_with_two_values_is_refused_and_with_one_value_is_read():
    for second, raises in ((11.0, True), (10.0, False)):
        header = cards(**CD)
        header.append(("CRVAL1", second))
        if raises:
            with pytest.raises(FormatError, match="CRVAL1 is given twice"):
                grid(header)
        else:
            assert grid(header).through_astropy == "CRVAL1 given twice"


@pytest.mark.parametrize(
    "form", ["CRVAL1  =              1.00e1", "CRVAL1  =              1.00D1", "CRVAL1  = 1.E1 / [deg]"]
)
def test_numbers_in_any_lawful_form_are_the_same_number(form):
    text = cards(**CD).tostring().replace(cards(**CD).cards["CRVAL1"].image, form.ljust(80))
    found = grid_of(Header.parse(text.encode(), 0), SHAPE)
    assert found.to_sky(89.5, 100.0)[0] == pytest.approx(10.0, abs=1e-9)


def test_axes_say_which_way_north_is_on_the_image():
    for angle in (0.0, 35.0):
        found = grid(cards(**CDELT, CROTA2=angle)) if angle else grid(cards(**CD))
        (east_x, east_y), (north_x, north_y) = found.axes_arcsec(89.5, 100.0)[0]
        c, s = np.cos(np.deg2rad(angle)) * 0.262, np.sin(np.deg2rad(angle)) * 0.262
        np.testing.assert_allclose([east_x, east_y, north_x, north_y], [-c, -s, -s, c], atol=1e-6)
        assert found.pixel_scale_arcsec == pytest.approx(0.262, rel=1e-6)


def test_a_third_axis_of_one_pixel_does_not_matter():
    header = cards(**CD, CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1.0, CRPIX3=1.0)
    header["NAXIS"], header["NAXIS3"] = 3, 1
    x, y = grid(header).to_pixel(10.0, 5.0)
    np.testing.assert_allclose([x[0], y[0]], [89.5, 100.0], atol=1e-6)


WCS_CARDS = {
    "CROTA2": (0.0, 12.0),
    "LONPOLE": (180.0, 0.0),
    "LATPOLE": (5.0, 90.0, 100.0),
    "EQUINOX": (2000.0, 1950.0, -1.0),
    "RADESYS": ("FK5", "ICRS", "FK4", "GAPPT", "icrs"),
    "CUNIT1": ("deg", "rad", "arcsec", ""),
    "PC1_2": (0.3, 0.0),
    "CD1_2": (1e-5, 0.0),
    "CDELT1": (SCALE, -1.0, 0.0),
    "PV2_1": (1.0, 0.0),
    "CTYPE1": ("RA---SIN", "DEC--TAN", "RA---TAN "),
    "CRPIX1": (1e5, -1e9, True),
    "CRVAL2": (89.9999, 91.0, "5.0"),
    "A_ORDER": (2, 0, "x"),
    "A_2_0": (1e-5, 1.0),
    "WCSAXES": (1, 2, 3),
    "EPOCH": (1950.0,),
    "CTYPE1A": ("RA---TAN",),
    "WCSNAME": ("sky",),
    "MJD-OBS": (5e4,),
    "WAT1_001": ("wtype=tnx axtype=ra", "wtype=tan"),
    "PROJP1": (1.0,),
    "D2IM1": ("Lookup",),
    "DP1": ("NAXES: 2",),
    "VELREF": (2,),
    "PS1_0": ("x",),
    "CNAME1": ("a",),
    "CRDER1": (0.1,),
    "PC001001": (0.9,),
    "CPDIS1": ("LOOKUP",),
}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(WCS_CARDS)), min_size=1, max_size=3, unique=True),
    st.randoms(use_true_random=False),
    st.sampled_from([CD, CDELT]),
)
def test_with_any_cards_of_a_wcs_the_positions_are_astropys_or_it_is_refused(keys, rng, matrix):
    header = cards(**matrix)
    for key in keys:
        header[key] = rng.choice(WCS_CARDS[key])
    try:
        ours = grid(header)
    except FormatError as error:
        assert "WCS" in str(error)
        return
    x, y = np.array([0.0, 90.0, 179.0]), np.array([0.0, 33.0, 199.0])
    theirs = WCS(header)
    sky = theirs.pixel_to_world(x, y, *[np.zeros(3)] * (theirs.pixel_n_dim - 2))
    sky = next(s for s in sky if isinstance(s, SkyCoord)) if isinstance(sky, list) else sky
    assert SkyCoord(*ours.to_sky(x, y), unit="deg").separation(sky.icrs).arcsec.max() < 1e-3
