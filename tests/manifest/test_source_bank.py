import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lensflow.errors import ManifestError, SurveyError
from lensflow.lensing.render import render
from lensflow.manifest.source_bank import SourceBank

HST = Path(__file__).parents[2].parent / "shared" / "data" / "hst_sources"
needs_hst = pytest.mark.skipif(not HST.is_dir(), reason=f"no real data: {HST} is absent")


def galaxy(size=40, seed=0):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    noise = np.random.default_rng(seed).normal(0, 1e-3, (size, size))
    return np.exp(-np.hypot(x, y / 0.7) / 3) + noise


@pytest.fixture
def catalog(tmp_path):
    """A catalogue of three galaxies in GalSim's format."""
    hdus = [fits.PrimaryHDU(galaxy(40)), fits.ImageHDU(galaxy(44, 1)), fits.ImageHDU(galaxy(50, 2))]
    fits.HDUList(hdus).writeto(tmp_path / "images.fits")
    table = Table(
        {
            "IDENT": [141190, 143346, 93315],
            "GAL_FILENAME": ["images.fits"] * 3,
            "GAL_HDU": [0, 1, 2],
            "PIXEL_SCALE": [0.03] * 3,
            "NOISE_VARIANCE": [1e-6] * 3,
            "MAG": [21.0, 22.0, 23.0],
        }
    )
    table.write(tmp_path / "catalog.fits")
    return tmp_path / "catalog.fits"


def test_a_galsim_catalogue_is_a_bank_of_sources(catalog):
    bank = SourceBank.from_galsim(catalog)
    assert bank.ids == ("141190", "143346", "93315")
    assert len(bank) == 3 and "143346" in bank and "1" not in bank
    source = bank.get("143346")
    assert source.source_id == "143346"
    assert source.pixels.shape == (44, 44)
    assert source.pixels.sum() == pytest.approx(1)
    assert source.pixel_scale_arcsec == 0.03
    assert bank.entries["93315"].magnitude == 23
    assert bank.entries["93315"].noise_variance == 1e-6


def test_a_source_is_read_once(catalog):
    bank = SourceBank.from_galsim(catalog)
    first = bank.get("141190")
    (catalog.parent / "images.fits").unlink()
    assert bank.get("141190") is first


def test_settings_of_the_preparation_are_passed_on(catalog):
    kept = SourceBank.from_galsim(catalog, noise="keep", negative="keep", background=None).get("141190")
    assert kept.pixels.min() < 0
    assert kept.background == 0


def test_an_unknown_source_names_the_nearest(catalog):
    with pytest.raises(ManifestError, match=r"'141191'.*Did you mean '141190'"):
        SourceBank.from_galsim(catalog).get("141191")


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
@pytest.mark.parametrize("bytes_left", [100, 3000, 9000])
def test_a_truncated_image_is_named(catalog, bytes_left):
    path = catalog.parent / "images.fits"
    bank = SourceBank.from_galsim(catalog)
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(SurveyError, match=r"images.fits\[[02]\]"):
        bank.get("141190" if bytes_left == 100 else "93315")


def test_a_damaged_catalogue_is_named(catalog):
    catalog.write_bytes(b"not a FITS file" * 300)
    with pytest.raises(SurveyError, match=r"catalog.fits"):
        SourceBank.from_galsim(catalog)
    with pytest.raises(SurveyError, match=r"nowhere.fits"):
        SourceBank.from_galsim(catalog.parent / "nowhere.fits")


def test_a_catalogue_without_images_or_columns_says_so(catalog):
    table = Table.read(catalog)
    table["GAL_FILENAME"] = ["elsewhere.fits"] * 3
    table.write(catalog, overwrite=True)
    with pytest.raises(SurveyError, match=r"elsewhere.fits"):
        SourceBank.from_galsim(catalog)
    table.remove_column("GAL_HDU")
    table.write(catalog, overwrite=True)
    with pytest.raises(SurveyError, match="no column GAL_HDU"):
        SourceBank.from_galsim(catalog)


