"""Hosts chosen by their looks are told from control hosts without any arc; hosts chosen at random are not."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit
from scipy.stats import norm, rankdata

from lensflow.config import GateConfig, RunConfig
from lensflow.config.checks import HOST_GATES
from lensflow.measure.gate import Verdict
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.metadata.hosts import host_rows
from lensflow.measure.metadata.metadata_gate import metadata_gate

BANDS = ("g", "r", "z")
CONFIG = GateConfig(recipes=("host_all",), bootstrap=50)


def hosts(n, seed, prefer="", strength=0.0, size=48):
    """Elongated galaxies on noise, each with one row: an injection or a control, chosen as the attack did."""
    draw = np.random.default_rng(seed)
    e, phi = draw.uniform(0, 0.4, n), np.pi * draw.random(n)
    looks = {"e1": e * np.cos(2 * phi), "ellipticity": e, "size": draw.normal(size=n), "": draw.normal(size=n)}
    score = norm.ppf((rankdata(looks[prefer]) - 0.5) / n)
    control = draw.random(n) > expit(strength * score)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    u = x * np.cos(phi)[:, None, None] + y * np.sin(phi)[:, None, None]
    v = -x * np.sin(phi)[:, None, None] + y * np.cos(phi)[:, None, None]
    width = 3.0 * np.exp(0.25 * looks["size"])[:, None, None]
    q = (1 - e)[:, None, None]
    light = np.exp(-0.5 * (u**2 * q + v**2 / q) / width**2) * np.exp(draw.normal(1.5, 0.4, n))[:, None, None]
    ctrl = light[:, None] * np.array([0.5, 1.0, 1.6])[:, None, None] + 0.1 * draw.normal(size=(n, 3, size, size))
    return xr.Dataset(
        {
            "host_index": ("sample", np.arange(n)),
            "is_control": ("sample", control),
            "split": ("sample", draw.choice(3, n, p=(0.7, 0.15, 0.15))),
            "psf_fwhm_arcsec": (("sample", "band"), np.full((n, 3), 1.3)),
            "ctrl": (("sample", "band", "y", "x"), ctrl.astype(np.float32)),
        },
        coords={"band": list(BANDS)},
    )


def gate(pairs, name="host_all", seed=1):
    return metadata_gate(host_rows(pairs), Recipe.of(name, BANDS), CONFIG, BANDS, seed)


def test_hosts_chosen_at_random_do_not_fail():
    found = gate(hosts(80, 0))
    assert found.verdict not in (Verdict.FAIL, Verdict.ERROR), found
    assert found.controls["null"]["holds_half"] and found.controls["positive"]["found"]


@pytest.mark.parametrize("prefer", ["e1", "size"])
def test_hosts_chosen_by_their_looks_fail_without_any_arc(prefer):
    found = gate(hosts(120, 1, prefer, 6.0))
    assert found.verdict is Verdict.FAIL, found
    assert found.auc > 0.8


def test_rows_of_a_host_and_class_are_one_row():
    pairs = hosts(30, 2)
    twice = xr.concat([pairs, pairs], "sample")
    rows = host_rows(twice).rows
    assert rows.sizes["sample"] == rows["count"].sum() == 30
    np.testing.assert_array_equal(rows["value"], host_rows(pairs).rows["value"])


def test_a_band_without_data_is_missing():
    pairs = hosts(12, 2)
    pairs["psf_fwhm_arcsec"][3, 0] = np.nan
    rows = host_rows(pairs).rows
    values, bands = rows["value"].values, rows["of_band"].values
    assert np.isnan(values[3, bands == "g"]).all() and np.isfinite(values[3, bands == "r"]).all()
    assert np.isfinite(values[3, bands == ""]).all()


def test_they_must_pass_where_controls_have_hosts_of_their_own_and_are_absent_elsewhere():
    base = {"out": "-", "survey": {"root": "-", "targets": "-"}}
    disjoint = RunConfig.model_validate({**base, "plan": {"controls": "disjoint"}})
    assert set(HOST_GATES) <= set(disjoint.must_pass)
    assert RunConfig.model_validate(disjoint.effective()) == disjoint
    assert not set(HOST_GATES) & set(RunConfig.model_validate(base).gate.every)
    named = RunConfig.model_validate({**base, "plan": {"controls": "disjoint"}, "gate": {"advisory": list(HOST_GATES)}})
    assert not set(HOST_GATES) & set(named.must_pass)


@pytest.mark.slow
@pytest.mark.parametrize(("prefer", "name"), [("e1", "host_all+trees"), ("ellipticity", "host_all+trees")])
def test_trees_find_what_the_attack_found(prefer, name):
    assert gate(hosts(400, 1, prefer, 6.0), name).verdict is Verdict.FAIL


@pytest.mark.slow
@pytest.mark.parametrize("name", HOST_GATES)
def test_sound_choices_hold_one_half(name):
    """Of 60 sound choices at 95 %, 51 or more hold 0.5 in 99.9 % of trials."""
    found = [gate(hosts(120, seed, size=40), name, seed) for seed in range(60)]
    assert not any(g.verdict in (Verdict.FAIL, Verdict.ERROR) for g in found)
    assert sum(g.auc_low <= 0.5 <= g.auc_high for g in found) >= 51
