"""Damaged bricks: every host keeps its row, with finite pixels, and what is not OK has a reason."""

import numpy as np
import pytest

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
CARDS += ("TTYPE1", "TFORM2", "THEAP", "ZNAXIS", "ZNAME1", "ZVAL1", "ZVAL2", "BSCALE", "BZERO", "ZSCALE", "GCOUNT")
VALUES = (0, -1, 1, 10**9, 10**40, "1E300", "1E999", "''", "'RUBBISH'", "T", 7.5, "1.5PB", "'1.5PB'", "NaN", "junk")


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
    # The last host lies outside; a damaged WCS may move it in, and is then at odds with that of the other band.
    assert reasons[4] & _UNREADABLE or (reasons[4] & Reason.OUTSIDE_BRICK and status[4] == Status.FAILED), seed
    for name in ("image", "invvar"):
        assert np.isfinite(block[name].values).all(), (seed, name)
    assert (block["invvar"].values >= 0).all(), seed
    psf = block["psfsize_arcsec"].values
    assert (np.isnan(psf) | ((psf > 0) & np.isfinite(psf))).all(), seed
    assert (reasons[~block["covered"].values.all(axis=1)] != 0).all(), seed
    return Status(int(status[0]))


_UNREADABLE = int(Reason.MISSING_FILE | Reason.CORRUPT_FILE)


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
        content = path.read_bytes()
        for _ in range(rng.integers(1, 3)):
            content = with_card(content, CARDS[rng.integers(len(CARDS))], VALUES[rng.integers(len(VALUES))])
        path.write_bytes(content)

    return edit


def with_card(content: bytes, key: str, value: object) -> bytes:
    """A file with a card of its second HDU replaced, or put in the place of a comment."""
    cards = [content[at : at + 80] for at in range(2880, len(content), 80)]
    end = next(k for k, card in enumerate(cards) if card.rstrip() == b"END")
    same = [k for k in range(end) if cards[k].startswith(key.ljust(8).encode() + b"=")]
    if not same:
        return content
    at = 2880 + 80 * same[0]
    return content[:at] + f"{key:8s}= {value:>20}".ljust(80)[:80].encode() + content[at + 80 :]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cases", [15, pytest.param(1200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [garble, relabel])
def test_a_damaged_file_costs_no_row_and_is_named(how, cases, brick):
    outcomes = dict.fromkeys(Status, 0)
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        product = PRODUCTS[rng.integers(len(PRODUCTS))]
        path = factory.file_of(brick, *product)
        whole = path.read_bytes()
        try:
            how(rng)(path)
            outcomes[check(brick, (how.__name__, seed, product))] += 1
        finally:
            path.write_bytes(whole)
    assert outcomes[Status.OK] > cases // 12  # damage where no stamp lies, or that changes nothing
    assert outcomes[Status.PARTIAL] + outcomes[Status.FAILED] > cases // 12


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_header_of_a_billion_columns_is_answered_at_once(product, brick, recwarn):
    path = factory.file_of(brick, *product)
    whole = path.read_bytes()
    try:
        path.write_bytes(with_card(whole, "TFIELDS", 10**9))
        block = cut_block(HOSTS, Layout(str(brick)), ("g", "r"), factory.SURVEY)
    finally:
        path.write_bytes(whole)
    assert any("TFIELDS is 1000000000" in m and path.name in m for m in block.attrs["messages"])
    assert (block["reasons"].values[:4] & Reason.CORRUPT_FILE).all()
    assert not recwarn.list
