"""Hosts that differ are read as arcs that differ unless they are matched: why everything here is matched."""

import numpy as np
import pytest
import xarray as xr

from lensflow.measure.realism.matching import match
from lensflow.measure.realism.probe import probe
from lensflow.measure.realism.samples import MatchedRows
from tests.measure.realism.drawn import QUICK

N_REAL, N_HOSTS, K = 70, 3000, 4
NAMES = ("arc_gr", "arc_mag", "arc_fill")


def galaxies(draws, n, bluer=0.0):
    """Covariates of hosts, and features of arcs about them: colour and magnitude of an arc follow its host's."""
    colour, mag = draws.normal(1.7 - bluer, 0.15, n), draws.normal(19.0, 0.6, n)
    hosts = xr.Dataset({
        "host_id": ("host", [f"{k:05d}" for k in draws.choice(99_999, n, replace=False)]),
        "g_r": ("host", colour), "mag_z": ("host", mag), "psfsize_r_arcsec": ("host", draws.normal(1.3, 0.1, n)),
    })  # fmt: skip
    arcs = np.stack(
        [draws.normal(0.5 + 2.0 * (colour - 1.7), 0.3), draws.normal(21 + 0.3 * mag, 0.4), draws.normal(0.5, 0.1, n)],
        axis=1,
    )
    return hosts, arcs


@pytest.fixture(scope="module")
def sides():
    draws = np.random.default_rng(3)
    return galaxies(draws, N_REAL, bluer=0.15), galaxies(draws, N_HOSTS)


def rows(real, injected, sets):
    values = np.concatenate([real, injected])
    return MatchedRows.of(NAMES, values, np.arange(len(values)) < len(real), sets)


def test_unmatched_hosts_read_as_a_difference_of_arcs(sides):
    (_, real), (_, injected) = sides
    some = np.random.default_rng(4).choice(N_HOSTS, K * N_REAL, replace=False)
    sets = np.concatenate([np.arange(N_REAL), np.repeat(np.arange(N_REAL), K)])
    found = probe(rows(real, injected[some], sets), QUICK, 1, "test", permutations=0)
    assert found.area.value > 0.65
    assert found.area.excludes(0.5)


def test_matched_hosts_do_not_and_the_balance_shows_why(sides):
    (hosts_of_real, real), (hosts, injected) = sides
    matched = match(hosts_of_real, hosts, k=K, seed=1)
    of_real, of_host = matched.sets["real_row"].values, matched.sets["host_row"].values
    sets = np.concatenate([np.arange(of_real.size), np.repeat(np.arange(of_real.size), K)])
    found = probe(rows(real[of_real], injected[of_host.ravel()], sets), QUICK, 1, "test", permutations=0)
    assert matched.n_sets > 0.8 * N_REAL
    assert not found.area.excludes(0.5)
    colour = matched.balance.sel(covariate="g_r")
    assert abs(float(colour["smd_before"])) > 0.6
    assert abs(float(colour["smd"])) < 0.1
