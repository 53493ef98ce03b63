"""What the report makes of the diagnostics: tables and figures without a run."""

import io
import re

import pytest
import xarray as xr
from rich.console import Console

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import DIAGNOSTICS, ONE_PASS, Block, Settings, Status, findings, measure
from lensflow.measure.pixels.judging import exact, within
from lensflow.measure.zoo import faults as zoo
from lensflow.show import figures_findings, tables_gates, tables_pixels
from lensflow.show.from_dataset import from_dataset
from lensflow.show.terminal import print_zoo
from lensflow.stats.estimate import Estimate
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig(bootstrap=60)


@pytest.fixture(scope="module")
def results():
    return measure(Block(pairs_block(pedestal=0.01), CONFIG), ONE_PASS).results(Settings(CONFIG, 1))


def test_every_finding_has_a_line_and_alarms_are_loud(results):
    found = findings(results)
    table = tables_gates.findings(found)
    assert len(table.rows) == len(found)
    assert table.html().count('class="rule loud"') + table.html().count('class="loud"') == sum(
        f.status is Status.ALARM for f in found
    )
    assert any(row[0] == "annulus" and row[2].value == "ALARM" for row in table.rows)


MAKERS = {
    "stratified": tables_pixels.strata, "regression": tables_pixels.regression, "alignment": tables_pixels.alignment,
    "flux": tables_pixels.flux, "balance": tables_pixels.balance,
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_the_numbers_of_a_table_are_those_of_the_dataset(results, name):
    """The general table, which knows nothing of the diagnostic, is the judge."""
    shown, every = (
        {repr(cell.fields()) for table in made for row in table.rows for cell in row if isinstance(cell, Estimate)}
        for made in ([MAKERS[name](results[name])], from_dataset(results[name]))
    )
    assert shown and shown <= every


def test_a_count_keeps_all_its_digits_and_a_share_its_three():
    found = [exact("splits", "rows", xr.DataArray(2478, attrs={"long_name": "rows"}))]
    found.append(within("splits", "share", xr.DataArray(1.0, attrs={"long_name": "share"}), 2.0))
    html = tables_gates.findings(found).html()
    assert re.findall(r'class="">([\d,.]+)</td><td class="">0<', html) == ["2,478", "1.00"]


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
