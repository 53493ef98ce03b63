from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lensflow import geometry, schema
from lensflow.errors import SurveyError, TargetError
from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey.cutouts import Messages, cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.masks import MaskBit
from tests.survey.brick_factory import BRICK, PSFSIZE, SIZE, SURVEY, brick_wcs, file_of, targets, write_brick

# astropy warns of the files that these tests break on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
# Positions are kept off whole pixels where the corner matters: for an even stamp those are ties, and the last digit
# of the WCS would break them.
N = SURVEY.stamp_size


def cut(root, hosts, bands="grz", survey=SURVEY, **options):
    out = cut_block(hosts, Layout(str(root)), bands, survey, **options)
    np.testing.assert_array_equal(out["host_id"], hosts["host_id"])  # every host, in order, whatever happened
    measured = {"aperture_flux_nmgy", "noise_correlation_factor", "host_q", "host_phi_rad", "host_shape_source"}
    names = {v.name for v in schema.CUTOUTS} - {"cell", "split", "flux_nmgy", *measured}
    schema.check("cutouts", out, {*names, "host_id", "ra_deg", "dec_deg", "brickname"})
    assert np.isfinite(out["image"]).all()
    assert (out["invvar"] >= 0).all()
    np.testing.assert_array_equal(np.isfinite(out["psfsize_arcsec"]), out["psf_source"] != PsfSource.NONE)
    return out


def status_of(out, host=0):
    return Status(int(out["status"][host]))


def reasons_of(out, host=0):
    names = schema.reason_names(int(out["reasons"][host]) & ~int(schema.BAND_REASONS))
    for bits, band in zip(out["band_reasons"].values[host], out["band"].values, strict=True):
        names += schema.reason_names(int(bits), str(band))
    return set(names)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    return root, write_brick(root, nexp="HCOMPRESS_1")


def test_pixels_equal_the_slice_of_the_full_image(whole):
    root, truth = whole
    x, y = np.array([150.1, 99.7, 40.2]), np.array([150.1, 100.4, 220.9])
    out = cut(root, targets(x, y))
    for host, (x0, y0) in enumerate(zip(geometry.stamp_corner(x, N), geometry.stamp_corner(y, N), strict=True)):
        window = slice(y0, y0 + N), slice(x0, x0 + N)
        for b, band in enumerate("grz"):
            np.testing.assert_array_equal(out["image"][host, b], truth["image", band][window])
            np.testing.assert_array_equal(out["invvar"][host, b], truth["invvar", band][window])
    assert (out["status"] == Status.OK).all()
    assert not out["reasons"].any()
    assert (out["coverage_frac"] == 1).all()
    assert (out["nexp"] == 3).all()
    assert out["covered"].all()
    np.testing.assert_allclose(out["psfsize_arcsec"], [list(PSFSIZE.values())] * 3, rtol=1e-6)
    assert (out["psf_source"] == PsfSource.MAP).all()


def test_the_subpixel_centre_is_kept(whole):
    x, y = np.array([150.1, 99.73, 40.2, 101.5]), np.array([150.49, 100.4, 220.9, 87.5])
    out = cut(whole[0], targets(x, y))
    np.testing.assert_allclose(out["x_center"] + geometry.stamp_corner(x, N), x, atol=1e-6)
    np.testing.assert_allclose(out["y_center"] + geometry.stamp_corner(y, N), y, atol=1e-6)


@pytest.mark.parametrize("size", [63, 96, 101])
def test_any_stamp_size_is_centred_on_the_target(whole, size):
    survey = SURVEY.model_copy(update={"stamp_size": size})
    out = cut(whole[0], targets([150.2], [149.9]), survey=survey)
    assert out["image"].shape == (1, 3, size, size)
    assert abs(out["x_center"][0] - geometry.centre(size)) <= 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-80, 380), st.floats(-80, 380)), min_size=1, max_size=3))
