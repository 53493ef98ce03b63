"""Sound exports of 2,000 samples pass all ten checks, in every seed; how often is measured, not assumed."""

import numpy as np
import pytest

from lensflow.export.check.results import CheckVerdict
from tests.export.check.exports import export_of, samples


@pytest.mark.slow
def test_a_sound_export_of_two_thousand_samples_passes_all_ten_checks_in_twenty_seeds_of_twenty():
    found = [export_of(samples(1000, seed=seed), seed=seed).check(seed) for seed in range(20)]
    open_ = {f"seed {k}, {r.name}": r.reason for k, f in enumerate(found) for r in f.results if r.verdict != "PASS"}
    assert not [r for f in found for r in f.results if r.verdict is CheckVerdict.FAIL]
    assert not open_


@pytest.mark.train
def test_with_few_hosts_the_answer_is_inconclusive_and_never_a_failure():
    found = [export_of(samples(60, seed=seed), seed=seed).check(seed) for seed in range(3)]
    assert not any(f.failed for f in found)
    assert {f["bits"].verdict for f in found} == {CheckVerdict.INCONCLUSIVE}


@pytest.mark.train
def test_unequal_numbers_of_stamps_on_hosts_are_no_leak():
    """Hosts of better seeing carry more stamps, each control counts for its own: nothing tells the class."""
    some = samples(120, per_host=3)
    keep = np.random.default_rng(2).random(len(some.stamp)) < 0.2 + 1.6 * (some.columns["psfsize_arcsec"] - 1.1)
    some.stamp, some.ctrl = some.stamp[keep], some.ctrl[keep]
    some.columns = {k: v[keep] for k, v in some.columns.items()}
    found = export_of(some).check()
    assert found.failed == ()
    assert found["metadata"].verdict is CheckVerdict.PASS and "0.5 by proof" in found["metadata"].reason
    assert found["norm_stats"].verdict is CheckVerdict.PASS


@pytest.mark.train
def test_half_precision_of_both_classes_is_no_leak():
    """Its steps are finer where values are small: an arc's light alone would change how many pixels lie on them."""
    sound = export_of(samples(150, snr=100.0))
    sound.x = sound.x.astype(np.float16)
    sound.dtypes = np.full(len(sound.x), "float16")
    found = sound.check()
    assert found.failed == ()
    assert abs(next(m for m in found["bits"].measured if m.name == "AUC of lattice").found.value - 0.5) < 0.08
