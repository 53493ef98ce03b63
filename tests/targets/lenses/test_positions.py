"""Coordinates of lens tables, and those that are refused."""

import numpy as np
import pytest

from lensflow.errors import TargetError
from lensflow.targets.lenses.positions import as_degrees, is_coarse


def read(values, axis="ra", stated="", sexagesimal=""):
    return as_degrees(
        values, axis, stated, sexagesimal, lambda row, what: TargetError(f"t.csv: {axis} holds {what}, in row {row}.")
    )


@pytest.mark.parametrize(
    "text, axis, stated, sexagesimal, degrees",
    [
        ("150.5", "ra", "", "", 150.5),
        ("150.5", "ra", "deg", "", 150.5),
        ("10", "ra", "hourangle", "", 150.0),
        ("10:02:24", "ra", "hourangle", "", 150.6),
        ("10:02:24", "ra", '"h:m:s"', "", 150.6),
        ("10 02 24.0", "ra", "hms", "", 150.6),
        ("10h02m24s", "ra", "", "", 150.6),
        ("10h 02m 24.0s", "ra", "", "", 150.6),
        ("150:36:00", "ra", "deg", "", 150.6),
        ("10:02:24", "ra", "", "hourangle", 150.6),
        ("-00:30:36", "dec", "", "deg", -0.51),
        ("+02d30m36s", "dec", "", "", 2.51),
        ("-3.2e-05", "dec", "", "", -3.2e-5),
        ("\u221202:30:36", "dec", "deg", "", -2.51),
    ],
)
def test_a_coordinate_is_read_in_degrees(text, axis, stated, sexagesimal, degrees):
    np.testing.assert_allclose(read([text], axis, stated, sexagesimal), [degrees], atol=1e-12)


@pytest.mark.parametrize("text", ["", "-", "nan", "N/A"])
def test_no_coordinate_is_none(text):
    assert np.isnan(read([text])).all()


@pytest.mark.parametrize(
    "values, axis, stated, said",
    [
        (["1.0", "12:34:56.7"], "ra", "", "'12:34:56.7'.* sexagesimal.*units={'ra_deg': 'hourangle'}.* in row 1"),
        (["12 34 56"], "dec", "", "'12 34 56'.* sexagesimal.*dec_deg.* in row 0"),
        (["10.0", "360.0"], "ra", "", r"360.0 .*outside \[0, 360\).* in row 1"),
        (["-0.001"], "ra", "", r"-0.001 .*outside \[0, 360\)"),
        (["25"], "ra", "hourangle", r"25 \(375 deg\), outside"),
        (["90.5"], "dec", "", r"90.5 .*outside \[-90, 90\]"),
        (["inf"], "ra", "", "inf"),
        (["12:61:00"], "ra", "hms", "60 minutes or seconds"),
        (["12:10:60.5"], "ra", "hms", "60 minutes or seconds"),
        (["north"], "ra", "", "'north', which is no coordinate"),
        (["12h10m10s"], "dec", "", "a declination in hours"),
        (["150.5"], "ra", "Jy", "'Jy'"),
    ],
)
def test_what_is_not_certain_is_refused_with_row_and_value(values, axis, stated, said):
    with pytest.raises(TargetError, match=said):
        read(values, axis, stated)


def test_numbers_are_checked_as_texts_are():
    np.testing.assert_array_equal(read(np.array([0.0, np.nan, 359.9])), [0.0, np.nan, 359.9])
    with pytest.raises(TargetError, match="in row 1"):
        read(np.array([0.0, 360.0]))
    with pytest.raises(TargetError, match="a number in a column whose unit is"):
        read(np.array([10.0]), "ra", "h:m:s")


def test_a_position_written_with_few_decimals_is_coarse():
    assert is_coarse(["150.053", "150", "-2.1", "150.0530", "12:30:00"]).tolist() == [True, True, True, False, False]
    assert not is_coarse(np.array([150.0])).any()