def test_centre_within_half_a_pixel_and_coverage_is_the_overlap(whole, positions):
    x, y = np.array(positions).T
    # On a boundary between pixels the rounding of the WCS (1e-10 pix) decides, either way rightly.
    assume(np.all(np.abs(np.array(positions) % 0.5) > 1e-6))
    out = cut(whole[0], targets(x, y), bands="r")
    for host in range(len(x)):
        xc, yc = float(out["x_center"][host]), float(out["y_center"][host])
        assert max(abs(xc - geometry.centre(N)), abs(yc - geometry.centre(N))) <= 0.5 + 1e-6
        corner = [round(x[host] - xc), round(y[host] - yc)]
        overlap = [max(0, min(c + N, SIZE) - max(c, 0)) for c in corner]
        on_brick = all(0 <= np.floor(p + 0.5) < SIZE for p in (x[host], y[host]))
        share = overlap[0] * overlap[1] / N**2 if on_brick else 0.0
        assert float(out["coverage_frac"][host, 0]) == pytest.approx(share, abs=1e-6)
        expected = Status.FAILED if not on_brick else Status.OK if share == 1 else Status.PARTIAL
        assert status_of(out, host) == expected
        assert (
            reasons_of(out, host)
            == {
                Status.OK: set(),
                Status.PARTIAL: {"PARTIAL_STAMP_r"} if share < 0.99 else set(),
                Status.FAILED: {"OUTSIDE_BRICK"},
            }[expected]
        )
        assert bool(out["reasons"][host] & Reason.PARTIAL_STAMP) == (expected == Status.PARTIAL)


def test_good_and_bad_hosts_of_several_bricks_keep_their_order(tmp_path):
    east = brick_wcs(ra_deg=10.03)
    write_brick(tmp_path)
    write_brick(tmp_path, "0101p050", wcs=east)
    a = targets([150, 5, -200, 150], [150, 150, 150, 150])
    b = targets([150, 40], [150, 40], "0101p050", wcs=east)
    c = targets([150], [150], "9999p999")
    hosts = xr.concat([a, b, c], "host").isel(host=[4, 0, 6, 1, 5, 2, 3])
    hosts["host_id"] = ("host", np.array(["p", "q", "gone", "edge", "s", "off", "t"]))
    out = cut(tmp_path, hosts)
    expected = [Status.OK, Status.OK, Status.FAILED, Status.PARTIAL, Status.OK, Status.FAILED, Status.OK]
    assert out["status"].values.tolist() == expected
    assert reasons_of(out, 2) == {"MISSING_FILE_g", "MISSING_FILE_r", "MISSING_FILE_z"}
    assert reasons_of(out, 5) == {"OUTSIDE_BRICK"}
    assert np.isnan(out["x_center"][2])
    assert out.attrs["n_files_opened"] == 26
    assert out.attrs["bytes_read"] > 0
    assert out.attrs["seconds_io"] > 0
    assert out.attrs["pixel_scale_arcsec"] == pytest.approx(0.262)
    alone = cut(tmp_path, hosts.isel(host=[3]))
    xr.testing.assert_identical(alone.drop_attrs(), out.isel(host=[3]).drop_attrs())


def test_positions_that_are_no_positions_fail_by_name(whole):
    hosts = targets([150, 150, 150], [150, 150, 150])
    hosts["ra_deg"][0], hosts["dec_deg"][1] = np.nan, -85.0
    out = cut(whole[0], hosts)
    assert out["status"].values.tolist() == [Status.FAILED, Status.FAILED, Status.OK]
    assert reasons_of(out, 0) == reasons_of(out, 1) == {"OUTSIDE_BRICK"}
    assert ((out["maskbits"][0] >> MaskBit.NPRIMARY) & 1).all()
    assert out.attrs["messages"] == [
        f"Target outside its brick: {BRICK} has 300 x 300 pixels. Host h0 and 1 other marked OUTSIDE_BRICK. "
        "Do ra_deg, dec_deg and brickname belong together?"
    ]


def test_off_brick_pixels_are_zero_and_not_primary(whole):
    out = cut(whole[0], targets([10.2], [150.2]))
    off = np.zeros((N, N), bool)
    off[:, : 31 - 10] = True
    assert (out["image"].values[0][:, off] == 0).all()
    np.testing.assert_array_equal(out["invvar"].values[0] == 0, np.broadcast_to(off, (3, N, N)))
    np.testing.assert_array_equal(out["maskbits"][0], np.where(off, 1 << MaskBit.NPRIMARY, 0))
    assert float(out["bad_pixel_frac"][0]) == pytest.approx(off.mean())
    assert reasons_of(out) == {f"PARTIAL_STAMP_{b}" for b in "grz"}


