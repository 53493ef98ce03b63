"""Signs and formats of the numbers: what stamps from anywhere may carry inside the arc's light, and what is noticed."""

import numpy as np
import pytest
import xarray as xr

from lensflow.config import InjectionConfig, StoreConfig
from lensflow.measure.pixels import Bits, Block, Status, findings
from lensflow.measure.pixels.bits_formats import FORMATS
from lensflow.measure.pixels.bits_rounded import PATTERNS
from lensflow.measure.pixels.judges_exact import CHANCE_ALARM
from lensflow.measure.zoo.small_run import SKY_SIGMA, small_run
from lensflow.run.inject import as_stored
from tests.measure.pixels.pairs_factory import pairs_block


@pytest.fixture(scope="module")
def few():
    """49 rows with arcs."""
    return small_run(14, 4, seed=8)


@pytest.fixture(scope="module")
def few_pairs(few):
    """Pairs of which nothing is known but their pixels, as stamps that come from elsewhere."""
    return few.pairs()


def sigma(pairs):
    return np.array([SKY_SIGMA[str(b)] for b in pairs["band"].values])[:, None, None]


def judged(pairs):
    """Alarms of the bits check, by check."""
    found = findings({"bits": Bits.from_block(Block(pairs)).result()})
    return {f.check: f for f in found if f.status is Status.ALARM}


def leaked(pairs, change):
    stamp = pairs["stamp"].values.astype(np.float64)
    new = np.where(pairs["arc"].values != 0, change(stamp), stamp)
    return pairs.assign(stamp=(pairs["stamp"].dims, new.astype(np.float32)))


Y, X = np.mgrid[:64, :64]
BOARD = (-1.0) ** (X + Y)
POINT = np.where((X == 40) & (Y == 30), 1.0, 0.0)
SIGNS, POSITION, PHASE, ANY = (
    "signs beside the host's light", "pattern by position", "pattern by frequency, in phase",
    "pattern by frequency, any phase",
)  # fmt: skip


# What is asked of pixels that were rounded.
ROUNDED = {*(f"pattern {name}" for name in PATTERNS), "a second lattice below the rounding"}


def mean_of_neighbours(v):
    return sum(np.roll(v, k, axis) for axis in (-1, -2) for k in (-1, 1)) / 4


