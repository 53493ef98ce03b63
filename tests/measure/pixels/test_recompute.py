"""Every stored stamp is what injection makes of host, arc and key: the smallest change of any pixel is noticed."""

import numpy as np
import pytest

from lensflow.config import StoreConfig
from lensflow.injection.rounding import ARC, STAMP, before_rounding, round_pixels
from lensflow.measure.pixels import Block, Origin, Recompute, Status, findings
from lensflow.measure.zoo.small_run import SKY_SIGMA, small_run
from lensflow.run.inject import as_stored

pytestmark = pytest.mark.whole

MASKED = {"core_mask_radius_pix": 7.0}
ROUNDED = ("none", "sky/16", "sky/8")


class Stored:
    """A few pairs as a run with these settings stores them."""

    def __init__(self, run, quantize="none", mask=None, seed=5, **store):
        self.run = run
        self.store = StoreConfig(quantize=quantize, **store)
        injection = run.injection.model_copy(update=mask or {})
        config = run.config.model_copy(update={"injection": injection, "store": self.store})
        self.run = type(run)(run.hosts, run.manifest, config)
        pairs = self.run.pairs()
        stored = as_stored(pairs, run.hosts, run.manifest, self.store)
        self.pairs = pairs.assign({k: stored[k] for k in ("stamp", "ctrl", "arc", "quantize_step_nmgy")})
        self.origin = Origin(run.hosts, injection, self.store)
        self.lit = self.pairs["arc"].values != 0

    def found(self, **changed):
        pairs = self.pairs.assign({k: (self.pairs[k].dims, v.astype(np.float32)) for k, v in changed.items()})
        return Recompute.from_block(Block(pairs, origin=self.origin))

    def leaked(self, change):
        """Put a leak into the stamps, where there is an arc and nowhere else."""
        stamp = self.pairs["stamp"].values
        return self.found(stamp=np.where(self.lit, change(stamp.astype(np.float64)), stamp))


@pytest.fixture(scope="module")
def few():
    return small_run(12, 3, seed=8)


@pytest.fixture(scope="module", params=ROUNDED)
def stored(request, few):
    return Stored(few, request.param)


@pytest.fixture(scope="module")
def plain(few):
    return Stored(few)


def sigma(stored):
    return np.array([SKY_SIGMA[str(b)] for b in stored.pairs["band"].values])[:, None, None]


def checkerboard(stored):
    y, x = np.mgrid[:64, :64]
    return (-1.0) ** (x + y) * sigma(stored)


