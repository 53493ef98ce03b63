"""What the command prints fits the terminal and never says nan."""

import dataclasses
import io
import math
from typing import NamedTuple

import pytest
from rich.console import Console

from lensflow.config import DiagnosticsConfig
from lensflow.measure.core.sweep import HandlingResult
from lensflow.measure.gate import Verdict
from lensflow.measure.pixels import ONE_PASS, Block, Settings, measure
from lensflow.measure.zoo.leaks.base import ELSEWHERE, OWN
from lensflow.measure.zoo.leaks.judge import TREES, Reading
from lensflow.measure.zoo.leaks.suite import Row
from lensflow.measure.zoo.leaks.table import LeakTable
from lensflow.show import core_handling
from lensflow.show.comparison import Change, RunSide, compare
from lensflow.show.terminal import print_comparison, print_diagnostics, print_gates, print_leaks, print_looks
from lensflow.stats.estimate import Estimate
from tests.factories import make_config
from tests.measure.pixels.pairs_factory import pairs_block
from tests.show.gates_factory import ONE_OF_EACH, fitted


class Look(NamedTuple):
    check: str
    level: str
    what: str
    advice: str


def printed(width, show, *what):
    console = Console(width=width, record=True, file=io.StringIO())
    show(console, *what)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_gates_without_an_area_show_a_dash_and_their_reason(width):
    text = printed(width, print_gates, ONE_OF_EACH)
    assert "nan" not in text.lower() and "…" not in text
    assert max(map(len, text.splitlines())) <= width
    line = next(x for x in text.splitlines() if x.startswith("balance"))
    assert line.split()[3:] == ["—", "—", "FAIL"]
    assert "  balance: means differ" in text and "  localisation: the diagnostic was not run." in text


def test_a_long_reason_hangs_below_its_gate():
    text = printed(60, print_gates, [fitted("core_all", Verdict.PASS, 0.5).decided(Verdict.PASS, "word " * 40)])
    below = text[text.index("core_all: word") :].splitlines()
    assert len(below) > 3 and all(x.startswith("  word") for x in below[1:])


@pytest.mark.parametrize("width", [66, 80, 160])
def test_core_handlings_fit_the_terminal_with_their_intervals(width):
    gates = tuple(fitted(n, Verdict.FAIL, 0.85) for n in ("core_all", "core_r", "annulus_all", "edge_all"))
    cost = ({"low": 0.0, "high": 0.75, "removed": 0.4},)
    result = HandlingResult(
        "theta_e_1.5", "", False, 2100, 350, gates, Estimate(0.4, 0.3, 0.5), cost, math.nan, math.nan
    )
    text = printed(width, lambda console: console.print(core_handling.table([result])))
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert sum(text.count(f"0.830{dash}0.870") for dash in ("–", " – ")) == 4 and text.count("FAIL") == 4
    assert ("2,100" in text) == ("Too narrow" not in text) == (width == 160)


def test_a_comparison_fits_the_terminal_and_clips_no_name():
    gates = (*ONE_OF_EACH, fitted("annulus_all", Verdict.PASS, 0.5))
    changed = tuple(g.decided(Verdict.INCONCLUSIVE, "", area=Estimate(0.7, 0.6, g.auc_high, g.n_hosts)) for g in gates)
    sides = [RunSide("run", make_config(), {"pairs: rows": 2}, g, {}) for g in (gates, changed)]
    found = compare(*sides)
    name, apart = "radial_profile: half_light_radius_pix", (Estimate(1, 0.9, 1.1), Estimate(2, 1.9, 2.1))
    many = [Change(f"{name}_{k}", "band r", *apart) for k in range(20)]
    text = printed(80, print_comparison, dataclasses.replace(found, diagnostics=tuple(many)))
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert all(f"\n{g.name} " in text for g in gates) and "5 of 5 verdicts differ" in text
    assert "and 5 more on the page" in text


def test_diagnostics_fit_the_terminal():
    config = DiagnosticsConfig(bootstrap=60)
    text = printed(80, print_diagnostics, measure(Block(pairs_block(), config), ONE_PASS).results(Settings(config, 1)))
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert all(word in text for word in ("profile", " ok ", "not tested", "leakage", "Too narrow for: 95 %"))


@pytest.mark.parametrize("width", [80, 120])
def test_leaks_say_what_passes_and_how_well_it_is_read(width):
    found = Row("checkerboard in arc and stamp", "arc's peak", OWN.name, 1e-6, ("recompute", "rendering"), None)
    missed = Row(
        "tanh mask of 2 pixels", "pixels", ELSEWHERE.name, None, (), 9.0, Reading(Estimate(0.7, 0.6, 0.8), TREES)
    )
    text = printed(width, print_leaks, LeakTable((found, missed), TREES, 24, 72, {}))
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert all(word in text for word in ("1e-06", "recompute", "nothing", "0.700")) and "above 0.55" in " ".join(
        text.split()
    )
    text = printed(width, print_leaks, LeakTable((found,), TREES, 24, 72, {}))
    assert "no leak that passes the required set can be read" in text


def test_what_the_preflight_found_is_said_with_its_way_out():
    looks = [
        Look("survey", "fail", "no such file: " + "x" * 90, "Is survey.root right?"),
        Look("out", "ok", "fine", ""),
    ]
    text = printed(80, print_looks, looks)
    assert max(map(len, text.splitlines())) <= 80 and "Is survey.root right?" in text
    assert "".join(text.split()).count("x" * 10) >= 5 and text.count("x") >= 90
    assert "1 ok, 0 to look at, 1 that would stop the run" in text
