"""Damaged bricks: every host keeps its row, with finite pixels, and what is not OK has a reason."""

import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits

from lensflow.errors import SurveyError
from lensflow.schema import Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from tests.survey import brick_factory as factory

HOSTS = factory.targets([150.2, 60.0, 5.0, 299.0, 150.0], [149.8, 200.0, 150.0, 10.0, 320.0])
PRODUCTS = [(p, b) for p in ("image", "invvar", "psfsize", "nexp") for b in "gr"] + [("maskbits", "")]
CARDS = (
    "NAXIS1",
    "ZNAXIS1",
    "ZNAXIS2",
    "ZTILE1",
    "ZCMPTYPE",
    "ZBITPIX",
    "BITPIX",
    "TFORM1",
    "PCOUNT",
    "ZQUANTIZ",
    "CRVAL1",
)
CARDS += ("CRPIX2", "CTYPE1", "CD1_1", "PC1_1", "CDELT1", "TFIELDS", "XTENSION", "NAXIS2", "ZDITHER0", "ZBLANK")
VALUES = (0, -1, 1, 10**9, 1e300, "", "RUBBISH", "T", 7.5, True)


@pytest.fixture(scope="module")
def brick(tmp_path_factory):
    root = tmp_path_factory.mktemp("brick")
    factory.write_brick(root, bands="gr")
    return root


def check(root, seed):
    """Cut the five hosts and hold what must be true whatever the files are."""
    try:
        block = cut_block(HOSTS, Layout(str(root)), ("g", "r"), factory.SURVEY)
    except SurveyError:
        return Status.FAILED
    assert block.sizes["host"] == 5, seed
    status, reasons = block["status"].values, block["reasons"].values
    assert ((status == Status.OK) | (reasons != 0)).all(), seed
    assert status[4] == Status.FAILED and (reasons[4] & Reason.OUTSIDE_BRICK or reasons[4] & _UNREADABLE), seed
    for name in ("image", "invvar"):
        assert np.isfinite(block[name].values).all(), (seed, name)
    assert (block["invvar"].values >= 0).all(), seed
    psf = block["psfsize_arcsec"].values
    assert (np.isnan(psf) | ((psf > 0) & np.isfinite(psf))).all(), seed
    dark = ~block["covered"].values
    assert (block["invvar"].values[dark] == 0).all() or not dark.any() or (reasons != 0).all(), seed
    return Status(int(status[0]))


_UNREADABLE = int(Reason.MISSING_FILE | Reason.CORRUPT_FILE)


def damaged(source, target, product, edit):
    """A copy of the brick whose file of one product is changed by ``edit(path)``."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)
    edit(factory.file_of(target, *product))


def garble(rng):
    def edit(path):
        content = bytearray(path.read_bytes())
        kind = rng.integers(4)
        if kind == 0:
            del content[rng.integers(len(content)) :]
        elif kind == 1:
            start = rng.integers(len(content))
            content[start : start + 2880] = bytes(2880)
        else:
            # The headers are the first blocks: half of the hits go there.
            reach = 4 * 2880 if kind == 2 else len(content)
            for _ in range(rng.integers(1, 20)):
                content[rng.integers(min(reach, len(content)))] = rng.integers(256)
        path.write_bytes(content)

    return edit


def relabel(rng):
    def edit(path):
        with fits.open(path, disable_image_compression=True, memmap=False) as hdus:
            for _ in range(rng.integers(1, 3)):
                card, value = CARDS[rng.integers(len(CARDS))], VALUES[rng.integers(len(VALUES))]
                text = hdus[1].header.tostring(sep="\n")
                hdus[1].header.get(card)
                if card in text:
                    hdus[1].header[card] = value
            blocks = [hdus[0].header.tostring().encode("latin1", "replace")]
            data = path.read_bytes()[hdus[1]._data_offset :]
            blocks += [hdus[1].header.tostring().encode("latin1", "replace"), data]
        path.write_bytes(b"".join(blocks))

    return edit


@pytest.mark.parametrize("how", [garble, relabel])
def test_a_damaged_file_costs_no_row_and_is_named(how, brick, tmp_path):
    outcomes = dict.fromkeys(Status, 0)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        product = PRODUCTS[rng.integers(len(PRODUCTS))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            damaged(brick, tmp_path / "damaged", product, how(rng))
            outcomes[check(tmp_path / "damaged", (how.__name__, seed, product))] += 1
    assert outcomes[Status.OK] > 10  # damage where no stamp lies, or that changes nothing
    assert outcomes[Status.PARTIAL] + outcomes[Status.FAILED] > 10
