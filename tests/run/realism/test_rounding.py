"""Real stamps are rounded as the pairs are before anything sees them."""

import shutil

import numpy as np
import pytest

from lensflow import run
from lensflow.config import load_config
from lensflow.measure.pixels.bits_lattice import ON_OUTER, zone_shares
from lensflow.run.realism import sets as sets_module
from lensflow.run.realism.features import features_of_cutouts
from lensflow.run.realism.gather import gather
from lensflow.run.realism.pixels import images_as_pairs, images_of_hosts, stamps_of_pairs
from lensflow.run.realism.sets import matched_sets
from lensflow.run.realism.stamps import RealFolder
from tests.run.realism.real_run import made, tree, with_real

pytestmark = pytest.mark.whole


def lattice(images):
    """An encoder that sees nothing but rounding; a band that is not there has no lattice."""
    shares = np.nanmean(zone_shares(np.ascontiguousarray(images, np.float32))[..., ON_OUTER], axis=1)
    return np.stack([shares, shares**2], axis=1)


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    place = tmp_path_factory.mktemp("rounded")
    store = tree(place)["store"] | {"quantize": "sky/16"}
    made(place)
    shutil.rmtree(place / "run")
    config = load_config(tree(place, store=store, realism={"hosts_per_lens": 1, "caliper_sd": 50.0,
                         "min_arc_snr": 0.0, "encoder": f"{__name__}:lattice"}))  # fmt: skip
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)
    with_real(config)
    return config


def every(config):
    return matched_sets(config, splits=("train", "val", "test"))


def test_an_encoder_that_sees_the_lattice_does_not_tell_real_lenses_from_injections(rounded):
    found = every(rounded)
    rows = gather(rounded, RealFolder.of(rounded).cutouts, found.sets, None, "").comparison.advisory["embedding"]
    real, injected = (rows.values[side, 0] for side in (rows.is_real, ~rows.is_real))
    assert injected.min() > 0.9
    assert real.min() > 0.9  # unrounded: 0.04
    assert abs(np.median(real) - np.median(injected)) < 0.02


def test_features_of_real_stamps_are_those_of_their_rounded_pixels(rounded):
    url = RealFolder.of(rounded).cutouts
    plain, own = (features_of_cutouts(url, rounded_as=c) for c in (None, rounded))
    assert not np.array_equal(plain["local_var"].values, own["local_var"].values, equal_nan=True)
    assert not np.array_equal(images_of_hosts(url, np.arange(3)), images_as_pairs(rounded, url, np.arange(3)))


def test_the_check_of_roads_sees_rounding_on_one_side_of_what_is_compared(rounded, monkeypatch):
    found = every(rounded)
    assert "rounding" in found.road.table["check"].values and found.road.is_same, found.road.reason
    monkeypatch.setattr(sets_module, "images_as_pairs", lambda config, url, rows: images_of_hosts(url, rows))
    other = every(rounded)
    assert not other.road.is_same and "as compared" in other.reason
    assert not bool(other.road.table["ok"].sel(check="rounding"))


def test_pairs_are_on_a_lattice_and_stored_real_stamps_are_not(rounded):
    """What the tests above rest on."""
    some, url = np.arange(4), RealFolder.of(rounded).cutouts
    both = stamps_of_pairs(rounded, some), images_of_hosts(url, some)
    share = [float(np.nanmean(zone_shares(x)[..., ON_OUTER])) for x in both]
    assert share[0] > 0.9 and share[1] < 0.2
