"""Tags are kept as they were said, by two pages at a time too, and a file of something else is not overwritten."""

import numpy as np
import pytest

from lensflow.errors import TagError
from lensflow.store.tags import Tag, read_tags, tag_of_rows
from lensflow.view.tags import Tags, file_for

BIG = 2**64 - 1


def test_what_is_put_is_read_back_to_the_last_digit_and_comma(tmp_path):
    tags = Tags(tmp_path / "tags.csv")
    said = {BIG: Tag('<script>,"x"', "=1+1", 'a "b", c'), 0: Tag("h", "ring"), 12981043775747176777: Tag("é", "π")}
    assert tags.put(said) == 3
    assert tags.every() == said == read_tags(str(tmp_path / "tags.csv"))
    assert [p.name for p in tmp_path.iterdir()] == ["tags.csv"]
    assert (tmp_path / "tags.csv").read_text().splitlines()[0] == "row_id,host_id,tag,note"


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
