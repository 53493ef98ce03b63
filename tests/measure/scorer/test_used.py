"""What a scorer uses: scorers that look at one view alone lose there and nowhere else."""

import numpy as np
import pytest

from lensflow import geometry
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.scorer.matched import WHAT, matched
from lensflow.measure.scorer.used import OPEN, UNUSED, USED, score_matched, used
from lensflow.units import median_and_sigma

N, SIZE = 60, 64
MIDDLE = (SIZE - 1) / 2
CENTRES = np.full(N, MIDDLE)


@pytest.fixture(scope="module")
def pairs():
    """Sky with a host; stamps with half a ring at 8 pixels, which ends at r = 14."""
    draw = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE] - MIDDLE
    r = np.hypot(y, x)
    ctrl = draw.normal(0, 1, (N, 2, SIZE, SIZE)) + 40 * np.exp(-r / 4)
    turn = draw.uniform(-np.pi, np.pi, (N, 1, 1))
    ring = np.exp(-0.5 * ((r - 8) / 1.5) ** 2) * (np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - turn)))) < 1.2)
    arc = draw.uniform(1, 4, (N, 1, 1)) * np.where(r < 14, ring, 0)
    stamp = ctrl + arc[:, None] * np.array([1.5, 1.0])[:, None, None]
    return stamp.astype(np.float32), ctrl.astype(np.float32)


def uses(scorer, stamp, ctrl, gates=None):
    found = used(score_matched(stamp, ctrl, CENTRES, CENTRES, 3.0, scorer), np.arange(N), 200, 1, gates)
    return found, {str(v) for v, u in zip(found["view"].values, found["use"].values, strict=True) if u == USED}


def mean_of(pixels):
    return lambda images: images[:, :, pixels].mean(axis=(1, 2), dtype=np.float64)


def radius():
    return geometry.radius_pix(SIZE, MIDDLE, MIDDLE)


def test_every_view_leaves_the_pixels_that_it_does_not_look_at_as_they_were(pairs):
    stamp, ctrl = pairs
    found = {name: (s, c) for name, s, c in matched(stamp, ctrl, CENTRES, CENTRES, 3.0)}
    assert set(found) == set(WHAT)
    r = radius()
    looked_at = {"core": r < 3, "annulus": r >= 20, "brightness": r < 5, "colour": r < 5, "profile": r < 25,
                 "azimuth": (r >= 2) & (r < 10), "ring": (r >= 29) & (r < 32), "noise": r >= 20,
                 "edge": geometry.edge_frame(SIZE, 2)}  # fmt: skip
    for name, pixels in looked_at.items():
        np.testing.assert_array_equal(found[name][0][:, :, ~pixels], stamp[:, :, ~pixels], err_msg=name)
        np.testing.assert_array_equal(found[name][1], ctrl, err_msg=name)
    for name in ("core", "annulus", "edge"):
        np.testing.assert_allclose(found[name][0][:, :, looked_at[name]], ctrl[:, :, looked_at[name]], rtol=1e-6)


def test_views_are_alike_in_what_their_gate_measures(pairs):
    stamp, ctrl = pairs
    # A leak everywhere, so that there is something to make equal.
    stamp = 1.3 * stamp + np.float32(0.5)
    found = {name: s for name, s, _ in matched(stamp, ctrl, CENTRES, CENTRES, 3.0)}
    r = radius()
    for name, pixels in (("brightness", r < 5), ("profile", (r >= 7) & (r < 8))):
        np.testing.assert_allclose(found[name][:, :, pixels].mean(-1), ctrl[:, :, pixels].mean(-1), rtol=1e-4)
    inside, light = found["colour"][:, :, r < 5].mean(-1), ctrl[:, :, r < 5].mean(-1)
    np.testing.assert_allclose(inside[:, 0] / inside[:, 1], light[:, 0] / light[:, 1], rtol=1e-4)
    np.testing.assert_allclose(inside.sum(1), stamp[:, :, r < 5].mean(-1).sum(1), rtol=1e-4)
    sky = geometry.sky_pixels(SIZE)
    for mine, theirs in zip(
        median_and_sigma(found["noise"][:, :, sky]), median_and_sigma(ctrl[:, :, sky]), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_scorer_of_the_arc_uses_no_view_of_the_outskirts(pairs):
    r = radius()
    found, names = uses(mean_of((r > 6) & (r < 10)), *pairs)
    assert float(found["auc"][0]) > 0.7
    assert {"profile"} <= names
    for view in ("annulus", "ring", "edge", "corners", "noise", "core"):
        assert str(found.sel(view=view)["use"].values) == UNUSED
        assert float(found.sel(view=view)["drop"]) == 0


@pytest.mark.parametrize(
    ("where", "views"),
    [("annulus", {"annulus", "noise"}), ("edge", {"edge"}), ("core", {"core"})],
)
def test_a_leak_that_a_scorer_reads_is_told_from_one_that_it_does_not(pairs, where, views):
    """The same leak is there for both; only one loses when it is taken away."""
    stamp, ctrl = pairs
    r = radius()
    pixels = {"annulus": r >= 20, "edge": geometry.edge_frame(SIZE, 2), "core": r < 3}[where]
    leaky = stamp + np.where(pixels, 0.3, 0).astype(np.float32) * (30 if where == "core" else 1)
    gate = {f"{where}_all": GateResult(f"{where}_all", {}, "", 0.65, Verdict.FAIL, "planted")}
    found, names = uses(mean_of(pixels), leaky, ctrl, gate)
    assert views <= names
    one = found.sel(view=where)
    assert str(one["gate"].values) == "FAIL" and "a leak is there (gate FAIL), and it is used" in str(
        one["text"].values
    )
    assert float(one["drop_low"]) > 1 and float(one["auc_matched"]) == pytest.approx(0.5, abs=0.02)
    unread, _ = uses(mean_of((r > 6) & (r < 10)), leaky, ctrl, gate)
    assert "and it is not used" in str(unread.sel(view=where)["text"].values)


def test_a_scorer_of_the_number_format_uses_bits_and_nothing_else_of_the_outskirts(pairs):
    """Controls on a lattice, and a scorer that counts pixels on it."""
    stamp, ctrl = pairs
    step = np.float32(1 / 8)
    hosts = np.round(ctrl / step) * step
    lens = hosts + (stamp - ctrl) + np.where(radius() < 20, np.float32(0.03), 0).astype(np.float32)

    def scorer(images):
        place = images.astype(np.float64) / step
        return -(np.abs(place - np.rint(place)) < 0.02).mean(axis=(1, 2, 3))

    found, names = uses(scorer, lens, hosts)
    assert float(found["auc"][0]) == 1 and "bits" in names
    assert {"annulus", "ring", "edge", "corners", "core"}.isdisjoint(names)


def test_a_scorer_at_chance_and_few_hosts_say_nothing(pairs):
    stamp, ctrl = pairs
    found, names = uses(lambda images: images[:, 0, 0, 0].astype(np.float64), stamp, ctrl)
    assert names == set() and set(found["use"].values) == {"not tested"}
    assert OPEN not in found["use"].values
