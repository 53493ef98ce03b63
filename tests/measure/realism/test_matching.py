"""Matched hosts: as near as can be, none twice, and a word where they are not alike."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lensflow.errors import RealismError
from lensflow.measure.realism.matching import balance_with_other_arcs, match
from lensflow.measure.realism.verdict import unmatched

NAMES = ("mag_z", "g_r", "half_light_arcsec", "psfdepth_r_mag")


def table(values, prefix="h", names=NAMES):
    return xr.Dataset(
        {n: ("host", values[:, i]) for i, n in enumerate(names)}
        | {"host_id": ("host", [f"{prefix}{i}" for i in range(len(values))])}
    )


@pytest.fixture
def samples():
    random = np.random.default_rng(4)
    hosts = random.normal([19.0, 1.0, 1.2, 23.5], [1.0, 0.3, 0.4, 0.2], (3000, 4))
    hosts[:, 2] = np.exp(hosts[:, 2])
    chance = norm.cdf((hosts[:, 1] - 1.2) / 0.2 - 0.5)
    real = random.choice(len(hosts), 80, replace=False, p=chance / chance.sum())
    return hosts[real] + random.normal(0, 0.001, (80, 4)), np.delete(hosts, real, axis=0)


def test_no_host_is_used_twice_and_each_set_has_k(samples):
    found = match(table(samples[0], "r"), table(samples[1]), k=4)
    rows = found.sets["host_row"].values
    assert rows.shape == (found.n_sets, 4) and len(np.unique(rows)) == rows.size
    assert found.n_sets + sum(found.counts.values()) == 80 and found.n_sets > 70
    assert (np.diff(found.sets["distance"].values, axis=1) >= 0).all()


def test_matching_balances_what_was_not_and_says_so(samples):
    found = match(table(samples[0], "r"), table(samples[1]), k=4)
    balance = found.balance.to_dataframe()
    assert balance.loc["g_r", "smd_before"] > 0.8 and abs(balance.loc["g_r", "smd"]) < 0.1
    assert bool(found.balance["balanced"].all()) and found.reason == ""
    colours = samples[0][found.sets["real_row"].values, 1]
    assert balance.loc["g_r", "real_median"] == pytest.approx(np.median(colours))


def test_the_sets_do_not_depend_on_the_order_of_rows(samples):
    real, hosts = table(samples[0], "r"), table(samples[1])
    random = np.random.default_rng(0)
    a, b = random.permutation(80), random.permutation(len(samples[1]))

    def pairs(found, real, hosts):
        ids = hosts["host_id"].values
        return {
            str(r): frozenset(ids[h].tolist())
            for r, h in zip(real["host_id"].values[found.sets["real_row"]], found.sets["host_row"].values, strict=True)
        }

    first = pairs(match(real, hosts), real, hosts)
    turned_real, turned_hosts = real.isel(host=a), hosts.isel(host=b)
    assert pairs(match(turned_real, turned_hosts), turned_real, turned_hosts) == first
    assert pairs(match(real, hosts, seed=1), real, hosts).keys() == first.keys()


def test_hosts_that_cannot_be_alike_are_named(samples):
    """The lenses lie in deeper images than any host: those near the edge find hosts, and these do not match."""
    real, hosts = samples
    real[:, 3] += 0.5
    found = match(table(real, "r"), table(hosts), caliper_sd=5)
    assert found.reason.startswith("hosts are not matched: psfdepth_r_mag differs by ") and found.reason.endswith(" sd")
    assert not bool(found.balance["balanced"].sel(covariate="psfdepth_r_mag"))
    tight = match(table(real, "r"), table(hosts), caliper_sd=0.05)
    assert tight.counts["fewer than 4 hosts inside the caliper"] > 20


def test_a_spread_that_differs_is_named():
    random = np.random.default_rng(2)
    real = np.concatenate([random.normal(0, 4, 60), random.normal(0, 4, 60)]).reshape(-1, 1)
    hosts = random.normal(0, 1, (1000, 1))
    found = match(table(real, "r", ("mag_z",)), table(hosts, names=("mag_z",)), caliper_sd=50, k=1, max_balance_sd=5)
    assert found.reason.startswith("hosts are not matched: mag_z has ") and "times the variance" in found.reason


def test_an_outlier_does_not_hide_a_difference():
    random = np.random.default_rng(3)
    real, hosts = random.normal(0.6, 1, (60, 1)), random.normal(0, 1, (60, 1))
    hosts[0] = 1e6
    found = match(table(real, "r", ("mag_z",)), table(hosts, names=("mag_z",)), caliper_sd=100, k=1)
    assert found.balance["smd_before"].values[0] > 0.3 and found.reason


def test_lenses_whose_hosts_others_took_are_counted_apart():
    near = np.array([[1.0], [1.0001]])
    hosts = np.array([[1.0], [1.00005], [9.0]])
    found = match(table(near, "r", ("mag_z",)), table(hosts, names=("mag_z",)), k=2, caliper_sd=100)
    assert found.n_sets == 1 and sorted(found.sets["host_row"].values[0].tolist()) == [0, 1]
    assert found.counts == {"the hosts inside the caliper are matched with other lenses": 1}


def test_a_covariate_that_most_lack_on_one_side_leaves_no_verdict_and_one_of_an_absent_band_does(samples):
    real, hosts = (table(s, p) for s, p in zip(samples, "rh", strict=True))
    kept = [NAMES.index(n) for n in ("mag_z", "half_light_arcsec")]
    for lost, reason in ((0.6, "hosts are not matched: psfdepth_r_mag is not known on both sides"), (1.0, "")):
        real, hosts = (table(samples[1][k::2][:n, kept], p, ("mag_z", "half_light_arcsec"))
                       for k, n, p in ((0, 60, "r"), (1, 1400, "h")))  # fmt: skip
        real["psfdepth_r_mag"] = ("host", np.where(np.arange(60) < lost * 60, np.nan, 23.0))
        hosts["psfdepth_r_mag"] = ("host", np.full(1400, np.nan if lost == 1 else 24.0))
        found = match(real, hosts, max_balance_sd=1.0)
        assert found.reason == reason
        assert ("psfdepth_r_mag" in found.balance["covariate"].values) == (lost < 1)


def test_what_could_not_be_measured_is_counted_and_what_nobody_has_is_left_out(samples):
    real, hosts = (table(s, p) for s, p in zip(samples, "rh", strict=True))
    real["g_r"][:3] = np.nan
    real["axis_ratio"] = ("host", np.where(np.arange(80) < 60, np.nan, 0.7))
    hosts["axis_ratio"] = ("host", np.full(hosts.sizes["host"], 0.5))
    hosts["mag_z"][:10] = np.nan
    real["psfdepth_r_mag"][:] = hosts["psfdepth_r_mag"][:] = 23.0
    found = match(real, hosts)
    assert found.counts["g_r could not be measured"] == 3
    assert found.balance["covariate"].values.tolist() == ["mag_z", "g_r", "half_light_arcsec", "axis_ratio"]
    # One that many lack is not matched, and must not pass for balanced; one that nobody can tell by is left out.
    assert not bool(found.balance["balanced"].sel(covariate="axis_ratio")) and found.reason
    assert "axis_ratio is not known on both sides" in unmatched(found.balance, 0.1)
    assert found.notes == (
        "psfdepth_r_mag is not matched: it is 23 everywhere",
        "axis_ratio is not matched: 75% of the real lenses have none",
        "10 of 2,920 hosts cannot be matched: a covariate could not be measured",
    )
    assert not {0, 1, 2} & set(found.sets["real_row"].values.tolist())
    assert found.sets["host_row"].values.min() >= 10


def test_nothing_to_match_is_an_error_or_no_sets(samples):
    real, hosts = (table(s, p) for s, p in zip(samples, "rh", strict=True))
    with pytest.raises(RealismError, match="0 real lenses and 2920 hosts"):
        match(real.isel(host=[]), hosts)
    with pytest.raises(RealismError, match="no covariate is measured on both sides"):
        match(real.drop_vars(NAMES), hosts)
    far = real.copy(deep=True)
    far["mag_z"] = far["mag_z"] + 100
    found = match(far, hosts, caliper_sd=1e-4)
    assert found.n_sets == 0 and found.reason == "no real lens has hosts inside the caliper"
    assert sum(found.counts.values()) == 80


def test_a_gap_of_many_magnitudes_is_not_made_small_by_ranks(samples):
    real, hosts = (table(s, p) for s, p in zip(samples, "rh", strict=True))
    real["mag_z"] = real["mag_z"] + 100
    found = match(real, hosts)
    assert found.n_sets == 0 or found.reason.startswith("hosts are not matched: mag_z differs by ")
    assert found.balance["smd_before"].sel(covariate="mag_z") > 3


def test_sides_that_separate_are_still_matched_or_counted():
    hosts, real = np.linspace(0, 1, 200).reshape(-1, 1), np.linspace(2, 3, 20).reshape(-1, 1)
    found = match(table(real, "r", ("mag_z",)), table(hosts, names=("mag_z",)))
    assert found.n_sets + sum(found.counts.values()) == 20 and found.reason


def auc_by_set(features, label, sets):
    """AUC within folds of sets, of a logistic regression."""
    fold, out = sets % 5, []
    for f in range(5):
        train, test = fold != f, fold == f
        fit = LogisticRegression(class_weight="balanced").fit(features[train], label[train])
        out.append(roc_auc_score(label[test], fit.decision_function(features[test])))
    return float(np.mean(out))


def confounded(seed, shift=0.0):
    """AUC of real against injections, unmatched and matched: real lenses sit on red hosts, arcs are identical."""
    random = np.random.default_rng(seed)
    hosts = random.normal(size=(6000, 4))
    loading = np.random.default_rng(9).normal(size=(4, 12)) * 0.5
    weight = np.exp(1.2 * hosts[:, 1])
    at = random.choice(len(hosts), 112, replace=False, p=weight / weight.sum())
    rest = np.delete(hosts, at, axis=0)
    found = match(table(hosts[at], "r"), table(rest))

    def seen(host):
        return host @ loading + random.normal(size=(len(host), 12))

    sets = found.sets
    arcs = seen(hosts[at][sets["real_row"].values])
    arcs[:, 0] += shift
    k = sets["host_row"].values
    matched = np.concatenate([arcs, seen(rest[k.ravel()])])
    label = np.concatenate([np.ones(len(arcs)), np.zeros(k.size)])
    which = np.concatenate([np.arange(len(arcs)), np.repeat(np.arange(len(arcs)), k.shape[1])])
    anyone = np.concatenate([arcs, seen(rest[random.choice(len(rest), k.size, replace=False)])])
    return auc_by_set(anyone, label, which), auc_by_set(matched, label, which), found


def test_confounding_by_hosts_is_removed_by_matching():
    """Spec 10.2: unmatched hosts tell real from injected though the arcs are alike; matched ones do not."""
    results = [confounded(seed) for seed in range(6)]
    unmatched, matched = (np.array([r[i] for r in results]) for i in (0, 1))
    assert (unmatched > 0.65).all()
    assert abs(matched.mean() - 0.5) < 0.04 and (np.abs(matched - 0.5) < 0.11).all()
    table = results[0][2].balance.sel(covariate="g_r")
    assert table["smd_before"] > 0.8 and abs(table["smd"]) < 0.1
    assert all(r[2].reason == "" for r in results)


def test_matching_leaves_a_difference_of_the_arcs():
    assert np.mean([confounded(seed, shift=1.0)[1] for seed in range(3)]) > 0.6


@pytest.mark.slow
def test_the_areas_are_those_of_the_simulation_that_the_method_rests_on():
    """112 lenses, 12 features: 0.755 on any hosts, 0.51 on matched ones, 0.62 where the arcs differ by half a sd."""
    runs = [confounded(seed) for seed in range(100, 160)]
    unmatched, matched = (np.array([r[i] for r in runs]) for i in (0, 1))
    assert unmatched.mean() == pytest.approx(0.755, abs=0.015) and matched.mean() == pytest.approx(0.505, abs=0.015)
    assert np.mean([r[2].reason == "" for r in runs]) > 0.9
    assert np.mean([confounded(seed, shift=0.5)[1] for seed in range(200, 240)]) == pytest.approx(0.62, abs=0.02)


def arcs_hide(seed, bluer, share, n=90, n_hosts=3000):
    """Balance of a covariate of which only a share of the variance is the host's, and how far hosts are apart after."""
    random = np.random.default_rng(seed)
    sides, own = [], []
    for size, shift in ((n, bluer), (n_hosts, 0.0)):
        host = random.normal(-shift, 1, size)
        seen = host + np.sqrt(1 / share - 1) * random.normal(size=size)
        mag = random.normal(size=size)
        names = [f"{size}-{k}" for k in range(size)]
        sides.append(xr.Dataset({"host_id": ("host", names), "g_r": ("host", seen), "mag_z": ("host", mag)}))
        own.append(host)
    found = match(*sides, seed=seed, reliability={"g_r": share, "mag_z": 1.0})
    rows = found.sets
    return found, abs(own[0][rows["real_row"].values].mean() - own[1][rows["host_row"].values].mean())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_what_arcs_hide_of_a_difference_is_told(share):
    """Matching on what arcs add to leaves a part of the hosts' difference, though all that is measured is balanced."""
    runs = [arcs_hide(seed, 0.8, share) for seed in range(12)]
    told = np.mean([float(r[0].balance["hidden"].sel(covariate="g_r")) for r in runs])
    assert np.mean([abs(float(r[0].balance["smd"].sel(covariate="g_r"))) for r in runs]) < 0.1
    assert told == pytest.approx(np.mean([r[1] for r in runs]), abs=0.1)
    assert float(runs[0][0].balance["hidden"].sel(covariate="mag_z")) == 0


