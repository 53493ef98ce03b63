"""Tables of scores: every digit of an id, every row once, and never the scores of other pixels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

import lensflow as lf
from lensflow.errors import CompletenessError, ConfigError, GateError, StaleStoreError, StoreError
from lensflow.measure.scorer.scorer import blue_ring
from lensflow.run.completeness import completeness_step, with_options
from lensflow.run.completeness.negatives import control_images, negatives_source, usable_hosts
from lensflow.run.completeness.rows import with_scores
from lensflow.run.completeness.scorers import find_scorer
from lensflow.run.score import score_step, tables_of
from lensflow.run.score_table import host_scores, row_scores, write_scores
from lensflow.store.open import read_head
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.store.sealing import read_test_accesses
from tests.run.completeness_run import completeness_run, other_run

pytestmark = pytest.mark.whole

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"
IDS = np.array([0, 2**53 + 1, 2**63 + 12345, 2**64 - 1], dtype=np.uint64)
SCORES = np.array([0.25, -1.5, 3.0, 7.0])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return completeness_run(tmp_path_factory)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return other_run(tmp_path_factory)


@pytest.fixture(scope="module")
def images(config):
    return completeness_step(config, BLUE_RING)


@pytest.fixture(scope="module")
def tables(config):
    """What `lensflow score` writes: scores of the injections, and of their hosts' controls."""
    score_step(config, BLUE_RING)
    return tables_of(config, BLUE_RING)


@pytest.fixture
def scored(tables):
    """The scores as a user has them: no word of the run."""
    return pq.read_table(tables[0]).replace_schema_metadata(None).to_pandas()


def recovered(found):
    return int(found.curves["n_recovered"].sel(curve="all")[0])


def at(config, **options):
    return with_options(config, **options)


# Reading.


@settings(max_examples=25)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6, unique=True), st.sampled_from(["parquet", "csv"]))
def test_every_digit_of_every_id_comes_back(tmp_path_factory, ids, kind):
    path = str(tmp_path_factory.mktemp("scores") / f"scores.{kind}")
    frame = pd.DataFrame({"row_id": np.array(ids, dtype=np.uint64), "score": np.arange(len(ids)) / 7})
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    found = row_scores(path)
    assert found.ids.dtype == np.uint64 and found.ids.tolist() == ids
    np.testing.assert_array_equal(found.score, frame["score"])


def test_tables_of_every_library_are_the_same_table(tmp_path):
    frame = pd.DataFrame({"row_id": IDS, "score": SCORES})
    table = Table({"row_id": IDS, "score": SCORES})
    table.write(tmp_path / "scores.ecsv")
    table.write(tmp_path / "scores.fits")
    dataset = xr.Dataset({"row_id": ("sample", IDS), "score": ("sample", SCORES)})
    given = [
        frame,
        frame.set_index("row_id"),
        table,
        dataset,
        *(str(tmp_path / f"scores.{k}") for k in ("ecsv", "fits")),
    ]
    digests = {row_scores(one).digest for one in given}
    assert len(digests) == 1
    assert row_scores(frame.assign(score=SCORES[::-1])).digest not in digests
    for one in given:
        np.testing.assert_array_equal(row_scores(one).ids, IDS)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (IDS.astype(float), "in a column of floating-point numbers, which holds whole numbers exactly only below"),
        (IDS.astype(np.float32), "in a column of floating-point numbers"),
        (pd.array([1, None, 2, 3], dtype="UInt64"), "row_id of row 1 is missing"),
        (pd.Series([1.0, np.nan, 2, 3]), "row_id of row 1 is missing"),
        (IDS.astype(np.int64), "row_id of row 2 is '-9223372036854763463', .*read as a signed integer"),
        (["1", "2", "3", "1.8446744073709552E+19"], "last digits are lost"),
        (["1", "2", "3", "18446744073709551616"], "no number below 2\\^64"),
        (["1", "2", "3", "0x10"], "row_id of row 3 is '0x10', not a whole number"),
        (["1", "2", "3", "1_0"], "row_id of row 3 is '1_0', not a whole number"),
        (["1", "2", "3", "1.5"], "row_id of row 3 is '1.5', not a whole number"),
    ],
)
def test_ids_that_lost_a_digit_are_refused_with_their_row(column, why):
    with pytest.raises(CompletenessError, match=why):
        row_scores(pd.DataFrame({"row_id": column, "score": SCORES}))


