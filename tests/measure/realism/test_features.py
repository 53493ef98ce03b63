"""The readable features of a stamp: as the slow reference says, the same in any orientation, and never 0 for absent."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import RealismError
from lensflow.measure.lens_light import subtract
from lensflow.measure.realism.features import FEATURES, NAMES, Note, counts, cutouts_features, features, pairs_features
from lensflow.measure.realism.features.reference import features_of_stamp
from lensflow.stats.kept_rows import KeptRows
from lensflow.units import MAD_TO_SIGMA
from tests.measure.realism.drawn_stamps import BANDS, drawn, turned


@pytest.fixture(scope="module")
def some():
    return drawn(24)


@pytest.fixture(scope="module")
def found(some):
    return features(**some.__dict__)


def noted(found, note):
    return (found["note"].values & int(note)) > 0


def test_they_are_those_of_the_reference(some, found):
    residual = subtract(some.images, "radial", some.x_center, some.y_center)
    size = some.images.shape[-1]
    for i in range(len(some.images)):
        away = np.hypot(*np.meshgrid(*2 * [np.arange(size) - (size - 1) / 2])) >= 20
        sky = residual[i, 1][away]
        sigma = MAD_TO_SIGMA * np.median(np.abs(sky - np.median(sky)))
        slow = features_of_stamp(
            dict(zip(BANDS, residual[i], strict=True)), dict(zip(BANDS, 1 / some.invvar[i], strict=True)),
            1.35 / 0.262, some.x_center[i], some.y_center[i], sigma, 0.262,
        )  # fmt: skip
        assert slow == pytest.approx({name: float(found[name][i]) for name in NAMES}, rel=1e-9, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(0, 3), st.booleans(), st.sampled_from(["radial", "smooth"]))
@settings(max_examples=8)
def test_quarter_turns_and_flips_change_nothing(seed, quarter, flip, light):
    of = drawn(3, seed, q=0.7)
    straight, other = features(**of.__dict__, light=light), features(**turned(of, quarter, flip), light=light)
    for name in NAMES:
        np.testing.assert_allclose(other[name], straight[name], rtol=1e-6, atol=1e-6, err_msg=name)


@given(st.integers(0, 10_000), st.floats(0.2, 0.3))
@settings(max_examples=6)
def test_a_finer_or_coarser_pixel_changes_what_is_in_arcsec_by_less_than_5_percent(seed, scale):
    # The same sky to the same surface brightness: sigma goes with the pixel's area, and the noise is too low to move
    # a pixel over the limit.
    def at(pixel):
        size = 2 * round(16.8 / pixel / 2)
        of = drawn(4, seed, size=size, scale=pixel, noise=0.0)
        away = np.random.default_rng(seed).normal(0, 0.006 * (pixel / 0.262) ** 2, of.images.shape)
        r = np.hypot(*np.meshgrid(*2 * [np.arange(size) - (size - 1) / 2]))
        sigma = 0.006 * (pixel / 0.262) ** 2
        return features(**of.with_(
            images=of.images + np.where(r >= 20, away, 0), invvar=np.full(of.images.shape, sigma**-2)
        ))  # fmt: skip

    one, other = at(0.262), at(scale)
    for name in ("arc_mag", "arc_gr", "arc_rz", "arc_mu", "arc_radius"):
        np.testing.assert_allclose(other[name], one[name], rtol=0.05, atol=0.05, err_msg=name)
    # (A sector's or an arc's signal to noise is another: the same flux on more pixels of less noise.)
    for name, reach in (("counter", 1), ("tangential", 2), ("peak_shape", 1)):
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=0.05 * reach, err_msg=name)


def test_they_find_what_was_drawn():
    of = drawn(40, 3, flux=4.0, noise=0.3)
    found = features(**of.__dict__)
    # The counter image carries a quarter; the median takes some of the light, and the limit the faint wings.
    np.testing.assert_allclose(found["arc_mag"], 22.5 - 2.5 * np.log10(4.0), atol=0.7)
    np.testing.assert_allclose(found["arc_gr"], -2.5 * np.log10(0.4), atol=0.1)
    np.testing.assert_allclose(found["arc_rz"], 2.5 * np.log10(1.3), atol=0.1)
    assert 1.6 < float(found["arc_radius"].median()) < 2.4
    assert 0.1 < float(found["counter"].median()) < 0.35
    assert float(found["tangential"].median()) > 0.2
    assert float(np.abs(found["colour_scatter"]).median()) < 0.05


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_colours_do_not_depend_on_brightness_and_magnitudes_do(factor):
    one = features(**(of := drawn(10, 4, flux=3.0, host=0.0, noise=0.1)).__dict__)
    other = features(**of.with_(images=factor * of.images, invvar=of.invvar / factor**2))
    np.testing.assert_allclose(one["arc_mag"] - other["arc_mag"], 2.5 * np.log10(factor), atol=1e-5)
    for name in ("arc_snr", "arc_gr", "arc_radius", "arc_fill", "counter", "tangential", "knots", "high_k",
                 "colour_scatter", "local_var", "core_excess", "peak_shape"):  # fmt: skip
        np.testing.assert_allclose(other[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_noise_is_taken_off_the_scatter_of_colours():
    # One colour all over: what scatter there is comes from noise alone, and is no more at ten times the noise.
    quiet, loud = (
        features(**drawn(60, 5, flux=6.0, host=0.0, noise=k).__dict__)["colour_scatter"].values for k in (0.2, 2.0)
    )
    assert abs(np.median(quiet)) < 0.03
    assert abs(np.mean(np.sign(loud) * loud**2)) < 0.03
    assert (loud < 0).any()  # a square below 0 is kept: clipped, its mean would be a bias


@pytest.mark.parametrize(
    ("band", "lost", "note"),
    [
        (0, {"arc_gr", "colour_scatter"}, Note.NO_G),
        (1, set(NAMES), Note.NO_REFERENCE),
        (2, {"arc_rz"}, Note.NO_Z),
    ],
)
@pytest.mark.parametrize("how", ["no psf", "no data"])
def test_an_absent_band_is_nan_and_counted_and_never_0(some, found, band, lost, note, how):
    psf, invvar = some.psfsize_arcsec.copy(), some.invvar.copy()
    if how == "no psf":
        psf[3, band] = np.nan
    else:
        invvar[3, band] = 0
    without = features(**some.with_(psfsize_arcsec=psf, invvar=invvar))
    for name in NAMES:
        assert np.isnan(without[name][3]) == (name in lost)
        if name not in lost:
            assert float(without[name][3]) == float(found[name][3])
    assert noted(without, note).tolist() == [i == 3 for i in range(len(some.images))]
    number = counts(without)
    for f in FEATURES:
        assert int(number["lacking"].sel(feature=f.name)) == (f.name in lost)
        assert int(number["rows"].sel(feature=f.name, note=note.name.lower())) == (f.name in lost)
        assert int(number["measured"].sel(feature=f.name)) == len(some.images) - (f.name in lost)


@pytest.mark.parametrize("bands", [("r", "z"), ("r",), ("i", "y")])
def test_a_survey_without_a_band_lacks_what_needs_it(some, bands):
    keep = list(range(len(bands)))
    out = features(some.images[:, keep], some.invvar[:, keep], some.psfsize_arcsec[:, keep], 0.262, bands)
    assert np.isnan(out["arc_gr"]).all()
    assert np.isnan(out["arc_rz"]).all() == ("z" not in bands or "r" not in bands)
    assert np.isnan(out["arc_snr"]).all() == ("r" not in bands)
    assert noted(out, Note.NO_REFERENCE).all() == ("r" not in bands)


def test_a_stamp_without_an_arc_has_snr_0_and_no_colour():
    of = drawn(30, 6, flux=1e-9, host=0.0)
    invvar, images = of.invvar, of.images.copy()
    images[7] = np.abs(images[7]) * -1  # nothing above the sky
    out = features(**of.with_(images=images))
    assert noted(out, Note.NO_ARC)[7]
    assert (float(out["arc_snr"][7]), float(out["knots"][7]), int(out["mask_pixels"][7])) == (0, 0, 0)
    for name in ("arc_mag", "arc_gr", "arc_rz", "arc_mu", "arc_radius", "counter", "tangential", "high_k", "local_var"):
        assert np.isnan(out[name][7]), name
    assert np.isfinite(out["arc_fill"][7]) and np.isfinite(out["core_excess"][7])
    counts(out)
    assert invvar.all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_stamp_has_no_sky_and_no_feature(some, value):
    images = some.images.copy()
    images[2] = value
    out = features(**some.with_(images=images))
    assert noted(out, Note.NO_SKY)[2] and all(np.isnan(out[name][2]) for name in NAMES)
    assert int(counts(out)["rows"].sel(feature="arc_snr", note="no_sky")) == 1


def test_a_hole_in_the_zone_is_said(some, found):
    invvar = some.invvar.copy()
    invvar[4, :, 20:32, 20:44] = 0  # about a third of it
    invvar[5, :, 30:32, 40:42] = 0  # a dead patch
    images = np.where(invvar > 0, some.images, np.nan)
    out = features(**some.with_(images=images, invvar=invvar))
    assert noted(out, Note.ZONE_MISSING).nonzero()[0].tolist() == [4] and np.isnan(out["arc_snr"][4])
    assert np.isfinite(out["arc_snr"][5])
    # What a pixel without data holds is nobody's business.
    again = features(**some.with_(images=np.where(invvar > 0, some.images, 1e6), invvar=invvar))
    for name in NAMES:
        np.testing.assert_array_equal(again[name], out[name])


def test_a_stamp_too_small_for_the_zone_is_said():
    out = features(**drawn(3, size=24).__dict__)
    assert noted(out, Note.ZONE_MISSING).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bands": ("g", "r")}, "3 bands of images"),
        ({"bands": ("g", "r", "r")}, "3 bands of images"),
        ({"pixel_scale_arcsec": 0.0}, "must be above 0"),
        ({"psfsize_arcsec": np.ones((24, 2))}, "psfsize_arcsec"),
        ({"invvar": np.ones((24, 3, 64, 63))}, "must be"),
    ],
)
def test_what_does_not_fit_is_refused(some, change, words):
    with pytest.raises(RealismError, match=words):
        features(**some.with_(**change))


def test_a_feature_that_lacks_without_a_reason_is_an_error(found):
    with pytest.raises(RealismError, match="row 2: arc_mag is NaN"):
        counts(found.assign(arc_mag=found["arc_mag"].where(np.arange(found.sizes["sample"]) != 2)))


def test_stamps_do_not_depend_on_the_stamps_beside_them(some, found):
    one = {k: v[5:6] for k, v in some.with_().items() if isinstance(v, np.ndarray)}
    alone = features(**some.with_(**one))
    for name in NAMES:
        np.testing.assert_array_equal(alone[name], found[name][5:6])


def test_pairs_and_hosts_are_measured_alike_whatever_the_blocks(run, pairs):
    whole = pairs_features(pairs, run.hosts).rows
    parts = [pairs_features(pairs.isel(sample=s), run.hosts) for s in (slice(0, 50), slice(50, None))]
    assert (parts[0] + parts[1]).rows.equals(whole) and KeptRows.concat(parts).rows.equals(whole)
    hosts = cutouts_features(run.hosts).rows
    of_control = pairs_features(pairs, run.hosts, "ctrl").rows
    for name in NAMES:  # the control of each row is its host
        np.testing.assert_array_equal(of_control[name], hosts[name].values[pairs["host_index"].values])
    lit = ~pairs["is_control"].values
    assert (whole["arc_snr"].values[lit] > of_control["arc_snr"].values[lit]).mean() > 0.95
    # A control row's stamp is its host, bit for bit, and so are its features.
    for name in NAMES:
        np.testing.assert_array_equal(whole[name].values[~lit], of_control[name].values[~lit])


def test_nothing_of_the_manifest_reaches_a_feature(run, pairs):
    other = pairs.assign(psf_fwhm_arcsec=2 * pairs["psf_fwhm_arcsec"], theta_e_arcsec=0 * pairs["theta_e_arcsec"])
    assert pairs_features(other, run.hosts).rows.equals(pairs_features(pairs, run.hosts).rows)


def test_other_bands_than_the_hosts_are_refused(run, pairs):
    with pytest.raises(RealismError, match="on cutouts of bands"):
        pairs_features(pairs.assign_coords(band=["z", "r", "g"]), run.hosts)


def test_the_page_runs_as_printed_and_names_every_feature(capsys):
    page = (Path(__file__).parents[3] / "docs" / "realism-features.md").read_text()
    for name in NAMES:
        assert f"`{name}`" in page
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(code, "realism-features.md", "exec"), {})
    assert "arc_snr" in capsys.readouterr().out
