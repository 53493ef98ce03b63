"""Results show themselves once in a notebook, where rich would display what is printed into a file."""

import re
from pathlib import Path

import rich.console

import lensflow
from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness.summary import completeness
from lensflow.run.completeness.result import Completeness
from tests.measure.completeness.synthetic_rows import make_negatives, make_rows


def test_the_text_of_a_result_is_returned_and_not_displayed(monkeypatch):
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as ipykernel sets it
    displayed = []
    monkeypatch.setattr("rich.jupyter.display", lambda *parts: displayed.append(parts))
    config = CompletenessConfig(threshold={"fpr": [0.1]}, bootstrap=50)
    tables = completeness(make_rows(hosts=20, per_host=4), make_negatives(100), config, 3)
    text = repr(Completeness("blue_ring", "val", "images", None, "", tables))
    assert text.startswith("Completeness of blue_ring") and "planned" in text and "\x1b" not in text and displayed == []


def test_every_console_that_writes_into_a_text_says_that_it_is_no_notebook():
    code = {p: p.read_text() for p in Path(lensflow.__file__).parent.rglob("*.py")}
    made = [(p.name, call) for p, text in code.items() for call in re.findall(r"(?<![A-Za-z])Console\((.+)\)", text)]
    assert (
        len(made) >= 2
        and [m for m in made if "force_jupyter=False, force_terminal=False" not in m[1] and m[0] != "plain.py"] == []
    )