def test_a_missing_band_is_absent_and_the_host_partial(tmp_path):
    write_brick(tmp_path, skip=[("image", "g"), ("invvar", "z")])
    out = cut(tmp_path, targets([150, 100], [150, 100]))
    assert status_of(out) == Status.PARTIAL
    assert reasons_of(out) == {"MISSING_FILE_g", "MISSING_FILE_z"}
    assert out["covered"].values.tolist() == [[False, True, False]] * 2
    assert not out["image"][:, [0, 2]].any()
    assert not out["invvar"][:, [0, 2]].any()
    assert out["psf_source"].values[0].tolist() == [PsfSource.NONE, PsfSource.MAP, PsfSource.NONE]
    assert any("image-g.fits.fz. Host h0 and 1 other marked MISSING_FILE_g." in m for m in out.attrs["messages"])


def test_a_truncated_file_marks_its_band_and_says_how_much_is_there(tmp_path):
    write_brick(tmp_path)
    path = file_of(tmp_path, "image", "r")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    out = cut(tmp_path, targets([150, 100, 120], [150, 100, 120]))
    assert (out["status"] == Status.PARTIAL).all()
    assert reasons_of(out) == {"CORRUPT_FILE_r"}
    need = len(content.rstrip(b"\0"))  # the padding of the last block may be missing
    assert out.attrs["messages"] == [
        f"FITS file truncated: {path} (read {len(content) // 2 / 1e6:.3g} of {need / 1e6:.3g} MB). Host h0 and "
        "2 others marked CORRUPT_FILE_r. Fetch it again, or raise survey.failure_budget."
    ]


def test_all_files_corrupt_fails_the_host(tmp_path):
    write_brick(tmp_path, bands="gr")
    for band in "gr":
        file_of(tmp_path, "image", band).write_bytes(b"gone")
    out = cut(tmp_path, targets([150], [150]), bands="gr")
    assert status_of(out) == Status.FAILED
    assert reasons_of(out) == {"CORRUPT_FILE_g", "CORRUPT_FILE_r"}
    assert np.isnan(out.attrs["pixel_scale_arcsec"])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_garbled_tile_strikes_only_the_hosts_on_it(tmp_path, order):
    write_brick(tmp_path, bands="r", compression="GZIP_1")
    path = file_of(tmp_path, "image", "r")
    with fits.open(path, disable_image_compression=True) as hdus:
        length, offset = np.asarray(hdus[1].data.view(np.ndarray)["COMPRESSED_DATA"])[0]
        start = hdus[1].fileinfo()["datLoc"] + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"] + int(offset)
    content = bytearray(path.read_bytes())
    content[start : start + int(length)] = b"\xff" * int(length)  # tile (0, 0)
    path.write_bytes(content)
    out = cut(tmp_path, targets([50, 220], [50, 220]).isel(host=order), bands="r").isel(host=order)
    assert out["status"].values.tolist() == [Status.FAILED, Status.OK]
    assert reasons_of(out, 0) == {"CORRUPT_FILE_r"}


def test_nonfinite_pixels_become_no_data_and_are_named(tmp_path):
    def poison(products):
        products["image", "r"][140:142, 140] = np.nan
        products["invvar", "z"][150, 160] = -1e5

    write_brick(tmp_path, edit=poison)
    out = cut(tmp_path, targets([150, 50], [150, 50]))
    assert out["status"].values.tolist() == [Status.PARTIAL, Status.OK]
    assert reasons_of(out, 0) == {"NONFINITE_r", "NONFINITE_z"}
    assert int((out["invvar"][0, 1] == 0).sum()) == 2
    assert int(((out["image"][0, 1] == 0) & (out["invvar"][0, 1] == 0)).sum()) == 2
    assert int((out["invvar"][0, 2] == 0).sum()) == 1


def test_a_hole_in_the_psf_map_falls_back_to_r(tmp_path):
    def hole(products):
        products["psfsize", "g"][140:160, 140:160] = 0

    write_brick(tmp_path, edit=hole)
    hosts = targets([150, 50], [150, 50])
    out = cut(tmp_path, hosts)
    assert out["psf_source"].values[:, 0].tolist() == [PsfSource.FALLBACK_R, PsfSource.MAP]
    assert float(out["psfsize_arcsec"][0, 0]) == pytest.approx(PSFSIZE["r"] * 1.06, rel=0.005)
    assert status_of(out) == Status.OK
    measured = cut(tmp_path, hosts, psf_band_ratio={"g": 1.16})
    assert float(measured["psfsize_arcsec"][0, 0]) == pytest.approx(PSFSIZE["r"] * 1.16)
    hosts["catalogue_psfsize_arcsec"] = (("host", "band"), np.array([[1.25, 1.55], [1.25, 1.55]]))
    catalogue = cut(tmp_path, hosts.assign_coords(band=["r", "g"]))
    assert catalogue["psf_source"].values[0].tolist() == [PsfSource.MANIFEST, PsfSource.MAP, PsfSource.MAP]
    assert float(catalogue["psfsize_arcsec"][0, 0]) == pytest.approx(1.55)