def test_csv_of_a_spreadsheet_is_refused_and_of_integers_is_not(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("row_id,score\n1.84467E+19,0.5\n")
    with pytest.raises(CompletenessError, match=r"scores.csv: row_id of row 0 is '1.84467E\+19'"):
        row_scores(str(path))
    path.write_text("row_id,score\n18446744073709551615,0.5\n9,\n7,nan\n")
    found = row_scores(str(path))
    assert found.ids.tolist() == [2**64 - 1, 9, 7] and np.isnan(found.score[1:]).all()
    path.write_text("row_id,score\n7,high\n")
    with pytest.raises(CompletenessError, match="score of row 0 is 'high', which is not a number"):
        row_scores(str(path))
    path.write_text("row_id,scores\n7,1\n")
    with pytest.raises(CompletenessError, match=r"no column score \(there are row_id, scores\). Did you mean 'scores'"):
        row_scores(str(path))
    path.write_text("row_id,score\n")
    with pytest.raises(CompletenessError, match="no rows"):
        row_scores(str(path))
    with pytest.raises(CompletenessError, match="no such table"):
        row_scores(str(tmp_path / "none.parquet"))


def test_negatives_have_a_name_each_and_are_counted_once():
    frame = pd.DataFrame({"host_id": ["a", "b", "a", "c", "c"], "score": np.arange(5.0)})
    with pytest.raises(CompletenessError, match="2 host_id occur more than once: a, c"):
        host_scores(frame)
    with pytest.raises(CompletenessError, match="host_id of row 1 is missing"):
        host_scores(frame.assign(host_id=["a", None, "b", "c", "d"]))
    with pytest.raises(CompletenessError, match=r"no column host_id.*the score of an image without an arc"):
        host_scores(frame.rename(columns={"host_id": "name"}))
    assert host_scores(frame.assign(host_id=[9007199254740993, 2, 3, 4, 5])).ids[0] == "9007199254740993"


def test_a_row_that_the_table_lacks_is_lost_and_never_missed():
    n = 250
    rows = xr.Dataset(
        {"row_id": ("sample", np.arange(n, dtype=np.uint64)), "is_control": ("sample", np.arange(n) >= 200)}
    )
    found = with_scores(rows, np.arange(2, 200, dtype=np.uint64), np.ones(198), np.arange(n))
    np.testing.assert_array_equal(found["has_score"], (np.arange(n) >= 2) & (np.arange(n) < 200))
    with pytest.raises(CompletenessError, match=r"3 of 200 wanted rows are missing, at most 1 % may be .*: 0, 1, 2"):
        with_scores(rows, np.arange(3, 200, dtype=np.uint64), np.ones(197))


# On a run.


@pytest.mark.slow
def test_the_tables_that_score_writes_give_the_numbers_of_the_scorer(config, images, tables):
    found = completeness_step(at(config, negatives=tables[1]), tables[0])
    assert found.kind == "table" and found.curves.equals(images.curves) and found.resolution.equals(images.resolution)
    assert found.thresholds["tau"].equals(images.thresholds["tau"])
    assert found.roc["auroc"].equals(images.roc["auroc"])  # hosts are known by their number, as controls are
    same = "negatives_fingerprint"
    assert found.thresholds.attrs[same] == images.thresholds.attrs[same] != ""
    assert "12 of them hosts of this run" in found.thresholds.attrs["negatives"]


def test_a_table_in_memory_and_one_of_all_splits_are_the_same(config, images, scored):
    every = read_head(RunFolder.of(config).manifest, "manifest", names=("row_id", "is_control"))
    rest = np.setdiff1d(every["row_id"].values, scored["row_id"])
    more = pd.concat([scored[["row_id", "score"]], pd.DataFrame({"row_id": rest, "score": 99.0})])
    tau = float(images.thresholds["tau"][0])
    found = [lf.completeness(config, one, value=tau) for one in (scored, more)]
    for one in found:
        assert recovered(one) == recovered(images)
    # Scores of control rows are negatives, one for each host of the split.
    assert int(found[0].thresholds["n_negatives"]) == 0
    assert int(found[1].thresholds["n_negatives"]) == 12 and float(found[1].thresholds["true_rate"][0]) == 1


def test_rows_that_the_run_does_not_have_that_are_there_twice_or_missing_are_refused_with_counts(config, scored):
    config = at(config, value=0.0)
    with pytest.raises(CompletenessError, match=r"1 row_id are not of this run: 7$"):
        lf.completeness(config, pd.concat([scored, scored.iloc[:1].assign(row_id=np.uint64(7))]))
    first = scored["row_id"].iloc[2]
    with pytest.raises(CompletenessError, match=f"1 row_id occur more than once: {first}"):
        lf.completeness(config, pd.concat([scored, scored.iloc[2:3]]))
    with pytest.raises(CompletenessError, match=f"1 of 36 wanted rows are missing, at most 1 % may be .*: {first}"):
        lf.completeness(config, scored.drop(index=2))
    with pytest.raises(CompletenessError, match=r"of the control rows that are negatives, .*11 of 12 wanted"):
        control = lf.open_pairs(config.out, split="val").load()
        one = control["row_id"].values[control["is_control"].values & (control["replicate"].values == 0)][:1]
        lf.completeness(config, pd.concat([scored, pd.DataFrame({"row_id": one, "score": 1.0})]))
    with pytest.raises(CompletenessError, match=r"is a table without scores to controls.*--negatives.*threshold.value"):
        lf.completeness(at(config, fpr=0.1), scored)


def test_the_scores_of_another_run_of_the_same_hosts_are_refused_by_its_settings(config, other, tables):
    """Their row_ids are the same: nothing else tells them apart."""
    head = [
        read_head(RunFolder.of(c).manifest, "manifest", names=("row_id",))["row_id"].values for c in (other, config)
    ]
    assert np.isin(head[0], head[1]).all()
    for unknown in (False, True):
        with pytest.raises(
            StaleStoreError, match=r"(?s)settings differ:\n.*plan.limit_hosts: scored None, now 18.*seed: sc"
        ):
            completeness_step(at(other, value=0.0, truth=unknown), tables[0])


@pytest.mark.slow
def test_results_follow_the_content_of_a_table_and_not_its_name(config, scored, tmp_path):
    path, negatives = str(tmp_path / "scores.parquet"), str(tmp_path / "negatives.csv")
    frame = pd.DataFrame({"host_id": [f"real-{k}" for k in range(20)], "score": np.arange(20.0)})
    frame.to_csv(negatives, index=False)
    scored.to_parquet(path)
    config = at(config, fpr=0.5, negatives=negatives)
    first, before = completeness_step(config, path), negatives_source(config)
    scored.assign(score=scored["score"] + 1000).to_parquet(path)
    frame.assign(score=frame["score"] + 1).to_csv(negatives, index=False)
    assert negatives_source(config) != before
    second = completeness_step(config, path)
    assert recovered(second) == 36 > recovered(first)
    assert float(second.thresholds["tau"][0]) == pytest.approx(float(first.thresholds["tau"][0]) + 1)
    marks = [c.thresholds.attrs["negatives_fingerprint"] for c in (first, second)]
    assert marks[0] != marks[1]


# Negatives.


@pytest.fixture
def negatives(tmp_path):
    def write(ids, scores=None):
        path = str(tmp_path / "negatives.parquet")
        pd.DataFrame({"host_id": ids, "score": np.arange(len(ids)) if scores is None else scores}).to_parquet(path)
        return path

    return write


@pytest.mark.parametrize(("split", "why"), [("train", "a model has seen them"), ("test", "they are sealed")])
def test_negatives_of_train_and_of_the_sealed_split_are_refused(config, negatives, split, why):
    of = {"train": 0, "val": 12, "test": 24}[split]
    ids = [*(f"host-{k:03d}" for k in range(12, 24)), *(f"host-{k:03d}" for k in range(of, of + 4)), "real-1"]
    with pytest.raises(
        CompletenessError, match=f"4 negatives are hosts of the {split} split, and {why}: host-0{of:02d}, "
    ):
        completeness_step(at(config, negatives=negatives(ids)), BLUE_RING)


def test_real_non_lenses_are_hosts_of_their_own(config, images, negatives):
    ids = [*(f"real-{k}" for k in range(88)), *(f"host-{k:03d}" for k in range(12, 24))]
    scores = np.linspace(-5, 0, 100)
    found = completeness_step(at(config, negatives=negatives(ids, scores), fpr=0.1), BLUE_RING)
    assert int(found.thresholds["n_negatives"]) == 100
    assert float(found.thresholds["tau"][0]) == np.nextafter(np.sort(scores)[-11], np.inf)
    assert "12 of them hosts of this run" in found.thresholds.attrs["negatives"]


def test_negatives_of_another_scorer_set_no_threshold(config, tables, tmp_path):
    table = pq.read_table(tables[1])
    made = json.loads(table.schema.metadata[b"lensflow"])
    changed = table.replace_schema_metadata({b"lensflow": json.dumps({**made, "source": "other", "scorer": "a:b"})})
    pq.write_table(changed, tmp_path / "others.parquet")
    with pytest.raises(CompletenessError, match=r"scores of 'a:b' \(other\), not of .*with the same scorer"):
        completeness_step(at(config, negatives=str(tmp_path / "others.parquet")), BLUE_RING)


def test_images_of_hosts_without_an_injection_are_what_their_controls_would_be(other):
    pairs = lf.open_pairs(other.out, split="val").load()
    control = pairs.isel(sample=pairs["is_control"].values & (pairs["replicate"].values == 0))
    cutouts = lf.open_cutouts(other.out).load()
    index = control["host_index"].values
    made = control_images(cutouts.isel(host=index), cutouts["host_id"].values[index], other)
    assert len(index) == 6
    np.testing.assert_array_equal(made, control["stamp"].values)
    assert (made != cutouts["image"].values[index]).any()


def test_all_usable_hosts_of_the_split_are_negatives_each_once(other):
    cutouts = lf.open_cutouts(other.out).load()
    assert usable_hosts(other).tolist() == [*range(12, 24)]
    found = completeness_step(at(other, negatives="cutouts", fpr=0.25), BLUE_RING)
    own = completeness_step(at(other, fpr=0.25), BLUE_RING)
    assert int(own.thresholds["n_negatives"]) == 6 and int(found.thresholds["n_negatives"]) == 12
    assert "6 of them have no injection" in found.thresholds.attrs["negatives"]
    assert own.thresholds.attrs["negatives_fingerprint"] != found.thresholds.attrs["negatives_fingerprint"]
    pairs = lf.open_pairs(other.out, split="val").load()
    injected = pairs.isel(sample=~pairs["is_control"].values).sortby("row_id")
    first = injected.isel(sample=np.unique(injected["host_index"].values, return_index=True)[1])
    rest = slice(18, 24)
    images = control_images(cutouts.isel(host=rest), cutouts["host_id"].values[rest], other)
    scores = np.sort(np.concatenate([blue_ring(first["ctrl"].values), blue_ring(images)]))
    assert float(found.thresholds["tau"][0]) == np.nextafter(scores[-4], np.inf)


# What was injected.


def truth(rows):
    return rows["arc"].values.max(axis=(1, 2, 3))


truth.kind = "truth"


def test_what_reads_the_truth_is_marked_in_title_file_and_verdict(config, command):
    strict = config.model_copy(
        update={"completeness": config.completeness.model_copy(update={"require_data_gates": False})}
    )
    require = [{"min": 0.01, "at": {"value": 5.0}}]
    section = type(config.completeness).model_validate({**strict.completeness.model_dump(), "require": require})
    found = lf.completeness(config.model_copy(update={"completeness": section}), "snr_peak", value=5.0)
    pairs = lf.open_pairs(config.out, split="val").load()
    snr = pairs["snr_peak"].values[~pairs["is_control"].values].max(axis=1)
    assert recovered(found) == (snr >= 5).sum()
    assert found.is_truth and found.verdict == "NOT_TESTABLE" and "detectability by definition" in found.reason
    kept = json.loads(Path(found.path).read_text())["results"]
    assert kept["kind"] == "truth" and kept["title"] == "Detectability by definition, snr_peak"
    assert repr(found).startswith("Detectability by definition of snr_peak") and found.is_truth
    code, text = command("completeness", config.out, "snr_peak", "--fpr", "0.1")
    assert code == 2 and "gives no score to an image without an arc" in text


@pytest.mark.slow
def test_scorers_of_a_user_that_read_the_truth_get_rows_and_say_so(config):
    found = lf.completeness(config, truth, value=0.01)
    pairs = lf.open_pairs(config.out, split="val").load()
    arcs = pairs["arc"].values[~pairs["is_control"].values].max(axis=(1, 2, 3))
    assert found.is_truth and recovered(found) == (arcs >= 0.01).sum() > 0
    told = lf.completeness(config, lambda rows: truth(rows), value=0.01, truth=True)
    assert told.is_truth and told.curves.equals(found.curves)
    with pytest.raises(GateError, match="failed on images"):
        lf.completeness(config, lambda rows: rows["theta_e_arcsec"].values, value=0.01)
    with pytest.raises(GateError, match="must return one score per row"):
        lf.completeness(config, lambda rows: np.zeros(3), value=0.01, truth=True)


def test_a_table_of_truth_is_marked_where_it_says_so_or_is_told(config, scored, tables, tmp_path):
    told = with_options(config, value=0.0, truth=True)
    assert find_scorer(scored, told, ".").kind == "truth" and find_scorer(scored, config, ".").kind == "table"
    made = {**row_scores(tables[0]).made, "kind": "truth"}
    path = str(tmp_path / "truth.parquet")
    write_scores(path, {"row_id": scored["row_id"].values}, scored["score"].values, made)
    assert find_scorer(path, config, ".").kind == "truth" and find_scorer(tables[0], config, ".").kind == "table"


def test_no_rate_sets_the_threshold_of_what_reads_the_truth(config):
    with pytest.raises(ConfigError, match="reads what was injected, and gives no score to an image without an arc"):
        lf.completeness(config, "snr_peak", fpr=0.1)
    with pytest.raises(ConfigError, match=r"nor one of blue_ring, snr_matched, snr_peak. Did you mean 'snr_peak'"):
        lf.completeness(config, "snr_peek", value=1.0)


def test_the_test_split_is_opened_for_a_reason_before_a_table_is_matched(config, scored, tmp_path):
    shutil.copytree(config.out, tmp_path / "run")  # other files read the same run, sealed
    config = config_of(str(tmp_path / "run"))
    folder = RunFolder.of(config)
    for scorer in (scored, "snr_peak"):
        with pytest.raises(StoreError, match="sealed"):
            lf.completeness(config, scorer, value=1.0, split="test")
    found = lf.completeness(config, "snr_peak", value=1.0, split="test", unseal_test="a test of tests")
    entries = read_test_accesses(folder.pairs)
    assert len(entries) == 1 and "snr_peak: a test of tests" in entries[0]["why"] and found.split == "test"
    assert entries[0]["rows"] == int((lf.open_manifest(config.out)["split"] == 2).sum())
