"""What the text of a redshift says."""

import math

import pytest

from lensflow.targets.lenses.columns import LensNote
from lensflow.targets.lenses.redshifts import Redshift, combine, read_redshift, redshift_of_number

NOTHING = LensNote(0)


@pytest.mark.parametrize(
    "text, z, note",
    [
        ("0.407", 0.407, NOTHING),
        (" 1 ", 1.0, NOTHING),
        (".35", 0.35, NOTHING),
        ("0.599?", 0.599, LensNote.UNSURE_Z),
        ("0.55*", 0.55, LensNote.UNSURE_Z),
        ("0.9? measured", 0.9, LensNote.UNSURE_Z),
        ("0.3 | nan", 0.3, NOTHING),
        ("0.4 |0.405", 0.4025, NOTHING),
        ("0.45 | 0.451 | 0.46 | nan", 0.451, NOTHING),
        ("0.3 | 0.7?", 0.3, NOTHING),
        ("0.3? | nan", 0.3, LensNote.UNSURE_Z),
        ("0.3 | L", 0.3, NOTHING),
    ],
)
def test_a_number_is_read(text, z, note):
    found = read_redshift(text)
    assert math.isclose(found.z, z) and found.note == note


@pytest.mark.parametrize(
    "text, note",
    [
        ("not measured", NOTHING),
        ("-", NOTHING),
        ("nan | nan", NOTHING),
        ("", NOTHING),
        ("L", LensNote.UNREADABLE_Z),
        ("measured", LensNote.UNREADABLE_Z),
        ("observed", LensNote.UNREADABLE_Z),
        ("-99", LensNote.UNREADABLE_Z),
        ("999", LensNote.UNREADABLE_Z),
        ("0", LensNote.UNREADABLE_Z),
        ("-99?", LensNote.UNREADABLE_Z),
        ("0,4", LensNote.UNREADABLE_Z),
        ("0.4 0.5", LensNote.UNREADABLE_Z),
        ("~0.4", LensNote.UNREADABLE_Z),
        ("0.3 | 0.7", LensNote.CONFLICT_Z),
        ("0.3 | 0.3101", LensNote.CONFLICT_Z),
    ],
)
def test_what_is_no_redshift_is_none_and_says_so(text, note):
    found = read_redshift(text)
    assert math.isnan(found.z) and found.note == note


def test_redshifts_that_differ_by_just_a_hundredth_agree():
    assert math.isclose(read_redshift("0.3 | 0.31").z, 0.305)


def test_a_conflict_is_not_settled_by_a_third_row():
    once = read_redshift("0.3 | 0.7")
    assert combine([once, Redshift(0.3, NOTHING)]).note & LensNote.CONFLICT_Z


@pytest.mark.parametrize("value", [-1.0, 0.0, 20.0, 999.0, math.inf])
def test_a_number_that_no_redshift_has_is_none(value):
    assert redshift_of_number(value).note == LensNote.UNREADABLE_Z
