from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import mad_std, sigma_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import schema
from lensflow.config import StampsConfig, SurveyConfig
from lensflow.errors import SurveyError
from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey.stamp_files import read_cube
from lensflow.survey.stamps import read_stamps, sky_sigma, stamps_from_cubes

SIGMA = {"g": 0.003, "r": 0.0044, "z": 0.0125}
ASSUMED = int(Reason.ASSUMED_NOISE | Reason.ASSUMED_PSF)


def make_cubes(folder, n_hosts=4, side=91, edit=lambda cubes: None, hosts="name,host_id\na,x0\nb,x1\nc,x2\nd,x3\n"):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:side, :side]
    galaxy = 0.5 * np.exp(-np.hypot(x - 45, y - 45) / 3) + 0.3 * np.exp(-np.hypot(x - 10, y - 70) / 2)
    cubes = {b: (galaxy + rng.normal(0, s, (n_hosts, side, side))).astype(np.float32) for b, s in SIGMA.items()}
    edit(cubes)
    for band, cube in cubes.items():
        fits.PrimaryHDU(cube).writeto(folder / f"{band}.fits")
    (folder / "hosts.csv").write_text(hosts)
    return cubes


def configure(folder, stamp_size=64, columns=None, **changes):
    settings = {
        "files": {b: str(folder / f"{b}.fits") for b in SIGMA},
        "hosts": str(folder / "hosts.csv"),
        "pixel_scale_arcsec": 0.263,
        "psfsize_arcsec": {"g": 1.4, "r": 1.3, "z": 1.2},
    }
    stamps = StampsConfig(**{**settings, **changes})
    return stamps, SurveyConfig(stamps=stamps, stamp_size=stamp_size, columns=columns or {})


def load(folder, bands="grz", **changes):
    stamps, survey = configure(folder, **changes)
    return read_stamps(stamps, bands, survey)


def test_stamps_are_cut_about_the_target_and_say_what_is_assumed(tmp_path):
    cubes = make_cubes(tmp_path)
    out = load(tmp_path)
    measured = {"aperture_flux_nmgy", "noise_correlation_factor", "host_q", "host_phi_rad", "host_shape_source"}
    names = {v.name for v in schema.CUTOUTS} - {"cell", "split", "flux_nmgy", *measured}
    schema.check("cutouts", out, {*names, "host_id", "ra_deg", "dec_deg", "brickname"})
    np.testing.assert_array_equal(out["image"][:, 1], cubes["r"][:, 14:78, 14:78])
    assert (out["x_center"] == 31).all()  # 45 - 14
    assert (out["status"] == Status.OK).all()
    assert (out["band_reasons"] == ASSUMED).all()
    assert (out["reasons"] == ASSUMED).all()
    assert (out["psf_source"] == PsfSource.MANIFEST).all()
    np.testing.assert_allclose(out["psfsize_arcsec"], [[1.4, 1.3, 1.2]] * 4, rtol=1e-6)
    assert (out["nexp"] == 1).all()
    assert not out["maskbits"].any()
    assert np.isnan(out["ra_deg"]).all()
    assert (out["brickname"] == "").all()
    assert out["host_id"].values.tolist() == ["x0", "x1", "x2", "x3"]
    assert out.attrs["pixel_scale_arcsec"] == 0.263


def test_noise_is_measured_beside_galaxy_and_neighbour(tmp_path):
    make_cubes(tmp_path)
    out = load(tmp_path)
    sigma = out["invvar"].values[:, :, 0, 0] ** -0.5
    np.testing.assert_allclose(sigma, [list(SIGMA.values())] * 4, rtol=0.05)
    assert (np.ptp(out["invvar"].values, axis=(2, 3)) == 0).all()


def test_sky_sigma_of_gaussian_noise_is_unbiased():
    cube = np.random.default_rng(1).normal(3.0, 0.7, (40, 91, 91)).astype(np.float32)
    assert sky_sigma(cube, 45, 45).mean() == pytest.approx(0.7, rel=0.01)
    small = sky_sigma(cube[:, :32, :32], 15.5, 15.5)  # hardly anything lies beyond 20 pixels: all pixels are used
    assert small.mean() == pytest.approx(0.7, rel=0.02)


