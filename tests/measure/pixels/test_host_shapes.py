"""Shapes of the light of hosts, held against galaxies of known shape."""

import numpy as np
import pytest

from lensflow.measure.pixels.host_shapes import SHAPES, host_shapes


@pytest.mark.parametrize("angle_deg", [0, 30, 90, 135])
def test_the_orientation_is_that_of_the_light_and_the_ellipticity_falls_for_round_galaxies(angle_deg):
    y, x = np.mgrid[:64, :64] - 31.5
    phi = np.radians(angle_deg)
    u, v = x * np.cos(phi) + y * np.sin(phi), -x * np.sin(phi) + y * np.cos(phi)
    images = np.stack([np.exp(-0.5 * (u**2 * q + v**2 / q) / 9) for q in (0.6, 1.0)])[:, None]
    flat, round_ = (dict(zip(SHAPES, row, strict=True)) for row in host_shapes(images.astype("f4"))[:, 0])
    assert flat["cos_2phi"] == pytest.approx(np.cos(2 * phi), abs=0.01)
    assert flat["sin_2phi"] == pytest.approx(np.sin(2 * phi), abs=0.01)
    assert flat["ellipticity"] > 0.2 and round_["ellipticity"] < 0.01
    assert flat["ellipticity"] == pytest.approx(np.hypot(flat["e1"], flat["e2"]))


def test_neighbours_and_size_are_seen_and_an_empty_stamp_has_no_shape():
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.5
    images = np.stack([np.exp(-0.5 * (x**2 + y**2) / s**2) for s in (2.0, 4.0)])[:, None]
    images = images + 0.002 * draw.normal(size=images.shape)
    with_neighbour = images.copy()
    with_neighbour[0, 0, 5:12, 5:12] += 0.5
    shapes = [host_shapes(v.astype("f4"))[:, 0] for v in (images, with_neighbour)]
    size, near = SHAPES.index("size_pix"), SHAPES.index("neighbours")
    assert shapes[0][1, size] > 1.2 * shapes[0][0, size]
    assert shapes[1][0, near] - shapes[0][0, near] == pytest.approx(49 / (np.hypot(x, y) >= 10).sum(), rel=0.05)
    assert np.isnan(host_shapes(np.zeros((1, 1, 64, 64), "f4"))).all()
