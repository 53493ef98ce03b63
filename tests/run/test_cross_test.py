"""Scorers against runs: the stored numbers side by side, or a refusal that names what differs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import lensflow as lf
from lensflow.errors import CompletenessError, StaleStoreError
from tests.reseal import rewrite
from tests.run.completeness_run import completeness_run, other_run

pytestmark = [pytest.mark.slow, pytest.mark.whole]

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"
CORNER = f"{__name__}:corner"
SCORERS = [BLUE_RING, CORNER]


def corner(images):
    """A scorer that looks where no arc is."""
    return images[:, 0, :4, :4].mean(axis=(1, 2))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {"a": completeness_run(tmp_path_factory).out, "b": other_run(tmp_path_factory).out}


@pytest.fixture(scope="module")
def measured(runs):
    return {(s, r): lf.completeness(runs[r], s, fpr=[0.2, 0.5]) for s in SCORERS for r in runs}


@pytest.fixture
def edited(measured, runs):
    """Change the kept file of one result, and put it back."""
    path = Path(measured[CORNER, "b"].path)
    text = path.read_text()

    def edit(change):
        kept = json.loads(text)
        change(kept)
        rewrite(path, **kept)

    yield edit
    path.write_text(text)


def test_every_cell_is_the_completeness_that_was_measured(runs, measured):
    for place, fpr in enumerate((0.2, 0.5)):
        found = lf.cross_test(runs, SCORERS, fpr=fpr)
        assert found.sizes == {"scorer": 2, "run": 2}
        for (scorer, run), one in measured.items():
            here, whole = found.sel(scorer=scorer, run=run), one.curves.sel(curve="all").isel(threshold=place)
            for name, of in (("completeness", "completeness"), ("low", "completeness_low"),
                             ("high", "completeness_high"), ("n", "n_valid"), ("n_hosts", "n_hosts")):  # fmt: skip
                assert float(here[name]) == float(whole[of])
            assert float(here["tau"]) == float(one.thresholds["tau"][place])
    assert len({float(v) for v in found["completeness"].values.ravel()}) > 1
    turned = lf.cross_test({k: runs[k] for k in reversed(runs)}, SCORERS[::-1], fpr=0.5)
    assert turned.sel(scorer=SCORERS, run=[*runs]).equals(found)


def test_it_is_shown_as_a_table_that_fits(runs, measured):
    table = lf.cross_table(lf.cross_test(runs, SCORERS, fpr=0.5))
    console = Console(width=80, record=True)
    console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "unsure" in text
    assert "of split val, at false-positive rate 0.5" in table.notes
    first = float(measured[BLUE_RING, "a"].curves["completeness"].sel(curve="all")[1])
    assert table.rows[0][1].value.value == first


def test_what_was_not_measured_is_named_with_its_command(runs, measured):
    with pytest.raises(CompletenessError, match=r"2 of 4 results.*`lensflow completeness .*run my:finder --fpr 0.2`"):
        lf.cross_test(runs, [BLUE_RING, "my:finder"], fpr=0.2)
    with pytest.raises(CompletenessError, match="4 of 4 results are not there on split test"):
        lf.cross_test(runs, SCORERS, fpr=0.2, split="test")
    with pytest.raises(CompletenessError, match="needs runs and scorers, each once"):
        lf.cross_test(runs, [BLUE_RING, BLUE_RING])


def test_a_threshold_that_is_not_among_the_stored_ones_is_refused(runs, measured):
    with pytest.raises(
        CompletenessError, match=r"no threshold of a false-positive rate of 0.3; there is 0[.][12], 0.5"
    ):
        lf.cross_test(runs, SCORERS, fpr=0.3)
    with pytest.raises(CompletenessError, match=r"has thresholds at 0[.][12], 0.5: say which \(fpr\)"):
        lf.cross_test(runs, SCORERS)


@pytest.mark.parametrize("name", ["key", "code"])
def test_a_stale_result_is_refused_with_the_command_that_renews_it(runs, measured, edited, name):
    edited(lambda kept: kept.update({name: "other"}))
    why = {"key": "other pixels or settings", "code": "other code of lensflow"}[name]
    with pytest.raises(
        StaleStoreError, match=f"1 of 4 results are stale.*{why}.*`lensflow completeness .*corner --fpr 0.2 --fpr 0.5`"
    ):
        lf.cross_test(runs, SCORERS, fpr=0.2)


def only(run, **options):
    """Measure the corner on a run, and delete what was measured of it in other ways."""
    made = Path(lf.completeness(run, CORNER, **options).path)
    for other in made.parent.glob(f"{CORNER.replace(':', '-')}.*"):
        if other.name.removesuffix(other.suffix) != made.name.removesuffix(made.suffix):
            shutil.rmtree(other) if other.is_dir() else other.unlink()


@pytest.mark.slow
def test_results_measured_in_different_ways_are_refused(runs, measured):
    lf.completeness(runs["b"], CORNER, fpr=[0.2, 0.5], negatives="cutouts")
    lf.cross_test(runs, SCORERS, fpr=0.2)  # that of the run's own negatives is there, too, and is meant
    only(runs["b"], fpr=[0.2, 0.5], negatives="cutouts")
    with pytest.raises(CompletenessError, match=r"the negatives differs: controls for .*blue_ring on a, cutouts for"):
        lf.cross_test(runs, SCORERS, fpr=0.2)
    only(runs["b"], value=0.1)
    with pytest.raises(CompletenessError, match=r"no threshold of a false-positive rate of 0.2; there is none"):
        lf.cross_test(runs, SCORERS, fpr=0.2)
    only(runs["a"], value=0.2)
    with pytest.raises(CompletenessError, match=r"the threshold differs: score 0.2 .*, score 0.1"):
        lf.cross_test(runs, [CORNER])
    lf.completeness(runs["a"], CORNER, value=0.1)
    with pytest.raises(CompletenessError, match=r"2 results of .*corner on split val, none by the run's own settings"):
        lf.cross_test(runs, [CORNER])
    only(runs["a"], value=0.1)
    assert lf.cross_test(runs, [CORNER]).attrs["threshold"] == "score 0.1"
    for run in runs.values():
        only(run, fpr=[0.2, 0.5])


def test_a_scorer_whose_weights_changed_between_two_runs_is_refused(runs, measured, edited):
    edited(lambda kept: kept["results"].update(source="of other weights"))
    with pytest.raises(CompletenessError, match="corner is not the same on a and b: its code or weights changed"):
        lf.cross_test(runs, SCORERS, fpr=0.2)


def test_what_could_not_be_measured_stands_as_no_number_with_its_verdict(runs, measured, edited):
    def nothing(kept):
        tables = kept["results"]["tables"]
        tables["funnel"]["attrs"]["verdict"] = "NOT_TESTABLE"
        for name in [*tables]:
            if name != "funnel":
                del tables[name]

    edited(nothing)
    found = lf.cross_test(runs, SCORERS, fpr=0.2)
    here = found.sel(scorer=CORNER, run="b")
    assert np.isnan(here["completeness"]) and int(here["n"]) == 0 and str(here["verdict"].values) == "NOT_TESTABLE"
    assert lf.cross_table(found).rows[1][2].note == "NOT TESTABLE"


def test_runs_without_names_are_called_by_their_folders(runs, measured):
    found = lf.cross_test([*runs.values()], [BLUE_RING], fpr=0.2)
    assert found["run"].values.tolist() == [*runs.values()]  # both folders are called run
    with pytest.raises(CompletenessError, match="a run is named twice"):
        lf.cross_test([runs["a"], runs["a"]], [BLUE_RING], fpr=0.2)
