"""Marks of one class that no distribution shows: bits of numbers, pixels of absent bands, contradicting flags."""

import numpy as np
import pytest

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Balance, Block, Settings, Status, findings
from lensflow.measure.pixels.marks import Marks, number_format
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig(bootstrap=50)


@pytest.fixture(scope="module")
def pairs():
    """Twenty hosts of both classes; every second host has no g, in either class."""
    out = pairs_block(n_hosts=20, size=44, absent_band_every=0)
    gone = (out["host_index"].values % 2 == 0)[:, None] & (np.arange(3) == 0)
    out["psf_fwhm_arcsec"] = out["psf_fwhm_arcsec"].where(~gone)
    for name in ("stamp", "ctrl", "arc"):
        out[name].values[gone] = 0
    return out


def alarms(pairs):
    found = findings({"balance": Balance.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))})
    return {f.check: f for f in found if f.status is Status.ALARM}


def of_controls(pairs, name, change):
    own = pairs["is_control"].values
    values = pairs[name].values.copy()
    values[own] = change(values[own])
    return pairs.assign({name: (pairs[name].dims, values)})


def test_the_same_bits_in_both_classes_are_no_alarm(pairs):
    assert alarms(pairs) == {}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("psf_fwhm_arcsec", lambda v: v * (1 + 1e-7)),
        ("x_center", lambda v: v.astype(np.float32).astype(np.float64)),
        ("x_center", lambda v: v + 1e-12),
    ],
    ids=["PSF x (1 + 1e-7)", "positions of single precision", "positions by a rounding"],
)
def test_other_bits_of_the_controls_are_found_and_a_host_is_named(pairs, name, change):
    found = alarms(of_controls(pairs, name, change))["metadata of a host is the same bits in both classes"]
    assert found.value == 20 and found.where == f"host {pairs['host_index'].values.min()}"


def test_nan_in_one_class_and_zero_in_the_other_is_found_in_absent_bands(pairs):
    stamp = pairs["stamp"].values.copy()
    gone = np.isnan(pairs["psf_fwhm_arcsec"].values) & ~pairs["is_control"].values[:, None]
    stamp[gone] = np.nan
    found = alarms(pairs.assign(stamp=(pairs["stamp"].dims, stamp)))
    assert found["means of the classes"].where == "all, absent_pixels_g"


def test_single_precision_of_one_class_is_found_where_classes_have_hosts_of_their_own():
    draw = np.random.default_rng(0)
    values = draw.uniform(31, 32, (1000, 1))
    assert np.nanmean(number_format(values)) < 5
    assert number_format(values.astype("f4").astype("f8")).min() >= 29 - 1
    assert np.isnan(number_format(np.array([0.0, np.nan, np.inf]))).all()


def test_a_clean_row_with_a_flag_is_found(pairs):
    flagged = pairs.assign(host_partial=("sample", np.isin(pairs["host_index"], [5, 8]).astype("u1")))
    clean = flagged.assign(is_clean=("sample", (flagged["host_partial"].values == 0).astype("u1")))
    assert alarms(clean) == {}
    always = of_controls(clean, "is_clean", np.ones_like)
    assert alarms(always)["no clean row carries a flag"].value == 2


def test_marks_are_the_same_in_any_blocks(pairs):
    meta = pairs["x_center"].values[:, None]
    whole = Marks.from_rows(pairs, meta)
    order = np.random.default_rng(1).permutation(len(meta))
    total = Marks.none()
    for rows in np.array_split(order, 5):
        total = total + Marks.from_rows(pairs.isel(sample=rows), meta[rows])
    np.testing.assert_array_equal(total.hosts, whole.hosts)
    np.testing.assert_array_equal(total.bits, whole.bits)