# Each at an amplitude that no mean and no summed square notices: the check that notices it in 49 rows of three bands.
LEAKS = {
    "checkerboard 0.002 sigma": (lambda v, s: v + 0.002 * s * BOARD, PHASE),
    "stripes 0.002 sigma": (lambda v, s: v + 0.002 * s * np.where(X // 4 % 2, 1, -1), PHASE),
    "one fixed pixel of 1 sigma": (lambda v, s: v + s * POINT, POSITION),
    "dead pixel": (lambda v, s: np.where(POINT > 0, 0, v), "dead pixels"),
    "stuck pixel": (lambda v, s: np.where(POINT > 0, 3 * s, v), POSITION),
    "float16": (lambda v, s: v.astype(np.float16), "formats of the numbers"),
    "rounded to sigma / 16": (lambda v, s: np.round(16 * v / s) * s / 16, "formats of the numbers"),
    "white noise 0.01 sigma": (lambda v, s: v + 0.01 * s * np.random.default_rng(0).normal(size=v.shape), SIGNS),
    "gain 1.0002": (lambda v, s: 1.0002 * v, SIGNS),
    "pedestal 0.0005 sigma": (lambda v, s: v + 0.0005 * s, SIGNS),
    "blur 0.001": (lambda v, s: v + 0.001 * (mean_of_neighbours(v) - v), SIGNS),
    "shift 0.002 pix": (lambda v, s: v + 0.002 * (np.roll(v, 1, -1) - v), SIGNS),
    "tilt 0.005 sigma": (lambda v, s: v + 0.005 * s * (X - 31.5) / 32, SIGNS),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_within_the_arcs_light_is_noticed_without_key_or_hosts(few_pairs, leak):
    change, check = LEAKS[leak]
    assert check in judged(leaked(few_pairs, lambda v: change(v, sigma(few_pairs))))


@pytest.mark.slow
@pytest.mark.parametrize(
    "leak",
    [
        "checkerboard 0.02 sigma",
        "stripes 0.02 sigma",
        "one fixed pixel of 1 sigma",
        "tilt 0.01 sigma",
        "rounding to sigma / 16",
    ],
)
def test_a_pattern_put_in_before_the_rounding_is_noticed_without_key_or_hosts(few, few_pairs, leak):
    put = {
        "checkerboard 0.02 sigma": lambda v, s: v + 0.02 * s * BOARD,
        "stripes 0.02 sigma": lambda v, s: v + 0.02 * s * np.where(X // 4 % 2, 1, -1),
        "one fixed pixel of 1 sigma": lambda v, s: v + s * POINT,
        "tilt 0.01 sigma": lambda v, s: v + 0.01 * s * (X - 31.5) / 32,
        "rounding to sigma / 16": lambda v, s: np.round(16 * v / s) * s / 16,
    }[leak]
    store = StoreConfig(quantize="sky/16")
    alarms = []
    for pairs in (few_pairs, leaked(few_pairs, lambda v: put(v, sigma(few_pairs)))):
        stored = as_stored(pairs, few.hosts, few.manifest, store)
        alarms.append(judged(pairs.assign({k: stored[k] for k in ("stamp", "ctrl", "arc", "quantize_step_nmgy")})))
    assert not alarms[0] and set(alarms[1]) <= ROUNDED and alarms[1]


def test_waves_of_another_phase_in_every_row_are_noticed_by_their_power(few_pairs):
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (few_pairs.sizes["sample"], 1, 1, 1))
    waves = np.sin(2 * np.pi * X * 13 / 64 + phase)
    found = judged(leaked(few_pairs, lambda v: v + 0.005 * sigma(few_pairs) * waves))
    assert ANY in found and POSITION not in found
    assert "0.203" in found[ANY].where


def test_few_bright_rows_do_not_hide_a_leak(few_pairs):
    """A statistic whose interval the leak itself widens would let it pass the more, the brighter some rows are."""

    def gain(v):
        v = v * 1.0002
        v[:3] *= 5
        return v

    assert SIGNS in judged(leaked(few_pairs, gain))


def test_a_sound_run_has_no_alarm_and_says_what_it_would_have_seen(few_pairs):
    result = Bits.from_block(Block(few_pairs)).result()
    found = findings({"bits": result})
    assert {f.status for f in found} == {Status.OK} and len(found) == 6
    assert (result["smallest_nmgy"].values < 0.005 * sigma(few_pairs)[:, 0, 0]).all()
    assert "would be seen" in found[-1].text and f"{CHANCE_ALARM:g}" in found[-1].text


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0.0, 7.0])
@pytest.mark.parametrize("seed", range(20, 30))
def test_sound_runs_raise_no_alarm(seed, mask):
    run = small_run(14, 4, seed)
    config = run.config.model_copy(update={"injection": InjectionConfig(core_mask_radius_pix=mask)})
    assert judged(type(run)(run.hosts, run.manifest, config).pairs()) == {}


def test_any_blocks_in_any_order_say_the_same(few_pairs):
    whole = Bits.from_block(Block(few_pairs)).result()
    parts = [
        Bits.from_block(Block(few_pairs.isel(sample=slice(k, k + 9)))) for k in range(0, few_pairs.sizes["sample"], 9)
    ]
    total = parts[-1]
    for part in parts[:-1]:
        total = total + part
    for name, v in whole.data_vars.items():
        if v.dtype.kind == "f":
            xr.testing.assert_allclose(total.result()[name], v, rtol=1e-9)
        else:
            xr.testing.assert_equal(total.result()[name], v)


def test_controls_on_a_lattice_that_stamps_are_not_on_are_another_format(few_pairs):
    """A survey's quantised pixels, and arcs added to them: the format alone tells the class."""
    step = sigma(few_pairs) / 16
    ctrl = (np.round(few_pairs["ctrl"].values / step) * step).astype(np.float32)
    stamp = few_pairs["stamp"].values - few_pairs["ctrl"].values + ctrl
    mixed = few_pairs.assign(ctrl=(few_pairs["ctrl"].dims, ctrl), stamp=(few_pairs["stamp"].dims, stamp))
    result = Bits.from_block(Block(mixed)).result()
    assert result["n_format"].sel(format="lattice").values.min() > 0.9 * result["n_rounded"].values.min() > 0
    assert "formats of the numbers" in judged(mixed)
    both = mixed.assign(stamp=(stamp_dims(mixed), (np.round(stamp / step) * step).astype(np.float32)))
    found = findings({"bits": Bits.from_block(Block(both)).result()})
    assert not [f for f in found if f.status is Status.ALARM]
    assert "rounded" in next(f for f in found if f.check == "signs of the residual").text


def stamp_dims(pairs):
    return pairs["stamp"].dims


def test_signs_of_rounded_pairs_are_no_coins_and_this_is_said(few_pairs):
    step = np.full((few_pairs.sizes["sample"], 3), 1e-4, np.float32)
    found = findings(
        {"bits": Bits.from_block(Block(few_pairs.assign(quantize_step_nmgy=(("sample", "band"), step)))).result()}
    )
    assert {f.check for f in found if f.status is Status.OK} == ROUNDED
    assert {f.status for f in found if f.check == "signs of the residual"} == {Status.NOT_TESTED}
    assert any("are rounded" in f.text for f in found)


def test_no_noise_is_no_coin(few):
    silent = few.config.model_copy(update={"injection": InjectionConfig(noise=False)})
    pairs = type(few)(few.hosts, few.manifest, silent).pairs()
    result = Bits.from_block(Block(pairs)).result()
    assert result["n_coins"].values.sum() == 0 and not judged(pairs)
    only_controls = pairs.isel(sample=np.flatnonzero(pairs["is_control"].values))
    assert {f.status for f in findings({"bits": Bits.from_block(Block(only_controls)).result()})} == {Status.NOT_TESTED}


def test_an_odd_stamp_size_is_looked_at_and_formats_are_named():
    odd = pairs_block(n_hosts=6, size=41)
    assert Bits.from_block(Block(odd)).result()["n_format"]["format"].values.tolist() == list(FORMATS)
    assert not judged(odd)
