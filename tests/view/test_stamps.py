"""Pictures are of the pixels that everybody opens, the right way up; one damaged chunk spoils its own rows alone."""

from pathlib import Path

import numpy as np

import lensflow as lf
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from lensflow.view.card import card_html
from lensflow.view.rows import open_rows
from lensflow.view.stamps import KINDS, Stamps, as_rgba, picture
from tests.factories import make_config, make_cutouts
from tests.view.conftest import HOSTILE

SMALL_STORE = {"samples_per_region": 16, "hosts_per_region": 8, "inner_chunk": 4}


def test_pixels_of_any_rows_are_those_of_the_pairs(rows, opened):
    wanted = [5, 0, len(rows) - 1]
    for place, stamp in zip(wanted, Stamps(rows).read(wanted), strict=True):
        row = opened.isel(sample=place)
        assert not stamp.problem
        np.testing.assert_array_equal(stamp.image("host"), row["ctrl"].values)
        np.testing.assert_array_equal(stamp.image("stamp"), row["stamp"].values)
        np.testing.assert_array_equal(stamp.image("residual"), (row["stamp"] - row["ctrl"]).values)
        np.testing.assert_array_equal(stamp.image("arc"), row["arc"].values)


def test_a_picture_is_the_reports_with_y_upwards(rows):
    from lensflow.show.composite import composite

    stamps, scale = Stamps(rows).read([0, 1, 2]), rows.pixel_scale_arcsec
    side = stamps[0].image("stamp").shape[-1]
    for kind in KINDS:
        share = 0.25 if kind in ("arc", "residual") else 1.0
        drawn = picture(stamps[0], kind, rows.bands, scale, 1.0, side).view(np.uint8).reshape(side, side, 4)
        expected = composite(stamps[0].image(kind) / share, rows.bands, stamps[0].absent, scale)
        np.testing.assert_array_equal(drawn[:, :, :3], expected)
        assert (drawn[..., 3] == 255).all()
    spot = np.zeros((8, 8, 3), np.uint8)
    spot[0, 7] = 255, 0, 0  # on top, right, red
    assert as_rgba(spot, 8).view(np.uint8).reshape(8, 8, 4)[7, 7].tolist() == [255, 0, 0, 255]


def test_only_the_images_that_a_picture_needs_are_read_and_none_is_lost_by_that(rows, monkeypatch):
    from lensflow.view import stamps as reader

    read, asked = reader.read_pixels, []

    def noted(url, store, where, names):
        asked.extend(names)
        return read(url, store, where, names)

    monkeypatch.setattr(reader, "read_pixels", noted)
    some = Stamps(rows)
    (first,) = some.read([3], ["stamp"])
    assert {*first.pixels} == {"stamp"} and asked == ["stamp"]
    (again,) = some.read([3], ["residual", "arc"])
    assert {*again.pixels} == {"stamp", "ctrl", "arc"} and asked == ["stamp", "arc"]
    some.read([3], KINDS)
    assert asked == ["stamp", "arc"]
    (whole,) = Stamps(rows).read([3])
    for kind in KINDS:
        np.testing.assert_array_equal(again.image(kind), whole.image(kind))


def test_a_band_without_exposure_is_absent_and_one_that_is_all_zero_is_not(tmp_path):
    config = make_config(str(tmp_path / "run"), plan={"injections_per_host": 1, "include_partial": True})
    cutouts = make_cutouts(3, absent=((1, 2),))
    cutouts["split"].values[:] = 0
    cutouts["image"].values[0, 2] = 0.0  # exposed, and dark
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    rows = open_rows(config).rows
    absent = {int(h): s.absent for h, s in zip(rows.host_index, Stamps(rows).read(range(len(rows))), strict=True)}
    assert absent == {0: (), 1: ("z",), 2: ()}


def test_a_run_that_stores_no_pixels_has_the_pictures_of_one_that_does(tmp_path):
    cutouts, drawn = make_cutouts(2), []
    cutouts["split"].values[:] = 0
    for pixels in ("full", "virtual"):
        store = {**SMALL_STORE, "pixels": pixels}
        config = make_config(str(tmp_path / pixels), plan={"injections_per_host": 1}, store=store)
        lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
        paths.write_text(RunFolder.of(config).config, config.to_yaml())
        rows = open_rows(config).rows
        drawn.append(Stamps(rows).read(range(len(rows))))
    for full, rendered in zip(*drawn, strict=True):
        assert not rendered.problem
        for kind in KINDS:
            np.testing.assert_array_equal(rendered.image(kind), full.image(kind), err_msg=kind)


def test_less_light_is_shown_with_a_larger_stretch(rows):
    stamps = Stamps(rows).read([0])
    faint, bright = (picture(stamps[0], "stamp", rows.bands, 0.262, s, 64).view(np.uint8).mean() for s in (3.0, 0.3))
    assert faint < bright


def test_a_damaged_chunk_spoils_its_own_rows_alone(copy):
    victim = sorted(p for p in Path(copy.out, "pairs.zarr/stamp/c").rglob("*") if p.is_file())[0]
    data = bytearray(victim.read_bytes())
    data[40] ^= 0xFF
    victim.write_bytes(data)
    rows = open_rows(copy).rows
    found = Stamps(rows).read([*range(len(rows))])
    broken = [s for s in found if s.problem]
    assert 0 < len(broken) < len(found) and "stamp" in broken[0].problem
    crossed = picture(broken[0], "stamp", rows.bands, 1.0, 1.0, 32)
    assert crossed.shape == (32, 32) and len(np.unique(crossed)) > 1


def test_a_card_has_every_truth_value_and_names_stay_text(hostile):
    rows = open_rows(hostile).rows
    html = card_html(rows, 0, real=True)
    for name in ("theta_e_arcsec", "lens_q", "src_x_arcsec", "magnification", "snr_matched", "flags that are set"):
        assert f">{name}<" in html
    assert "<script" not in html and "&lt;script&gt;" in html and HOSTILE not in html
    assert 'href="https://www.legacysurvey.org/viewer?ra=' in html
    assert "legacysurvey" not in card_html(rows, 0, real=False)
