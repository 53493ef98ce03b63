"""Power is what the spec's simulation says, and grows with lenses."""

import math

import pytest

from lensflow.measure.realism.power import DELTAS, power

# n_real, n_injected, features, null sd, smallest delta, true AUC, AUC that the probe reads.
TABLE = (
    (30, 300, 10, 0.08, 0.8, 0.71, 0.67),
    (56, 500, 10, 0.06, 0.6, 0.66, 0.62),
    (112, 500, 1, 0.04, 0.3, 0.58, 0.58),
    (112, 500, 10, 0.04, 0.5, 0.64, 0.62),
    (400, 2000, 10, 0.02, 0.3, 0.58, 0.58),
)
LARGE = ((112, 500, 64, 0.04, 0.8, 0.71, 0.64),)


@pytest.mark.slow
@pytest.mark.parametrize("row", [*TABLE, *LARGE])
def test_the_table_of_the_spec(row):
    n_real, n_injected, features, sd, delta, true_auc, read = row
    found = power(n_real, n_injected, features, 5, 1)
    assert found.null_sd == pytest.approx(sd, abs=0.01)
    # Within 10 points of 80 % there, or beyond it at a delta that the table's grid would not have shown as smaller.
    assert found.power[DELTAS.index(delta)] >= 0.7
    assert found.smallest_delta == pytest.approx(delta, abs=0.12)
    assert found.true_auc == pytest.approx(true_auc, abs=0.03)
    assert found.read[DELTAS.index(delta)] == pytest.approx(read, abs=0.03)


def test_more_lenses_see_less():
    few, many = (power(n, 4 * n, 8, 5, 1, skies=40) for n in (20, 80))
    assert many.smallest_delta < few.smallest_delta
    assert many.null_sd < few.null_sd
    assert "80 lenses against 320 injections in 8 features" in many.sentence


def test_where_nothing_is_seen_it_says_so(monkeypatch):
    monkeypatch.setattr("lensflow.measure.realism.power.DELTAS", (0.01, 0.02))
    found = power(10, 20, 6, 5, 1, skies=20)
    assert math.isinf(found.smallest_delta)
    assert "would not have shown even" in found.sentence
