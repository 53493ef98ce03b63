"""Rows depend on (seed, host id, replicate) alone, whatever the design, the order, the blocks or the other hosts."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from lensflow import rng
from lensflow.manifest import build
from lensflow.manifest.build import build_manifest
from lensflow.manifest.draws import Draws
from tests.factories import make_config, make_cutouts

CUTOUTS = make_cutouts(12).drop_vars(["image", "invvar", "maskbits"])
PLANS = {
    "random": {"injections_per_host": 3},
    "low_discrepancy": {"design": "low_discrepancy", "injections_per_host": 5},
    "grid": {"design": "grid", "theta_e_arcsec": [0.6, 1.2], "dmag": 1, "src_reff_arcsec": 0.1, "replicates": 2},
    "images": {
        "injections_per_host": 3,
        "src_min_images": 4,
        "lens_e": [0.3],
        "theta_e_arcsec": {"min": 0.5, "max": 2},
    },
    "disjoint": {"controls": "disjoint", "injections_per_host": 2, "controls_per_host": 3},
}


@cache
def whole_of(plan):
    return build_manifest(CUTOUTS, make_config(plan=PLANS[plan]))


@pytest.mark.parametrize("plan", PLANS)
@given(order=st.permutations(range(12)), n=st.integers(1, 12), block=st.integers(1, 60))
@settings(max_examples=8, deadline=None)
def test_rows_stay_the_same_for_any_order_subset_and_blocks(plan, order, n, block):
    config, whole = make_config(plan=PLANS[plan]), whole_of(plan)
    subset = CUTOUTS.isel(host=order[:n])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "BLOCK_ROWS", block)
        some = build_manifest(subset, config)
    where = {int(r): i for i, r in enumerate(whole["row_id"].values)}
    rows = [where[int(r)] for r in some["row_id"].values]
    of_chosen = np.isin(whole["host_index"].values, order[:n])
    assert len(rows) == of_chosen.sum()
    for name in set(some.data_vars) - {"host_index"}:
        assert np.array_equal(some[name].values, whole[name].values[rows], equal_nan=some[name].dtype.kind == "f"), name
    hosts = CUTOUTS["host_id"].values[whole["host_index"].values[rows]]
    assert (subset["host_id"].values[some["host_index"].values] == hosts).all()


def test_more_injections_a_host_leave_the_first_ones_as_they_are():
    for design in ("random", "low_discrepancy"):
        few, many = (
            build_manifest(CUTOUTS, make_config(plan={"design": design, "injections_per_host": n})) for n in (3, 20)
        )
        known = np.isin(many["row_id"].values, few["row_id"].values)
        assert known.sum() == few.sizes["sample"]
        assert np.array_equal(many["theta_e_arcsec"].values[known], few["theta_e_arcsec"].values)


def draws_of(plan, n_hosts, per_host):
    config = make_config(plan={"injections_per_host": per_host, **plan})
    host_key = np.repeat(rng.hash_ids([f"h{i}" for i in range(n_hosts)]), per_host)
    replicate = np.tile(np.arange(per_host), n_hosts)
    row_id = rng.mix_ids(host_key, 2 * replicate.astype(np.uint64))
    return Draws(config.plan, 5, ("r",), row_id, host_key, replicate, {}, {})


def test_low_discrepancy_rows_of_a_host_are_more_even_than_random_ones():
    spread = {}
    for design in ("random", "low_discrepancy"):
        u = draws_of({"design": design}, 20, 32).uniform("grid", 5).reshape(20, 32, 5)
        spread[design] = [qmc.discrepancy(one) for one in u]
    assert np.median(spread["low_discrepancy"]) < 0.6 * np.median(spread["random"])
    assert max(spread["low_discrepancy"]) < min(spread["random"])


def test_every_low_discrepancy_number_is_uniform_and_hosts_are_independent():
    u = draws_of({"design": "low_discrepancy"}, 4000, 2).uniform("grid", 5).reshape(4000, 2, 5)
    assert u.min() > 0 and u.max() < 1
    for k in range(5):
        for j in range(2):
            share = np.histogram(u[:, j, k], 10, (0, 1))[0] / 4000
            assert abs(share - 0.1).max() < 0.025
    assert abs(np.corrcoef(u[:-1, 0, 0], u[1:, 0, 0])[0, 1]) < 0.06


def test_further_attempts_and_other_purposes_are_independent_numbers():
    draws = draws_of({"design": "low_discrepancy"}, 300, 4)
    first, second = draws.uniform("src_offset", 2), draws.uniform("src_offset", 2, attempt=1)
    other = draws.uniform("src_phi", 2)
    assert all(abs(np.corrcoef(first[:, 0], v[:, 0])[0, 1]) < 0.1 for v in (second, other))
