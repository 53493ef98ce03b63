"""The suite of leaks in 80 columns, and the exit code of a goal that is missed."""

import io

import pytest
from rich.console import Console

from lensflow.measure.zoo.leaks.base import ELSEWHERE, OWN
from lensflow.measure.zoo.leaks.judge import TREES, Reading
from lensflow.measure.zoo.leaks.suite import Row
from lensflow.measure.zoo.leaks.table import LeakTable
from lensflow.show.terminal_leaks import print_leaks

FOUND = Row("checkerboard in arc and stamp", "arc's peak", OWN.name, 1e-6, ("recompute", "rendering"), None)
OPEN = Row("tanh mask of 2 pixels", "pixels", ELSEWHERE.name, None, (), 9.0, Reading(0.7, 0.6, 0.8, TREES))


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_says_what_passes_and_how_well_it_is_read(width):
    console = Console(width=width, record=True, file=io.StringIO())
    missed = print_leaks(console, LeakTable((FOUND, OPEN), TREES, 24, 72, {}))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert "1e-06" in text and "recompute" in text and "nothing" in text and "0.700" in text
    assert len(missed) == 1 and "above 0.55" in " ".join(text.split())


def test_a_sound_table_says_so():
    console = Console(width=80, record=True, file=io.StringIO())
    assert print_leaks(console, LeakTable((FOUND,), TREES, 24, 72, {})) == []
    assert "no leak that passes the required set can be read" in console.export_text()
