from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lensflow.errors import RenderError
from lensflow.lensing.source_image import PAD, prepare_image_source, sample, without_frame
from lensflow.lensing.sources import sersic_profile

HST = Path(__file__).parents[2].parent / "shared" / "data" / "hst_sources"


def sersic_image(size=101, reff=10.0, n=1.0, q=0.6, phi=0.5, x=0.0, y=0.0):
    """Pixels of a Sersic galaxy (averaged over 5 x 5 points), displaced from the image's middle by (x, y)."""
    axis = (np.arange(size * 5) + 0.5) / 5 - 0.5 - (size - 1) / 2
    fine = sersic_profile(axis[None, :] - x, axis[:, None] - y, reff, n, q, phi)
    return fine.reshape(size, 5, size, 5).mean(axis=(1, 3))


def model(image, scale=0.03, **settings):
    return prepare_image_source(image, scale, **{"background": None, "noise": "keep", **settings})


def test_a_source_has_unit_flux_and_remembers_its_own():
    source = model(7.5 * sersic_image(), source_id="a")
    assert source.pixels.sum() == pytest.approx(1, abs=1e-14)
    assert source.native_flux == pytest.approx(7.5, rel=0.01)
    assert source.source_id == "a"


@given(st.floats(-8, 8), st.floats(-8, 8), st.floats(0.4, 1.0), st.floats(0, 3.1))
@settings(max_examples=10, deadline=None)
def test_centroid_shape_and_half_light_radius_of_a_sersic_are_found(x, y, q, phi):
    source = model(sersic_image(151, 10.0, 1.0, q, phi, x, y))
    assert (source.x_center - 75, source.y_center - 75) == pytest.approx((x, y), abs=0.05)
    # The image cuts the wings off (0.1 % of the flux).
    assert source.half_light_radius_arcsec == pytest.approx(0.3, rel=0.02)
    assert source.axis_ratio == pytest.approx(q, abs=0.03)
    if q < 0.9:
        assert abs((source.phi_rad - phi + np.pi / 2) % np.pi - np.pi / 2) < 0.03


def test_the_half_light_radius_follows_the_pixel_scale():
    image = sersic_image()
    ratio = model(image, 0.06).half_light_radius_arcsec / model(image, 0.03).half_light_radius_arcsec
    assert ratio == pytest.approx(2)
    source = model(image, 0.03)
    assert source.scale_arcsec(2 * source.half_light_radius_arcsec) == pytest.approx(0.06)
    assert source.scale_arcsec(np.nan) == 0.03


def test_interpolation_returns_the_pixels_at_their_centres():
    image = np.random.default_rng(0).uniform(size=(12, 15))
    padded = np.pad(image, PAD)
    np.testing.assert_allclose(sample(padded, np.arange(15.0), np.arange(12.0)), image, atol=1e-15)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
@settings(max_examples=20, deadline=None)
def test_interpolation_keeps_the_flux_at_any_phase(dx, dy):
    # Unit-spaced samples at any phase sum to the sum of the pixels, edges included: the unlensed flux is exact.
    image = np.random.default_rng(1).uniform(size=(10, 9))
    light = sample(np.pad(image, PAD), np.arange(-4.0, 14) + dx, np.arange(-4.0, 15) + dy)
    assert light.sum() == pytest.approx(image.sum(), rel=1e-13)


def test_interpolation_is_smooth_and_zero_outside():
    padded = np.pad(np.ones((9, 9)), 2)
    x = np.linspace(-6, 15, 4001)
    line = sample(padded, x, np.array([4.0]))[0]
    assert (line[(x <= -2) | (x >= 10)] == 0).all()
    assert np.abs(np.diff(line)).max() < 1.5 * (x[1] - x[0])
    assert (sample(padded, np.array([-1e9, 1e9, np.inf, -np.inf, np.nan]), np.array([4.0])) == 0).all()


def test_interpolation_reproduces_a_parabola():
    y, x = np.mgrid[:12, :12].astype(float)
    image = 1 + 0.3 * x - 0.2 * y + 0.05 * x * x + 0.02 * x * y
    at = np.array([4.3, 5.77])
    expected = 1 + 0.3 * at - 0.2 * at[:, None] + 0.05 * at**2 + 0.02 * at * at[:, None]
    np.testing.assert_allclose(sample(np.pad(image, PAD), at, at), expected, rtol=1e-13)


def noisy(flux=20.0, sigma=0.0026, level=0.0, seed=3, size=121):
    """An exponential as HST sees one (noise per pixel correlated as after drizzling), and its truth."""
    truth = flux * sersic_image(size, 12.0)
    white = np.random.default_rng(seed).normal(size=(size, size))
    noise = ndimage.gaussian_filter(white, 0.6)
    return truth + level + sigma * noise / noise.std(), truth


def test_the_background_is_removed():
    image, _ = noisy(level=0.05)
    source = prepare_image_source(image, 0.03)
    assert source.background == pytest.approx(0.05, abs=5e-4)
    assert source.noise == pytest.approx(0.0026, rel=0.15)
    kept = prepare_image_source(image, 0.03, background=None, noise="keep", negative="keep")
    assert kept.background == 0
    assert kept.native_flux > 20 * source.native_flux


