"""Rows of a page: the sealed split is in nothing, values are those of the stores, what is missing is said."""

import numpy as np
import pytest

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.store import sealing
from lensflow.view.rows import open_rows

TEST = schema.SPLITS.index("test")


def test_no_row_of_the_test_split_is_there_and_none_is_lost_without_a_count(config, rows, opened):
    np.testing.assert_array_equal(rows.number, opened["sample"].values)
    np.testing.assert_array_equal(rows.row_id, opened["row_id"].values)
    assert TEST not in rows.split and rows.n_sealed > 0
    assert len(rows) + rows.n_sealed + rows.n_unfinished == rows.n_every
    assert sealing.read_test_accesses(config.out + "/pairs.zarr") == []


def test_unsealing_shows_the_test_split_and_is_logged_with_its_reason(copy):
    rows = open_rows(copy, "the last look").rows
    logged = sealing.read_test_accesses(copy.out + "/pairs.zarr")
    assert [(e["why"], e["rows"]) for e in logged] == [("the last look", int((rows.split == TEST).sum()))]
    assert rows.n_sealed == 0 and len(rows) == rows.n_every


def test_every_column_has_the_values_of_the_pairs_and_of_their_hosts(rows, opened):
    for name in ("magnification", "arc_snr", "theta_e_arcsec", "is_clean", "lens_q", "replicate"):
        np.testing.assert_array_equal(rows.values(name), opened[name].values, err_msg=name)
    snr = opened["snr_matched"].values
    np.testing.assert_array_equal(rows.values("snr_matched_r"), snr[:, rows.bands.index("r")])
    lit = np.isfinite(snr).any(axis=1)
    np.testing.assert_allclose(rows.values("snr_matched")[lit], np.sqrt(np.nansum(snr[lit] ** 2, axis=1)))
    np.testing.assert_array_equal(rows.host_id, opened["host_id"].values)
    flux, dust = (opened[n].sel(band="r").values for n in ("src_flux_nmgy", "mw_transmission"))
    lit = ~rows.is_control
    np.testing.assert_allclose(rows.values("src_mag_r")[lit], 22.5 - 2.5 * np.log10(flux[lit] / dust[lit]))


def test_controls_have_neither_radius_nor_snr(rows):
    assert rows.is_control.any()
    for name in ("theta_e_arcsec", "snr_matched", "snr_peak", "src_mag_r"):
        assert np.isnan(rows.values(name)[rows.is_control]).all(), name


def test_every_offered_column_can_be_read_and_has_a_meaning(rows):
    found = rows.read([*rows.plotted, *rows.flags])
    assert {len(v) for v in found.values()} == {len(rows)}
    assert all(c.meaning for c in rows.columns.values())
    assert rows.plotted[0] == "theta_e_arcsec" and rows.flags[0] == "is_clean"


def test_an_unknown_column_names_the_nearest(rows):
    with pytest.raises(StoreError, match="magnification"):
        rows.values("magnificaton")


def test_places_are_found_by_row_id_and_sealed_rows_are_not(config, rows):
    every = open_rows(config).rows  # a second look finds the same
    some = [7, 3, 11]
    hidden = np.setdiff1d(_all_ids(config), rows.row_id)[:2]
    wanted = [int(rows.row_id[k]) for k in some] + [int(i) for i in hidden] + [2**64 - 1]
    assert every.places_of(wanted).tolist() == some
    assert rows.places_of([]).tolist() == []


def _all_ids(config):
    from lensflow.store.open import read_row_ids

    return read_row_ids(config.out + "/manifest.zarr")


def test_regions_that_are_not_injected_yet_are_left_out_and_said(copy, rows):
    from pathlib import Path

    receipts = sorted(Path(copy.out, "receipts/pairs").glob("region-*.json"))
    receipts[0].unlink()
    found = open_rows(copy)
    assert not found.is_final and "not injected yet" in found.messages[0] and "lensflow inject" in found.messages[0]
    assert 0 < len(found.rows) < len(rows)
    assert np.isfinite(found.rows.values("magnification")[~found.rows.is_control]).all()
    assert len(found.rows) + found.rows.n_sealed + found.rows.n_unfinished == found.rows.n_every


@pytest.mark.parametrize(("gone", "step"), [("pairs", "inject"), ("manifest", "plan")])
def test_a_run_that_has_not_come_far_says_what_to_do(copy, gone, step):
    import shutil

    shutil.rmtree(f"{copy.out}/{gone}.zarr")
    found = open_rows(copy)
    assert found.rows is None and f"lensflow {step}" in found.messages[0]


def test_damaged_keys_are_a_message_not_an_exception(copy):
    from pathlib import Path

    victim = next(p for p in sorted(Path(copy.out, "manifest.zarr/row_id/c").rglob("*")) if p.is_file())
    victim.write_bytes(b"nothing")
    found = open_rows(copy)
    assert found.rows is None and "manifest.zarr" in found.messages[0]
