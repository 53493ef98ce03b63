"""Cutting real pixels: a DR9 brick, a DR6 brick without PSF maps, and DES stamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from lensflow import schema
from lensflow.config import StampsConfig, SurveyConfig
from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.stamps import read_stamps

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SURVEY = SurveyConfig(root="unused", targets="unused")
DR9 = DATA / "ls_dr9_brick"
DR6 = DATA / "ls_dr6_brick"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data: {DATA} is absent"),
    pytest.mark.whole,
]


def make_targets(host_id, ra_deg, dec_deg, brickname):
    columns = {"host_id": np.asarray(host_id, str), "ra_deg": np.asarray(ra_deg), "dec_deg": np.asarray(dec_deg)}
    columns["brickname"] = np.full(len(columns["host_id"]), brickname)
    return xr.Dataset({name: ("host", values) for name, values in columns.items()})


def band_reasons(out, host):
    return [name for b, band in enumerate(out["band"].values) for name in
            schema.reason_names(int(out["band_reasons"][host, b]), str(band))]  # fmt: skip


@pytest.fixture(scope="module")
def dr9():
    table = Table.read(DR9 / "targets.csv", format="ascii.csv")
    hosts = make_targets(table["target_id"], table["ra_deg"], table["dec_deg"], "0591m305")
    return cut_block(hosts, Layout(str(DR9)), "grz", SURVEY)


def test_dr9_three_hosts_are_whole_and_two_lie_at_the_edge_of_the_coverage(dr9):
    assert dr9["host_id"].values.tolist() == [f"dr9-0{i}" for i in range(5)]
    ok, partial = Status.OK, Status.PARTIAL
    assert dr9["status"].values.tolist() == [ok, ok, partial, partial, ok]
    for host in (2, 3):
        assert band_reasons(dr9, host) == ["PARTIAL_STAMP_g", "PARTIAL_STAMP_r", "PARTIAL_STAMP_z"]
        assert int(dr9["reasons"][host]) == Reason.PARTIAL_STAMP
    assert not dr9["reasons"][[0, 1, 4]].any()
    assert dr9["covered"].all()
    assert dr9.attrs["messages"] == []


def test_dr9_psf_sizes_come_from_the_map(dr9):
    np.testing.assert_allclose(dr9["psfsize_arcsec"], [[1.369, 1.249, 1.249]] * 5, atol=1e-3)
    assert (dr9["psf_source"] == PsfSource.MAP).all()
    assert dr9.attrs["pixel_scale_arcsec"] == pytest.approx(0.262, abs=1e-6)


def test_dr9_the_brightest_pixel_is_at_the_recorded_centre(dr9):
    for host in (0, 1):
        core = dr9["image"].values[host, 1, 27:37, 27:37]
        y, x = np.unravel_index(core.argmax(), core.shape)
        assert np.hypot(27 + x - dr9["x_center"][host], 27 + y - dr9["y_center"][host]) < 1


def test_dr9_stamps_equal_the_full_image(dr9):
    path = Layout(str(DR9)).path("0591m305", "image", "z")
    with fits.open(path) as hdus:
        image, wcs = hdus[1].data, WCS(hdus[1].header)
    for host in range(5):
        x, y = wcs.wcs_world2pix(float(dr9["ra_deg"][host]), float(dr9["dec_deg"][host]), 0)
        x0, y0 = round(float(x - dr9["x_center"][host])), round(float(y - dr9["y_center"][host]))
        np.testing.assert_array_equal(dr9["image"][host, 2], image[y0 : y0 + 64, x0 : x0 + 64])


def dr6_positions():
    """Pixels of brick 0959p805: g alone, g and z, neither, and the very edge of the g coverage."""
    layout = Layout(str(DR6))
    with fits.open(layout.path("0959p805", "invvar", "g")) as hdus:
        g, wcs = hdus[1].data > 0, WCS(hdus[1].header, fix=False)
    z = fits.getdata(layout.path("0959p805", "invvar", "z"), 1) > 0
    inner = slice(40, -40)
    found = []
    for where in (g & ~z, g & z, ~g & ~z):
        y, x = np.nonzero(where[:, inner])
        found.append((x[len(x) // 2] + 40, y[len(x) // 2]))
    y, x = np.nonzero(g)
    found.append((x.max(), y[x.argmax()]))
    ra, dec = wcs.wcs_pix2world(*np.array(found, float).T + 0.2, 0)
    return make_targets(["g", "gz", "none", "edge"], ra, dec, "0959p805")


def test_dr6_without_psf_files_every_host_says_exactly_why_it_takes_no_arc():
    out = cut_block(dr6_positions(), Layout(str(DR6)), "grz", SURVEY)
    assert (out["status"] == Status.FAILED).all()
    assert not out["covered"].any()
    assert band_reasons(out, 0) == ["NO_PSF_g", "MISSING_FILE_r", "NO_COVERAGE_z"]
    assert band_reasons(out, 1) == ["NO_PSF_g", "MISSING_FILE_r", "NO_PSF_z"]
    assert band_reasons(out, 2) == ["NO_COVERAGE_g", "MISSING_FILE_r", "NO_COVERAGE_z"]
    assert band_reasons(out, 3) == ["NO_PSF_g", "MISSING_FILE_r", "NO_COVERAGE_z"]
    assert out["nexp"].values.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert float(out["coverage_frac"][3, 0]) < 0.7
    said = " ".join(out.attrs["messages"])
    assert "No PSF size in g: " in said
    assert "legacysurvey-0959p805-psfsize-g.fits.fz is missing or 0 at the target" in said
    assert "legacysurvey-0959p805-image-r.fits.fz" in said
    assert "maskbits taken as 0" in said


def test_dr6_with_a_catalogue_psf_the_covered_band_can_be_used():
    hosts = dr6_positions().assign(catalogue_psfsize_arcsec=(("host", "band"), np.full((4, 2), 1.6)))
    out = cut_block(hosts, Layout(str(DR6)), ("g", "z"), SURVEY)
    assert out["covered"].values.tolist() == [[True, False], [True, True], [False, False], [True, False]]
    assert out["status"].values.tolist() == [Status.PARTIAL, Status.PARTIAL, Status.FAILED, Status.PARTIAL]
    assert (out["psf_source"].values[out["covered"].values] == PsfSource.MANIFEST).all()
    assert int(out["band_reasons"][3, 0]) == Reason.PARTIAL_STAMP


def test_des_stamps_have_the_noise_that_was_measured_on_them():
    folder = DATA / "des_lrg"
    stamps = StampsConfig(
        files={b: str(folder / f"image-{b}.fits") for b in "grz"},
        hosts=str(folder / "hosts.csv"),
        pixel_scale_arcsec=0.263,
        psfsize_arcsec={"g": 1.369, "r": 1.249, "z": 1.249},
    )
    out = read_stamps(stamps, "grz", SurveyConfig(stamps=stamps))
    assert out.sizes["host"] == 31
    assert (out["status"] == Status.OK).all()
    assert (out["band_reasons"] == Reason.ASSUMED_NOISE | Reason.ASSUMED_PSF).all()
    sigma = np.median(out["invvar"].values[:, :, 0, 0] ** -0.5, axis=0)
    np.testing.assert_allclose(sigma, [0.0029, 0.0044, 0.0125], rtol=0.12)
    assert (out["x_center"] == 31).all()
    core = out["image"].values[:, 1, 26:37, 26:37]
    assert np.mean(core.max(axis=(1, 2)) == out["image"].values[:, 1, 20:43, 20:43].max(axis=(1, 2))) > 0.9
