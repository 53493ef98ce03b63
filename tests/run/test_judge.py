"""Results of the diagnostics, gates and checks, made side by side: the same as one after another, and errors end it."""

import warnings

import pytest

from lensflow.errors import GateError, LensflowWarning
from lensflow.measure.measurement import Measured
from lensflow.run import judge, priors
from lensflow.run.gate_rows import ARCS
from lensflow.run.measure import _MeasureTask
from lensflow.store.open import stored_regions
from lensflow.store.run_folder import RunFolder
from tests.small_run import finished_copy

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run and what is measured of it."""
    config = finished_copy(tmp_path_factory.mktemp("judge") / "run")
    regions = stored_regions(RunFolder.of(config).pairs, "pairs")
    task = _MeasureTask(config, regions, True, True)
    return config, Measured.joined([task(r.index) for r in regions])


def test_known_results_are_neither_made_nor_kept_again_and_checks_look_at_them(small, monkeypatch):
    config, measured = small
    kept = []
    made, gates = judge.judge_run(config, measured, None, kept.append)
    assert kept == [made]
    monkeypatch.setattr(judge, "results_of", lambda *_: pytest.fail("made again"))
    again, same = judge.judge_run(config, measured, made, lambda _: pytest.fail("kept again"))
    assert again is made and [g.to_dict() for g in same] == [g.to_dict() for g in gates]
    assert [g.name for g in gates] == [*config.gate.every, *config.gate.checks]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("broken", ["results_of", "run_gate", "priors_of"])
def test_what_fails_beside_the_rest_is_the_runs_error_and_nothing_waits_for_it(small, monkeypatch, broken):
    def fails(*_):
        raise GateError("broken on purpose")

    config, measured = small
    monkeypatch.setattr(judge, broken, fails)
    with pytest.raises(GateError, match="broken on purpose"):
        judge.judge_run(config, measured, None, lambda _: None)


def test_checks_beside_the_gates_silence_no_warning_of_theirs(small, monkeypatch):
    config, measured = small
    real = priors.Planner

    def planner(*given, **named):
        warnings.warn("of a gate, at this moment", LensflowWarning, stacklevel=1)
        return real(*given, **named)

    monkeypatch.setattr(priors, "Planner", planner)
    with pytest.warns(LensflowWarning, match="at this moment"):
        priors.priors_of(config, measured[ARCS].rows)