def test_no_psf_anywhere_makes_the_band_absent_and_says_so(tmp_path):
    def hole(products):
        products["psfsize", "g"][:] = products["psfsize", "r"][:] = 0

    write_brick(tmp_path, edit=hole, skip=[("psfsize", "z")])
    out = cut(tmp_path, targets([150], [150]))
    assert status_of(out) == Status.FAILED
    assert reasons_of(out) == {f"NO_PSF_{b}" for b in "grz"}
    assert not out["covered"].any()
    assert (out["psf_source"] == PsfSource.NONE).all()
    assert (out["nexp"] == 3).all()
    assert sum("No PSF size" in m and "No arc can be put there" in m for m in out.attrs["messages"]) == 3


@pytest.mark.parametrize("product", ["nexp", "invvar"])
def test_no_exposure_makes_the_band_absent_whatever_a_fallback_says(tmp_path, product):
    def gap(products):
        products[product, "g"][:, 100:] = 0

    write_brick(tmp_path, edit=gap)
    hosts = targets([150, 50], [150, 150]).assign(catalogue_psfsize_arcsec=(("host", "band"), np.full((2, 3), 1.5)))
    out = cut(tmp_path, hosts)
    assert out["status"].values.tolist() == [Status.PARTIAL, Status.OK]
    assert reasons_of(out) == {"NO_COVERAGE_g"}
    assert out["covered"].values[0].tolist() == [False, True, True]
    assert out["psf_source"].values[0].tolist() == [PsfSource.NONE, PsfSource.MAP, PsfSource.MAP]


def test_without_nexp_files_invvar_decides(tmp_path):
    def gap(products):
        products["invvar", "g"][:, 100:] = 0

    write_brick(tmp_path, edit=gap, skip=[("nexp", b) for b in "grz"])
    out = cut(tmp_path, targets([150], [150]))
    assert reasons_of(out) == {"NO_COVERAGE_g"}
    assert out["nexp"].values[0].tolist() == [0, 1, 1]


def test_one_dead_pixel_under_the_target_is_not_a_lack_of_exposure(tmp_path):
    def dead(products):
        products["invvar", "g"][150, 150] = 0
        products["invvar", "r"][150:, :] = 0

    write_brick(tmp_path, edit=dead)
    out = cut(tmp_path, targets([150], [150]))
    assert out["covered"].values[0].tolist() == [True, False, True]
    assert reasons_of(out) == {"NO_COVERAGE_r"}


def test_a_thin_band_is_partial(tmp_path):
    def strip(products):
        products["invvar", "z"][:, 160:] = 0

    write_brick(tmp_path, edit=strip)
    out = cut(tmp_path, targets([150.2], [150.2]))
    assert status_of(out) == Status.PARTIAL
    assert reasons_of(out) == {"PARTIAL_STAMP_z"}
    assert float(out["coverage_frac"][0, 2]) == pytest.approx((160 - 119) / N)
    lenient = cut(tmp_path, targets([150.2], [150.2]), survey=SURVEY.model_copy(update={"min_coverage_frac": 0.5}))
    assert status_of(lenient) == Status.OK


def test_a_corrupt_helper_file_never_leaves_a_host_ok(tmp_path):
    write_brick(tmp_path)
    for product, band in (("psfsize", "g"), ("nexp", "z")):
        file_of(tmp_path, product, band).write_bytes(b"gone")
    out = cut(tmp_path, targets([150], [150]))
    assert status_of(out) == Status.PARTIAL
    assert reasons_of(out) == {"CORRUPT_FILE_g", "CORRUPT_FILE_z"}
    assert out["psf_source"].values[0].tolist() == [PsfSource.FALLBACK_R, PsfSource.MAP, PsfSource.MAP]


