import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.sky import unit_vectors
from lensflow.targets.duplicates import SAME_NAME_DEG, SAME_POSITION_DEG, first_of_each, repeated


def catalogue(seed, n=40):
    """Few names, positions that coincide within tolerance now and then, chains among them."""
    rng = np.random.default_rng(seed)
    names = np.char.add("h", rng.integers(0, 30, n).astype(str)).astype("S")
    ra = (rng.integers(-6, 6, n) * 0.7 * SAME_POSITION_DEG + rng.choice([0.0, 1.0], n)) % 360
    return names, ra, rng.choice([-2.0, 40.0], n)


def objects_of(names, ra, dec):
    """Lowest row that each row is linked to, by all pairs."""
    xyz = unit_vectors(ra, dec)
    apart = np.rad2deg(np.linalg.norm(xyz[:, None] - xyz[None], axis=-1))
    linked = (apart <= SAME_POSITION_DEG) | ((names[:, None] == names) & (apart <= SAME_NAME_DEG))
    first = np.arange(len(names))
    while True:
        lowest = np.where(linked, first[None], len(names)).min(axis=1)
        if np.array_equal(lowest, first):
            return first
        first = lowest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_objects_do_not_depend_on_the_order_of_rows(seed, random):
    rows = catalogue(seed)
    order = list(range(len(rows[0])))
    random.shuffle(order)
    keep, shuffled = first_of_each(*rows), np.empty(len(order), bool)
    shuffled[order] = first_of_each(*(v[order] for v in rows))
    assert keep.sum() == shuffled.sum()
    objects = objects_of(*rows)
    assert sorted(objects[keep]) == sorted(objects[shuffled])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_of_every_group_of_linked_rows_the_first_stays(seed):
    rows = catalogue(seed)
    assert np.array_equal(first_of_each(*rows), objects_of(*rows) == np.arange(len(rows[0])))


def test_one_object_on_both_sides_of_ra_zero_and_at_the_pole_is_one():
    step = 0.4 * SAME_POSITION_DEG
    ra, dec = [step, 360 - step, 10.0, 190.0], [1.0, 1.0, 90 - step, 90 - step]
    keep = first_of_each(np.array([b"a", b"b", b"c", b"d"]), np.array(ra), np.array(dec))
    assert keep.tolist() == [True, False, True, False]


def test_objects_just_further_apart_than_the_tolerance_stay_two():
    for ra, dec in (([10.0, 10.0], [0.0, 1.01 * SAME_POSITION_DEG]), ([0.0, 1.01 * SAME_POSITION_DEG], [0.0, 0.0])):
        assert first_of_each(np.array([b"a", b"b"]), np.array(ra), np.array(dec)).all()


def test_one_id_is_one_object_within_an_arcsecond_and_two_further_apart():
    names = np.array([b"a", b"a", b"a"])
    dec = np.array([0.0, 0.9 * SAME_NAME_DEG, 0.9 * SAME_NAME_DEG + 50 / 3600])
    assert first_of_each(names, np.full(3, 7.0), dec).tolist() == [True, False, True]


def test_names_of_any_length_are_compared_whole():
    names = np.array([b"12345678", b"123456789", b"12345678", b"1", b"12345678901234567"])
    assert repeated(names).tolist() == [2]
