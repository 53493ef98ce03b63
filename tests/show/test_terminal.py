"""What the command prints fits the terminal and never says nan."""

import dataclasses
import io
import math

import pytest
from rich.console import Console

from lensflow.config import DiagnosticsConfig
from lensflow.measure.core.sweep import HandlingResult
from lensflow.measure.gate import Verdict
from lensflow.measure.pixels import Summaries
from lensflow.show.comparison import Change, RunSide, compare
from lensflow.show.terminal import print_findings_of, print_gates
from lensflow.show.terminal_compare import print_comparison
from lensflow.show.terminal_core import print_handlings
from lensflow.stats.estimate import Estimate
from tests.factories import make_config
from tests.measure.pixels.pairs_factory import pairs_block
from tests.show.gates_factory import ONE_OF_EACH, fitted


def printed(width, show, *what):
    console = Console(width=width, record=True, file=io.StringIO())
    show(console, *what)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_gates_without_an_area_show_a_dash_and_their_reason(width):
    text = printed(width, print_gates, ONE_OF_EACH)
    assert "nan" not in text.lower() and "…" not in text
    assert max(map(len, text.splitlines())) <= width
    line = next(x for x in text.splitlines() if "│ balance" in x)
    assert [c.strip() for c in line.split("│")[4:7]] == ["-", "-", "-"] and "FAIL" in line
    assert "  balance: means differ" in text and "  localisation: the diagnostic was not run." in text


def test_a_long_reason_hangs_below_its_gate():
    text = printed(60, print_gates, [fitted("core_all", Verdict.PASS, 0.5).decided(Verdict.PASS, "word " * 40)])
    below = text[text.index("core_all: word") :].splitlines()
    assert len(below) > 3 and all(x.startswith("  word") for x in below[1:])


@pytest.mark.parametrize(("width", "shown"), [(66, ""), (80, "0.83–0.87"), (120, "2,100")])
def test_core_handlings_fit_the_terminal(width, shown):
    gates = tuple(fitted(n, Verdict.FAIL, 0.85) for n in ("core_all", "core_r", "annulus_all", "edge_all"))
    cost = ({"low": 0.0, "high": 0.75, "removed": 0.4},)
    result = HandlingResult(
        "theta_e_1.5", "", False, 2100, 350, gates, Estimate(0.4, 0.3, 0.5), cost, math.nan, math.nan
    )
    text = printed(width, print_handlings, [result], "Core handlings")
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert shown in text and "0.850" in text and "40 %" in text


def test_a_comparison_fits_the_terminal_and_clips_no_name():
    gates = (*ONE_OF_EACH, fitted("annulus_all", Verdict.PASS, 0.5))
    changed = tuple(g.decided(Verdict.INCONCLUSIVE, "", auc=0.7, auc_low=0.6) for g in gates)
    sides = [RunSide("run", make_config(), {"pairs: rows": 2}, g, {}) for g in (gates, changed)]
    found = compare(*sides)
    name, apart = "radial_profile: half_light_radius_pix", (Estimate(1, 0.9, 1.1), Estimate(2, 1.9, 2.1))
    many = [Change(name, f"band {k}", *apart) for k in range(20)]
    text = printed(80, print_comparison, dataclasses.replace(found, diagnostics=tuple(many)))
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert all(f"│ {g.name} " in text for g in gates) and "5 of 5 verdicts differ" in text
    assert "and 5 more on the page" in text


def test_findings_fit_the_terminal():
    config = DiagnosticsConfig(bootstrap=60)
    text = printed(80, print_findings_of, Summaries.from_block(pairs_block(), config).one_pass(config, 1))
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert "profile" in text and "OK" in text and "NOT" in text
