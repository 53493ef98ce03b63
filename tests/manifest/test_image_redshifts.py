"""Images as sources that keep the relation of their own redshift, size and magnitude."""

import numpy as np
import pytest
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from lensflow.errors import ConfigError, ManifestError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.image_sources import native_sizes, redshifts_of
from lensflow.manifest.moved_images import moved_magnitude
from lensflow.manifest.population import i_magnitude
from lensflow.manifest.source_bank import SourceBank
from tests.factories import BANDS, make_config
from tests.manifest.test_galaxies import hosts

N = 60
Z = {f"g{k:02d}": 0.3 + 0.03 * k for k in range(N)}


def blob(k):
    y, x = np.mgrid[:24, :24] - 11.5
    return (1 + k) * np.exp(-np.hypot(x, y) / (1.5 + 0.02 * k))


BANK = SourceBank.from_arrays({name: blob(k) for k, name in enumerate(Z)}, 0.03, redshifts=Z)


def planned(bank=BANK, cutouts=None, plan=None, **sources):
    plan = {"preset": "realistic", "injections_per_host": 40, **(plan or {})}
    plan["sources"] = {"images": "unused-*.fits", **sources}
    m = build_manifest(hosts() if cutouts is None else cutouts, make_config(plan=plan), bank)
    return m.isel(sample=~m["is_control"].values), m


@pytest.mark.filterwarnings("ignore:Use ``angular_diameter_distance")
def test_an_image_keeps_its_redshift_and_lenses_choose_by_cross_section():
    rows, m = planned(cutouts=hosts(60, z_lens=0.6), redshift="own")
    of = np.array([Z[i] for i in rows["src_id"].values])
    assert rows["src_z"].values.tolist() == of.tolist() and of.min() > 0.6
    train = rows["split"].values == 0
    there = np.unique(of[train])
    ratio = Planck18.angular_diameter_distance_z1z2(0.6, there) / Planck18.angular_diameter_distance(there)
    expected = train.sum() * ratio.value**2 / (ratio.value**2).sum()
    found = np.array([(of[train] == z).sum() for z in there])
    common = expected > 5
    chi2 = ((found - expected)[common] ** 2 / expected[common]).sum()
    assert common.sum() > 10 and chi2 < common.sum() + 4 * np.sqrt(2 * common.sum())
    assert found[-1] > 3 * found[0]  # an even choice would not do
    assert "image" in m.attrs["declared"]["src_z"]["relation"]


def test_an_image_still_serves_one_split_and_sersic_sources_keep_the_prior():
    rows, _ = planned(redshift="own", share=0.5)
    ids, split = rows["src_id"].values, rows["split"].values
    used = [set(ids[(split == s) & (ids != "")]) for s in range(3)]
    assert all(used) and not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2]
    plain = rows["src_z"].values[ids == ""]
    assert 0.4 < (ids != "").mean() < 0.6 and len(np.unique(plain)) == len(plain)


def test_moved_images_have_the_size_that_they_would_have_there():
    rows, _ = planned(redshift="moved", plan={"src_z": {"min": 1.2, "max": 2.0}})
    of, z = np.array([Z[i] for i in rows["src_id"].values]), rows["src_z"].values
    ratio = (Planck18.angular_diameter_distance(of) / Planck18.angular_diameter_distance(z)).value
    own = native_sizes(BANK, rows["src_id"].values)
    assert rows["src_reff_arcsec"].values == pytest.approx(own * ratio, rel=1e-6)
    assert np.ptp(ratio) > 0.2  # something was moved


@given(st.floats(-1, 3), st.floats(0.3, 2.5), st.floats(0, 1))
def test_a_moved_magnitude_is_that_of_a_power_law_in_closed_form(alpha, src_z, share):
    low, high = 784 * (1 + src_z) / 926 - 1, 784 * (1 + src_z) / 473 - 1
    z_image = low + share * (high - low)
    colours = -2.5 * alpha * np.log10(np.array([473.0, 642.0, 926.0]) / 784)
    # K = 2.5 (alpha - 1) log10(1 + z) at both redshifts.
    step = (Planck18.distmod(src_z) - Planck18.distmod(z_image)).value
    step += 2.5 * (alpha - 1) * np.log10((1 + src_z) / (1 + z_image))
    found = moved_magnitude(np.array([22.0]), np.array([z_image]), np.array([src_z]), colours[None], BANDS)
    assert found == pytest.approx(22.0 + step, abs=1e-5)


def test_moved_native_magnitudes_are_the_image_s_own_with_distance_and_colour():
    rows, _ = planned(redshift="moved", magnitude="native", zero_point=25.9, plan={"src_z": {"min": 1.2, "max": 1.5}})
    of, z = np.array([Z[i] for i in rows["src_id"].values]), rows["src_z"].values
    native = np.array([25.9 - 2.5 * np.log10(BANK.get(str(i)).native_flux) for i in rows["src_id"].values])
    mag = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values)
    got = i_magnitude(rows["src_flux_nmgy"].values, BANDS, 1)
    at = 784 * (1 + z) / (1 + of)
    assert (at >= 473 * (1 - 1e-9)).all() and (at <= 926 * (1 + 1e-9)).all()
    colour = [np.interp(np.log([784.0, a]), np.log([473.0, 642.0, 926.0]), m) for a, m in zip(at, mag, strict=True)]
    here, there = np.array(colour).T
    step = (Planck18.distmod(z) - Planck18.distmod(of)).value - 2.5 * np.log10((1 + z) / (1 + of))
    assert got == pytest.approx(native + step + here - there, abs=2e-5)


