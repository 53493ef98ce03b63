"""`lensflow zoo --leaks` as a person meets it: a table per setting, a file of numbers, an exit code."""

import json
from functools import partial

import pytest

from lensflow.measure.zoo.leaks.base import OWN
from lensflow.measure.zoo.leaks.judge import TREES
from lensflow.measure.zoo.leaks.kinds import kinds
from lensflow.run import leaks


@pytest.fixture
def few(monkeypatch):
    """Two kinds in one setting instead of all in all."""
    some = kinds(("checkerboard", "short mantissa"))
    monkeypatch.setattr(leaks, "leaks_step", partial(leaks.leaks_step, kinds=some, settings=(OWN,), judge=TREES))


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_the_table_is_printed_kept_and_sets_the_exit_code(tmp_path, command):
    code, shown = command("zoo", "--leaks", "--hosts", 12, "--out", tmp_path)
    kept = json.loads((tmp_path / "leaks.json").read_text())["results"]
    assert {(r["kind"], r["setting"]) for r in kept["rows"]} == {
        (k, OWN.name) for k in ("checkerboard", "short mantissa")
    }
    assert code == (1 if kept["missed"] else 0), shown
    assert "checkerboard" in shown and "recompute" in shown and "12 hosts" in shown
    # Twelve hosts are too few for gates with a fit: the command says that this table shows nothing, and fails.
    for line in kept["missed"]:
        assert " ".join(line.split()) in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--leaks", "runs/x"], "makes its own run"),
        (["--hosts", "30"], "--hosts is for zoo --leaks"),
        (["--leaks", "--hosts", "3"], "12 hosts or more"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, says, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, shown = command("zoo", *arguments)
    assert code != 0 and says in shown
    assert list(tmp_path.iterdir()) == []
