"""Rows are counted once, controls never; what is lost is told with its reason."""

import itertools
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness import counts
from lensflow.measure.completeness.cells import Cells
from lensflow.measure.completeness.counts import CURVES, REASONS, Counted, match_scores

TAUS = (0.5, 0.8)


def block(n=200, seed=0):
    rng = np.random.default_rng(seed)
    flux = np.where(rng.random((n, 2)) < 0.3, 0.0, rng.random((n, 2)))
    score = np.where(rng.random(n) < 0.05, np.nan, rng.random(n))
    return xr.Dataset(
        {
            "row_id": ("sample", np.arange(n).astype(np.uint64) + 1000),
            "host_index": ("sample", np.sort(rng.integers(0, 30, n))),
            "is_control": ("sample", rng.random(n) < 0.2),
            "total_injected_flux_nmgy": (("sample", "band"), flux),
            "render_not_converged": ("sample", (rng.random(n) < 0.1).astype(np.uint8)),
            "is_clean": ("sample", (rng.random(n) < 0.6).astype(np.uint8)),
            "psf_source": (("sample", "band"), rng.choice([0, 2, 4], (n, 2), p=[0.8, 0.1, 0.1])),
            "psf_fwhm_arcsec": (("sample", "band"), np.where(rng.random((n, 2)) < 0.2, np.nan, 1.2)),
            "assumed_psf": ("sample", (rng.random(n) < 0.1).astype(np.uint8)),
            "low_stamp_flux": ("sample", (rng.random(n) < 0.5).astype(np.uint8)),
            "score": ("sample", score),
            "in_pairs": ("sample", rng.random(n) < 0.95),
            "has_score": ("sample", rng.random(n) < 0.95),
        }
    )


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 200), max_size=4))
def test_counts_add_up_over_any_partition_and_to_the_planned_rows(seed, cuts):
    rows = block(seed=seed)
    whole = Counted.from_rows(rows)
    edges = sorted({0, 200, *cuts})
    parts = [Counted.from_rows(rows.isel(sample=slice(a, b))) for a, b in itertools.pairwise(edges)]
    total = parts[0].funnel(TAUS)
    for part in parts[1:]:
        total = part.funnel(TAUS) + total
    assert total.result().identical(whole.funnel(TAUS).result())
    found = total.result()
    assert found["n_planned"] == (~rows["is_control"]).sum() == found["n_valid"] + found["n_lost"].sum()
    assert found["n_planned"] >= found["n_rendered"] >= found["n_valid"] >= found["n_recovered"].max()


def test_every_step_is_the_definition_of_the_row():
    rows = block()
    found = Counted.from_rows(rows)
    by_row = dict(zip(found.row_id.tolist(), found.lost.tolist(), strict=True))
    for i in range(200):
        row = rows.isel(sample=i)
        key = int(row["row_id"])
        if row["is_control"]:
            assert key not in by_row
            continue
        flux = (row["total_injected_flux_nmgy"] > 0).any()
        reason = (
            "not_in_pairs" if not row["in_pairs"]
            else "no_flux" if not flux
            else "score_missing" if not row["has_score"]
            else "score_not_finite" if not np.isfinite(row["score"])
            else "render_not_converged" if row["render_not_converged"]
            else "valid"
        )  # fmt: skip
        assert (*REASONS, "valid")[by_row[key]] == reason
    valid = found.valid
    np.testing.assert_array_equal(found.recovered(TAUS)[1], valid & (np.nan_to_num(found.score, nan=-1) >= 0.8))


def test_a_score_at_the_threshold_is_recovered():
    rows = block()
    rows["score"][:] = 0.5
    found = Counted.from_rows(rows)
    assert found.recovered([0.5]).sum() == found.valid.sum() > 0
    assert found.recovered([np.nextafter(0.5, 1)]).sum() == 0
    with pytest.raises(ConfigError, match="finite scores"):
        found.recovered([0.5, np.nan])


def test_the_three_curves_hold_the_rows_of_their_definition():
    rows = block()
    found = Counted.from_rows(rows)
    kept = rows.isel(sample=found.rows)
    there = kept["in_pairs"].values
    fallback = ((kept["psf_source"] == 2) & np.isfinite(kept["psf_fwhm_arcsec"])).any("band").values
    np.testing.assert_array_equal(found.curves[0], True)
    np.testing.assert_array_equal(found.curves[1], kept["is_clean"].values.astype(bool) & there)
    np.testing.assert_array_equal(found.curves[2], ~fallback & there)
    cells = found.cells(np.zeros(len(found.host), int), (1,), TAUS, sorted_by_host=True).dense()[:, :, 0]
    np.testing.assert_array_equal(cells[0], found.curves.sum(axis=1))
    np.testing.assert_array_equal(cells[2], (found.curves & found.valid).sum(axis=1))
    np.testing.assert_array_equal(cells[5], (found.curves & found.recovered(TAUS)[0]).sum(axis=1))
    assert CURVES == ("all", "clean", "no_psf_fallback")