# What a stamp may carry inside the arc's light without any other check noticing, at amplitudes that a network reads.
LEAKS = {
    "checkerboard 0.001 sigma": lambda s, v: v + 0.001 * checkerboard(s),
    "stripes 0.001 sigma": lambda s, v: v + 0.001 * sigma(s) * np.where(np.arange(64) // 4 % 2, 1, -1),
    "gain 1.00002": lambda s, v: v * 1.00002,
    "float16": lambda s, v: v.astype(np.float16),
    "rounded to 1/16 sigma": lambda s, v: np.round(v / (sigma(s) / 16)) * sigma(s) / 16,
}


@pytest.mark.parametrize("mask", [{}, MASKED], ids=["no mask", "mask 7"])
@pytest.mark.parametrize("quantize", ROUNDED)
def test_a_sound_store_is_what_injection_makes(few, quantize, mask):
    sound = Stored(few, quantize, mask)
    result = sound.found().result()
    assert result["n_differing"].values.tolist() == [0, 0, 0]
    assert int(result["n_rows"]) == few.manifest.sizes["sample"]
    share = result["exact_share"].values
    assert (share == 1).all() if quantize == "none" else (share > 0.5).all()
    (judged,) = findings({"recompute": result})
    assert judged.status is Status.OK


@pytest.mark.parametrize("store", [{"quantize_arc": "none"}, {"quantize_step": "float"}, {"quantize_arc": "sky/3"}])
def test_a_sound_store_is_sound_however_it_is_rounded(few, store):
    assert Stored(few, "sky/16", **store).found().n_differing.sum() == 0


def test_arcs_alone_may_be_rounded(few):
    sound = Stored(few, "none", quantize_arc="sky/16")
    assert sound.found().n_differing.sum() == 0
    assert sound.leaked(lambda v: v + 0.1 * checkerboard(sound)).n_differing.all()


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_within_the_arcs_light_is_noticed_in_every_band(stored, leak):
    found = stored.leaked(lambda v: LEAKS[leak](stored, v))
    assert found.n_differing.all()
    judged = findings({"recompute": found.result()})[0]
    assert judged.status is Status.ALARM and "row_id" in judged.where and "pixel x" in judged.where


@pytest.mark.parametrize("quantize", ["sky/16", "sky/8"])
def test_a_leak_before_the_rounding_is_noticed_though_every_pixel_is_on_the_lattice(few, quantize):
    run = Stored(few, "none").run
    pairs, store = run.pairs(), StoreConfig(quantize=quantize)
    sound = Stored(few, quantize)
    leak = np.where(pairs["arc"].values != 0, 0.002 * checkerboard(sound), 0)
    changed = pairs.assign(stamp=(pairs["stamp"].dims, (pairs["stamp"].values + leak).astype(np.float32)))
    stamp = as_stored(changed, few.hosts, few.manifest, store)["stamp"].values
    step = sound.pairs["quantize_step_nmgy"].values[..., None, None]
    step = np.where(step > 0, step, np.float32(1e-9))  # a band without data is 0
    assert np.array_equal(np.rint(stamp / step) * step, stamp)
    assert sound.found(stamp=stamp).n_differing.all()


def test_one_changed_bit_is_named_by_row_band_and_pixel(plain):
    stamp = plain.pairs["stamp"].values.copy()
    row = int(np.flatnonzero(~plain.pairs["is_control"].values)[4])
    stamp[row, 2, 30, 41] = np.nextafter(stamp[row, 2, 30, 41], np.float32(np.inf))
    found = plain.found(stamp=stamp)
    assert found.n_differing.tolist() == [0, 0, 1] and found.n_pixels.tolist() == [0, 0, 1]
    said = findings({"recompute": found.result()})[0]
    assert said.status is Status.ALARM and said.value == 1
    assert f"row_id {int(plain.pairs['row_id'].values[row])} (host_index" in said.where
    assert "z, pixel x 41, y 30" in said.where


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number_differs(plain, value):
    stamp = plain.pairs["stamp"].values.copy()
    stamp[3, 0, 5, 6] = value
    found = plain.found(stamp=stamp)
    assert found.n_pixels.tolist() == [1, 0, 0] and found.worst.difference == np.inf
    assert "pixel x 6, y 5" in found.result().attrs["worst"]


def test_a_changed_control_an_arc_off_its_lattice_and_a_changed_step_are_noticed(stored):
    ctrl = stored.pairs["ctrl"].values.copy()
    ctrl[2, 1, 40, 41] *= 1.0001
    assert stored.found(ctrl=ctrl).n_pixels.tolist() == [0, 1, 0]
    step = stored.pairs["quantize_step_nmgy"].values.copy()
    step[2, 1] += 0.001
    changed = stored.pairs.assign(quantize_step_nmgy=(("sample", "band"), step))
    assert Recompute.from_block(Block(changed, origin=stored.origin)).n_differing.tolist() == [0, 1, 0]
    if stored.store.quantize != "none":
        arc = stored.pairs["arc"].values.copy()
        row = int(np.flatnonzero(~stored.pairs["is_control"].values)[0])
        arc[row, 2] *= 1.000001
        assert stored.found(arc=arc).n_pixels[2] > 100


def test_an_arc_of_another_row_or_key_is_noticed(plain):
    arc = plain.pairs["arc"].values.copy()
    lit = np.flatnonzero(~plain.pairs["is_control"].values)
    arc[lit[:2]] = arc[lit[1::-1]]
    assert plain.found(arc=arc).n_differing[1] == 2
    other = plain.pairs.assign_attrs(seed=99)
    assert Recompute.from_block(Block(other, origin=plain.origin)).n_differing[1] == lit.size


def test_any_blocks_in_any_order_say_the_same(stored):
    stamp = stored.pairs["stamp"].values + 1e-3
    pairs = stored.pairs.assign(stamp=(stored.pairs["stamp"].dims, stamp.astype(np.float32)))
    whole = Recompute.from_block(Block(pairs, origin=stored.origin))
    parts = [
        Recompute.from_block(Block(pairs.isel(sample=slice(k, k + 7)), origin=stored.origin)) for k in range(0, 48, 7)
    ][::-1]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.result().identical(whole.result())


def test_without_the_hosts_nothing_is_said_to_be_tested(plain):
    result = Recompute.from_block(Block(plain.pairs)).result()
    (judged,) = findings({"recompute": result})
    assert judged.status is Status.NOT_TESTED and "lf.diagnose(cutouts=...)" in judged.text


@pytest.mark.parametrize("purpose", [STAMP, ARC])
@pytest.mark.parametrize("step", [2.0**-9, 0.0021])
def test_the_interval_before_rounding_is_all_that_rounds_to_a_value(step, purpose):
    draw = np.random.default_rng(3)
    values = draw.normal(0, 0.05, (4, 2, 16, 16)).astype(np.float32)
    steps = np.full((4, 2), step, np.float32)
    ids = np.arange(4, dtype=np.uint64) + np.uint64(77)
    rounded = round_pixels(values, steps, ids, 11, purpose)
    low, high = before_rounding(rounded, steps, ids, 11, purpose)
    assert ((low <= values) & (values <= high)).all()
    width = high.astype(np.float64) - low
    assert width.min() >= step * (1 - 1e-4) and width.max() <= step * (1 + 1e-3)
    inside = 1e-3 * step
    assert np.array_equal(round_pixels(low + np.float32(inside), steps, ids, 11, purpose), rounded)
    assert np.array_equal(round_pixels(high - np.float32(inside), steps, ids, 11, purpose), rounded)
    assert (round_pixels(low - np.float32(inside), steps, ids, 11, purpose) < rounded).all()
    assert (round_pixels(high + np.float32(inside), steps, ids, 11, purpose) > rounded).all()
