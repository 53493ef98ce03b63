from itertools import pairwise

import numpy as np
import pytest

from lensflow import geometry
from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Block, Settings, Stratified
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig()
PAIRS = pairs_block(n_hosts=10, per_host=6)
RESULT = Stratified.from_block(Block(PAIRS, CONFIG)).result(Settings(CONFIG, 1))


def plain_loop(low, high, band):
    """Core, ctrl core, total and arc sums of the rows of a stratum, one by one."""
    out = []
    for i in range(PAIRS.sizes["sample"]):
        row = PAIRS.isel(sample=i, band=band)
        theta = float(row["theta_e_arcsec"])
        if bool(row["is_control"]) or np.isnan(row["psf_fwhm_arcsec"]) or not low <= theta < high:
            continue
        core = geometry.disc(48, float(row["x_center"]), float(row["y_center"]))
        difference = row["stamp"].values.astype(float) - row["ctrl"].values.astype(float)
        arc = row["arc"].values.astype(float)
        host = row["ctrl"].values.astype(float)[core].sum()
        out.append((difference[core].sum(), host, difference.sum(), arc[core].sum(), arc.sum(), int(row["host_index"])))
    return np.array(out).reshape(-1, 6)


@pytest.mark.parametrize("band", [0, 1, 2])
def test_numbers_equal_a_plain_loop(band):
    edges = CONFIG.theta_e_edges
    ranges = [(-np.inf, np.inf), *pairwise(edges)]
    for s, (low, high) in enumerate(ranges):
        here = RESULT.isel(stratum=s, band=band)
        rows = plain_loop(low, high, band)
        assert int(here["n_rows"]) == len(rows) > 0
        assert int(here["n_hosts"]) == len(set(rows[:, 5]))
        core, host, total, arc_core, arc_total, _ = rows.T
        assert float(here["core_diff_pct_pooled"]) == pytest.approx(100 * core.sum() / host.sum(), rel=1e-10)
        assert float(here["core_diff_pct_row_mean"]) == pytest.approx(np.mean(100 * core / host), rel=1e-10)
        assert float(here["leakage_pct_pooled"]) == pytest.approx(100 * core.sum() / total.sum(), rel=1e-10)
        assert float(here["leakage_pct_row_mean"]) == pytest.approx(np.mean(100 * core / total), rel=1e-10)
        assert float(here["leakage_pct_expected"]) == pytest.approx(100 * arc_core.sum() / arc_total.sum(), rel=1e-9)


def test_the_pooled_value_lies_in_its_interval():
    for name in ("core_diff_pct_pooled", "leakage_pct_pooled"):
        assert (RESULT[f"{name}_low"] <= RESULT[name]).all()
        assert (RESULT[name] <= RESULT[f"{name}_high"]).all()


def test_rows_outside_all_strata_count_in_all_only():
    config = DiagnosticsConfig(theta_e_edges=(0.5, 1.0, 1.5))
    out = Stratified.from_block(Block(PAIRS, config)).result(Settings(config, 1))
    assert int(out["n_rows"][0, 1]) == int(RESULT["n_rows"][0, 1])
    assert int(out["n_rows"][1:, 1].sum()) < int(out["n_rows"][0, 1])


def test_rows_whose_host_is_not_positive_are_not_in_the_row_mean():
    pairs = PAIRS.copy(deep=True)
    row = int(np.flatnonzero(~PAIRS["is_control"].values)[1])
    for name in ("ctrl", "stamp"):
        pairs[name][row, 1] -= 5.0
    out = Stratified.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))
    assert int(out["core_diff_pct_row_mean_n"][0, 1]) == int(out["n_rows"][0, 1]) - 1


def test_rows_with_a_brighter_core_are_counted():
    for b in range(3):
        core = plain_loop(-np.inf, np.inf, b)[:, 0]
        here = RESULT.isel(stratum=0, band=b)
        assert float(here["brighter_pct"]) == pytest.approx(100 * (core > 0).mean())
        assert float(here["brighter_pct_low"]) <= float(here["brighter_pct"]) <= float(here["brighter_pct_high"])
    darker = PAIRS.assign(stamp=(PAIRS["stamp"].dims, 2 * PAIRS["ctrl"].values - PAIRS["stamp"].values))
    assert float(Stratified.from_block(Block(darker, CONFIG)).result(Settings(CONFIG, 1))["brighter_pct"][0, 1]) < 50
