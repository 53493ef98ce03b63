"""Card and Croissant say what export.json says, verdicts first."""

import json
import re

import pytest
import yaml

from lensflow.export.formats.card import card_of, size_category
from lensflow.export.formats.croissant import croissant_of
from tests.export.formats.written import write


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return write(tmp_path_factory.mktemp("card") / "out", "parquet", verdict="FAIL")


@pytest.fixture
def record(out):
    return json.loads((out / "export.json").read_text())


def test_the_first_paragraph_of_card_and_croissant_says_fail(out):
    body = (out / "README.md").read_text().split("---\n", 2)[2].strip().split("\n\n")
    assert body[0].startswith("# ") and "says FAIL" in body[1]
    said = json.loads((out / "croissant.json").read_text())
    assert "says FAIL" in said["description"].split(".")[0]
    assert any("says FAIL" in line for line in said["rai:dataBiases"])


def test_numbers_of_card_and_croissant_are_those_of_the_record(record):
    """Each number is changed in the record, and changes in both."""
    changed = json.loads(json.dumps(record))
    changed["splits"]["train"] |= {"rows": 987_654, "positives": 876_543, "negatives": 111_111, "hosts": 76_543}
    changed["normalisation"]["n_pixels"] = [1_234_567, 1, 2]
    changed["certificate"]["gates"][0]["auc"] = 0.678
    card, croissant = card_of(changed), json.dumps(croissant_of(changed))
    for number in ("987654", "876,543", "111,111", "76,543", "1,234,567", "0.678"):
        assert number in card, number
    for number in ("1,234,567", "0.678"):
        assert number in croissant, number
    assert "987654" not in card_of(record)


def test_the_head_lists_splits_files_and_features_as_the_hub_reads_them(record):
    head = yaml.safe_load(card_of(record).split("---\n")[1])
    info = head["dataset_info"]
    assert {s["name"]: s["num_examples"] for s in info["splits"]} == {"train": 120, "val": 40}
    assert head["configs"][0]["data_files"][1] == {"split": "val", "path": "data/val-*.parquet"}
    assert info["features"][-1] == {"name": "x", "list": "float32", "length": 192}
    assert head["task_categories"] == ["image-classification"] and head["size_categories"] == ["n<1K"]
    assert [size_category(n) for n in (999, 1000, 40_000, 2 * 10**9)] == ["n<1K", "1K<n<10K", "10K<n<100K", "n>1B"]


def test_croissant_names_every_file_with_its_digest_and_what_it_conforms_to(out, record):
    said = json.loads((out / "croissant.json").read_text())
    assert said["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    files = {f["@id"]: f for f in said["distribution"] if f["@type"] == "cr:FileObject"}
    assert {k: f["sha256"] for k, f in files.items()} == {f["path"]: f["sha256"] for f in record["files"]}
    assert {f["encodingFormat"] for k, f in files.items() if k.endswith("parquet")} == {"application/x-parquet"}
    fields = {f["@id"]: f for r in said["recordSet"] for f in r["field"]}
    assert fields["samples/x"]["arrayShape"] == "3,8,8" and fields["samples/x"]["isArray"] is True
    for name in ("dataCollection", "dataManipulationProtocol", "dataPreprocessingProtocol", "dataAnnotationProtocol",
                 "dataBiases", "dataLimitations", "dataUseCases", "personalSensitiveInformation",
                 "dataReleaseMaintenancePlan"):  # fmt: skip
        assert said[f"rai:{name}"]
    assert "prov:wasDerivedFrom" in said and "prov:wasGeneratedBy" in said


def test_a_card_of_every_format_is_whole(record):
    for form in ("zarr", "npy", "parquet", "webdataset", "hats"):
        card = card_of({**record, "format": form})
        assert f"format **{form}**" in card and not re.search(r"{{|}}|{%|\bNone\b|\bnan\b", card)


def test_a_view_for_study_says_so_first_among_what_it_must_not_be_used_for(record):
    changed = {**record, "view": "residual", "settings": {**record["settings"], "purpose": "study"}}
    assert "- Study only, not for a search: view residual, purpose study. TRIVIAL" in card_of(changed)
    assert croissant_of(changed)["rai:dataLimitations"][0].startswith("Study only")
    assert "Study only" not in card_of(record)


def test_a_check_that_was_made_is_in_the_first_paragraph(record):
    card = card_of({**record, "check": {"bits": "PASS", "order": "INCONCLUSIVE"}})
    assert "bits PASS, order INCONCLUSIVE" in card.split("---\n", 2)[2].strip().split("\n\n")[1]
