"""Rows that are kept whole are the same in any blocks; what cannot be made anew is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.measure.pixels import specimens
from lensflow.measure.pixels.specimens import Specimens
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
        whole = Specimens.from_block(PAIRS)
        pieces = [Specimens.from_block(PAIRS.isel(sample=np.flatnonzero(np.array(parts) == p))) for p in order]
        total = pieces[0]
        for piece in pieces[1:]:
            total = total + piece
    assert whole.keys.size == 7
    np.testing.assert_array_equal(total.keys, whole.keys)
    np.testing.assert_array_equal(total.arc, whole.arc)
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(total.columns[name], values, err_msg=name)


def test_kept_rows_are_injections_with_their_own_arcs_and_columns():
    kept = Specimens.from_block(PAIRS)
    assert kept.keys.size == min(specimens.KEPT, (~CONTROL).sum())
    assert not kept.columns["is_control"].any()
    place = [int(np.flatnonzero(PAIRS["row_id"].values == r)[0]) for r in kept.columns["row_id"]]
    np.testing.assert_array_equal(kept.arc, PAIRS["arc"].values[place])
    np.testing.assert_array_equal(kept.columns["theta_e_arcsec"], PAIRS["theta_e_arcsec"].values[place])


def test_rows_whose_source_is_an_image_are_kept_and_counted():
    names = np.where(np.arange(CONTROL.size) % 3 == 0, "galaxy-1", "")
    pairs = complete(PAIRS).assign(src_id=("sample", np.where(CONTROL, "", names)))
    kept = Specimens.from_block(pairs)
    of_image = (~CONTROL & (names != "")).sum()
    assert kept.n_images == of_image > 0 and kept.keys.size == min(specimens.KEPT, (~CONTROL).sum())
    assert kept.why_not() == "" and kept.of_image.any() and not kept.of_image.all()
    both = Specimens.from_block(pairs.isel(sample=slice(0, 20))) + Specimens.from_block(
        pairs.isel(sample=slice(20, 60))
    )
    assert both.n_images == of_image
    plain = kept.without_images()
    assert not plain.of_image.any() and (plain.columns["src_n"][kept.of_image] == 1).all()
    assert np.array_equal(plain.columns["src_n"][~kept.of_image], kept.columns["src_n"][~kept.of_image])
    every = complete(PAIRS).assign(src_id=("sample", np.where(CONTROL, "", "galaxy-1")))
    assert Specimens.from_block(every).why_not() == ""


def test_why_rows_cannot_be_made_anew_is_said():
    assert Specimens.from_block(complete(PAIRS)).why_not() == ""
    assert "lens_q, src_q, src_n, shear" in Specimens.from_block(PAIRS).why_not()
    bare = complete(PAIRS).drop_attrs()
    assert "psf_model, psf_beta, pixel_scale_arcsec" in Specimens.from_block(bare).why_not()
    assert Specimens.from_block(complete(PAIRS).isel(sample=CONTROL)).why_not() == "no injection"
    kernels = complete(PAIRS).assign_attrs(psf_model="kernel")
    assert "the PSF images are not among these pairs" in Specimens.from_block(kernels).why_not()


def test_kernels_are_kept_with_their_rows_and_given_to_the_renderer():
    draw = np.random.default_rng(0)
    kernel = draw.random((CONTROL.size, 3, 7, 7)).astype(np.float32)
    pairs = complete(PAIRS).assign_attrs(psf_model="kernel")
    kept = Specimens.from_block(pairs.assign(psf_kernel=(("sample", "band", "psf_y", "psf_x"), kernel)))
    assert kept.why_not() == ""
    place = [int(np.flatnonzero(PAIRS["row_id"].values == r)[0]) for r in kept.columns["row_id"]]
    np.testing.assert_array_equal(kept.psf()["psf_model"], kernel[place])
    assert Specimens.from_block(PAIRS).psf() == {"psf_model": "moffat", "psf_beta": 3.5}
