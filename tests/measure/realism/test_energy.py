"""The energy distance sees what a linear classifier cannot, and nothing where nothing differs."""

import numpy as np
import pytest

from lensflow.measure.realism import energy
from lensflow.measure.realism.energy import energy_distance
from lensflow.measure.realism.probe import probe
from tests.measure.realism.drawn import QUICK, matched_rows


def test_its_value_is_the_definition():
    rows = matched_rows(12, 2, delta=1.0, names=("a", "b"))
    z = (rows.values - rows.values.mean(axis=0)) / rows.values.std(axis=0)
    x, y = z[rows.is_real], z[~rows.is_real]

    def mean(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1).mean()

    assert energy_distance(rows, QUICK, 1).value == pytest.approx(2 * mean(x, y) - mean(x, x) - mean(y, y))


def test_a_wider_spread_is_seen_where_a_linear_probe_sees_nothing():
    rows = matched_rows(80)
    rows.values[rows.is_real] *= 2.0
    assert energy_distance(rows, QUICK, 1).p == 1 / 200
    assert probe(rows, QUICK, 1, "test", permutations=0).area.low < 0.55


def test_equals_are_not_told_apart():
    assert energy_distance(matched_rows(60), QUICK, 1).p > 0.05


def test_of_too_many_rows_whole_sets_are_taken(monkeypatch):
    monkeypatch.setattr(energy, "MOST_ROWS", 103)
    found = energy_distance(matched_rows(60), QUICK, 1)
    assert found.n_rows == 100
    assert found.n_sets == 20
