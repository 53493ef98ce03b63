"""The sky holds the light that was planted, where the lenses are, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensflow.config import SyntheticConfig
from lensflow.errors import SurveyError
from lensflow.run.realism.synthetic_sky import synthetic_sky
from lensflow.survey.layout import Layout
from lensflow.survey.synthetic.bricks import PlantedLight, plan_bricks, write_brick

TINY = SyntheticConfig(n_bricks=1, brick_size_pix=220, hosts_per_brick=4, bricks_without_g=0)


def image(root, brick, band="r", product="image"):
    with fits.open(Layout(str(root)).path(brick.name, product, band)) as hdus:
        return hdus[1].data.astype(float)


def test_planted_light_is_in_the_image_alone_and_cut_off_at_the_edge(tmp_path):
    (brick,) = plan_bricks(TINY)
    write_brick(str(tmp_path / "a"), brick, TINY, ("g", "r"), 1)
    light = np.full((10, 10), 0.5)
    planted = [PlantedLight(40, 60, {"r": light}), PlantedLight(215, -3, {"r": light})]
    write_brick(str(tmp_path / "b"), brick, TINY, ("g", "r"), 1, planted)
    apart = image(tmp_path / "b", brick) - image(tmp_path / "a", brick)
    expected = np.zeros_like(apart)
    expected[60:70, 40:50] = expected[0:7, 215:220] = 0.5
    assert apart == pytest.approx(expected, abs=1e-3)  # quantised to sky/16
    assert image(tmp_path / "b", brick, "g") == pytest.approx(image(tmp_path / "a", brick, "g"), abs=1e-3)
    for band, product in (("r", "invvar"), ("r", "psfsize")):
        assert (image(tmp_path / "b", brick, band, product) == image(tmp_path / "a", brick, band, product)).all()


def test_an_image_with_other_light_is_written_again_and_the_rest_stays(tmp_path):
    (brick,) = plan_bricks(TINY)
    write_brick(str(tmp_path), brick, TINY, ("r",), 1)
    invvar = Layout(str(tmp_path)).path(brick.name, "invvar", "r")
    before = Path(invvar).read_bytes()
    assert write_brick(str(tmp_path), brick, TINY, ("r",), 1, [PlantedLight(0, 0, {"r": np.ones((3, 3))})]) > 0
    assert Path(invvar).read_bytes() == before
    assert write_brick(str(tmp_path), brick, TINY, ("r",), 1, [PlantedLight(0, 0, {"r": np.ones((3, 3))})]) == 0


def test_a_sky_of_nothing_but_lenses_is_refused(tmp_path):
    with pytest.raises(SurveyError, match="some must be left"):
        synthetic_sky(tmp_path, 4, survey=TINY.model_dump())
