from __future__ import annotations

import numpy as np
import pytest

from lensflow.errors import ConfigError
from lensflow.survey import masks
from lensflow.survey.masks import MaskBit


def test_default_bits_follow_the_bands():
    assert masks.default_bits("r") == (0, 1, 3, 6, 10, 11)
    assert masks.default_bits("grz") == (0, 1, 2, 3, 4, 5, 6, 7, 10, 11)
    assert set(masks.default_bits("i")) - set(masks.default_bits("")) == {MaskBit.SATUR_I, MaskBit.ALLMASK_I}
    assert masks.default_bits(["Y"]) == masks.default_bits([])


def test_the_historic_preset_is_the_r_set():
    assert masks.chosen_bits("historic_r", "grz") == (0, 1, 3, 6, 10, 11)
    with pytest.raises(ConfigError, match=r"mask_bits preset 'historic'. Did you mean 'historic_r'"):
        masks.chosen_bits("historic", "grz")


def test_a_pixel_with_two_bad_bits_counts_once():
    stamp = np.zeros((2, 4, 4), np.int32)
    stamp[0, 0, :] = (1 << MaskBit.BRIGHT) | (1 << MaskBit.NPRIMARY)
    stamp[1, :2, :] = 1 << MaskBit.GALAXY
    np.testing.assert_allclose(masks.bad_pixel_fraction(stamp, masks.default_bits("grz")), [0.25, 0.0])
    np.testing.assert_allclose(masks.bad_pixel_fraction(stamp, (MaskBit.GALAXY,)), [0.0, 0.5])
    assert not masks.bad_pixel_fraction(stamp, ()).any()


def test_wise_bits_are_counted_apart():
    stamp = np.zeros((4, 4), np.int32)
    stamp[0, 0], stamp[0, 1] = 1 << MaskBit.WISEM1, 1 << MaskBit.WISEM2
    assert masks.wise_fraction(stamp) == pytest.approx(2 / 16)
    assert masks.bad_pixel_fraction(stamp, masks.default_bits("grz")) == 0


def test_every_bit_has_its_own_share():
    stamp = np.zeros((3, 4, 4), np.int32)
    stamp[1, 0, 0] = 1 << MaskBit.ALLMASK_I
    share = masks.fraction_per_bit(stamp)
    assert share.shape == (3, len(MaskBit))
    assert share[1, MaskBit.ALLMASK_I] == pytest.approx(1 / 16)
    assert share.sum() == pytest.approx(1 / 16)


def test_every_bit_of_dr10_has_a_name_and_others_are_unknown():
    # https://www.legacysurvey.org/dr10/bitmasks/: bits 0 to 16.
    assert [bit.value for bit in MaskBit] == list(range(17))
    assert MaskBit.SUB_BLOB == 16
    stamp = np.zeros((2, 2), np.int32)
    stamp[0, 0] = (1 << 17) - 1
    stamp[0, 1] = (1 << 17) | (1 << MaskBit.GALAXY)
    stamp[1, 1] = np.int32(-(2**31))
    assert masks.unknown_bits(stamp).tolist() == [[0, 1 << 17], [0, 1 << 31]]
