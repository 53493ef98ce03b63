"""The scatter of arcs names the sky that their gain was made with."""

import numpy as np
import pytest

from lensflow.config import InjectionConfig
from lensflow.measure.pixels import Block, Noise, Settings, Status, findings
from lensflow.measure.zoo.small_run import SmallRun
from tests.measure.conftest import CONFIG


def noise_of(pairs, injection=None):
    return Noise.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1, injection))


def with_injection(run, **changes):
    config = run.config.model_copy(update={"injection": InjectionConfig(**changes)})
    return SmallRun(run.hosts, run.manifest, config)


@pytest.mark.parametrize("brighter", [0.0, 2.0])
def test_the_sky_is_recovered_from_the_shot_noise_of_a_known_gain(run, brighter):
    sky = {b: m - brighter for b, m in run.injection.sky_mag_arcsec2.items()}
    other = with_injection(run, sky_mag_arcsec2=sky)
    found = noise_of(other.pairs(), other.injection)
    wanted = [sky[b] for b in "grz"]
    np.testing.assert_allclose(found["sky_mag"], wanted, atol=0.05)
    np.testing.assert_allclose(found["sky_mag_declared"], wanted)
    assert (found["sky_mag_low"] < found["sky_mag"]).all() and (found["sky_mag"] < found["sky_mag_high"]).all()
    (judged,) = findings({"noise": found})
    assert judged.status is Status.OK
    # Against another declaration the same pairs are an alarm.
    (judged,) = findings({"noise": noise_of(other.pairs(), with_injection(run, sky_mag_arcsec2={
        b: m + 1 for b, m in sky.items()}).injection)})  # fmt: skip
    assert judged.status is Status.ALARM and judged.value - judged.expected == pytest.approx(-1, abs=0.1)


def test_scatter_doubled_is_a_sky_fainter_by_a_factor_of_four(run, pairs):
    clean = pairs["ctrl"].values.astype(float) + pairs["arc"].values
    doubled = pairs.assign(stamp=(pairs["stamp"].dims, 2 * pairs["stamp"].values.astype(float) - clean))
    change = noise_of(doubled)["sky_mag"] - noise_of(pairs)["sky_mag"]
    np.testing.assert_allclose(change, 2.5 * np.log10(4), atol=1e-4)


def test_no_noise_is_an_infinitely_bright_sky_and_right_only_where_it_was_asked_for(run):
    quiet = with_injection(run, noise=False)
    pairs = quiet.pairs()
    found = noise_of(pairs, quiet.injection)
    # What is left is the rounding of a stamp to float32.
    assert (found["noise_rms_over_unit"] < 1e-4).all() and found.attrs["declared"] == "no noise"
    (judged,) = findings({"noise": found})
    assert judged.status is Status.OK
    (judged,) = findings({"noise": noise_of(pairs, run.injection)})
    assert judged.status is Status.ALARM
    (judged,) = findings({"noise": noise_of(run.pairs(), quiet.injection)})
    assert judged.status is Status.ALARM


def test_stamps_that_are_their_arc_to_the_bit_have_no_scatter(pairs):
    # In halves of a power of two the sum is exact.
    whole = {k: np.round(pairs[k].values * 2.0**16) / 2**16 for k in ("ctrl", "arc")}
    whole["stamp"] = whole["ctrl"] + whole["arc"]
    found = noise_of(pairs.assign({k: (pairs["ctrl"].dims, v.astype(np.float32)) for k, v in whole.items()}))
    assert (found["sky_mag"] == -np.inf).all()


def test_rounded_rows_are_left_out_and_counted(pairs):
    rounded = np.zeros((pairs.sizes["sample"], 3), np.float32)
    chosen = np.flatnonzero(~pairs["is_control"].values)[::3]
    rounded[chosen, 1] = 0.001
    given = pairs.assign(quantize_step_nmgy=(("sample", "band"), rounded))
    found = noise_of(given)
    assert found["n_rounded"].values.tolist() == [0, chosen.size, 0]
    stays = noise_of(pairs.isel(sample=np.setdiff1d(np.arange(pairs.sizes["sample"]), chosen)))
    assert float(found["sky_mag"][1]) == pytest.approx(float(stays["sky_mag"][1]), rel=1e-12)
    assert float(found["sky_mag"][2]) == pytest.approx(float(noise_of(pairs)["sky_mag"][2]), rel=1e-12)


def test_every_row_rounded_leaves_nothing_to_test(run, pairs):
    given = pairs.assign(quantize_step_nmgy=(("sample", "band"), np.full((pairs.sizes["sample"], 3), 1e-3)))
    found = noise_of(given, run.injection)
    assert (found["n_hosts"] == 0).all() and np.isnan(found["sky_mag"]).all()
    assert findings({"noise": found})[0].status is Status.NOT_TESTED


def test_a_gain_of_exposures_has_no_sky_to_compare_with(run):
    found = noise_of(run.pairs(), InjectionConfig(gain="exposure", exposure_time_s=dict.fromkeys("grz", 90.0)))
    assert np.isnan(found["sky_mag_declared"]).all()
    assert findings({"noise": found})[0].status is Status.NOT_TESTED
