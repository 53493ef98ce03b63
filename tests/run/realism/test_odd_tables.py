"""Tables of real lenses that are empty, tiny, hostile or nowhere, from the file to the page."""

from pathlib import Path

import pytest

import lensflow as lf
from lensflow.errors import TargetError
from lensflow.run.report import report_step
from lensflow.store.open import read_head
from lensflow.store.run_folder import RunFolder
from tests.run.realism.sky import injected_run

pytestmark = [pytest.mark.whole, pytest.mark.slow]
NAMES = ("<script>alert(1)</script>", "{0!r} %s %(x)s", "[bold]x[/bold]", "a'&amp;", "é ☃", "=cmd()|x", "{{7*7}}")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return injected_run(tmp_path_factory.mktemp("odd-tables") / "run")


@pytest.fixture
def table(config, tmp_path):
    """Write a table of some of the sky's lenses, with other names or places."""
    head, *rows = Path(config.realism.table).read_text().splitlines()
    columns = head.split(",")

    def write(count=None, name="lenses.csv", names=(), places=()):
        lines = []
        for k, row in enumerate(rows[:count]):
            fields = row.split(",")
            if names:
                fields[columns.index("lens_id")] = f"{names[k % len(names)]}{k}"
            if places:
                for column, value in zip(("ra_deg", "dec_deg"), places[k % len(places)], strict=True):
                    fields[columns.index(column)] = repr(float(value))
            lines.append(",".join(fields))
        (tmp_path / name).write_text("\n".join([head, *lines]) + "\n")
        return tmp_path / name

    return write


def test_an_empty_table_is_refused(config, table):
    with pytest.raises(TargetError, match="the table of lenses is empty"):
        lf.compare_real(config, table(0))


def test_one_lens_gives_no_verdict(config, table):
    found = lf.compare_real(config, table(1))
    assert found.verdict == "NOT_TESTABLE" and found["sets"].sizes["set"] + sum(found.counts.values()) == 1
    assert "at least 10 are needed" in found.reason


def test_right_ascension_of_360_is_refused_and_the_ends_are_outside(config, table):
    with pytest.raises(TargetError, match=r"ra_deg holds 360.*in row 0"):
        lf.compare_real(config, table(1, places=[(360.0, 0.0)]))
    with pytest.raises(TargetError, match="declination outside that of the run's hosts"):
        lf.compare_real(config, table(2, places=[(359.99999, 0.0), (0.0, 89.9)]))


def test_lenses_that_are_all_hosts_of_the_run_are_refused(config, table):
    hosts = read_head(RunFolder.of(config).cutouts, "cutouts")
    places = [(hosts["ra_deg"].values[k], hosts["dec_deg"].values[k]) for k in (0, 5, 9)]
    with pytest.raises(TargetError, match="3 also a host of the run"):
        lf.compare_real(config, table(3, places=places))


def test_hostile_names_are_text_on_the_page_and_in_notebooks(config, table):
    found = lf.compare_real(config, table(name="<b>{x}%s.csv", names=NAMES))
    page = Path(report_step(config)).read_text()
    for html in (page, found._repr_html_()):
        assert "<script>alert" not in html and "<b>{x}" not in html
    assert "&lt;b&gt;{x}%s.csv" in page


def test_one_host_a_lens_leaves_no_equals_to_compare(config):
    found = lf.compare_real(config, hosts_per_lens=1)
    assert found.verdict == "NOT_TESTABLE" and "equals could not be compared" in found.reason
    assert any("not made" in text for _, text in found.kept.numbers["notes"])
