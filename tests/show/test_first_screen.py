"""The first screen says what was made, whether to trust it and what to do next; nothing bad stays folded."""

import dataclasses
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from lensflow.measure.gate import Verdict
from lensflow.measure.pixels import Status, findings
from lensflow.run.report import result_keys
from lensflow.show import page
from lensflow.show.collect import Places, collect
from lensflow.show.folds import BAD, folds
from lensflow.show.gallery import first_rows
from lensflow.show.page import render
from lensflow.show.verdict_style import css_class
from tests.quick import no_figures
from tests.show.gates_factory import check, fitted
from tests.small_run import finished_copy

pytestmark = pytest.mark.whole

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
# Of the small run: the gates that its config requires.
CORE, CHECKS = "core_r", ("splits", "balance", "localisation", "visibility", "priors", "diagnostics")


class Folded(HTMLParser):
    """What a reader sees before anything is opened, and what lies inside of closed folds."""

    def __init__(self, html):
        super().__init__()
        self.depth, self.in_summary, self.seen, self.hidden, self.loud = [], False, [], [], []
        self.skip = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        at = dict(attrs)
        closed = any(self.depth)
        marks = set((at.get("class") or "").split())
        if marks & {"alarm", "loud", "v-fail", "v-error"} or at.get("role") == "alert":
            self.loud.append((closed, at))
        if tag == "details":
            self.depth.append("open" not in at)
        elif tag == "summary":
            self.in_summary = True
        self.skip += tag == "style"

    def handle_endtag(self, tag):
        if tag == "details":
            self.depth.pop()
        elif tag == "summary":
            self.in_summary = False
        self.skip -= tag == "style"

    def handle_data(self, data):
        if self.skip:
            return
        closed = any(self.depth[:-1] if self.in_summary else self.depth)
        (self.hidden if closed else self.seen).append(data)


def text(parts):
    return re.sub(r"\s+", " ", " ".join(parts))


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    config = finished_copy(tmp_path_factory.mktemp("first") / "run")
    out = config.out
    places = Places(
        *(f"{out}/{name}.zarr" for name in ("cutouts", "manifest", "pairs")),
        *(f"{out}/receipts/{stage}" for stage in ("cutouts", "pairs")),
        *(f"{out}/summaries/{name}.json" for name in ("diagnostics", "gates", "timings")),
    )
    found = collect(config, places, result_keys(config))
    return dataclasses.replace(found, gates=sound(), telling={}, worst=(), gallery=found.gallery[:1])


def sound():
    return (
        fitted(CORE, Verdict.PASS, 0.5),
        *(check(n, Verdict.PASS, "all is well", ("all", "OK", 1.0, 1.0)) for n in CHECKS),
    )


def with_verdict(record, verdict, name=CORE):
    gates = tuple(
        dataclasses.replace(fitted(name, verdict, 0.8), reason="as it was measured") if g.name == name else g
        for g in record.gates
    )
    return dataclasses.replace(record, gates=gates)


def shown(record):
    with no_figures():
        return render(record, NOW)


