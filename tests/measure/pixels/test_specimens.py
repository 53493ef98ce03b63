"""Rows that are kept whole are the same in any blocks; what cannot be made anew is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.measure.pixels import Block, Origin, specimens
from lensflow.measure.pixels.origin import with_arc_steps
from lensflow.measure.pixels.specimens import (
    complete_rows,
    of_image,
    psf_of,
    specimen_key,
    specimens_of,
    why_not,
    without_images,
)
from tests.measure.pixels.pairs_factory import pairs_block

KNOWN = {"psf_model": "moffat", "psf_beta": 3.5, "pixel_scale_arcsec": 0.262}
PAIRS = pairs_block(n_hosts=12, size=40).assign_attrs(KNOWN)
CONTROL = PAIRS["is_control"].values


def complete(pairs):
    """Pairs with every column that a rendering needs."""
    n = pairs.sizes["sample"]
    return pairs.assign({k: ("sample", np.ones(n)) for k in ("lens_q", "src_q", "src_n", "shear")})


@settings(max_examples=25, deadline=None)
@given(parts=st.lists(st.integers(0, 4), min_size=60, max_size=60), order=st.permutations(range(5)))
def test_the_same_rows_are_kept_in_any_blocks_and_order(parts, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specimens, "KEPT", 7)
        whole = specimens_of(PAIRS)
        pieces = [specimens_of(PAIRS.isel(sample=np.flatnonzero(np.array(parts) == p))) for p in order]
        total = pieces[0]
        for piece in pieces[1:]:
            total = total + piece
    assert whole.rows.sizes["sample"] == 7 and total.rows.identical(whole.rows)


@pytest.mark.parametrize("kept", [7, 60])
def test_rows_chosen_for_a_whole_run_are_those_that_its_blocks_would_leave(kept, monkeypatch):
    monkeypatch.setattr(specimens, "KEPT", kept)
    key = specimen_key(PAIRS["row_id"].values, CONTROL)
    blocks = [Block(PAIRS.isel(sample=slice(k, k + 10)), origin=Origin(specimen_key=key)) for k in range(0, 60, 10)]
    each = [b.specimens for b in blocks]
    assert sum(s.rows.sizes["sample"] for s in each) == min(kept, (~CONTROL).sum())
    whole = Block(PAIRS, origin=Origin()).specimens
    total = each[0]
    for other in each[1:]:
        total = total + other
    assert total.rows.identical(whole.rows)


def test_kept_rows_are_injections_with_their_own_arcs_and_columns():
    kept = specimens_of(PAIRS).rows
    assert kept.sizes["sample"] == min(specimens.KEPT, (~CONTROL).sum())
    assert not kept["is_control"].values.any()
    place = [int(np.flatnonzero(PAIRS["row_id"].values == r)[0]) for r in kept["row_id"].values]
    np.testing.assert_array_equal(kept["arc"], PAIRS["arc"].values[place])
    np.testing.assert_array_equal(kept["theta_e_arcsec"].values, PAIRS["theta_e_arcsec"].values[place])


def test_rows_whose_source_is_an_image_are_kept():
    names = np.where(np.arange(CONTROL.size) % 3 == 0, "galaxy-1", "")
    pairs = complete(PAIRS).assign(src_id=("sample", np.where(CONTROL, "", names)))
    kept = specimens_of(pairs).rows
    image = of_image(kept)
    assert kept.sizes["sample"] == min(specimens.KEPT, (~CONTROL).sum())
    assert why_not(kept) == "" and image.any() and not image.all()
    plain = without_images(kept)
    assert not of_image(plain).any() and (plain["src_n"].values[image] == 1).all()
    assert np.array_equal(plain["src_n"].values[~image], kept["src_n"].values[~image])
    every = complete(PAIRS).assign(src_id=("sample", np.where(CONTROL, "", "galaxy-1")))
    assert why_not(specimens_of(every).rows) == ""


def test_why_rows_cannot_be_made_anew_is_said():
    assert why_not(specimens_of(complete(PAIRS)).rows) == ""
    assert "lens_q, src_q, src_n, shear" in why_not(specimens_of(PAIRS).rows)
    bare = complete(PAIRS).drop_attrs()
    assert "psf_model, psf_beta, pixel_scale_arcsec" in why_not(specimens_of(bare).rows)
    assert why_not(specimens_of(complete(PAIRS).isel(sample=CONTROL)).rows) == "no injection"
    kernels = complete(PAIRS).assign_attrs(psf_model="kernel")
    assert "the PSF images are not among these pairs" in why_not(specimens_of(kernels).rows)


def test_kernels_are_kept_with_their_rows_and_given_to_the_renderer():
    draw = np.random.default_rng(0)
    kernel = draw.random((CONTROL.size, 3, 7, 7)).astype(np.float32)
    pairs = complete(PAIRS).assign_attrs(psf_model="kernel")
    kept = specimens_of(pairs.assign(psf_kernel=(("sample", "band", "psf_y", "psf_x"), kernel))).rows
    assert why_not(kept) == ""
    place = [int(np.flatnonzero(PAIRS["row_id"].values == r)[0]) for r in kept["row_id"].values]
    np.testing.assert_array_equal(psf_of(kept)["psf_model"], kernel[place])
    assert psf_of(specimens_of(PAIRS).rows) == {"psf_model": "moffat", "psf_beta": 3.5}


def test_rows_taken_from_a_block_have_the_steps_of_their_arcs():
    pairs = PAIRS.assign(quantize_step_nmgy=PAIRS["psf_fwhm_arcsec"].fillna(0) * 0.01)
    rows = np.array([5, 2, 9])
    for origin in (None, Origin()):
        found = Block(pairs, origin=origin).complete_rows(rows)
        wanted = complete_rows(with_arc_steps(pairs, origin), rows)
        assert found.equals(wanted) and found["arc_step_nmgy"].dtype == np.float32
        assert Block(pairs, origin=origin).specimens.rows.equals(specimens_of(with_arc_steps(pairs, origin)).rows)
    assert (Block(pairs).complete_rows(rows)["arc_step_nmgy"].values > 0).any()