def test_stamps_of_the_cubes_own_size_and_off_centre_targets(tmp_path):
    cubes = make_cubes(tmp_path)
    out = load(tmp_path, stamp_size=91)
    np.testing.assert_array_equal(out["image"][:, 0], cubes["g"])
    assert (out["x_center"] == 45).all()
    moved = load(tmp_path, stamp_size=32, x_center=40.3, y_center=50.0)
    np.testing.assert_allclose(moved["x_center"], 40.3 - 25)
    np.testing.assert_allclose(moved["y_center"], 50 - 35)
    np.testing.assert_array_equal(moved["image"][:, 2], cubes["z"][:, 35:67, 25:57])


def test_without_names_stamps_are_numbered(tmp_path):
    make_cubes(tmp_path)
    expected = ["stamp-00000", "stamp-00001", "stamp-00002", "stamp-00003"]
    assert load(tmp_path, hosts=None)["host_id"].values.tolist() == expected
    assert load(tmp_path, columns={"host_id": "name"})["host_id"].values.tolist() == list("abcd")
    (tmp_path / "hosts.csv").write_text("z_lens\n0.1\n0.2\n0.3\n0.4\n")
    assert load(tmp_path)["host_id"].values.tolist() == expected


def test_what_the_hosts_table_says_of_a_stamp_goes_with_it(tmp_path):
    make_cubes(tmp_path)
    (tmp_path / "hosts.dat").write_text(
        "TARGETID RA DEC z_lens sigma_v_km_s flux_r\n"
        "0039627733312241993 10 -5 0.3 210 15\n0039627733312241995 11 -5 - 220 16\n"
        "0039627733312241997 12 -5 0.5 - 17\n0039627733312241999 - - 0.6 240 18\n"
    )
    out = load(tmp_path, hosts=str(tmp_path / "hosts.dat"))
    assert out["host_id"].values.tolist() == [f"003962773331224199{k}" for k in (3, 5, 7, 9)]
    np.testing.assert_array_equal(out["ra_deg"], [10, 11, 12, np.nan])
    np.testing.assert_array_equal(out["z_lens"], np.float32([0.3, np.nan, 0.5, 0.6]))
    np.testing.assert_array_equal(out["sigma_v_km_s"], [210, 220, np.nan, 240])
    np.testing.assert_array_equal(out["flux_nmgy"].sel(band="r"), [15, 16, 17, 18])


@pytest.mark.parametrize(
    ("hosts", "columns", "message"),
    [
        ("name\na\nb\nc\nd\n", {"host_id": "nmae"}, "no column 'nmae' for host_id. Did you mean 'name'"),
        ("name\na\nb\nc\nd\n", {}, "none of its columns .name. is one that lensflow reads"),
        ('host_id\na\n""\nc\nd\n', {}, "host_id .* has no value in row 1"),
        ("host_id\na\nb\na\nd\n", {}, "host_id 'a' stands there twice"),
        ("host_id\na\nb\nc\n", {}, "has 3 rows, the cubes have 4 stamps"),
        ("host_id,ra\na,1\nb,2\nc,3\nd,4\n", {}, "no column 'dec_deg'"),
        ("host_id,ra,dec\na,1,1\nb,2,-\nc,3,3\nd,4,4\n", {}, "dec_deg is nan in row 1 .host b"),
    ],
)
def test_a_hosts_table_that_cannot_be_trusted_is_refused(tmp_path, hosts, columns, message):
    make_cubes(tmp_path, hosts=hosts)
    with pytest.raises(SurveyError, match=message):
        load(tmp_path, columns=columns)


def test_nan_pixels_become_no_data_and_are_named(tmp_path):
    def poison(cubes):
        cubes["r"][2, 40, 40:42] = np.nan

    make_cubes(tmp_path, edit=poison)
    out = load(tmp_path)
    assert out["status"].values.tolist() == [Status.OK, Status.OK, Status.PARTIAL, Status.OK]
    assert int(out["band_reasons"][2, 1]) == ASSUMED | Reason.NONFINITE
    assert int((out["invvar"][2, 1] == 0).sum()) == 2
    assert np.isfinite(out["image"]).all()


