from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import SurveyError
from lensflow.survey import crop
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import SURVEY, targets, write_brick

PIXELS = ["image", "invvar", "maskbits", "x_center", "y_center"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("survey")
    write_brick(path, bands="gr")
    return path


def cut(folder, hosts, size):
    return cut_block(hosts, Layout(str(folder)), "gr", SURVEY.model_copy(update={"stamp_size": size}))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(70.05, 230.05), st.floats(70.05, 230.05)), min_size=1, max_size=4),
    st.sampled_from([(101, 64), (101, 63), (96, 64), (96, 33), (64, 64), (63, 41), (64, 8)]),
    st.booleans(),
)
@pytest.mark.slow
def test_a_crop_is_what_cutting_at_that_size_gives(folder, positions, sizes, lazy):
    hosts = targets(*np.array(positions).T)
    large = cut(folder, hosts, sizes[0])
    cropped = crop(large.chunk(host=2) if lazy else large, sizes[1])
    assert (cropped["image"].chunks is not None) == lazy
    direct = cut(folder, hosts, sizes[1])
    # Both corners are the same pixel unless the WCS puts the target on a pixel's very edge (1e-10 pix).
    xr.testing.assert_allclose(cropped[PIXELS].compute(), direct[PIXELS], rtol=0, atol=1e-9)
    assert cropped.attrs["measured_over_pix"] == sizes[0]
    assert list(cropped.data_vars) == list(large.data_vars)


def test_several_sizes_come_from_one_read(folder):
    large = cut(folder, targets([150.2, 99.7], [150.4, 180.1]), 101)
    for size in (101, 96, 64):
        assert crop(large, size)["image"].shape == (2, 2, size, size)


def test_hosts_without_a_position_are_cropped_about_the_middle(folder):
    hosts = targets([150], [150])
    hosts["brickname"] = ("host", np.array(["9999p999"]))
    out = crop(cut(folder, hosts, 96), 64)
    assert np.isnan(out["x_center"]).all()
    assert out["image"].shape == (1, 2, 64, 64)


def test_a_crop_that_does_not_fit_is_refused(folder):
    large = cut(folder, targets([150.2], [150.2]), 64)
    with pytest.raises(SurveyError, match=r"1 of 1 crops of 65 pixels do not fit .*survey\.stamp_size"):
        crop(large, 65)
