from __future__ import annotations

import gzip

import numpy as np
import pytest
import xarray as xr

from lensflow.config import SurveyConfig
from lensflow.config.load import load_config
from lensflow.errors import ConfigError, SurveyError
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import BRICK, SURVEY, file_of, targets, write_brick

OWN = "{root}/{product}/{band}/{brick}.fits.fz"


def test_the_three_kinds_of_layout():
    assert Layout("s3://dr10/south/").path("0591m305", "image", "r") == (
        "s3://dr10/south/coadd/059/0591m305/legacysurvey-0591m305-image-r.fits.fz"
    )
    assert Layout("/cache", "flat").path("0591m305", "maskbits") == "/cache/legacysurvey-0591m305-maskbits.fits.fz"
    own = Layout("/data", "{root}/{brick}/{product}-{band}.fits.fz")
    assert own.path("0591m305", "psfsize", "z") == "/data/0591m305/psfsize-z.fits.fz"
    assert own.path("0591m305", "maskbits") == "/data/0591m305/maskbits.fits.fz"
    assert Layout("/data", "{brick3}_{brick}_{product}_{band}.fits").path("0591m305", "nexp", "g") == (
        "/data/059_0591m305_nexp_g.fits"
    )
    assert Layout("/data").path("0591m305", "psf") == "/data/coadd/059/0591m305/coadd-psf-0591m305.fits"
    assert Layout("/data", OWN).folders("0591m305", ("g", "r")) == ("/data/image/g", "/data/image/r")


@pytest.mark.parametrize(
    ("layout", "way_out"),
    [
        ("legacysurveys", "Did you mean 'legacysurvey'"),
        ("{root}/{brik}/{product}-{band}.fits", "Did you mean 'brick'"),
        ("{root}/{product}-{band}.fits", r"lacks \{brick\}"),
        ("{root}/{tract}/{product}-{band}.fits", r"lacks \{brick\}"),
        ("{root}/{brick}/{product}.fits", r"lacks \{band\}"),
        ("{brick}/{root}/{product}-{band}.fits", r"\{root\} must come first"),
        ("{root}/{brick}/{product}-{band}}.fits", "brace"),
    ],
)
def test_a_pattern_that_cannot_work_is_a_config_error_with_the_way_out(layout, way_out):
    tree = {"out": "x", "survey": {"root": "r", "targets": "t", "layout": layout}}
    with pytest.raises(ConfigError, match=rf"survey\.layout: .*{way_out}"):
        load_config(tree)
    with pytest.raises(SurveyError, match=way_out):
        Layout("r", layout)


@pytest.mark.parametrize("layout", ["flat", OWN, "b{brick}.{product}.{band}.fits.fz"])
def test_a_survey_in_another_layout_gives_the_same_stamps(tmp_path, layout):
    write_brick(tmp_path / "tree")
    for product in ("image", "invvar", "nexp", "psfsize"):
        for band in "grz":
            _copy(tmp_path, layout, product, band)
    _copy(tmp_path, layout, "maskbits", "")
    hosts = targets([150, 60], [150, 220])
    out = cut_block(hosts, Layout(str(tmp_path / "own"), layout), "grz", SURVEY)
    xr.testing.assert_identical(
        out.drop_attrs(), cut_block(hosts, Layout(str(tmp_path / "tree")), "grz", SURVEY).drop_attrs()
    )


def _copy(tmp_path, layout, product, band):
    source = file_of(tmp_path / "tree", product, band)
    goal = Layout(str(tmp_path / "own"), layout).path(BRICK, product, band)
    goal = tmp_path.joinpath(goal)
    goal.parent.mkdir(parents=True, exist_ok=True)
    goal.write_bytes(source.read_bytes())


def test_gzipped_files_are_read_whole_and_a_broken_one_is_corrupt(tmp_path):
    truth = write_brick(tmp_path, bands="r")
    layout = Layout(str(tmp_path / "gz"), "{brick}-{product}-{band}.fits.gz")
    (tmp_path / "gz").mkdir()
    for product, band in truth:
        content = gzip.compress(file_of(tmp_path, product, band).read_bytes(), 1)
        tmp_path.joinpath(layout.path(BRICK, product, band)).write_bytes(content)
    out = cut_block(targets([150.2], [150.2]), layout, "r", SURVEY)
    np.testing.assert_array_equal(out["image"][0, 0], truth["image", "r"][119:183, 119:183])
    tmp_path.joinpath(layout.path(BRICK, "invvar", "r")).write_bytes(content[: len(content) // 2])
    out = cut_block(targets([150.2], [150.2]), layout, "r", SURVEY)
    assert "truncated" in out.attrs["messages"][0] or "cannot be read" in out.attrs["messages"][0]


def test_the_layout_is_a_setting():
    assert SurveyConfig(root="r", targets="t", layout=OWN).layout == OWN
