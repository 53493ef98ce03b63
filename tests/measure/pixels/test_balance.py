"""Distances of the two classes equal the textbook's, by split, whatever the blocks."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Balance, Block, Settings, Status, balance, findings
from lensflow.measure.pixels.host_shapes import SHAPES, host_shapes
from lensflow.measure.pixels.marks import absent_pixels, number_format
from lensflow.schema import SPLITS
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig(bootstrap=60)
PAIRS = pairs_block(n_hosts=15, controls_per_host=2, size=44)
CONTROL = PAIRS["is_control"].values


def balanced(pairs):
    return Balance.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))


def merged(blocks):
    parts = [Balance.from_block(Block(b, CONFIG)) for b in blocks]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def column_of(pairs, name):
    """Values of one compared column, written out."""
    if name.endswith(" zero bits"):
        return number_format(column_of(pairs, name.removesuffix(" zero bits")))
    if name.startswith("absent_pixels_"):
        return absent_pixels(pairs)[:, [str(v) for v in pairs["band"].values].index(name[-1])]
    base, _, band = name.rpartition("_")
    if name in pairs:
        return pairs[name].values.astype(float)
    b = [str(v) for v in pairs["band"].values].index(band)
    if base in pairs:
        return pairs[base].values[:, b].astype(float)
    size = pairs.sizes["x"]
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    r = np.hypot(x, y)
    left = pairs["stamp"].values[:, b].astype(float) - pairs["arc"].values[:, b]
    if base.startswith("host_"):
        shapes = host_shapes(pairs["ctrl"].values)[:, b, SHAPES.index(base.removeprefix("host_"))]
        return np.where(np.isfinite(pairs["psf_fwhm_arcsec"].values[:, b]), shapes, np.nan)
    values = {
        "outer_mean": left[:, r >= 20].mean(axis=1),
        "outer_rms": left[:, r >= 20].std(axis=1),
        "ctrl_core": pairs["ctrl"].values[:, b].astype(float)[:, r < 5].mean(axis=1),
    }[base]
    return np.where(np.isfinite(pairs["psf_fwhm_arcsec"].values[:, b]), values, np.nan)


def test_distances_equal_scipys_kolmogorov_smirnov():
    found = balanced(PAIRS)
    assert found.sizes["column"] >= 14
    for name in found["column"].values:
        values = column_of(PAIRS, str(name)).astype(np.float32).astype(float)
        a, b = (v[np.isfinite(v)] for v in (values[~CONTROL], values[CONTROL]))
        if not a.size or not b.size:
            assert np.isnan(found["ks"].sel(column=name))
            continue
        assert float(found["ks"].sel(column=name)) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12), name


def test_differences_equal_the_textbook_for_all_rows_and_each_split():
    found = balanced(PAIRS)
    split = PAIRS["split"].values
    for name in found["column"].values:
        values = column_of(PAIRS, str(name))
        for k, place in enumerate(("all", *SPLITS)):
            rows = np.isfinite(values) & ((split == k - 1) | (place == "all"))
            a, b = values[rows & ~CONTROL], values[rows & CONTROL]
            if not a.size or not b.size:
                continue
            scatter = np.sqrt((a.var() + b.var()) / 2)
            wanted = 0.0 if np.isclose(a.mean(), b.mean(), rtol=1e-6) else (a.mean() - b.mean()) / scatter
            here = found.sel(place=place, column=name)
            assert float(here["difference"]) == pytest.approx(wanted, rel=1e-4, abs=1e-4), (name, place)


def test_missing_values_and_rows_are_counted_by_class_and_split():
    found = balanced(PAIRS)
    gone = ~np.isfinite(PAIRS["psf_fwhm_arcsec"].values[:, 0])
    assert gone.any() and not gone[CONTROL].any()
    for k, place in enumerate(("all", *SPLITS)):
        here = (PAIRS["split"].values == k - 1) | (place == "all")
        for name, rows in (("injection", here & ~CONTROL), ("control", here & CONTROL)):
            of = found.sel(place=place, **{"class": name})
            assert int(of["n_rows"]) == rows.sum()
            for column in ("psf_fwhm_arcsec_g", "outer_mean_g"):
                assert float(of["missing"].sel(column=column)) == pytest.approx(gone[rows].mean())
            assert float(of["missing"].sel(column="x_center")) == 0
        assert int(found["n_hosts"].sel(place=place)) == np.unique(PAIRS["host_index"].values[here]).size


def test_a_difference_put_into_one_split_is_told_there():
    changed = PAIRS.copy(deep=True)
    rows = CONTROL & (PAIRS["split"].values == 1)
    changed["x_center"][rows] += 2
    found = balanced(changed)["difference"].sel(column="x_center")
    assert float(found.sel(place=SPLITS[1])) < -4
    assert abs(float(found.sel(place=SPLITS[0]))) == abs(float(found.sel(place=SPLITS[2]))) == 0


@pytest.mark.parametrize(("n_hosts", "alarm"), [(15, True), (6, False)])
def test_classes_that_are_wholly_apart_are_an_alarm_if_their_hosts_are_many(n_hosts, alarm):
    pairs = PAIRS.isel(sample=np.isin(PAIRS["host_index"].values, np.unique(PAIRS["host_index"].values)[:n_hosts]))
    known = pairs.assign(assumed_psf=("sample", pairs["is_control"].values.astype(np.uint8)))
    found = balanced(known)
    value = float(found["difference"].sel(place="all", column="assumed_psf"))
    assert value == -np.inf if alarm else np.isnan(value)
    means = findings({"balance": found})[0]
    assert (means.status is Status.ALARM and means.where == "all, assumed_psf") == alarm


def test_rows_of_the_same_hosts_are_no_new_evidence():
    changed = PAIRS.copy(deep=True)
    changed["x_center"][CONTROL] += 0.3
    many = xr.concat([changed.assign(row_id=changed["row_id"] + 10_000 * k) for k in range(5)], "sample")
    one, five = (balanced(p).sel(column="x_center") for p in (changed, many))
    assert float(one["ks"]) == pytest.approx(float(five["ks"])) and float(one["ks"]) > 0.1
    assert float(one["ks_p"]) == pytest.approx(float(five["ks_p"]))
    # As if each of the 15 hosts were one row of either class.
    assert float(one["ks_p"]) == pytest.approx(float(stats.kstwobign.sf(float(one["ks"]) * np.sqrt(7.5))), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(parts=st.lists(st.integers(0, 3), min_size=90, max_size=90), order=st.permutations(range(4)))
def test_the_sample_is_the_same_rows_in_any_blocks_and_order(parts, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balance, "SAMPLE", 11)
        whole = Balance.from_block(Block(PAIRS, CONFIG))
        blocks = [PAIRS.isel(sample=np.flatnonzero(np.array(parts) == p)) for p in order]
        found = merged(b for b in blocks if b.sizes["sample"])
    assert (~whole.is_control).sum() == whole.is_control.sum() == 11
    for name in ("keys", "is_control", "sampled", "sampled_host"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), err_msg=name)


@pytest.mark.parametrize("left", ["injections", "controls"])
def test_one_class_alone_has_no_distance_and_is_said_not_to_be_tested(left):
    found = balanced(PAIRS.isel(sample=(left == "controls") == CONTROL))
    assert np.isnan(found["ks"]).all() and np.isnan(found["ks_p"]).all()
    (finding,) = findings({"balance": found})
    assert finding.status is Status.NOT_TESTED and "one of the classes has no rows" in finding.text


@pytest.mark.parametrize(("beyond", "status"), [(1e-13, Status.OK), (1e-6, Status.ALARM)])
def test_a_difference_that_is_the_limit_of_chance_to_rounding_is_no_alarm(beyond, status):
    """Of few hosts the limit can be what this very arrangement gives, summed in another order."""
    found = balanced(PAIRS).copy(deep=True)
    found["difference"][:], found["difference_limit"][:] = 0.0, 0.5
    found["difference"][0, 0] = 0.5 * (1 + beyond)
    means = findings({"balance": found})[0]
    assert means.check == "means of the classes" and means.status is status
