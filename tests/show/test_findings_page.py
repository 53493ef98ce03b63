"""What the report makes of the diagnostics: tables and figures without a run."""

import io

import numpy as np
import pytest
from rich.console import Console

from lensflow.config import DiagnosticsConfig
from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.pixels import DIAGNOSTICS, Status, Summaries, findings
from lensflow.measure.zoo import faults as zoo
from lensflow.show import figures_findings, tables_findings
from lensflow.show.terminal import print_zoo
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig(bootstrap=60)


@pytest.fixture(scope="module")
def results():
    return Summaries.from_block(pairs_block(pedestal=0.01), CONFIG).one_pass(CONFIG, 1)


def test_every_finding_has_a_line_and_alarms_are_loud(results):
    found = findings(results)
    table = tables_findings.findings(found)
    assert len(table.rows) == len(found)
    assert table.loud == {k for k, f in enumerate(found) if f.status is Status.ALARM} != set()
    assert any(row[0] == "annulus" and row[2] == "ALARM" for row in table.rows)


@pytest.mark.parametrize("name", ["alignment", "flux", "balance"])
def test_tables_have_a_cell_for_every_column(results, name):
    table = getattr(tables_findings, name)(results[name])
    assert table.rows and all(len(row) == len(table.columns) for row in table.rows)


def gate(name, auc):
    return GateResult(name, {"bands": ["r"]}, "hash", 0.65, Verdict.PASS, "", 100, 30, auc, auc - 0.02, auc + 0.02)


def test_areas_are_painted_only_where_a_gate_looked():
    assert figures_findings.areas_on_the_stamp([gate("colour_all", 0.6)], 64) is None
    assert figures_findings.areas_on_the_stamp([gate("core_all", np.nan)], 64) is None
    shown = figures_findings.areas_on_the_stamp([gate("core_r", 0.9), gate("edge_all", 0.5)], 64)
    assert shown is not None and shown.png.startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def noticed():
    """A matrix in which every fault is noticed by those that must."""
    counts = [[0] * len(DIAGNOSTICS), *([3 * (d in f.caught_by) for d in DIAGNOSTICS] for f in zoo.FAULTS)]
    return zoo.matrix(counts)


def test_the_zoo_is_drawn(noticed):
    assert figures_findings.zoo(noticed).png.startswith(b"\x89PNG")


def test_a_fault_that_goes_unnoticed_and_an_alarm_without_a_fault_are_said(noticed):
    assert zoo.shortcomings(noticed) == []
    bad = noticed.copy()
    bad.loc["pedestal", "annulus"] = -1
    bad.loc["none", "flux"] = 1
    assert zoo.shortcomings(bad) == [
        "flux raises an alarm on the sound run", "annulus does not notice: pedestal",
    ]  # fmt: skip


def test_the_zoo_fits_a_terminal_and_says_what_is_wrong(noticed):
    console = Console(width=80, record=True, file=io.StringIO())
    assert print_zoo(console, noticed) == []
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert all(f.name in text for f in zoo.FAULTS) and "no alarm on the sound run" in text
    print_zoo(console, noticed.where(noticed < 3, 0))
    assert "does not notice: pedestal" in console.export_text()
