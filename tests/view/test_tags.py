"""Tags are kept as they were said, by two pages at a time too, and a file of something else is not overwritten."""

import numpy as np
import pytest

from lensflow.errors import TagError
from lensflow.store.tags import Tag, plan_of_rows, read_tags, tag_of_rows
from lensflow.view.tags import Tags, file_for

BIG = 2**64 - 1


def test_what_is_put_is_read_back_to_the_last_digit_and_comma(tmp_path):
    tags = Tags(tmp_path / "tags.csv")
    said = {BIG: Tag('<script>,"x"', "=1+1", 'a "b", c'), 0: Tag("h", "ring"), 12981043775747176777: Tag("é", "π")}
    assert tags.put(said) == 3
    assert tags.every() == said == read_tags(str(tmp_path / "tags.csv"))
    assert [p.name for p in tmp_path.iterdir()] == ["tags.csv"]
    assert (tmp_path / "tags.csv").read_text().splitlines()[0] == "row_id,host_id,tag,note,of_plan"


def test_two_pages_do_not_lose_each_others_tags(tmp_path):
    one, other = (Tags(tmp_path / "tags.csv") for _ in range(2))
    one.put({1: Tag("a", "x")})
    other.put({2: Tag("b", "y")})
    one.put({3: Tag("c", "z")})
    assert sorted(other.every()) == [1, 2, 3] and one.names == ["x", "y", "z"]
    assert other.remove([1, 9]) == 1 and sorted(one.every()) == [2, 3]
    one.put({2: Tag("b", "better")})
    assert one.every()[2].tag == "better"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ra,dec\n1,2\n", "no column row_id"),
        ("row_id,host_id,tag,note\n1.2981043775747177e+19,h,t,\n", "line 2.*is no row_id"),
        ("row_id,host_id,tag,note\n-1,h,t,\n", "is no row_id"),
        (f"row_id,host_id,tag,note\n{2**64},h,t,\n", "is no row_id"),
        ("row_id,host_id,tag,note\n1,h,,\n", "has no tag"),
        ("row_id,host_id,tag,note\n1,h,t,\n1,h,u,\n", "line 3: row 1 stands there twice"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path, text, reason):
    (tmp_path / "tags.csv").write_text(text)
    tags = Tags(tmp_path / "tags.csv")
    with pytest.raises(TagError, match=reason):
        tags.put({5: Tag("h", "t")})
    assert (tmp_path / "tags.csv").read_text() == text
    with pytest.raises(TagError, match=reason):
        read_tags(str(tmp_path / "tags.csv"))


def test_tags_say_of_which_plan_they_are_and_another_plans_are_refused_and_left(tmp_path):
    file, ours = tmp_path / "tags.csv", Tags(tmp_path / "tags.csv")
    ours.plan = "a" * 16
    ours.put({1: Tag("h", "ring")})
    assert file.read_text().splitlines()[1] == f"1,h,ring,,{'a' * 16}" and ours.message == ""
    text, theirs = file.read_text(), Tags(file)
    theirs.plan = "b" * 16
    for change in (theirs.every, lambda: theirs.put({2: Tag("h", "t")}), lambda: theirs.remove([1])):
        with pytest.raises(TagError, match=r"1 of 1 tags are of another plan's rows.*empty the column of_plan"):
            change()
    assert file.read_text() == text and "another plan" in theirs.message
    assert read_tags(str(file))[1].plan == "a" * 16


def test_a_persons_file_without_the_column_works_and_that_is_said(tmp_path):
    file, tags = tmp_path / "tags.csv", Tags(tmp_path / "tags.csv")
    file.write_text("row_id,host_id,tag,note\n1,h,ring,\n")
    tags.plan = "a" * 16
    assert tags.every()[1].tag == "ring" and "1 of 1 tags do not say of which plan" in tags.message
    tags.put({2: Tag("h", "ring")})
    assert [t.plan for t in tags.every().values()] == ["", "a" * 16] and "1 of 2 tags" in tags.message


def test_a_plan_is_the_same_while_a_run_is_extended_and_another_for_anything_else():
    identity = {"plan.injections_per_host": 3, "plan.limit_hosts": None, "plan.replicates": 1, "seed": 5,
                "plan.controls_per_host": 1, "inputs.cutouts": "x", "lensflow.code": "y"}  # fmt: skip

    def plan(**changes):
        return plan_of_rows({"identity": identity | {k.replace("__", "."): v for k, v in changes.items()}})

    assert len(plan()) == 16
    assert plan(plan__injections_per_host=7) == plan() == plan(plan__controls_per_host=2)
    assert len({plan(), plan(seed=6), plan(inputs__cutouts="z"), plan(lensflow__code="z")}) == 4
    limited = plan(plan__limit_hosts=5)
    assert plan(plan__limit_hosts=9, inputs__cutouts="z") == limited
    assert plan_of_rows({}) == plan_of_rows({"identity": "?"}) == ""


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(TagError, match="--tags names another file"):
        Tags(tmp_path / "nowhere" / "tags.csv").put({1: Tag("h", "t")})
    with pytest.raises(TagError, match="cannot be read"):
        read_tags(str(tmp_path / "none.csv"))
    assert Tags(tmp_path / "none.csv").every() == {}


def test_tags_are_found_by_row_and_a_misspelt_one_is_refused():
    tags = {3: Tag("a", "ring"), BIG: Tag("b", "artefact")}
    ids = np.array([BIG, 1, 3], np.uint64)
    assert tag_of_rows(tags, ids).tolist() == ["artefact", "", "ring"]
    assert tag_of_rows(tags, ids, ["ring"]).tolist() == ["", "", "ring"]
    assert tag_of_rows({}, ids).tolist() == ["", "", ""]
    with pytest.raises(TagError, match=r"no row has the tag 'artefct'.*artefact"):
        tag_of_rows(tags, ids, ["artefct"])


def test_a_runs_name_never_leaves_the_folder():
    assert file_for("demo") == "demo-tags.csv"
    assert file_for("../../etc/<b>") == "etc--b-tags.csv" and "/" not in file_for("/")
    assert file_for("...") == "run-tags.csv"
