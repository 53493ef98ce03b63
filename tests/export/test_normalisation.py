"""Normalisations against numpy, their constants, and what each does to brightness."""

from dataclasses import replace

import numpy as np
import pytest

from lensflow.config import NormalisationConfig
from lensflow.errors import ConfigError, ExportError, LensflowWarning
from lensflow.export.normalisation import Normalisation, of_samples
from lensflow.run.export.constants import ControlSums

BANDS = ("g", "r")
DRAW = np.random.default_rng(3)


def images(n=6, size=64):
    x = DRAW.normal(size=(n, 2, size, size)) * np.array([0.01, 2.0])[:, None, None]
    x[:, :, 28:36, 28:36] += DRAW.exponential(5, size=(n, 2, 8, 8))
    return x.astype(np.float32)


def plain(kind, **changes):
    return of_samples(NormalisationConfig(kind=kind, **changes), BANDS, 64)


def test_survey_is_asinh_over_the_sky_for_numpy_too():
    x = images()
    how = replace(plain("survey"), s=(0.01, 2.0))
    expected = 10 * np.arcsinh(x.astype(np.float64) / np.array([0.01, 2.0])[:, None, None] / 10)
    np.testing.assert_allclose(how.apply(x), expected, rtol=3e-6, atol=1e-9)
    # The same factor for every stamp: twice as bright is brighter.
    assert (np.abs(how.apply(2 * x)) >= np.abs(how.apply(x))).all()


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-30, 1e-6, 0.05, 0.4, 4.1421, 10.0, 3e4, 1e12])
def test_the_compiled_asinh_is_numpys_over_all_of_its_range(value):
    how = replace(plain("survey"), s=(1.0, 1.0))
    for v in (value, -value):
        x = np.full((1, 2, 64, 64), v, np.float32)
        np.testing.assert_allclose(how.apply(x), 10 * np.arcsinh(np.float64(np.float32(v)) / 10), rtol=2e-6)


@pytest.mark.parametrize("stretch", ["clip", "asinh"])
def test_annulus_is_median_and_mad_of_its_ring(stretch):
    x, how = images(), plain("annulus", stretch=stretch)
    yy, xx = np.mgrid[:64, :64] - 31.5
    ring = (np.hypot(yy, xx) >= 20) & (np.hypot(yy, xx) < 32)
    a = np.median(x[:, :, ring], axis=2)[..., None, None]
    s = 1.4826 * np.median(np.abs(x - a)[:, :, ring], axis=2)[..., None, None]
    u = (x.astype(np.float64) - a) / s
    expected = np.clip(u, -20, 20) if stretch == "clip" else 10 * np.arcsinh(u / 10)
    np.testing.assert_allclose(how.apply(x), expected, rtol=2e-5, atol=2e-5)
    assert NormalisationConfig().annulus_pix(101) == pytest.approx((31.5625, 50.5))


def test_dataset_and_sample_and_none():
    x = images()
    how = replace(plain("dataset"), a=(0.1, 0.2), s=(0.5, 3.0))
    shift, scale = (np.array(v)[:, None, None] for v in (how.a, how.s))
    np.testing.assert_allclose(how.apply(x), (x - shift) / scale, rtol=1e-5, atol=1e-6)
    with pytest.warns(LensflowWarning, match=r"divides each stamp by its own scatter.*0\.76"):
        own = plain("sample")
    np.testing.assert_allclose(own.apply(x).std(axis=(2, 3)), 1, rtol=1e-4)
    assert np.array_equal(plain("none").apply(x), x)


def test_missing_pixels_are_0_and_change_no_constant_of_the_others():
    x = images()
    valid = np.ones(x.shape, bool)
    valid[2, :, :5] = False
    spoilt = np.where(valid, x, np.float32(1e9))
    for kind in ("annulus", "survey"):
        how = replace(plain(kind), s=(0.01, 2.0)) if kind == "survey" else plain(kind)
        out, as_nan = how.apply(spoilt, valid), how.apply(np.where(valid, x, np.nan))
        assert np.array_equal(out, as_nan) and np.isfinite(out).all()
        assert (out[~valid] == 0).all()
        assert np.array_equal(out[[0, 1, 3]], how.apply(x)[[0, 1, 3]])
    # An empty band is 0, not a division by nothing.
    x[4, 1] = np.nan
    assert (plain("annulus").apply(x)[4, 1] == 0).all()


def test_what_cannot_be_normalised_is_refused_by_row():
    x = images()
    x[3, 1] = 7
    with pytest.raises(ExportError, match=r"band r of sample 3 of row 103 has no scatter"):
        plain("annulus").apply(x, row_id=np.arange(100, 106))
    with pytest.raises(ConfigError, match="2 bands, applied to 3 channels"):
        plain("none").apply(np.zeros((1, 3, 4, 4), np.float32))
    with pytest.raises(ConfigError, match="fewer than 30 pixels"):
        plain("annulus", r_in_pix=31.8, r_out_pix=31.9)


def test_images_of_several_members_take_the_constants_of_their_band():
    x = images()
    how = replace(plain("dataset"), a=(0.1, 0.2), s=(0.5, 3.0))
    assert np.array_equal(how.apply(np.concatenate([x, x], axis=1)), np.concatenate([how.apply(x)] * 2, axis=1))


def test_it_comes_back_from_json_and_another_one_is_refused_with_both_values():
    how = replace(plain("dataset"), a=(0.1, 0.2), s=(0.5, 3.0), n_pixels=(7, 8), n_hosts=2)
    assert Normalisation.from_json(how.to_json()) == how
    with pytest.raises(ConfigError, match=r"s is \(0\.5, 3\.0\) in the checkpoint and \(0\.5, 4\.0\) in the data"):
        how.refuse_other(replace(how, s=(0.5, 4.0)), "the checkpoint", "the data")
    with pytest.raises(ConfigError, match=r"annulus_pix is \(20\.0, 32\.0\) .* \(31\.5625, 50\.5\)"):
        plain("annulus").refuse_other(of_samples(NormalisationConfig(kind="annulus"), BANDS, 101), "a", "b")
    with pytest.raises(ExportError, match="not one of lensflow"):
        Normalisation.from_json({"kind": "survey"})


def test_sums_of_controls_add_up_to_those_of_all_and_to_numpys():
    image = DRAW.normal(3, 2, size=(9, 2, 8, 8)).astype(np.float32)
    invvar = np.where(DRAW.uniform(size=image.shape) < 0.1, 0, 4.0).astype(np.float32)
    whole = ControlSums.of(image, invvar)
    parts = ControlSums.joined([ControlSums.of(image[a:b], invvar[a:b]) for a, b in ((0, 2), (2, 3), (3, 9))])
    for b in range(2):
        known = image[:, b][invvar[:, b] > 0].astype(np.float64)
        assert (parts.n[b], parts.mean[b]) == (known.size, pytest.approx(known.mean()))
        assert np.sqrt(parts.squares[b] / parts.n[b]) == pytest.approx(known.std())
    assert np.array_equal(parts.sigma, whole.sigma) and parts.mean == pytest.approx(whole.mean)