def test_a_galaxy_that_is_listed_twice_is_refused(catalog):
    table = Table.read(catalog)
    table["IDENT"] = [1, 2, 1]
    table.write(catalog, overwrite=True)
    with pytest.raises(SurveyError, match="galaxy 1 is listed twice"):
        SourceBank.from_galsim(catalog)


def test_plain_fits_images_take_their_scale_from_the_header_or_the_call(tmp_path):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -1e-5, "CD2_2": 1e-5})
    fits.PrimaryHDU(galaxy(), header).writeto(tmp_path / "a.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(galaxy())]).writeto(tmp_path / "b.fits")
    assert SourceBank.from_fits([tmp_path / "a.fits"]).get("a").pixel_scale_arcsec == pytest.approx(0.036)
    bank = SourceBank.from_fits([tmp_path / "a.fits", tmp_path / "b.fits"], 0.05)
    assert bank.ids == ("a", "b")
    assert bank.get("b").pixel_scale_arcsec == 0.05
    with pytest.raises(SurveyError, match=r"b.fits.*pass pixel_scale_arcsec"):
        SourceBank.from_fits([tmp_path / "b.fits"])
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(SurveyError, match=r"empty.fits: holds no"):
        SourceBank.from_fits([tmp_path / "empty.fits"], 0.05)


def test_a_bank_of_arrays_travels_without_what_it_has_read():
    bank = SourceBank.from_arrays({"x": galaxy()}, 0.04)
    source = bank.get("x")
    there = pickle.loads(pickle.dumps(bank))
    assert there.ids == ("x",) and not there._read
    np.testing.assert_array_equal(there.get("x").pixels, source.pixels)


@pytest.mark.real
@needs_hst
def test_the_real_galaxies_of_cosmos_are_read_and_rendered():
    bank = SourceBank.from_galsim(HST / "real_galaxy_catalog_23.5.fits")
    assert len(bank) == 10 and bank.ids[0] == "141190"
    sources = [bank.get(source_id) for source_id in bank.ids]
    radii = [s.half_light_radius_arcsec for s in sources]
    assert 0.1 < min(radii) < max(radii) < 1.5
    # The catalogue's noise is that of the border.
    stated = np.sqrt([bank.entries[i].noise_variance for i in bank.ids])
    np.testing.assert_allclose([s.noise for s in sources], stated, rtol=0.2)
    row = {
        "lens_model": ["SIE"], "theta_e_arcsec": [1.2], "lens_q": [0.7], "lens_phi_rad": [0.3], "shear": [0.03],
        "shear_phi_rad": [1.0], "src_x_arcsec": [0.1], "src_y_arcsec": [0.2], "src_reff_arcsec": [np.nan],
        "src_n": [np.nan], "src_q": [np.nan], "src_phi_rad": [0.0], "src_flux_nmgy": [[1.0]],
        "psf_fwhm_arcsec": [[1.3]], "x_center": [31.5], "y_center": [31.5], "src_id": ["143346"],
    }  # fmt: skip
    result = render(row, sources=bank)
    assert result.render_err[0] < 1e-3
    assert result.magnification[0] > 2


def test_names_of_any_length_serve_and_are_told_apart():
    long = [f"hst_11359_20_acs_wfc_total_jb6o20_cutout_{k}" for k in range(50)]
    bank = SourceBank.from_arrays({name: np.ones((12, 12)) for name in [*long, "short"]}, 0.05)
    assert len(set(bank.ids)) == 51
    assert max(map(len, bank.ids)) == 32
    assert "short" in bank.ids
    assert long[7] in bank and bank.ids[7] in bank
    assert bank.ids[7].startswith("hst_11359_20_acs_wfc_to~")


def test_one_image_under_two_names_is_known_turned_and_mirrored_too():
    image = galaxy(40)
    bank = SourceBank.from_arrays({"b": image, "c": np.rot90(image)[:, ::-1], "a": galaxy(40, 1), "d": image * 2}, 0.03)
    assert bank.same_images(["d", "c", "b", "a", ""]) == {"c": "b"}
    assert bank.same_images(["a", "c"]) == {}