def test_a_hidden_difference_is_not_balanced_and_none_is():
    hidden, none = arcs_hide(1, 0.8, 0.3)[0], arcs_hide(1, 0.0, 0.5)[0]
    assert "arcs hide g_r (reliability 0.30), which may still differ by" in hidden.reason
    assert "arcs hide g_r" in unmatched(hidden.balance, 0.1)
    assert none.reason == "" == unmatched(none.balance, 0.1)


def test_a_covariate_of_unknown_reliability_is_not_balanced():
    found = match(table(np.random.default_rng(0).normal(size=(20, 4)), "r"),
                  table(np.random.default_rng(1).normal(size=(800, 4))), reliability={})  # fmt: skip
    assert not found.balance["balanced"].any() and found.reason


def test_other_arcs_are_judged_and_not_those_that_were_matched(samples):
    real, hosts = table(samples[0], "r"), table(samples[1])
    found = match(real, hosts, k=4, reliability=dict.fromkeys(NAMES, 1.0))
    chosen = hosts.isel(host=found.sets["host_row"].values.ravel())
    same = balance_with_other_arcs(found, real, hosts, chosen, reliability=dict.fromkeys(NAMES, 1.0))
    xr.testing.assert_allclose(same.balance, found.balance)
    assert same.reason == found.reason == "" and same.notes == found.notes
    redder = balance_with_other_arcs(found, real, hosts, chosen.assign(g_r=chosen["g_r"] + 0.2))
    assert "g_r differs by" in redder.reason and not redder.balance["balanced"].sel(covariate="g_r")
    assert found.reason == "" and redder.sets is found.sets


def test_hosts_that_cannot_be_measured_with_their_new_arc_are_no_balance(samples):
    real, hosts = table(samples[0], "r"), table(samples[1])
    found = match(real, hosts, k=4)
    chosen = hosts.isel(host=found.sets["host_row"].values.ravel())
    n = chosen.sizes["host"]

    def without(rows):
        values = chosen["mag_z"].values.copy()
        values[:rows] = np.nan
        return balance_with_other_arcs(found, real, hosts, chosen.assign(mag_z=("host", values)))

    few, many, none = without(3), without(n - 8), without(n)
    assert few.reason == "" and f"3 of {n:,} matched hosts lack a covariate" in few.notes[-1]
    assert "hosts are not matched" in many.reason
    assert "no matched host has all covariates" in none.reason
    with pytest.raises(RealismError, match="one of each"):
        balance_with_other_arcs(found, real, hosts, chosen.isel(host=slice(3)))