def test_rows_without_an_image_at_their_redshift_stop_the_plan_or_are_counted():
    with pytest.raises(ManifestError, match=r"no image of their split is behind the lens. .*no_image: drop"):
        planned(cutouts=hosts(z_lens=2.2), redshift="own")
    rows, m = planned(cutouts=hosts(z_lens=2.2), redshift="own", no_image="drop", share=0.5)
    assert m.attrs["rows_dropped"]["NO_IMAGE_AT_REDSHIFT"] == 1600 - rows.sizes["sample"] > 500
    assert set(rows["src_id"].values) == {""}
    far = {"src_z": {"min": 1.2, "max": 9.0}}
    native = {"redshift": "moved", "magnitude": "native", "zero_point": 25.9}
    with pytest.raises(ManifestError, match="can be moved to the source's redshift, within the wavelengths"):
        planned(plan=far, **native)
    rows, m = planned(plan=far, no_image="drop", **native)
    assert 0 < m.attrs["rows_dropped"]["NO_IMAGE_AT_REDSHIFT"] == 1600 - rows.sizes["sample"]
    assert rows["src_z"].values.max() < 5 and (rows["src_id"].values != "").all()


def test_an_image_without_a_redshift_is_named():
    bank = SourceBank.from_arrays({n: blob(k) for k, n in enumerate(Z)}, 0.03, redshifts={**Z, "g07": -99.0})
    for way in ("own", "moved"):
        with pytest.raises(ManifestError, match=r"'g07': its redshift is -99, and 0 other"):
            planned(bank, redshift=way)
    assert planned(bank)[0].sizes["sample"] == 1600


def test_the_redshift_of_an_image_is_part_of_the_bank_s_fingerprint():
    other = SourceBank.from_arrays({n: blob(k) for k, n in enumerate(Z)}, 0.03, redshifts={**Z, "g07": 0.9})
    assert other.content() != BANK.content()
    assert [i for i, (a, b) in enumerate(zip(other.content(), BANK.content(), strict=True)) if a != b] == [7]


@pytest.mark.parametrize("where", ["beside", "inside", "nowhere"])
def test_redshifts_are_those_of_cosmos_s_catalogue_of_fits(tmp_path, where):
    images = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(blob(k)) for k in range(3))])
    images.writeto(tmp_path / "images.fits")
    table = Table({"IDENT": [11, 12, 13], "GAL_FILENAME": ["images.fits"] * 3, "GAL_HDU": [1, 2, 3],
                   "PIXEL_SCALE": [0.03] * 3, "MAG": [22.0, 22.5, 23.0]})  # fmt: skip
    if where == "inside":
        table["zphot"] = [0.5, 0.7, 0.9]
    if where == "beside":  # in another order, with galaxies that have no image
        Table({"IDENT": [13, 99, 11, 12], "zphot": [0.9, 3.0, 0.5, 0.7]}).write(tmp_path / "cat_fits.fits")
    table.write(tmp_path / "cat.fits")
    bank = SourceBank.from_galsim(tmp_path / "cat.fits")
    assert bank.ids == ("11", "12", "13")
    if where == "nowhere":
        with pytest.raises(ManifestError, match="'11': its redshift is nan"):
            redshifts_of(bank, np.array(["11", "", "12"]))
        return
    assert redshifts_of(bank, np.array(["13", "", "11"])).tolist()[::2] == [0.9, 0.5]
    config = {"catalog": str(tmp_path / "cat.fits"), "redshift": "own", "magnitude": "native"}
    cutouts = hosts(z_lens=0.2)
    cutouts["split"].values[:] = 0
    plan = {"preset": "realistic", "sources": config}
    splits = {"fractions": [1.0, 0.0, 0.0]}
    rows = build_manifest(cutouts, make_config(plan=plan, splits=splits))
    rows = rows.isel(sample=~rows["is_control"].values)
    mag = {0.5: 22.0, 0.7: 22.5, 0.9: 23.0}
    expected = [mag[round(float(z), 1)] for z in rows["src_z"].values]
    assert len(set(expected)) == 3
    assert i_magnitude(rows["src_flux_nmgy"].values, BANDS, 1) == pytest.approx(expected, abs=1e-6)


def test_a_header_s_redshift_is_read(tmp_path):
    header = fits.Header(
        {"REDSHIFT": 0.83, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -1e-5, "CDELT2": 1e-5}
    )
    fits.PrimaryHDU(blob(0), header).writeto(tmp_path / "a.fits")
    assert SourceBank.from_fits([tmp_path / "a.fits"]).entries["a"].redshift == 0.83


@pytest.mark.parametrize(
    "plan, sources, message",
    [
        ({"theta_e_from": "prior"}, {"redshift": "own"}, "needs theta_E that follows from redshifts"),
        ({"src_z": 2}, {"redshift": "own"}, "the images bring theirs"),
        ({}, {"redshift": "moved", "size": "prior"}, "the plan's are used for both"),
        ({"design": "table", "table": "x.csv"}, {"redshift": "own"}, "design: table say themselves"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(plan, sources, message):
    with pytest.raises(ConfigError, match=message):
        planned(plan=plan, **sources)


def test_a_band_of_unknown_wavelength_is_named_where_a_magnitude_is_moved():
    z = np.array([0.8])
    with pytest.raises(ConfigError, match=r"no wavelength for VIS; plan\.sources\.redshift"):
        moved_magnitude(np.array([24.0]), z, z + 0.1, np.zeros((1, 2)), ("r", "VIS"))
