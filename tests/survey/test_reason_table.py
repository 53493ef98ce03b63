"""docs/cutouts.md lists what the code can say."""

from pathlib import Path

from lensflow.schema import PsfSource, Reason

PAGE = (Path(__file__).parents[2] / "docs" / "cutouts.md").read_text()


def test_every_reason_stands_in_the_table_with_its_bit():
    for reason in Reason:
        assert f"| {reason.name} | {reason.value} |" in PAGE


def test_every_psf_source_stands_in_the_table_with_its_code():
    for source in PsfSource:
        assert f"| {source.value} | {source.name} |" in PAGE


def test_the_example_config_that_the_page_names_is_there():
    assert (Path(__file__).parents[2] / "workflows" / "configs" / "dr10_s3.yaml").exists()
    assert "workflows/configs/dr10_s3.yaml" in PAGE
