"""Features of a run's rows and hosts: those of the block, in any order, whatever the regions."""

import numpy as np
import pytest

from lensflow.errors import RealismError
from lensflow.measure.realism.features import NAMES, cutouts_features, pairs_features
from lensflow.run.realism import features
from lensflow.run.realism.features import features_and_brighter, features_of_cutouts, features_of_pairs
from lensflow.store.open import open_all_pairs, open_cutouts
from lensflow.store.run_folder import RunFolder
from tests.small_run import injected_copy


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    config = injected_copy(tmp_path_factory.mktemp("features") / "run")
    return config, RunFolder.of(config)


def test_rows_of_pairs_in_the_order_asked_for(made):
    config, run = made
    pairs, hosts = open_all_pairs(run.pairs).load(), open_cutouts(run.cutouts).load()
    hosts = hosts.assign_coords(host_index=("host", np.arange(hosts.sizes["host"])))
    whole = pairs_features(pairs, hosts).rows
    every = features_of_pairs(config)
    last = pairs.sizes["sample"] - 1
    rows = np.array([last, 3, 40, 3])
    some = features_of_pairs(config, rows)
    assert some["row"].values.tolist() == rows.tolist()
    assert some["row_id"].values.tolist() == pairs["row_id"].values[rows].tolist()
    for name in (*NAMES, "note"):
        np.testing.assert_array_equal(every[name], whole[name])
        np.testing.assert_array_equal(some[name], whole[name].values[rows])
    assert features_of_pairs(config, []).sizes["sample"] == 0
    with pytest.raises(RealismError, match=f"no row {last + 1}; it has {last + 1}"):
        features_of_pairs(config, [last + 1])
    with pytest.raises(RealismError, match="no row -1"):
        features_of_pairs(config, [-1])


def test_hosts_of_cutouts_and_controls_are_the_same(made):
    config, run = made
    hosts = features_of_cutouts(run.cutouts)
    some = features_of_cutouts(run.cutouts, [5, 2])
    assert some["host_row"].values.tolist() == [5, 2]
    np.testing.assert_array_equal(some["arc_snr"], hosts["arc_snr"].values[[5, 2]])
    assert np.array_equal(
        hosts["arc_snr"], cutouts_features(open_cutouts(run.cutouts).load()).rows["arc_snr"], equal_nan=True
    )
    ctrl = features_of_pairs(config, variable="ctrl")
    for name in NAMES:
        np.testing.assert_array_equal(ctrl[name], hosts[name].values[ctrl["host_index"].values])
    # A brick has no g: its hosts have no g - r, and the others do.
    absent = np.isnan(hosts["arc_gr"].values)
    assert absent.any() and not absent.all() and np.isfinite(hosts["arc_snr"]).any()


def test_brighter_arcs_are_measured_from_the_same_reading_of_the_pixels(made, monkeypatch):
    config, run = made
    read, regions = features.read_pairs_block, []
    monkeypatch.setattr(features, "read_pairs_block", lambda *a: (regions.append(a[3].index), read(*a))[1])
    rows = np.array([40, 3, 17, 3])
    plain, brighter = features_and_brighter(config, rows, 1.0)
    assert len(set(regions)) == len(regions) > 0
    assert plain.identical(features_of_pairs(config, rows))
    pairs, hosts = open_all_pairs(run.pairs).load().isel(sample=rows), open_cutouts(run.cutouts).load()
    lit = pairs["stamp"].values + (10**0.4 - 1) * pairs["arc"].values
    hosts = hosts.assign_coords(host_index=("host", np.arange(hosts.sizes["host"])))
    expected = pairs_features(pairs.assign(stamp=(pairs["stamp"].dims, lit.astype(np.float32))), hosts).rows
    assert set(brighter) == set(plain) and np.nanmax(np.abs(brighter["arc_snr"] - plain["arc_snr"])) > 1
    for name in NAMES:
        np.testing.assert_allclose(brighter[name], expected[name], rtol=1e-4, atol=1e-4)
