from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.show.numbers import common_exponent, interval, number, probability, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.2345, "1.23"),
        (-0.05678, "−0.0568"),
        (123.45, "123"),
        (1234.5, "1,230"),
        (999.9, "1,000"),
        (0.0000123456, "1.23×10⁻⁵"),
        (-4.2e9, "−4.20×10⁹"),
        (math.nan, "—"),
        (None, "—"),
        (math.inf, "∞"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_written_number_is_the_number_to_three_digits(value: float) -> None:
    mantissa, _, power = number(value).replace("−", "-").replace(",", "").partition("×10")
    back = float(f"{mantissa}e{power.translate(str.maketrans('⁻⁰¹²³⁴⁵⁶⁷⁸⁹', '-0123456789')) or 0}")
    assert back == float(f"{value:.2e}")


def test_an_interval_reads_low_to_high() -> None:
    assert interval(0.5, 0.75) == "0.500 – 0.750"
    assert interval(-0.5, 0.75) == "−0.500 to 0.750"
    assert interval(math.nan, math.nan) == "—"
    assert interval(0.98765, 1.0, 3) == "0.988 – 1.000"


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    assert share(0, 10) == "0 %"
    assert share(1, 100_000) == "< 0.1 %"
    assert share(99_999, 100_000) == "> 99.9 %"
    assert share(10, 10) == "100.0 %"
    assert share(1, 0) == "—"


def test_small_probabilities_are_not_spelled_out() -> None:
    assert probability(1e-30) == "< 10⁻⁴"
    assert probability(0.0312) == "0.0312"
    assert probability(math.nan) == "—"


def test_the_exponent_of_a_table_is_its_largest_entry() -> None:
    assert common_exponent([3e-5, -4e-6, math.nan]) == -5
    assert common_exponent([0.0, math.nan]) == 0