def first_screen(html):
    head = html[html.index('<section id="verdict"') : html.index("<h2>The evidence")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", head))


def test_the_first_screen_says_what_was_made_whether_to_trust_it_and_what_to_do_next(record):
    html = shown(record)
    said = first_screen(html)
    counts = record.pairs_summary["counts"]
    assert f"{counts['injections']} simulated lensed arcs" in said and "Einstein radii" in said and "mag before" in said
    assert " Passed " in said and "Nothing that was tried tells a stamp from its control" in said
    assert "Next:" in said and f"lensflow certify {record.config.out}" in said
    assert html.index('class="banner v-pass"') < html.index('class="gallery six"') < html.index("<details")
    assert html.index('class="gallery six"') < html.index('id="profile"') < html.index("<details")


def test_six_triplets_each_with_row_host_and_place_stand_before_any_fold(record):
    assert len(record.first) == 6 and len({e.row for e in record.first}) == 6
    head = shown(record).split("<details")[0]
    assert head.count("In place of triptych") == 6
    said = first_screen(shown(record))
    for e in record.first:
        assert f"row {e.row} host {e.name}" in said.replace("  ", " ") and e.place in said
        assert f"{e.theta_e_arcsec:.2f}″" in said


def test_the_six_are_typical_and_resolved_arcs_by_rule(record):
    rows = record.rows
    chosen = first_rows(rows, 1)
    np.testing.assert_array_equal(chosen, first_rows(rows, 1))
    assert not rows["is_control"].values[chosen].any()
    assert np.isfinite(rows["psf_fwhm_arcsec"].values[chosen]).all()
    usable = ~rows["is_control"].values & np.isfinite(rows["psf_fwhm_arcsec"].values).all(axis=1)
    resolved = usable & (rows["theta_e_arcsec"].values > rows["psf_fwhm_arcsec"].values[:, 1])
    if resolved.sum() >= 6:
        assert resolved[chosen[:3]].all()
    assert (np.diff(rows["arc_snr"].values[chosen[3:]]) <= 0).all()
    assert first_rows(rows.isel(sample=rows["is_control"].values), 1).size == 0


@pytest.mark.parametrize(
    ("verdict", "css", "said"),
    [
        (Verdict.EXPLAINED, "v-explained", "The arcs’ own light tells stamps from controls"),
        (Verdict.FAIL, "v-fail", "Something besides the arcs may tell stamps"),
        (Verdict.INCONCLUSIVE, "v-inconclusive", "nobody knows yet"),
        (Verdict.NOT_TESTABLE, "v-not-testable", "nobody knows yet"),
        (Verdict.ERROR, "v-error", "could not be run"),
    ],
)
def test_each_verdict_of_a_required_gate_is_the_banner_s(record, verdict, css, said):
    html = shown(with_verdict(record, verdict))
    assert f'class="banner {css}"' in html and said in first_screen(html)
    assert "6 of 7 required gates passed; " in first_screen(html) and CORE in first_screen(html)
    assert "Passed" not in first_screen(html)


def test_a_gate_explained_by_the_arcs_is_amber_and_never_red(record):
    html = shown(with_verdict(record, Verdict.EXPLAINED))
    page = Folded(html)
    assert not page.loud and "✕" not in text([*page.seen, *page.hidden])
    chip = re.search(rf'<li class="([^"]+)"><a href="#gate-{CORE}"', html)
    assert chip[1] == "v-explained" and "≈" in text(page.seen)
    assert "gate.accept_explained: true" in first_screen(html)
    # Its word stays as it is in the verdict's file.
    assert f"{CORE} EXPLAINED" in first_screen(html).replace("  ", " ")
    failed = shown(with_verdict(record, Verdict.FAIL))
    assert Folded(failed).loud and "gate.accept_explained" not in first_screen(failed)


def test_an_accepted_explanation_counts_as_passed_and_says_by_which_setting(record):
    gate = record.config.gate.model_copy(update={"accept_explained": True, "required": True})
    accepting = dataclasses.replace(record, config=record.config.model_copy(update={"gate": gate}))
    said = first_screen(shown(with_verdict(accepting, Verdict.EXPLAINED)))
    assert "gate.accept_explained is set" in said and "exit code 3" not in said
    strict = record.config.model_copy(update={"gate": record.config.gate.model_copy(update={"required": True})})
    strictly = with_verdict(dataclasses.replace(record, config=strict), Verdict.EXPLAINED)
    assert "exit code 3" in first_screen(shown(strictly))


def broken_invariant(record):
    counts = {**record.pairs_summary["counts"], "invariant: arc in a band without data": 2}
    return dataclasses.replace(record, pairs_summary={**record.pairs_summary, "counts": counts})


def changed_controls(record):
    annulus = record.diagnostics["annulus"].copy()
    annulus["n_controls_changed"] = annulus["n_controls_changed"] * 0 + 3
    return dataclasses.replace(record, diagnostics={**record.diagnostics, "annulus": annulus})


def failed_advisory(record):
    return dataclasses.replace(record, gates=(*record.gates, fitted("edge_all", Verdict.FAIL, 0.9)))


def null_that_does_not_hold(record):
    null = {"auc": 0.7, "auc_low": 0.65, "auc_high": 0.75, "holds_half": False, "n_hosts": 9}
    first, *rest = record.gates
    return dataclasses.replace(record, gates=(dataclasses.replace(first, controls={"null": null}), *rest))


@pytest.mark.parametrize(
    ("breaks", "anchor", "words"),
    [
        (broken_invariant, "ran", "2 broken invariants"),
        (changed_controls, "annulus", "control rows are not their host"),
        (failed_advisory, "gates", "failed: edge_all"),
        (null_that_does_not_hold, "gates", "do not hold 0.5"),
    ],
)
def test_nothing_bad_hides_in_a_fold(record, breaks, anchor, words):
    html = shown(breaks(record))
    page = Folded(html)
    assert page.loud and not [at for closed, at in page.loud if closed]
    summary = re.search(rf'<details class="fold v-(\w+)" id="{anchor}" open>', html)
    assert summary and summary[1].upper() in BAD
    head = text(page.seen)[: text(page.seen).index("The evidence")]
    assert words in head
    # The sound run has none of it.
    assert words not in shown(record) and not Folded(shown(record)).loud


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.EXPLAINED, Verdict.FAIL, Verdict.ERROR])
def test_finders_training_real_lenses_and_completeness_are_open_where_they_fail_and_only_there(record, verdict):
    judged = dataclasses.replace(fitted("core_drop", verdict, 0.8), recipe={"scorer": "finder"})
    kept = SimpleNamespace(gates=(judged,), gate=judged, tables={})
    sections = {n: SimpleNamespace(anchor=n, title=n, sentence="What it says.") for n in ("real-1", "completeness-1")}
    content = page._content(record) | {
        "training": sections["real-1"], "realism": [sections["real-1"]], "completeness": [sections["completeness-1"]]
    }  # fmt: skip
    found = folds(
        dataclasses.replace(
            record, scorers=(judged,), training=kept, completeness=(kept,), realism=(SimpleNamespace(kept=kept),)
        ),
        content,
    )
    for anchor in ("scorers", "training", "real-1", "completeness-1"):
        assert found[anchor].is_bad == (str(verdict) in BAD), anchor
        assert found[anchor].line.startswith(f"core drop {verdict}.") and found[anchor].css == css_class(str(verdict))
    assert not found["gates"].is_bad


