"""Kernels are compiled once, before local workers start: each would compile all of them for itself."""

import numpy as np
import pytest

from lensflow import api
from lensflow.cli import steps
from lensflow.config import load_config
from lensflow.run import kernels
from lensflow.run.kernels import are_compiled
from lensflow.stats.auc import host_bootstrap

MODULE = "from lensflow.jit import compiled\n\n\n@compiled()\ndef twice(x):\n    return 2 * x\n"


def test_code_of_other_sources_or_none_is_not_taken_for_compiled(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "kernel_of_this_test.py").write_text(MODULE)
    from kernel_of_this_test import twice

    assert not are_compiled(twice)
    assert twice(4) == 8
    assert are_compiled(twice)
    monkeypatch.setattr(twice._cache._cache_file, "_version", "of other sources")
    assert not are_compiled(twice)
    assert not are_compiled(twice.py_func)  # kept nowhere


def test_after_what_gates_compute_last_all_kernels_are_compiled():
    host_bootstrap(np.array([0, 1, 1, 0]), np.arange(4.0), np.arange(4), 2, 1, "test")
    assert are_compiled()


@pytest.mark.parametrize(
    ("kind", "compiled", "wanted"), [("local", False, 1), ("local", True, 0), ("threads", False, 0)]
)
def test_a_run_with_local_workers_compiles_first_and_says_so(kind, compiled, wanted, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(kernels, "are_compiled", lambda: compiled)
    monkeypatch.setattr(api, "warm_up", lambda: made.append(1))
    steps._compile_first(load_config({"out": "run", "survey": {"synthetic": {}}, "cluster": {"kind": kind}}))
    assert len(made) == wanted
    assert ("Compiling the kernels" in capsys.readouterr().out) == bool(wanted)
