"""No row is lost between points, hexagons and bins; what is selected is what lies in the outline."""

import numpy as np
import pytest
from matplotlib.path import Path

from lensflow.view.binning import histogram, in_box, in_outline, nearest, scaled, scatter


def cloud(n, seed=1):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(2, 1, n), rng.lognormal(3, 1, n)
    x[::17], y[::23] = np.nan, np.inf
    return x, y


def test_few_rows_are_points_and_those_without_a_value_are_counted():
    x, y = cloud(1000)
    places = np.arange(5000, 6000)
    found = scatter(places, x, scaled(y, False))
    assert len(found.x) + found.n_missing == 1000 and not found.count.size
    np.testing.assert_array_equal(found.x, x[found.places - 5000])
    assert f"{found.n_missing:,} rows have no value" in found.note and "as points" in found.note


def test_many_rows_are_counted_in_hexagons_each_once():
    x, y = cloud(30_000)
    x, y = scaled(x, False), scaled(y, True)
    found = scatter(np.arange(30_000), x, y)
    known = np.isfinite(x) & np.isfinite(y)
    assert found.count.sum() == known.sum() == 30_000 - found.n_missing
    assert "counts in" in found.note and not found.places.size
    # Of a point and the hexagon with the nearest middle (1 : sqrt(3) lattice) the counts must agree.
    wide, high = found.size
    some = np.flatnonzero(known)[:300]
    scale = np.array([1 / wide, np.sqrt(3) / 2 / high])
    middles = np.stack([found.x, found.y]).T * scale
    away = np.linalg.norm(np.stack([x[some], y[some]]).T[:, None] * scale - middles[None], axis=2).min(axis=1)
    assert away.max() <= 1 / np.sqrt(3) + 1e-9  # from the middle of a hexagon to its corner


def test_middles_of_hexagons_are_the_nearest_to_their_rows():
    x, y = cloud(25_000, 3)
    found = scatter(np.arange(25_000), scaled(x, False), scaled(y, True), most=10)
    wide, high = found.size
    scale = np.array([1 / wide, np.sqrt(3) / 2 / high])
    known = np.isfinite(scaled(x, False)) & np.isfinite(scaled(y, True))
    points = np.stack([x[known], np.log10(y[known])]).T[:, None] * scale
    middles = np.stack([found.x, found.y]).T * scale
    some = points[::50]
    best = np.linalg.norm(some - middles[None], axis=2).argmin(axis=1)
    counted = np.bincount(np.concatenate([np.linalg.norm(p - middles[None], axis=2).argmin(axis=1)
                                          for p in np.array_split(points, 50)]), minlength=len(middles))  # fmt: skip
    np.testing.assert_array_equal(counted, found.count)
    assert len(best)


def test_one_value_for_all_rows_is_one_hexagon():
    found = scatter(np.arange(50), np.full(50, 3.0), np.zeros(50), most=10)
    assert found.count.tolist() == [50] and (found.x, found.y) == (3.0, 0.0)
    assert scatter(np.arange(3), np.full(3, np.nan), np.zeros(3)).n_missing == 3


def test_logarithms_of_what_is_not_above_zero_are_missing():
    assert np.isnan(scaled(np.array([0.0, -1, np.nan, np.inf]), True)).all()
    np.testing.assert_allclose(scaled(np.array([10, 1000]), True), [1, 3])


def test_histograms_count_every_value_once():
    x, _ = cloud(5000)
    found = histogram(x)
    assert found.count.sum() + found.n_missing == 5000
    whole = histogram(np.array([0.0, 1, 1, 3, np.nan]))
    assert whole.count.tolist() == [1, 2, 0, 1] and whole.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    part = histogram(x[:100], found.edges)
    assert (part.count <= found.count).all()
    assert histogram(np.full(4, 2.5)).count.tolist() == [4]
    assert histogram(np.full(4, np.nan)).count.sum() == 0


def test_boxes_hold_their_edges_in_any_direction():
    x, y = np.array([0, 1, 2, np.nan]), np.array([0, 1, 2, 1.0])
    assert in_box(x, y, 2, 1, 2, 1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_outlines_hold_what_matplotlib_says(seed):
    rng = np.random.default_rng(seed)
    corners, points = rng.uniform(-1, 1, (9, 2)), rng.uniform(-1.2, 1.2, (2000, 2))
    # An outline that crosses itself: even-odd, as a sum of windings cannot tell.
    inside = in_outline(points[:, 0], points[:, 1], corners[:, 0], corners[:, 1])
    crossings = sum(
        in_outline(points[:, 0], points[:, 1], *np.array([corners[0], corners[k], corners[k + 1]]).T)
        for k in range(1, 8)
    )  # triangles of a fan
    np.testing.assert_array_equal(inside, crossings % 2 == 1)
    convex = corners[np.argsort(np.arctan2(*(corners - corners.mean(0)).T))]
    expected = Path(convex).contains_points(points)
    assert (in_outline(*points.T, *convex.T) == expected).all()
    assert not in_outline(np.array([np.nan]), np.array([0.0]), *convex.T).any()


def test_the_nearest_point_is_within_reach_or_none():
    x, y = np.array([0, 1.0, np.nan]), np.array([0, 100.0, 3])
    assert nearest(x, y, (0.9, 99), (0.2, 20)) == 1
    assert nearest(x, y, (0.5, 50), (0.2, 20)) is None
    assert nearest(x[:0], y[:0], (0, 0), (1, 1)) is None