def test_an_alarm_of_the_diagnostics_turns_the_banner_red_although_gates_pass(record, monkeypatch):
    found = findings(record.diagnostics, record.kinds)
    first = dataclasses.replace(found[0], status=Status.ALARM)
    monkeypatch.setattr(page, "findings", lambda *_: [first, *found[1:]])
    html = shown(record)
    assert 'class="banner v-fail"' in html and "The pixels are not what they should be." in first_screen(html)
    assert f"1 of {len(found)} comparisons are alarms" in first_screen(html)
    assert not [at for closed, at in Folded(html).loud if closed]


def test_every_fold_says_on_its_summary_what_is_inside(record):
    html = shown(record)
    folds = re.findall(r'<details class="fold [^>]*>\s*<summary>(.*?)</summary>', html, flags=re.DOTALL)
    assert len(folds) >= 7
    for summary in folds:
        title = re.search(r"<b>(.*?)</b>", summary)[1]
        line = re.search(r'class="line">(.*?)</span>', summary, re.DOTALL)[1]
        assert title and len(line.strip()) > 10, summary


def test_what_was_not_measured_is_one_line_with_its_command(record):
    said = text(Folded(shown(record)).seen)
    for command in ("completeness", "realism", "score", "train", "tune-core", "zoo"):
        assert f"not measured; run lensflow {command} {record.config.out}" in said.replace("  ", " ")
    assert "check-export" in said


def test_hostile_names_of_hosts_are_text(record):
    name = "<img src=x onerror=alert(1)>"
    hostile = dataclasses.replace(record.first[0], name=name, host_id=name)
    html = shown(dataclasses.replace(record, first=(hostile,)))
    assert "<img src=x" not in html and "&lt;img src=x" in html