def test_a_blank_stamp_has_no_coverage(tmp_path):
    def blank(cubes):
        cubes["g"][1] = 0
        cubes["z"][3] = np.nan

    make_cubes(tmp_path, edit=blank)
    out = load(tmp_path)
    assert out["status"].values.tolist() == [Status.OK, Status.PARTIAL, Status.OK, Status.PARTIAL]
    assert int(out["band_reasons"][1, 0]) & Reason.NO_COVERAGE
    assert not out["covered"][3, 2]
    assert [m.split(" Host ")[1][:2] for m in out.attrs["messages"]] == ["x1", "x3"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": "gri"}, r"survey\.stamps\.files has no band 'i'; survey\.stamps\.psfsize_arcsec has no band 'i'"),
        ({"psfsize_arcsec": {"g": 1.4, "r": 1.3}}, r"survey\.stamps\.psfsize_arcsec has no band 'z'"),
        ({"stamp_size": 96}, r"a stamp of 96 pixels about \(45, 45\) does not fit the cubes' 91 x 91"),
        ({"x_center": 10.0}, "check x_center"),
        ({"hosts": "/nowhere/hosts.csv"}, r"/nowhere/hosts\.csv: no such table. Check survey\.stamps\.hosts"),
        ({"hosts": "/nowhere/hosts.docx"}, r"hosts\.docx: unknown kind of table"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changes, message):
    make_cubes(tmp_path)
    with pytest.raises(SurveyError, match=message):
        load(tmp_path, **changes)


def test_wrong_files_are_named(tmp_path):
    make_cubes(tmp_path)
    fits.PrimaryHDU(np.zeros((3, 91, 91), np.float32)).writeto(tmp_path / "z.fits", overwrite=True)
    with pytest.raises(SurveyError, match=r"g has \(4, 91, 91\), z has \(3, 91, 91\)"):
        load(tmp_path)
    fits.PrimaryHDU(np.zeros((91, 91), np.float32)).writeto(tmp_path / "z.fits", overwrite=True)
    with pytest.raises(SurveyError, match=r"z has \(1, 91, 91\)"):
        load(tmp_path)
    fits.PrimaryHDU(np.zeros(91, np.float32)).writeto(tmp_path / "z.fits", overwrite=True)
    with pytest.raises(SurveyError, match=r"holds no stamp .*z\.fits"):
        load(tmp_path)
    (tmp_path / "z.fits").write_bytes(b"nothing")
    with pytest.raises(SurveyError, match=r"cannot be read: .*z\.fits"):
        load(tmp_path)
    (tmp_path / "z.fits").unlink()
    with pytest.raises(SurveyError, match=r"no such stamps file: .*z\.fits"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("hosts", "message"),
    [("host_id\na\nb\n", "has 2 rows, the cubes have 4"), ("host_id\na\nb\na\nc\n", "host_id 'a' stands there twice")],
)
def test_a_hosts_table_that_does_not_fit_is_refused(tmp_path, hosts, message):
    make_cubes(tmp_path, hosts=hosts)
    with pytest.raises(SurveyError, match=message):
        load(tmp_path)


def judge(sky):
    """Noise of pixels by astropy: clipped at 3 scaled absolute deviations about the median."""
    return mad_std(sigma_clip(sky, sigma=3, maxiters=20, cenfunc="median", stdfunc="mad_std", masked=False))


@settings(max_examples=25, deadline=None)
@given(
    value=st.sampled_from([0.0, -99.0, 1e30, -32768.0, np.nan]),
    frame=st.tuples(*[st.integers(0, 16)] * 4),
    seed=st.integers(0, 10_000),
)
def test_padding_is_no_data_and_changes_no_noise(value, frame, seed):
    stamp = np.random.default_rng(seed).normal(0.02, 0.005, (2, 80, 80)).astype(np.float32)
    top, bottom, left, right = frame
    inside = np.zeros((80, 80), bool)
    inside[top : 80 - bottom, left : 80 - right] = True
    stamp[0][~inside] = value
    survey = SurveyConfig(root="-", targets="-", stamp_size=80)
    out = stamps_from_cubes({"r": stamp}, np.array(["padded", "whole"]), {"r": 1.3}, None, None, survey)
    y, x = np.mgrid[:80, :80]
    sky = inside & (np.hypot(y - 39.5, x - 39.5) >= 20)
    weight = out["invvar"].values[0, 0]
    assert (weight[~inside] == 0).all()
    np.testing.assert_allclose(weight[inside] ** -0.5, judge(stamp[0][sky].astype(np.float64)), rtol=0.01)
    assert float(out["coverage_frac"][0, 0]) == pytest.approx(inside.mean())
    assert not out["image"].values[0, 0][~inside].any()
    assert int(out["status"][1]) == Status.OK
    np.testing.assert_array_equal(out["image"].values[1, 0], stamp[1])


def test_a_viewer_cutout_is_one_host_and_so_is_a_single_image(tmp_path):
    cubes = make_cubes(tmp_path, n_hosts=1)
    planes = np.array([cubes[b][0] for b in "grz"])
    for header in (fits.Header({"BANDS": "grz"}), fits.Header({"BAND0": "g", "BAND1": "r", "BAND2": "z"})):
        fits.PrimaryHDU(planes, header).writeto(tmp_path / "viewer.fits", overwrite=True)
        out = load(tmp_path, hosts=None, files=dict.fromkeys("grz", str(tmp_path / "viewer.fits")))
        assert out.sizes["host"] == 1
        for b, band in enumerate("grz"):
            np.testing.assert_array_equal(out["image"].values[0, b], cubes[band][0][14:78, 14:78])
    with pytest.raises(SurveyError, match="i is not one of them"):
        read_cube(str(tmp_path / "viewer.fits"), "i")
    fits.PrimaryHDU(planes).writeto(tmp_path / "viewer.fits", overwrite=True)
    with pytest.raises(SurveyError, match="no card BANDS"):
        load(tmp_path, hosts=None, files=dict.fromkeys("grz", str(tmp_path / "viewer.fits")))
    for band in "grz":
        fits.PrimaryHDU(cubes[band][0]).writeto(tmp_path / f"{band}.fits", overwrite=True)
    assert load(tmp_path, hosts=None).sizes["host"] == 1


def test_stamps_in_counts_become_stamps_in_nanomaggies(tmp_path):
    make_cubes(tmp_path)
    want = load(tmp_path)
    for band in "grz":
        data = fits.getdata(tmp_path / f"{band}.fits") * 1000
        fits.PrimaryHDU(data, fits.Header({"BUNIT": "ADU", "MAGZERO": 30.0})).writeto(
            tmp_path / f"{band}.fits", overwrite=True
        )
    with pytest.raises(SurveyError, match=r"g\.fits: it states BUNIT = 'ADU', MAGZERO = 30.0.*survey\.zero_point"):
        load(tmp_path)
    stamps, survey = configure(tmp_path)
    out = read_stamps(stamps, "grz", survey.model_copy(update={"zero_point": "MAGZERO"}))
    np.testing.assert_allclose(out["image"], want["image"], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(out["invvar"], want["invvar"], rtol=1e-4)


def test_a_wcs_of_another_pixel_scale_is_refused(tmp_path):
    cubes = make_cubes(tmp_path)
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -0.168 / 3600, "CD2_2": 0.168 / 3600}
    fits.PrimaryHDU(cubes["g"], fits.Header(cards)).writeto(tmp_path / "g.fits", overwrite=True)
    with pytest.raises(SurveyError, match=r"pixels of 0\.168 arcsec, survey\.stamps\.pixel_scale_arcsec says 0\.263"):
        load(tmp_path)


@pytest.mark.parametrize("each", [False, True])
def test_stamps_have_psf_images_by_band_or_by_host(tmp_path, each):
    make_cubes(tmp_path)
    axis = np.arange(31) - 15
    widths = [4.0, 5.0, 6.0, 7.0] if each else [5.0]
    psf = np.array([np.exp(-4 * np.log(2) * (axis[:, None] ** 2 + axis**2) / w**2) for w in widths], np.float32)
    if each:
        psf[2] = 0
    fits.PrimaryHDU(psf if each else psf[0]).writeto(tmp_path / "psf.fits")
    stamps, survey = configure(
        tmp_path, psf_files={"r": str(tmp_path / "psf.fits")}, psfsize_arcsec={"g": 1.4, "z": 1.2}
    )
    out = read_stamps(stamps, "grz", survey)
    size = out["psfsize_arcsec"].values[:, 1]
    expected = np.array(widths * (1 if each else 4)) * 0.263
    good = np.array([True, True, not each, True])
    np.testing.assert_allclose(size[good], expected[good], rtol=1e-3)
    assert (out["psf_source"].values[good, 1] == PsfSource.COADD_PSF).all()
    assert (out["band_reasons"].values[good, 1] & int(Reason.ASSUMED_PSF) == 0).all()
    assert out["psf_kernel"].shape == (4, 3, survey.psf_image_size, survey.psf_image_size)
    assert np.isnan(out["psf_kernel"].values[:, 0]).all()
    if each:
        assert int(out["band_reasons"][2, 1]) & Reason.NO_PSF_IMAGE
        assert "PSF image of the stamp in r cannot be used (it sums to 0" in out.attrs["messages"][0]
