import numpy as np
import pytest

from lensflow.geometry import stamp_corner
from lensflow.schema import Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.plausible import impossible_pixels
from tests.survey.brick_factory import SURVEY, file_of, targets, write_brick


def stamps(n=3, sigma=0.004):
    rng = np.random.default_rng(0)
    return rng.normal(0, sigma, (n, 64, 64)).astype(np.float32), np.full((n, 64, 64), sigma**-2, np.float32)


def test_bright_stars_saturated_cores_and_pixels_without_data_are_possible():
    image, invvar = stamps()
    image[0, 20:30, 20:30] = 400.0  # 10^5 sigma
    image[1, 5, 5], invvar[1, 5, 5] = 1e30, 0
    image[2, 7, 7] = np.nan
    invvar[2, 40:, :] = 0
    assert impossible_pixels(image, invvar) == {}


@pytest.mark.parametrize("value", [1e6, -1e4, 3e38])
def test_a_pixel_that_no_telescope_gives_is_named_with_the_noise(value):
    image, invvar = stamps()
    image[1, 30, 40] = value
    found = impossible_pixels(image, invvar)
    assert list(found) == [1]
    assert "nMgy where the noise is 0.004" in found[1]


def test_a_weight_that_cannot_be_is_named():
    image, invvar = stamps()
    invvar[2, 30:34, 40] = 1e30
    assert "a weight of 1e+30" in impossible_pixels(image, invvar)[2]


@pytest.fixture(scope="module", params=["RICE_1", "GZIP_1"])
def brick(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("brick")
    return root, write_brick(root, bands="r", compression=request.param)


@pytest.mark.parametrize("product", ["image", "invvar"])
@pytest.mark.parametrize("cases", [4, pytest.param(150, marks=pytest.mark.slow)])
def test_one_garbled_sector_is_never_taken_for_pixels(product, cases, brick):
    root, truth = brick
    path = file_of(root, product, "r")
    whole = path.read_bytes()
    x, y = (v.ravel() for v in np.meshgrid([40.3, 110.3, 180.3, 250.3], [40.3, 110.3, 180.3, 250.3]))
    marked = 0
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        at = int(rng.integers(12_000, len(content) - 4000)) // 512 * 512
        content[at : at + 512] = rng.bytes(512)
        path.write_bytes(content)
        try:
            block = cut_block(targets(x, y), Layout(str(root)), "r", SURVEY)
        finally:
            path.write_bytes(whole)
        for k, (px, py) in enumerate(zip(x, y, strict=True)):
            if block["status"].values[k] == Status.OK:
                a, b = (int(stamp_corner(v, 64)) for v in (py, px))
                there = truth[product, "r"][a : a + 64, b : b + 64]
                np.testing.assert_array_equal(block[product].values[k, 0], there)
            else:
                assert block["reasons"].values[k] & Reason.CORRUPT_FILE
                marked += 1
    assert 0 < marked < cases * x.size
