"""Graded leaks that an attack put past every required gate, and which exact check notices each of them now."""

import numpy as np
import pytest

from lensflow.config import StoreConfig
from lensflow.measure.pixels import Bits, Block, Origin, Recompute, Status, findings
from lensflow.measure.pixels.origin import with_arc_steps
from lensflow.measure.pixels.rendering import Rerendered
from lensflow.measure.pixels.specimens import specimens_of
from lensflow.measure.zoo.small_run import SKY_SIGMA, small_run
from lensflow.run.inject import as_stored
from tests.measure.pixels.test_bits import BOARD, POINT, X

pytestmark = pytest.mark.whole

BITS, AGAIN, ARCS = "bits", "recompute", "rendering"


def caught(pairs, origin):
    """Diagnostics with an alarm, of those that hold what is exactly known."""
    pairs = with_arc_steps(pairs, origin)
    none = specimens_of(pairs).rows.drop_attrs()  # the slow reference is asked elsewhere
    results = {
        AGAIN: Recompute.from_block(Block(pairs, origin=origin)).result(),
        BITS: Bits.from_block(Block(pairs, origin=origin)).result(),
        ARCS: Rerendered.from_block(Block(pairs, origin=origin)).result(none, origin),
    }
    return {f.diagnostic for f in findings(results) if f.status is Status.ALARM}


@pytest.fixture(scope="module")
def run():
    return small_run(14, 4, seed=8)


@pytest.fixture(scope="module")
def pairs(run):
    return run.pairs()


def sky(pairs):
    return np.array([SKY_SIGMA[str(b)] for b in pairs["band"].values])[:, None, None]


def in_the_light(change):
    def leak(pairs):
        stamp = pairs["stamp"].values.astype(np.float64)
        new = np.where(pairs["arc"].values != 0, change(stamp, sky(pairs)), stamp).astype(np.float32)
        return pairs.assign(stamp=(pairs["stamp"].dims, new))

    return leak


def shared_checkerboard(pairs):
    arc = pairs["arc"].values
    leak = 5e-4 * arc.max(axis=(2, 3), keepdims=True) * BOARD * (arc != 0)
    return pairs.assign({k: (pairs[k].dims, (pairs[k].values + leak).astype(np.float32)) for k in ("arc", "stamp")})


def other_arcs(change):
    """Arcs, and their noise with them, changed in one row."""

    def leak(pairs):
        both, row = {}, int(np.flatnonzero(~pairs["is_control"].values)[7])
        for name in ("arc", "stamp"):
            values = pairs[name].values.copy()
            host = pairs["ctrl"].values[row] if name == "stamp" else 0
            values[row] = change(values[row] - host) + host
            both[name] = (pairs[name].dims, values)
        return pairs.assign(both)

    return leak


# Leak, and what notices it: the amplitudes are those that passed everything, and lower ones.
LEAKS = {
    "checkerboard 0.02 sigma": (in_the_light(lambda v, s: v + 0.02 * s * BOARD), {AGAIN, BITS}),
    "checkerboard 0.002 sigma": (in_the_light(lambda v, s: v + 0.002 * s * BOARD), {AGAIN, BITS}),
    "stripes 0.02 sigma": (in_the_light(lambda v, s: v + 0.02 * s * np.where(X // 4 % 2, 1, -1)), {AGAIN, BITS}),
    "fixed pixel 1 sigma": (in_the_light(lambda v, s: v + s * POINT), {AGAIN, BITS}),
    "dead pixel": (in_the_light(lambda v, s: np.where(POINT > 0, 0, v)), {AGAIN, BITS}),
    "rounded to sigma / 16": (in_the_light(lambda v, s: np.round(16 * v / s) * s / 16), {AGAIN, BITS}),
    "float16": (in_the_light(lambda v, s: v.astype(np.float16)), {AGAIN, BITS}),
    "gain 1.002": (in_the_light(lambda v, s: 1.002 * v), {AGAIN, BITS}),
    "gain 1.00002": (in_the_light(lambda v, s: 1.00002 * v), {AGAIN}),
    "white noise 0.02 sigma": (
        in_the_light(lambda v, s: v + 0.02 * s * np.random.default_rng(0).normal(size=v.shape)), {AGAIN},
    ),
    "checkerboard in arc and stamp, 5e-4 of the peak": (shared_checkerboard, {AGAIN, ARCS}),
    "one arc moved by a pixel": (other_arcs(lambda v: np.roll(v, 1, axis=-1)), {AGAIN, ARCS}),
    "one arc mirrored": (other_arcs(lambda v: v[..., ::-1]), {AGAIN, ARCS}),
}  # fmt: skip


# The others are as the first of them, or larger.
QUICK = (
    "checkerboard 0.002 sigma", "float16", "gain 1.00002", "white noise 0.02 sigma", "one arc mirrored",
    "checkerboard in arc and stamp, 5e-4 of the peak",
)  # fmt: skip


@pytest.mark.parametrize("leak", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in LEAKS])
def test_what_passed_every_gate_is_noticed(run, pairs, leak):
    change, must = LEAKS[leak]
    assert must <= caught(change(pairs), run.origin)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["none", "sky/16", "sky/8"])
@pytest.mark.parametrize("mask", [0.0, 7.0])
@pytest.mark.parametrize("seed", [31, 32, 33])
def test_sound_runs_raise_no_alarm(seed, mask, quantize):
    run = small_run(14, 4, seed)
    injection = run.injection.model_copy(update={"core_mask_radius_pix": mask})
    store = StoreConfig(quantize=quantize)
    pairs = type(run)(run.hosts, run.manifest, run.config.model_copy(update={"injection": injection})).pairs()
    stored = as_stored(pairs, run.hosts, run.manifest, store)
    pairs = pairs.assign({k: stored[k] for k in ("stamp", "ctrl", "arc", "quantize_step_nmgy")})
    assert caught(pairs, Origin(run.hosts, injection, store)) == set()