def many(n):
    rng = np.random.default_rng(0)
    lost = np.where(rng.random(n) < 0.1, 3, len(REASONS))
    curves = np.stack([np.ones(n, bool), rng.random(n) < 0.7, rng.random(n) < 0.4])
    host = np.arange(n) // 8
    return Counted(np.arange(n, dtype=np.uint64), host, rng.normal(size=n), lost, curves, np.zeros(n, bool), host)


@pytest.mark.parametrize("sorted_by_host", [True, False])
def test_rows_that_are_counted_in_blocks_give_the_bits_of_one_block(monkeypatch, sorted_by_host):
    rows, place = many(1003), np.random.default_rng(1).integers(0, 30, 1003)
    whole = rows.cells(place, (5, 6), TAUS, sorted_by_host).dense()
    by_curve = [
        Cells.from_rows(rows.host[c], place[c], (5, 6), rendered=rows.rendered[c], valid=rows.valid[c],
                        recovered=rows.recovered(TAUS)[:, c]).dense()
        for c in rows.curves
    ]  # fmt: skip
    np.testing.assert_array_equal(whole, np.stack(by_curve, axis=1))
    monkeypatch.setattr(counts, "_ROWS_AT_ONCE", 60)  # hosts lie across blocks
    np.testing.assert_array_equal(rows.cells(place, (5, 6), TAUS, sorted_by_host).dense(), whole)


def test_counting_takes_the_memory_of_a_block_and_not_of_all_rows():
    rows, place = many(400_000), np.random.default_rng(1).integers(0, 3000, 400_000)
    tracemalloc.start()
    try:
        rows.cells(place, (3000,), TAUS, sorted_by_host=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150 * 400_000  # a sort of all rows at once takes more than 300 bytes a row


def test_bare_stamps_are_never_clean_and_their_curve_is_there_with_no_row():
    rows = block()
    rows["is_clean"][:] = 0
    found = Counted.from_rows(rows).cells(np.zeros(int((~rows["is_control"]).sum()), int), (1,), TAUS, True)
    share = found.proportion()
    assert found.dense()[2, 1, 0] == 0 and np.isnan(share.value[1, 0]) and share.value[0, 0] > 0


def test_flux_off_the_stamp_and_bad_pixels_lose_no_row():
    rows = block()
    before = Counted.from_rows(rows).lost
    rows["low_stamp_flux"][:] = 1
    np.testing.assert_array_equal(Counted.from_rows(rows).lost, before)
    with pytest.raises(CompletenessError, match="rows lack is_clean, score"):
        Counted.from_rows(rows.drop_vars(["is_clean", "score"]))


def test_too_many_scores_that_are_no_numbers_are_an_error_with_the_first_row():
    rows = block()
    rows = rows.assign(score=("sample", np.arange(200.0)), has_score=("sample", np.ones(200, bool)))
    assert Counted.from_rows(rows).funnel(TAUS).problem == ""
    valid = Counted.from_rows(rows)
    bad = valid.rows[valid.rendered][[7, 3, 9]]
    rows["score"][bad] = np.nan
    halves = [Counted.from_rows(rows.isel(sample=part)).funnel(TAUS) for part in (slice(100, 200), slice(0, 100))]
    problem = (halves[0] + halves[1]).problem
    assert problem.startswith("3 of ") and f"scores are not finite, the first of row_id {1000 + bad[1]}" in problem


def test_tables_of_scores_are_matched_or_refused_with_counts_and_rows():
    ids = np.arange(1000, dtype=np.uint64) + 2**63
    order = np.random.default_rng(0).permutation(1000)
    score, has = match_scores(ids, ids[order], order.astype(float))
    np.testing.assert_array_equal(score, np.arange(1000))
    assert has.all()
    score, has = match_scores(ids, ids[10:], np.arange(990.0))
    assert (~has).sum() == 10 and np.isnan(score[~has]).all() and (score[has] == np.arange(990)).all()
    with pytest.raises(CompletenessError, match=f"11 of 1,000 wanted rows are missing.*: {ids[0]}, {ids[1]}, {ids[2]}"):
        match_scores(ids, ids[11:], np.zeros(989))
    with pytest.raises(CompletenessError, match=f"2 row_id occur more than once: {ids[0]}, {ids[4]}"):
        match_scores(ids, np.concatenate([ids, ids[[0, 4]]]), np.zeros(1002))
    with pytest.raises(CompletenessError, match="1 row_id are not of this run: 7"):
        match_scores(ids, np.concatenate([ids, [np.uint64(7)]]), np.zeros(1001))
    match_scores(ids[:500], ids, np.zeros(1000), known_row_id=ids)
