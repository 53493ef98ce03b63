"""Stated units against values worked out by hand: 1 nMgy is 3.631 uJy and has AB magnitude 22.5."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.targets.column_units import UnitRefused, converter


@pytest.mark.parametrize(
    ("stated", "wanted", "value", "expected"),
    [
        ("nJy", "nMgy", 3631.0, 1.0),
        ("uJy", "nMgy", 3.631, 1.0),
        ("Jy", "nMgy", 3.631e-6, 1.0),
        ("erg / (s cm2 Hz)", "nMgy", 3.631e-29, 1.0),
        ("mag(AB)", "nMgy", 20.0, 10.0),
        ("ABmag", "nMgy", 22.5, 1.0),
        ("mgy", "nMgy", 1e-9, 1.0),
        ("hourangle", "deg", 1.5, 22.5),
        ("rad", "deg", np.pi, 180.0),
        ("arcmin", "deg", 30.0, 0.5),
        ("arcmin", "arcsec", 0.02, 1.2),
        ("deg", "rad", 90.0, np.pi / 2),
        ("m/s", "km/s", 250e3, 250.0),
        ("%", "1", 30.0, 0.3),
        ("1 / uJy2", "nMgy^-2", 2.0, 2.0 * 3.631**2),
    ],
)
def test_values_in_a_stated_unit_become_lensflows(stated, wanted, value, expected):
    convert = converter(stated, wanted)
    assert convert is not None
    assert convert(np.array([value]))[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ("", "deg"), ("deg", "deg"), ("degrees", "deg"), ("nanomaggy", "nMgy"), ("nanomaggies", "nMgy"),
        ("1/nanomaggy^2", "nMgy^-2"), ("nanomaggy^(-2)", "nMgy^-2"), ("mag", "mag"), ("mag(AB)", "mag"),
        ("km/s", "km/s"), ("km s-1", "km/s"), ("", "1"), ("redshift", "1"), ("arcsec", "arcsec"),
    ],
)  # fmt: skip
def test_lensflows_own_units_and_none_need_no_conversion(stated, wanted):
    assert converter(stated, wanted) is None


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ("mag", "nMgy"), ("adu", "nMgy"), ("deg", "nMgy"), ("h", "deg"), ("h:m:s", "deg"), ("pixel", "arcsec"),
        ("km/s", "1"), ("mag", "nMgy^-2"), ("s", "km/s"), ("parsnip", "deg"), ("nJy", "mag"),
        ("__import__('os')", "deg"),
    ],
)  # fmt: skip
def test_a_unit_of_another_kind_or_none_that_is_known_is_refused(stated, wanted):
    with pytest.raises(UnitRefused):
        converter(stated, wanted)


@given(st.text(max_size=20))
def test_any_text_is_a_conversion_or_refused(text):
    try:
        converter(text, "deg")
    except UnitRefused as error:
        assert str(error)