def test_masks_are_cut_and_counted(tmp_path):
    def star(products):
        products["maskbits", ""][100:200, 100:160] = 1 << MaskBit.BRIGHT
        products["maskbits", ""][:100] = 1 << MaskBit.WISEM1

    truth = write_brick(tmp_path, edit=star)
    hosts = targets([150.2, 150.2], [150.2, 50.2])
    out = cut(tmp_path, hosts)
    np.testing.assert_array_equal(out["maskbits"][0], truth["maskbits", ""][119:183, 119:183])
    np.testing.assert_allclose(out["bad_pixel_frac"], [(160 - 119) / N, 0.0], rtol=1e-6)
    np.testing.assert_allclose(out["wise_brightmask_frac"], [0.0, 1.0])
    chosen = cut(tmp_path, hosts, survey=SURVEY.model_copy(update={"mask_bits": (MaskBit.WISEM1,)}))
    np.testing.assert_allclose(chosen["bad_pixel_frac"], [0.0, 1.0])
    assert chosen["status"].values.tolist() == [Status.OK, Status.FAILED]
    assert reasons_of(chosen, 1) == {"ALL_MASKED"}


def test_the_share_of_every_mask_bit_is_kept(tmp_path):
    def star(products):
        products["maskbits", ""][:, :160] = (1 << MaskBit.BRIGHT) | (1 << MaskBit.ALLMASK_I)

    write_brick(tmp_path, edit=star)
    out = cut(tmp_path, targets([150.2], [150.2]))
    expected = np.zeros(len(MaskBit))
    expected[[MaskBit.BRIGHT, MaskBit.ALLMASK_I]] = (160 - 119) / N
    np.testing.assert_allclose(out["mask_bit_frac"][0], expected, rtol=1e-6)
    # the preset of the first run looks at BRIGHT too, a set of one bit at nothing else
    for choice, share in (("historic_r", expected[1]), ((MaskBit.GALAXY,), 0.0)):
        chosen = cut(tmp_path, targets([150.2], [150.2]), survey=SURVEY.model_copy(update={"mask_bits": choice}))
        assert float(chosen["bad_pixel_frac"][0]) == pytest.approx(share)


def test_a_stamp_in_the_overlap_of_two_bricks_is_whole_in_either(tmp_path):
    """A brick's file reaches over its primary area: near the area's edge the stamp is whole, NPRIMARY or not."""

    def border(products):
        for edge in (np.s_[:40], np.s_[-40:]):
            products["maskbits", ""][edge] |= 1 << MaskBit.NPRIMARY
            products["maskbits", ""].T[edge] |= 1 << MaskBit.NPRIMARY

    write_brick(tmp_path, edit=border)
    out = cut(tmp_path, targets([42.2, 32.2, 30.2], [150.2, 150.2, 150.2]))
    assert out["status"].values.tolist() == [Status.OK, Status.OK, Status.PARTIAL]
    assert reasons_of(out, 2) == {f"PARTIAL_STAMP_{b}" for b in "grz"}
    assert float(out["mask_bit_frac"][0, MaskBit.NPRIMARY]) == pytest.approx((40 - 11) / N)


def test_columns_that_the_cutouts_know_are_carried_along(whole):
    hosts = targets([150], [150]).assign(flux_nmgy=(("host", "band"), [[1.0, 2.0, 3.0]]), colour=("host", [1.0]))
    out = cut(whole[0], hosts)
    assert out["flux_nmgy"].values.tolist() == [[1.0, 2.0, 3.0]]
    assert "colour" not in out


def test_missing_maskbits_is_said_and_taken_as_clean(tmp_path):
    write_brick(tmp_path, skip=[("maskbits", "")])
    out = cut(tmp_path, targets([150], [150]))
    assert int(out["reasons"][0]) == Reason.MISSING_FILE
    assert not out["band_reasons"].any()
    assert status_of(out) == Status.OK
    assert not out["maskbits"].any()
    assert "maskbits taken as 0" in out.attrs["messages"][0]


def test_bricks_of_different_pixel_scale_are_refused(tmp_path):
    other = brick_wcs(scale_arcsec=0.263)
    write_brick(tmp_path, bands="r")
    write_brick(tmp_path, "0200p050", bands="r", wcs=other)
    hosts = xr.concat([targets([150], [150]), targets([150], [150], "0200p050", wcs=other)], "host")
    with pytest.raises(SurveyError, match=r"0200p050 is 0\.26300 arcsec, of brick 0100p050 0\.26200"):
        cut_block(hosts, Layout(str(tmp_path)), "r", SURVEY)


