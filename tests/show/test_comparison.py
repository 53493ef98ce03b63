"""Two runs side by side with completeness in both: the numbers are those of the runs, the page fits any screen."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import lensflow as lf
from lensflow.cli import app
from lensflow.measure.gate import Verdict
from lensflow.run import compare_step
from lensflow.show.comparison import RunSide, compare, tables, write_page
from lensflow.show.pages import commands
from tests.factories import make_config
from tests.run.completeness_run import completeness_run, other_run
from tests.show.gates_factory import check
from tests.view.browser import MISSING, browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two runs of the same hosts: another seed, half of the hosts, arcs of the second rounded."""
    folders = []
    for name, make in (("before", completeness_run), ("after", other_run)):
        out = tmp_path_factory.mktemp("compared") / name
        shutil.copytree(make(tmp_path_factory).out, out, ignore=shutil.ignore_patterns("completeness"))
        lf.open_run(str(out)).completeness("snr_matched", truth=True, value=500.0, split="val")
        folders.append(str(out))
    return folders


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    return compare_step(*runs, str(tmp_path_factory.mktemp("page") / "page.html"))


def test_each_curve_has_the_share_of_both_runs_and_their_difference(compared, runs):
    found = {c.where.rpartition(", ")[2]: c for c in compared[0].completeness}
    assert {*found} == {"all", "clean", "no psf fallback"}
    one, two = found["all"].a, found["all"].b
    for side, run in ((one, runs[0]), (two, runs[1])):
        pairs = lf.open_pairs(run, split="val")
        snr = np.sqrt(np.nansum(pairs["snr_matched"].values ** 2, axis=1))[~pairs["is_control"].values]
        assert side.value == pytest.approx((snr >= 500).mean()) and side.low < side.value < side.high
    assert found["all"].difference.value == pytest.approx(two.value - one.value)


def test_a_run_without_that_scorer_is_a_dash_and_not_measured(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "bare", ignore=shutil.ignore_patterns("completeness"))
    found, _ = compare_step(runs[0], str(tmp_path / "bare"), str(tmp_path / "page.html"))
    assert {c.judgement for c in found.completeness} == {"not measured"}
    same, _ = compare_step(runs[0], runs[0], str(tmp_path / "same.html"))
    assert {c.judgement for c in same.completeness} == {"same"}


def test_the_page_and_json_have_them_all(compared, runs, tmp_path):
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", Path(compared[1]).read_text()))
    assert "Completeness" in text and "snr_matched" in text and "`" not in text
    assert "<code>lensflow gate</code>" in Path(compared[1]).read_text() and "plan.limit_hosts not set 18" in text
    for change in compared[0].completeness:
        assert f"{change.a.value:.3f}" in text and change.judgement in text
    said = CliRunner().invoke(app, ["compare", *runs, "--html", str(tmp_path / "page.html"), "--json"])
    found = json.loads(said.stdout)["completeness"]
    assert [(c["where"], c["judgement"]) for c in found] == [(c.where, c.judgement) for c in compared[0].completeness]


@pytest.mark.whole
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_nothing_of_the_page_is_cut_off_at_the_side(compared):
    with browser() as chromium:
        tab = chromium.tab()
        tab.open(f"file://{compared[1]}")
        tab.wait("document.readyState == 'complete' && !!document.querySelector('h2')")
        for width in (1366, 390):
            tab.resize(width, 844)
            assert tab.run("document.documentElement.scrollWidth") <= width, width
        tab.close()


def test_a_gate_of_one_run_only_is_no_difference():
    some = check("splits", Verdict.PASS, "well", ("all", "OK", 1.0, 1.0))
    one, two = (RunSide("run", make_config(), {}, gates, {}) for gates in ((some,), ()))
    found = compare(one, two)
    assert found.headline() == "No gate was run on both."
    page = tables(found)["gates"].html()
    assert "in A only" in page and "differs" not in page
    assert compare(one, one).headline() == "The only verdict is the same."
    other = RunSide(
        "run", make_config(), {}, (some, check("balance", Verdict.FAIL, "off", ("all", "OK", 1.0, 1.0))), {}
    )
    assert compare(one, other).headline().endswith("Run on one of them only: balance (FAIL in B).")
    assert tables(compare(one, other))["gates"].rows[-1][-1].value == "in B only"


def numbers(places):
    """Two sides with one number in ``places`` places: it differs in all but the first, most surely in the last."""
    value = np.arange(places) * 1.0
    sides = [
        xr.Dataset({n: ("band", v * scale + shift) for n, shift in (("pedestal", 0), ("pedestal_low", -0.1),
                    ("pedestal_high", 0.1))}, {"band": [f"b{k}" for k in range(places)]})
        for v, scale in ((value, 1), (value, 2))
    ]  # fmt: skip
    return [RunSide("run", make_config(), {}, (), {"annulus": d}) for d in sides]


def test_a_number_that_differs_in_many_places_is_one_line_with_the_surest():
    found = compare(*numbers(60))
    assert len(found.differing) == 59
    (row,) = tables(found)["diagnostics"].rows
    assert row[:-1] == ("annulus: pedestal", "59 of 60", "band b59", 59.0, 118.0)


def test_a_difference_is_no_fault_and_neither_run_is_red():
    page = write_page(compare(*numbers(3)))
    rows = re.findall("<tr[^>]*>", page)
    assert rows and not any("loud" in r for r in rows) and not re.search('<td class="[^"]*alarm', page)


def test_completeness_that_neither_run_has_is_no_line(compared):
    rows = tables(compared[0])["completeness"].rows
    assert len(rows) == sum(c.a.is_measured or c.b.is_measured for c in compared[0].completeness) > 0


def test_what_stands_in_backticks_is_code_and_all_else_stays_text():
    assert commands("`a <b>` & <c> `d") == "<code>a &lt;b&gt;</code> &amp; &lt;c&gt; `d"
    assert commands("``") == "``" and commands("a`\nb`") == "a`\nb`"
