"""The matrix of the bug zoo: made once by a code, kept for a run's report, never taken from other code."""

import json

import numpy as np
import pytest

from lensflow.measure.zoo import faults as zoo
from lensflow.measure.zoo import small_run
from lensflow.run import zoo_step
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from tests.factories import make_config


@pytest.fixture(autouse=True)
def one_fault(monkeypatch):
    monkeypatch.setattr(zoo, "FAULTS", tuple(f for f in zoo.FAULTS if f.name == "pedestal"))


@pytest.fixture
def config(tmp_path):
    return make_config(out=str(tmp_path / "run"))


@pytest.mark.slow
def test_a_matrix_is_kept_for_the_run_and_read_by_the_same_code(config, tmp_path, monkeypatch):
    told, run = [], small_run.small_run(24, 4)
    monkeypatch.setattr(small_run, "small_run", lambda: run)
    found = zoo_step(config, str(tmp_path / "out"), lambda *progress: told.append(progress))
    assert found["fault"].values.tolist() == ["none", "pedestal"]
    assert zoo.shortcomings(found) == []
    assert told[-1] == ("zoo", 2, 2)
    monkeypatch.setattr(small_run, "small_run", lambda: pytest.fail("computed anew"))
    np.testing.assert_array_equal(zoo_step(config), found)
    assert (tmp_path / "out" / "zoo.png").read_bytes().startswith(b"\x89PNG")
    kept = [json.loads(p.read_text()) for p in (tmp_path / "out" / "zoo.json", tmp_path / "run/summaries/zoo.json")]
    assert kept[0] == kept[1]


def test_a_matrix_of_other_code_is_made_anew(config, monkeypatch):
    old = zoo.matrix(np.zeros((2, len(zoo.DIAGNOSTICS)), int))
    paths.write_json(RunFolder.of(config).zoo, {"key": "old", "code": "old", "results": old.to_dict()})
    monkeypatch.setattr(small_run, "small_run", lambda: None)
    monkeypatch.setattr(zoo, "alarm_counts", lambda fault, run: np.ones(len(zoo.DIAGNOSTICS), int))
    assert zoo_step(config).values.all()