def test_no_hosts_give_no_rows(whole):
    assert cut(whole[0], targets([], [])).sizes["host"] == 0


def test_a_table_without_bricks_is_refused(whole):
    with pytest.raises(TargetError, match="brickname"):
        cut_block(targets([1], [1]).drop_vars("brickname"), Layout(str(whole[0])), "r", SURVEY)


def test_messages_name_the_first_host_and_count_the_others():
    messages = Messages()
    for host in ("a", "a", "b", "c"):
        messages.add("Broken: x.", "CORRUPT_FILE_r", "Mend it.", host)
    messages.add("Broken: y.", "CORRUPT_FILE_r", "Mend it.", "a")
    assert messages.lines() == [
        "Broken: x. Host a and 2 others marked CORRUPT_FILE_r. Mend it.",
        "Broken: y. Host a marked CORRUPT_FILE_r. Mend it.",
    ]


def test_an_unknown_mask_bit_is_named_and_never_clean(tmp_path):
    def strange(products):
        products["maskbits", ""][:, :160] = 1 << 20

    write_brick(tmp_path, edit=strange)
    out = cut(tmp_path, targets([150.2, 250.0], [150.2, 150.2]))
    assert (out["reasons"].values & int(Reason.UNKNOWN_MASK_BIT) > 0).tolist() == [True, False]
    assert float(out["bad_pixel_frac"][0]) == pytest.approx((160 - 119) / N)
    assert "maskbits has bits that DR9 and DR10 have not: 20" in out.attrs["messages"][0]
    chosen = cut(tmp_path, targets([150.2], [150.2]), survey=SURVEY.model_copy(update={"mask_bits": (1,)}))
    assert float(chosen["bad_pixel_frac"][0]) == 0
    assert chosen.attrs["messages"]


@pytest.mark.slow
def test_bit_15_of_a_16_bit_mask_is_no_unknown_bit(tmp_path):
    def narrow(products):
        products["maskbits", ""] = np.full((300, 300), -(2**15), np.int16)

    write_brick(tmp_path, edit=narrow, compression="GZIP_1")
    out = cut(tmp_path, targets([150.2], [150.2]))
    assert float(out["mask_bit_frac"][0, MaskBit.ALLMASK_I]) == 1
    assert not int(out["reasons"][0]) & Reason.UNKNOWN_MASK_BIT


@pytest.mark.parametrize(
    ("size", "plausible"),
    [
        (0.12, False),
        (0.8, True),
        (2.9, False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(0.05, False), (0.6, False), (2.0, True), (60, False)]
        ),
    ],
)
def test_a_psf_size_that_cannot_be_is_not_used_and_has_a_reason(tmp_path, size, plausible):
    def spot(products):
        products["psfsize", "g"][140:160, 140:160] = size  # the brick's map has 1.4 elsewhere
        products["psfsize", "g"][:5] = 0

    write_brick(tmp_path, edit=spot, compression="GZIP_1")
    out = cut(tmp_path, targets([145, 60], [145, 200]))
    assert bool(int(out["band_reasons"][0, 0]) & Reason.IMPLAUSIBLE_PSF) == (not plausible)
    assert out["psf_source"].values[0, 0] == (PsfSource.MAP if plausible else PsfSource.FALLBACK_R)
    assert out["psf_source"].values[1, 0] == PsfSource.MAP
    assert out["psfsize_arcsec"].values[0, 0] == pytest.approx(size if plausible else 1.3 * 1.0596, rel=1e-2)
    told = [
        m
        for m in out.attrs["messages"]
        if m.startswith("PSF size in g cannot be: ") and "arcsec, the brick's median 1.4" in m
    ]
    assert len(told) == (not plausible)


def test_a_whole_map_of_sizes_that_cannot_be_is_not_its_own_measure(tmp_path):
    def absurd(products):
        products["psfsize", "r"][:] = 40.0

    write_brick(tmp_path, edit=absurd)
    out = cut(tmp_path, targets([150], [150]))
    assert int(out["band_reasons"][0, 1]) & Reason.IMPLAUSIBLE_PSF
    assert not out["covered"][0, 1]
    assert int(out["status"][0]) == Status.PARTIAL
