"""Two targets in one galaxy are no copies where their places on the sky say so; the same stamp twice always is."""

import numpy as np
import pytest

from lensflow.errors import CopiedStampsError, LensflowWarning
from lensflow.survey.copies import refuse_copies
from tests.factories import make_cutouts

SCALE = 0.262


def two_of_each(moved_pix, n=6, size=64):
    big = make_cutouts(n, size=size + 16)
    stamps = []
    for k in range(n):
        for x in (8, 8 - moved_pix):
            stamps.append(big["image"].values[k][:, 8 : 8 + size, x : x + size])
    out = make_cutouts(2 * n, size=size)
    out["image"].values[:] = np.array(stamps)
    return out


def test_targets_as_far_apart_as_their_stamps_are_moved_are_named_and_not_refused():
    stamps = two_of_each(8)
    ra = np.repeat(10 + 0.5 * np.arange(6), 2) + np.tile([0, 8 * SCALE / 3600], 6)
    with pytest.warns(LensflowWarning, match=r"6 pair\(s\) of stamps show the same pixels"):
        refuse_copies(stamps, ra, np.zeros(12), SCALE)
    for wrong in (np.full(12, np.nan), np.repeat(10 + 0.5 * np.arange(6), 2)):
        with pytest.raises(CopiedStampsError, match="6 of 12 stamps are copies"):
            refuse_copies(stamps, wrong, np.zeros(12), SCALE)


def test_the_same_stamp_at_one_place_is_refused():
    ra = np.repeat(10 + 0.5 * np.arange(6), 2)
    with pytest.raises(CopiedStampsError, match="6 of 12 stamps are copies"):
        refuse_copies(two_of_each(0), ra, np.zeros(12), SCALE)
