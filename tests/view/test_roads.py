"""What the page saves is understood by plan.table, by exports and by gates."""

import numpy as np
import pytest
from typer.testing import CliRunner

import lensflow as lf
from lensflow.cli import app
from lensflow.errors import ConfigError, ExportError, LensflowWarning, StaleStoreError, TagError
from lensflow.manifest.table import read_injection_table
from lensflow.run.export.open_view import open_view
from lensflow.store.tags import Tag
from lensflow.view.rows import open_rows
from lensflow.view.tags import Tags
from tests.export_run import export_run
from tests.run.completeness_run import other_run


def changed(config, **sections):
    return lf.load_config({**config.effective(), **sections})


@pytest.fixture
def tags(rows, tmp_path):
    """Three injections of train, two of them artefacts."""
    some = np.flatnonzero(~rows.is_control & (rows.split == 0))[[0, 4, 7]]
    said = zip(some.tolist(), ["artefact", "ring", "artefact"], strict=True)
    kept = Tags(tmp_path / "tags.csv")
    kept.plan = rows.plan
    kept.put({int(rows.row_id[p]): Tag(str(rows.host_id[p]), t, "seen") for p, t in said})
    return kept


def test_a_plan_has_one_injection_for_each_tagged_row(tags, rows):
    table = read_injection_table(str(tags.path), ("g", "r", "z"), ignore=("row_id", "tag", "note"))
    assert table.size == 3 and sorted(table.host_ids) == sorted({t.host_id for t in tags.every().values()})
    assert dict(table.columns) == {}  # all else is drawn; of_plan need not be named


def test_gates_are_measured_on_the_rows_that_are_not_tagged(tags, config, opened):
    gone = lf.tagged(opened, str(tags.path), "artefact")
    assert int(gone.sum()) == 2 and int(lf.tagged(opened, str(tags.path)).sum()) == 3
    quick = changed(config, gate={"recipes": ["core_r"], "bootstrap": 50})
    found = next(g for g in lf.gate(opened.isel(sample=~gone), quick) if g.name == "core_r")
    ids = set(opened["row_id"].values[gone.values].tolist())
    assert len(found.worst) and not ids & {w["row_id"] for w in found.worst}


def test_tags_of_another_run_of_the_same_hosts_are_refused_although_its_rows_have_the_same_ids(
    tags, rows, tmp_path_factory, tmp_path
):
    other = lf.open_pairs(other_run(tmp_path_factory).out)
    assert np.isin(np.array([*tags.every()], np.uint64), other["row_id"].values).any()
    with pytest.raises(TagError, match=r"tags\.csv: 3 of 3 tags are of another plan's rows.*made on this run"):
        lf.tagged(other.isel(sample=slice(3, None)), str(tags.path), "artefact")
    with pytest.raises(TagError, match="another plan's rows"):
        lf.tagged(lf.open_manifest(other_run(tmp_path_factory).out), tags.every())
    result = CliRunner().invoke(
        app, ["view", other_run(tmp_path_factory).out, "--no-browser", "--tags", str(tags.path)]
    )
    assert isinstance(result.exception, TagError) and "another plan's rows" in str(result.exception)


def test_tags_that_do_not_say_of_which_plan_they_are_work_with_a_warning(tags, opened, tmp_path):
    plain = tmp_path / "mine.csv"
    plain.write_text("\n".join(line.rpartition(",")[0] for line in tags.path.read_text().splitlines()) + "\n")
    with pytest.warns(LensflowWarning, match=r"mine\.csv: 3 of 3 tags do not say of which plan their rows are"):
        found = lf.tagged(opened, str(plain), "artefact")
    assert int(found.sum()) == 2


def test_an_export_needs_both_the_file_and_the_tags_that_are_meant(config):
    for half in ({"tags": "tags.csv"}, {"leave_out": ["artefact"]}):
        with pytest.raises(ConfigError, match="tags is the file, leave_out says which"):
            changed(config, export=half)


@pytest.fixture(scope="module")
def certified():
    return export_run()


@pytest.fixture
def of_certified(certified, tmp_path):
    """Tags as a page of that run writes them."""
    tags = Tags(tmp_path / "tags.csv")
    tags.plan = open_rows(certified).rows.plan
    return tags


def positives(view):
    return view.samples["row_id"].values[view.samples["y"].values == 1]


def test_tagged_injections_are_no_positives_of_a_view_and_are_counted(certified, of_certified, tmp_path):
    whole = open_view(certified)
    some, host, tags = positives(whole)[[1, 5]], "h", of_certified
    tags.put({int(some[0]): Tag(host, "artefact"), int(some[1]): Tag(host, "ring")})
    view = open_view(certified, tags=str(tags.path), leave_out=["artefact"])
    assert set(positives(whole)) - set(positives(view)) == {some[0]}
    assert view.counts.left_out["tagged artefact"] == 1 and "tagged ring" not in view.counts.left_out


def test_tags_of_another_run_are_refused_and_not_without_effect(certified, of_certified):
    tags = of_certified
    tags.put({17: Tag("h", "artefact")})
    with pytest.raises(ExportError, match="no row tagged artefact is of this run"):
        open_view(certified, tags=str(tags.path), leave_out=["artefact"])
    with pytest.raises(ExportError, match="no row has the tag 'artefct'"):
        open_view(certified, tags=str(tags.path), leave_out=["artefct"])
    text, (one, *_) = tags.path.read_text(), positives(open_view(certified))
    bound = text.replace("17,h,artefact", f"{one},h,artefact")
    tags.path.write_text(bound.replace(tags.plan, "0" * 16))
    with pytest.raises(ExportError, match="1 of 1 tags are of another plan's rows"):
        open_view(certified, tags=str(tags.path), leave_out=["artefact"])
    tags.path.write_text(bound.replace(tags.plan, ""))
    with pytest.warns(LensflowWarning, match="do not say of which plan"):
        view = open_view(certified, tags=str(tags.path), leave_out=["artefact"])
    assert one not in positives(view)


def test_an_export_says_what_was_left_out_and_is_stale_once_the_tags_change(certified, of_certified, tmp_path):
    some, tags = positives(open_view(certified))[:2], of_certified
    tags.put({int(r): Tag("h", "artefact") for r in some})
    done = lf.export(certified, tmp_path / "out", tags=str(tags.path), leave_out=["artefact"], split="train")
    assert done.passed and done.record["splits"]["train"]["left_out"]["tagged artefact"] == 2
    assert done.record["settings"]["tags"] == "../tags.csv"  # no path of this machine is handed on
    view = lf.training_view(str(certified.out), tags=str(tags.path), leave_out=["artefact"])
    assert not set(some.tolist()) & set(view["row_id"].values[view["y"].values == 1].tolist())
    from lensflow.run.export.exported import open_exported

    assert not set(some.tolist()) & set(positives(open_exported(str(tmp_path / "out"), "train")).tolist())
    tags.put({int(positives(open_view(certified))[4]): Tag("h", "artefact")})
    with pytest.raises(StaleStoreError, match="was changed since"):
        open_exported(str(tmp_path / "out"), "train")
