from __future__ import annotations

import numpy as np
import pytest

from lensflow.survey.contradictions import contradictions
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.photometry import with_measurements
from tests.survey.brick_factory import PSFSIZE, SURVEY, targets, write_brick

PLACES = [60.0, 150.0, 240.0]


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    """Hosts of 10 nMgy with what the catalogue says of them, as they are cut from a survey in nanomaggies."""

    def edit(products):
        y, x = np.mgrid[:300, :300]
        for band in "grz":
            for place in PLACES:
                disc = np.exp(-0.5 * ((x - place) ** 2 + (y - place) ** 2) / 9) / (2 * np.pi * 9)
                products["image", band] += 10 * disc.astype(np.float32)

    root = tmp_path_factory.mktemp("survey")
    write_brick(root, edit=edit)
    hosts = targets(PLACES, PLACES)
    # 5 sigma of a point source for a noise of 0.004 nMgy a pixel.
    widths = np.array([PSFSIZE[b] for b in "grz"]) / 0.262 / 2.3548
    depth = 22.5 - 2.5 * np.log10(5 * 0.004 * np.sqrt(4 * np.pi) * widths)
    hosts["flux_nmgy"] = (("host", "band"), np.full((3, 3), 10.0))
    hosts["psfdepth_mag"] = (("host", "band"), np.tile(depth, (3, 1)))
    return cut_block(hosts.assign_coords(band=list("grz")), Layout(str(root)), "grz", SURVEY)


def said(cutouts, image=1.0, invvar=1.0):
    """What contradicts what, with pixels and weights in another unit."""
    other = cutouts.assign(image=cutouts["image"] * np.float32(image), invvar=cutouts["invvar"] * np.float32(invvar))
    return contradictions(with_measurements(other))


def test_a_survey_in_nanomaggies_contradicts_nothing(cutouts):
    assert said(cutouts) == []


@pytest.mark.parametrize("factor", [63.0, 0.01])
def test_another_zero_point_is_told_from_catalogue_and_depth(cutouts, factor):
    lines = said(cutouts, image=factor, invvar=factor**-2)
    assert sum(line.startswith("Fluxes do not fit the catalogue") for line in lines) == 3
    assert sum(line.startswith("Noise does not fit psfdepth") for line in lines) == 3
    assert not any("Weights do not fit" in line for line in lines)


def test_a_variance_in_place_of_weights_is_told_from_the_scatter(cutouts):
    lines = contradictions(with_measurements(cutouts.assign(invvar=1 / cutouts["invvar"])))
    assert sum(line.startswith("Weights do not fit the image") for line in lines) == 3
