"""Scorers of stamps without their lens's light: both classes through the same view, each image by itself."""

import numpy as np
import pytest

from lensflow.measure.lens_light import LIGHT, without_light
from lensflow.measure.scorer.scorer import score_block


def pixel_sum(images):
    return np.abs(images[:, 1].astype(np.float64)).sum(axis=(1, 2))


@pytest.fixture(scope="module")
def some(pairs):
    return pairs.isel(sample=slice(0, 40))


@pytest.mark.parametrize("light", LIGHT)
def test_a_scorer_gets_stamps_and_controls_through_the_view(some, light):
    found = score_block(some, pixel_sum, 5.0, lens_light=light).rows.sortby("row_id")
    rows = np.flatnonzero(~some["is_control"].values)
    rows = rows[np.argsort(some["row_id"].values[rows])]
    x, y, has = (some[n].values[rows] for n in ("x_center", "y_center", "has_data"))
    own = pixel_sum(without_light(some["stamp"].values[rows], light, x, y, has))
    np.testing.assert_allclose(found["stamp"], own, rtol=1e-6)
    # A control's score is that of its host's own residual.
    host = {int(h): k for k, h in reversed(list(enumerate(some["host_index"].values)))}
    at = [host[int(h)] for h in found["ctrl_host"].values]
    x, y, has = (some[n].values[at] for n in ("x_center", "y_center", "has_data"))
    np.testing.assert_allclose(
        found["ctrl"], pixel_sum(without_light(some["ctrl"].values[at], light, x, y, has)), rtol=1e-6
    )


@pytest.mark.parametrize("light", LIGHT)
def test_without_an_arc_the_classes_score_alike_to_the_bit(some, light):
    found = score_block(some.assign(stamp=some["ctrl"]), pixel_sum, 5.0, lens_light=light).rows
    of = dict(zip(found["ctrl_host"].values, found["ctrl"].values, strict=True))
    assert found["stamp"].values.tolist() == [of[h] for h in found["host_index"].values]


def test_kept_light_changes_nothing(some):
    assert score_block(some, pixel_sum, 5.0, lens_light="kept").rows.equals(score_block(some, pixel_sum, 5.0).rows)


def test_no_pixel_with_data_is_0_for_0_says_no_data(some):
    left = without_light(some["stamp"].values, "radial", None, None, some["has_data"].values)
    assert ((left != 0) == some["has_data"].values).all()
    assert np.isnan(without_light(some["stamp"].values, "radial", None, None, some["has_data"].values, np.nan)).any()