def test_noise_does_not_become_light():
    flux, radius = [], []
    for seed in range(6):
        image, truth = noisy(seed=seed)
        source = prepare_image_source(image, 0.03)
        assert (source.pixels >= 0).all()
        flux.append(source.native_flux / truth.sum())
        radius.append(source.half_light_radius_arcsec / 0.36)
    assert np.mean(flux) == pytest.approx(1, abs=0.02)
    assert flux == pytest.approx(np.ones(6), abs=0.06)
    assert radius == pytest.approx(np.ones(6), abs=0.06)


def test_clipping_raw_noise_doubles_the_flux():
    image, truth = noisy()
    assert prepare_image_source(image, 0.03, noise="keep").native_flux > 1.5 * truth.sum()


def test_bright_pixels_keep_their_detail_and_blank_sky_is_empty():
    image, _ = noisy()
    source = prepare_image_source(image, 0.03)
    bright = ndimage.gaussian_filter(image, 2) > 5 * source.noise
    np.testing.assert_allclose((source.pixels * source.native_flux)[bright], (image - source.background)[bright])
    assert (source.pixels[:10, :10] == 0).all()


def test_a_neighbour_is_left_out():
    image, truth = noisy(size=161)
    image[8:14, 8:14] += 0.1
    source = prepare_image_source(image, 0.03)
    assert (source.pixels[5:17, 5:17] == 0).all()
    assert source.native_flux == pytest.approx(truth.sum(), rel=0.05)


def test_negative_pixels_can_be_kept():
    image, truth = noisy()
    source = prepare_image_source(image, 0.03, noise="keep", negative="keep")
    assert source.pixels.min() < 0
    assert source.native_flux == pytest.approx(truth.sum(), rel=0.1)


@pytest.mark.parametrize(
    "image, settings, message",
    [
        (np.zeros((20, 20)), {}, "no positive flux"),
        (np.ones(20), {}, "shape"),
        (np.ones((4, 4)), {}, "at least 8 x 8"),
        (np.full((20, 20), np.nan), {}, "pixel \\(0, 0\\) is nan"),
        (np.ones((20, 20)), {"pixel_scale_arcsec": 0}, "pixel_scale_arcsec"),
        (np.ones((20, 20)), {"negative": "drop"}, "negative must be one of"),
    ],
)
def test_an_image_without_an_answer_is_refused(image, settings, message):
    with pytest.raises(RenderError, match=message):
        prepare_image_source(image, **{"pixel_scale_arcsec": 0.03, **settings})


@pytest.mark.real
@pytest.mark.skipif(not HST.is_dir(), reason=f"no real data: {HST} is absent")
def test_hst_galaxies_have_the_flux_and_size_of_their_catalogue():
    from astropy.io import fits

    fitted = fits.getdata(HST / "real_galaxy_catalog_23.5_fits.fits")
    with fits.open(HST / "real_galaxy_images_23.5_n1.fits") as hdus:
        sources = [prepare_image_source(hdu.data, 0.03, source_id=str(i)) for i, hdu in enumerate(hdus)]
    flux = np.array([s.native_flux for s in sources]) / fitted["flux"][:, 0]
    # sersicfit: half-light radius along the major axis, pixels.
    radius = np.array([s.half_light_radius_arcsec / 0.03 for s in sources]) / fitted["sersicfit"][:, 1]
    print("flux over the Sersic fit's", flux.round(3), "\nradius over the Sersic fit's", radius.round(3))
    # The one with a bulge has a single Sersic fit that reaches far beyond its stamp.
    plain = fitted["use_bulgefit"] == 0
    assert plain.sum() == 9
    assert np.abs(np.median(flux[plain]) - 1) < 0.07
    assert (np.abs(flux[plain] - 1) < 0.12).all()
    assert (np.abs(radius[plain] - 1) < 0.25).all()


@pytest.mark.parametrize("value", [0.0, -99.0, np.nan])
@pytest.mark.parametrize("frame", [((20, 20), (20, 20)), ((0, 7), (0, 0)), ((0, 0), (0, 30)), ((3, 0), (5, 2))])
@pytest.mark.parametrize("sky", [0.0, 5.0])
def test_a_frame_of_padding_changes_nothing(value, frame, sky):
    y, x = np.mgrid[:60, :60] - 29.5
    galaxy = 0.088 * np.exp(-0.5 * (x**2 + y**2) / 9) + sky
    galaxy += np.random.default_rng(2).normal(0, 0.01, galaxy.shape)
    plain = prepare_image_source(galaxy, 1.0)
    padded = prepare_image_source(np.pad(galaxy, frame, constant_values=value), 1.0)
    assert padded.half_light_radius_arcsec == plain.half_light_radius_arcsec
    assert padded.noise == plain.noise
    np.testing.assert_array_equal(padded.pixels, plain.pixels)


def test_the_zeros_about_a_model_or_an_outline_are_its_own():
    y, x = np.mgrid[:60, :60] - 29.5
    model = np.where(np.hypot(x, y) < 20, np.exp(-np.hypot(x, y) / 6), 0.0)
    noisy = np.exp(-np.hypot(x, y) / 6) + np.random.default_rng(1).normal(0, 0.01, x.shape)
    outline = np.where(np.hypot(x, y) < 18, noisy, 0.0)
    for image in (model, outline):
        assert without_frame(image) is image
