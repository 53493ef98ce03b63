import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import rng

# Random123's published known answers for philox4x32-10: counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, expected):
    words = rng.philox4x32(*map(np.uint64, counter), *map(np.uint64, key))
    assert tuple(int(w) for w in words) == expected


def test_no_uniform_number_is_0_or_1_whatever_the_bits():
    ends = [rng._to_open_unit(*(np.uint64(v) for v in words)) for words in ((0, 0), (0xFFFFFFFF, 0xFFFFFFFF))]
    assert 0 < ends[0] < ends[1] < 1
    high = np.array([0xFFFFFFFF, 0xFFFFFFFF, 0x80000000], np.uint64)
    for h, low in zip(high, np.array([0xFFFFF7FF, 0xFFFFFFFF, 0], np.uint64), strict=True):
        assert 0 < rng._to_open_unit(h, low) < 1


def test_numbers_do_not_depend_on_the_batch_or_its_order():
    rows = rng.hash_ids([f"host-{i}" for i in range(100)])
    together = rng.normal(7, rows, "colour", 3)
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(rng.normal(7, rows[order], "colour", 3), together[order])
    assert np.array_equal(rng.normal(7, rows[41:42], "colour", 3)[0], together[41])
    assert np.array_equal(rng.normal(7, rows, "colour", 1), together[:, :1])


def test_another_seed_purpose_or_lane_gives_other_numbers():
    rows = np.arange(1000, dtype=np.uint64)
    base = rng.uniform(1, rows, "a")[:, 0]
    for other in (rng.uniform(2, rows, "a"), rng.uniform(1, rows, "b"), rng.uniform(1, rows, "a", lane=1)):
        assert abs(np.corrcoef(base, other[:, 0])[0, 1]) < 0.1
        assert not np.any(base == other[:, 0])


def test_uniform_and_normal_have_their_moments():
    rows = np.arange(200_000, dtype=np.uint64)
    u, n = rng.uniform(3, rows, "u", 2), rng.normal(3, rows, "n", 2)
    assert (u > 0).all() and (u < 1).all()
    assert u.mean() == pytest.approx(0.5, abs=3e-3) and u.var() == pytest.approx(1 / 12, rel=0.01)
    assert n.mean() == pytest.approx(0, abs=6e-3) and n.var() == pytest.approx(1, rel=0.01)
    assert (n**4).mean() == pytest.approx(3, rel=0.03)
    assert abs(np.corrcoef(n.T)[0, 1]) < 0.01


def test_single_precision_normals_have_the_moments_and_tails_of_a_normal():
    z = rng.normal_f4(3, np.arange(500_000, dtype=np.uint64), "pixels", 4).astype(float)
    assert np.isfinite(z).all() and abs(z.mean()) < 3e-3 and z.var() == pytest.approx(1, rel=5e-3)
    assert (z**4).mean() == pytest.approx(3, rel=0.02) and np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 0.01
    assert (np.abs(z) > 3).mean() == pytest.approx(2.7e-3, rel=0.05) and 4.5 < np.abs(z).max() < 7


@settings(max_examples=50)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32), st.integers(0, 2**32))
def test_mixed_ids_differ_between_replicates(first, a, b):
    if a != b:
        assert rng.mix_ids([first], [a]) != rng.mix_ids([first], [b])


def test_ids_come_from_names_alone():
    assert rng.hash_ids(["x", "y"])[1] == rng.hash_ids(["y"])[0]
    assert rng.hash_ids(np.array(["abc"], dtype="U20"))[0] == rng.hash_ids(["abc"])[0]


def test_single_precision_normals_are_box_muller_of_the_words_of_philox():
    k0, k1 = rng.key_words(3, "pixels")
    z = rng.normal_f4(3, [9], "pixels", 400, lane=2)[0].reshape(100, 2, 2)
    for block, pairs in enumerate(z):
        words = rng.philox4x32(*map(np.uint64, (9, 0, block, 2)), k0, k1)
        for (first, second), pair in zip((words[:2], words[2:]), pairs, strict=True):
            first, second = int(first), int(second)
            radius = np.sqrt(-2 * np.log(((first >> 1) + 0.5) / 2**31))
            low = second & 0x3FFFFFFF
            angle = (low - (low >> 29 << 30)) * (np.pi / 4) / 2**29
            expected = np.array([np.cos(angle), np.sin(angle)])[:: -1 if second >> 30 & 1 else 1]
            np.testing.assert_allclose(pair, radius * expected * (-1) ** (second >> 31), rtol=1e-6, atol=1e-6)


def test_normals_of_a_range_of_blocks_are_those_of_the_whole():
    whole = rng.normal_f4(3, [9], "pixels", 64)[0]
    part = np.empty(24, dtype=np.float32)
    rng.fill_normal_f4(part, 6, *rng.key_words(3, "pixels"), np.uint64(9), np.uint64(0), 5)
    np.testing.assert_array_equal(part, whole[20:44])
