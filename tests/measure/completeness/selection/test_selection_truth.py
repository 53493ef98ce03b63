"""A selection whose truth is known: tables and other populations come out right, and the wrong prior does not."""

import numpy as np
import pytest
import xarray as xr

from lensflow import rng
from lensflow.measure.completeness import bins
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.cells import Cells
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.population.reweighting import by_cell, by_row
from lensflow.measure.completeness.selection.smooth import smooth_in, smooth_of
from lensflow.measure.completeness.table import table

N = 200_000
AXES = (Ranges("theta_e_arcsec", tuple(np.linspace(0.5, 2.5, 9))), Ranges("src_mag_r", tuple(np.linspace(22, 26, 9))))


def chance(theta, mag):
    return 1 / (1 + np.exp(-(4 * (theta - 1.2) - 1.5 * (mag - 24))))


@pytest.fixture(scope="module")
def rows():
    ids = np.arange(N, dtype=np.uint64)
    u = rng.uniform(7, ids, "selection.truth", 3)
    theta, mag = 0.5 + 2 * u[:, 0], 22 + 4 * u[:, 1]
    return theta, mag, u[:, 2] < chance(theta, mag), np.arange(N) // 8


def expected(weight, shift=0.0):
    """Mean chance over each cell, and over all, by a fine grid."""
    t, m = (a + (b - a) * (np.arange(400) + 0.5) / 400 for a, b in ((0.5, 2.5), (22, 26)))
    w = weight(t[:, None], m[None]) * np.ones((400, 400))
    top, bottom = ((w * c).reshape(8, 50, 8, 50).sum(axis=(1, 3)) for c in (chance(t[:, None] + shift, m[None]), 1.0))
    return top / bottom, top.sum() / bottom.sum(), bottom / bottom.sum()


def flat(theta, mag):
    return np.ones(np.broadcast_shapes(np.shape(theta), np.shape(mag)))


def steep(theta, mag):
    return np.exp(-theta / 0.5) * 10 ** (0.3 * (mag - 24))


def test_cells_are_within_3_sigma_of_the_truth_and_counts_of_any_blocks_are_the_same(rows):
    theta, mag, d, host = rows
    place, shape = bins.places(AXES, {"theta_e_arcsec": theta, "src_mag_r": mag})
    everything = np.ones(N, bool)

    def cells(pick, **how):
        here = everything[pick]
        return Cells.from_rows(host[pick], place[pick], shape, rendered=here, valid=here, recovered=d[pick], **how)

    whole = cells(slice(None))
    parts = [cells(slice(a, a + 9_973), sorted_by_host=True) for a in range(0, N, 9_973)]
    np.testing.assert_array_equal(Cells.concat(parts[::-1]).dense(), whole.dense())
    found = table(whole, ("theta_e_arcsec", "src_mag_r"), coords=bins.coords(AXES))
    inside = found.isel(threshold=0, **{b.variable: b.is_inside for b in AXES})
    assert inside["n_valid"].sum() == N and inside["tested"].all()
    truth = expected(flat)[0]
    sigma = np.sqrt(truth * (1 - truth) / inside["n_valid"].values)
    assert (abs(inside["completeness"].values - truth) < 3 * sigma).mean() >= 0.95
    covered = (inside["completeness_low"] <= truth) & (truth <= inside["completeness_high"])
    assert covered.mean() >= 0.9
    # A truth that is off by a twentieth of an arcsec is not within reach: the test could notice.
    wrong = expected(flat, 0.05)[0]
    assert (abs(inside["completeness"].values - wrong) < 3 * sigma).mean() < 0.95


def test_other_populations_come_out_right_and_only_with_their_weights(rows):
    theta, mag, d, host = rows
    _, truth, shares = expected(steep)
    by_rows = by_row(steep(theta, mag), d, host).completeness
    assert abs(by_rows.value - truth) < 3 * by_rows.sd
    place, shape = bins.places(AXES, {"theta_e_arcsec": theta, "src_mag_r": mag})
    share = np.zeros(shape)
    share[1:9, 1:9] = shares
    by_cells = by_cell(share.ravel(), place, d, host).completeness
    assert abs(by_cells.value - truth) < 3 * by_cells.sd + 0.02  # coarser: the prior within a cell stays flat
    plain = by_row(np.ones(N), d, host).completeness
    assert abs(plain.value - truth) > 30 * plain.sd
    assert abs(plain.value - expected(flat)[1]) < 3 * plain.sd


@pytest.mark.slow
def test_the_smooth_model_is_within_3_sigma_of_the_truth(rows):
    theta, mag, d, host = rows
    ok = np.ones(N, bool)
    counted = Counted(
        np.arange(N, dtype=np.uint64), host, d.astype(float), np.full(N, 5), np.stack([ok] * 3), ~ok, np.arange(N)
    )
    flux = 10 ** (0.4 * (22.5 - mag))[:, None]
    table_of = xr.Dataset(
        {"theta_e_arcsec": ("sample", theta), "src_flux_nmgy": (("sample", "band"), flux),
         "mw_transmission": (("sample", "band"), np.ones((N, 1)))}, {"band": ["r"]},
    )  # fmt: skip
    place, shape = bins.places(AXES, {"theta_e_arcsec": theta, "src_mag_r": mag})
    selection = table(
        counted.cells(place, shape, [0.5], sorted_by_host=True), ("curve", "theta_e_arcsec", "src_mag_r"),
        coords={"curve": ["all", "clean", "no_psf_fallback"]},
    )  # fmt: skip
    made = smooth_of(counted, table_of, AXES, selection, [0.5], 1)
    model = smooth_in(made, ["theta_e_arcsec", "src_mag_r"], 0, "all")
    t, m = (g.ravel() for g in np.meshgrid(np.linspace(0.6, 2.4, 8), np.linspace(22.2, 25.8, 8), indexing="ij"))
    value, low, high = model.values([t, m])
    sigma = (high - low) / 3.92
    assert (np.abs(value - chance(t, m)) < 3 * sigma).mean() >= 0.95
    assert (np.abs(value - chance(t + 0.05, m)) < 3 * sigma).mean() < 0.95
