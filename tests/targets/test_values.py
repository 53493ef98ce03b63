"""Ids exact, nulls null, numbers numbers: what every table format may hold in a column."""

import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.targets.values import Missing, as_numbers, as_text

INTEGERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8)
NOTHING = Missing()


class Refused(Exception):
    pass


def fail(row, what):
    return Refused(f"{row}: {what}")


def texts(values, missing=NOTHING):
    return [v.decode() for v in as_text(values, missing, fail).tolist()]


def numbers(values, missing=NOTHING):
    return as_numbers(values, missing, fail).tolist()


@settings(deadline=None)
@given(INTEGERS)
def test_every_integer_keeps_its_digits_and_every_null_is_empty(values):
    expected = ["" if v is None else str(v) for v in values]
    assert texts(pa.array(values, pa.int64())) == expected
    masked = np.ma.array([v or 0 for v in values], mask=[v is None for v in values], dtype=np.int64)
    assert texts(masked) == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**64 - 1, None], pa.uint64()),
        np.ma.array([2**64 - 1, 0], mask=[False, True], dtype=np.uint64),
        pa.array([decimal.Decimal(2**64 - 1), None]),
        pa.array([b"18446744073709551615", None]),
        pa.array(["18446744073709551615 ", None]).dictionary_encode(),
        pa.array(["18446744073709551615", None], pa.large_string()),
        pa.array(["18446744073709551615", None]).cast(pa.string_view()),
        np.ma.array(["18446744073709551615", "x"], mask=[False, True]),
        np.ma.array([b"18446744073709551615", b"x"], mask=[False, True]),
        np.array(["18446744073709551615", None], dtype=object),
        np.array([2**64 - 1, None], dtype=object),
    ],
)
def test_an_id_of_any_type_is_its_digits(column):
    assert texts(column) == ["18446744073709551615", ""]


def test_leading_zeros_and_greek_letters_stay():
    assert texts(pa.array(["007", " Δ1 "])) == ["007", "Δ1"]
    assert texts(np.array(["007", "Δ1"])) == ["007", "Δ1"]


@pytest.mark.parametrize("word", ["None", "nan", "NaN", "null", "--", "<NA>", "N/A", ""])
def test_a_word_for_nothing_is_no_id_and_no_number(word):
    assert texts(pa.array([word, "a"])) == ["", "a"]
    values = numbers(pa.array([word, "2"]))
    assert np.isnan(values[0]) and values[1] == 2


def test_na_is_a_name_and_no_number():
    assert texts(pa.array(["NA"])) == ["NA"]
    assert np.isnan(numbers(pa.array(["NA"]))[0])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["3.96277E+16"]),
        np.array([b"3.9627733312241992e+16"]),
        pa.array(["39627733312241992.0"]),
        np.array([3.9627733312241992e16]),
        pa.array([3.9627733312241992e16]),
        np.array([2.0**24 + 2], np.float32),
        np.array([0.5]),
    ],
)
def test_ids_whose_digits_are_lost_are_refused(column):
    with pytest.raises(Refused, match="0: "):
        texts(column)


def test_whole_floats_that_are_exact_are_ids():
    assert texts(np.array([2.0**53 - 1, np.nan])) == [str(2**53 - 1), ""]
    assert texts(pa.array([12.0, None])) == ["12", ""]
    assert texts(pa.array(["2MASX J1+05", "1E5", "E+E"])) == ["2MASX J1+05", "1E5", "E+E"]


@pytest.mark.parametrize("text", ["0,4", "x", "1_000", "12:34:56.7", "+-1"])
def test_what_is_no_number_is_refused_with_row_and_value(text):
    with pytest.raises(Refused, match=r"^1: ") as caught:
        numbers(pa.array(["1.5", text]))
    assert text in str(caught.value)


def test_numbers_in_the_usual_spellings():
    assert numbers(pa.array(["+1.5", " 2e3 ", "-0", "7"])) == [1.5, 2000, 0, 7]
    assert numbers(np.array([b" 1.5", b"2 "])) == [1.5, 2]
    assert np.array_equal(numbers(pa.array([1, None, 3])), [1, np.nan, 3], equal_nan=True)
    assert numbers(pa.array([True, False])) == [1, 0]


def test_the_values_that_a_user_names_are_missing_in_numbers_and_text():
    missing = Missing.of([-99, "unknown", 1e30])
    assert np.isnan(numbers(np.array([-99.0, 1e30], np.float32), missing)).all()
    assert np.isnan(numbers(pa.array(["-99", "-99.0", "unknown"]), missing)).all()
    assert texts(pa.array(["unknown", "-99", "known"]), missing) == ["", "", "known"]


def test_lists_and_dates_are_neither():
    for column in (pa.array([[1.0], [2.0]]), pa.array([1], pa.timestamp("s"))):
        with pytest.raises(Refused):
            numbers(column)
