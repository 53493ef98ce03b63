"""Gates bin by bin of magnitude: each bin's rows are its own, and its gate is that of a run of these rows."""

import numpy as np
import pytest

from lensflow.api import brightness_figure, brightness_table, gate, gate_by_magnitude
from lensflow.config import GateConfig
from lensflow.errors import GateError
from lensflow.measure.zoo.small_run import small_run


@pytest.fixture(scope="module")
def run():
    return small_run(24, 4)


@pytest.fixture(scope="module")
def config(run):
    gate = GateConfig(recipes=("core_r",), bootstrap=50)
    return run.config.model_copy(update={"gate": gate})


@pytest.fixture(scope="module")
def pairs(run):
    return run.pairs()


def magnitudes(pairs):
    lit = ~pairs["is_control"].values
    flux = np.where(lit, pairs["src_flux_nmgy"].values[:, 1], np.nan)
    return 22.5 - 2.5 * np.log10(flux)


@pytest.mark.slow
def test_a_bin_is_a_run_of_its_rows_and_all_controls(pairs, config):
    m = magnitudes(pairs)
    edges = [np.nanmin(m) - 0.1, np.nanmedian(m), np.nanmax(m) + 0.1]
    bins = gate_by_magnitude(pairs, config, edges)
    assert sum(b.n_rows for b in bins) == int((~pairs["is_control"].values).sum())
    bright = (m < edges[1]) | pairs["is_control"].values
    alone = gate(pairs.isel(sample=bright), config)[0]
    assert (bins[0].gate("core_r").auc, bins[0].gate("core_r").auc_low) == (alone.auc, alone.auc_low)
    rows = ~pairs["is_control"].values & (m < edges[1])
    assert bins[0].arc_over_host == pytest.approx(np.median(pairs["arc_over_host"].values[rows, 1]), rel=1e-6)
    assert bins[0].arc_over_host > bins[1].arc_over_host
    assert brightness_figure(bins).png[:4] == b"\x89PNG"
    assert brightness_table(bins).count("\n| ") >= 2 and "core_r" in brightness_table(bins)


@pytest.mark.parametrize("edges", [[1.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
def test_edges_that_hold_nothing_are_refused(pairs, config, edges):
    with pytest.raises(GateError):
        gate_by_magnitude(pairs, config, edges)
