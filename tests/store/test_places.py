"""Paths are taken by the letter: brackets, stars, percent signs, blanks, quotes; and a place that cannot be is said."""

import os
from pathlib import Path

import pytest

from lensflow.config import StorageConfig, load_config
from lensflow.config.place import Place
from lensflow.errors import ConfigError, StoreError, TargetError
from lensflow.fits import reach
from lensflow.fits.transport import ByteRange, Transport
from lensflow.manifest.image_sources import open_bank
from lensflow.store import paths
from lensflow.targets import globs
from lensflow.targets.files import expand

STRANGE = ["x [v1]", "a*b", "what?", "100%20", "#1", "a  b", "it's", 'say "so"', "ünï☆", "a::b", "{x}", "~", "!-[ab]*?"]


@pytest.mark.parametrize("name", STRANGE)
def test_small_files_of_a_strange_folder_are_written_read_listed_and_removed(tmp_path, name):
    other = tmp_path / "x v"  # what a pattern would find in place of "x [v1]"
    other.mkdir()
    (other / "a.json").write_text("other")
    folder = f"{tmp_path}/{name}"
    urls = [f"{folder}/{n}.json" for n in ("a", "b [1]", "c*")]
    for k, url in enumerate(urls):
        paths.write_text(url, str(k))
    paths.create_exclusive(f"{folder}/lock", b"x")
    assert paths.read_many(urls) == [b"0", b"1", b"2"] and paths.read_text(urls[1]) == "1"
    assert paths.list_names(folder) == sorted(["a.json", "b [1].json", "c*.json", "lock"])
    assert paths.size(urls[0]) == 1 and paths.exists(urls[2]) and not paths.exists(f"{folder}/d")
    assert paths.content(urls[0]) != paths.content(urls[1])
    paths.remove(urls[2])
    assert paths.read_many([urls[2], urls[0]]) == [b"", b"0"]
    paths.remove_folder(folder)
    assert not Path(folder).exists() and (other / "a.json").read_text() == "other"


@pytest.mark.parametrize("name", STRANGE)
def test_survey_files_are_read_by_their_names(tmp_path, name):
    path = tmp_path / name / "f.fits"
    path.parent.mkdir()
    path.write_bytes(b"0123456789")
    with Transport(str(path.parent)) as opened:
        assert opened.read([ByteRange(str(path), 2, 5)]) == [b"234"]


@pytest.mark.parametrize("name", ["t [1].csv", "t*.csv", "what?.csv"])
def test_a_table_that_exists_under_its_very_name_is_that_table(tmp_path, name):
    (tmp_path / "t 1.csv").touch()
    (tmp_path / name).touch()
    assert expand(str(tmp_path / name)) == [str(tmp_path / name)]


@pytest.mark.parametrize("folder", ["x [v1]", "a*b", "wh?t", "plain"])
def test_a_pattern_finds_files_in_a_folder_of_any_name(tmp_path, folder):
    for name in (folder, "x v", "aXb", "what"):
        (tmp_path / name).mkdir(exist_ok=True)
        for table in ("t1.csv", "t2.csv", "u[3].csv"):
            (tmp_path / name / table).touch()
    there = tmp_path / folder
    assert globs.expand(f"{there}/t*.csv") == [f"{there}/t1.csv", f"{there}/t2.csv"]
    assert globs.expand(f"{there}/t[12].csv") == [f"{there}/t1.csv", f"{there}/t2.csv"]
    assert globs.expand(f"{there}/u[3*.csv") == [f"{there}/u[3].csv"]
    assert globs.expand(f"{there}/none*.csv") == []


def test_a_pattern_without_a_match_is_said_of_targets_and_sources(tmp_path):
    with pytest.raises(TargetError, match="no file of this pattern"):
        expand(f"{tmp_path}/t*.csv")
    sources = {"images": f"{tmp_path}/x [1]/*.fits", "pixel_scale_arcsec": 0.03}
    config = load_config({"out": "x", "survey": {"synthetic": {}}, "plan": {"sources": sources}})
    with pytest.raises(ConfigError, match="no file matches"):
        open_bank(config.plan.sources)


def of(out):
    return load_config({"out": out, "survey": {"root": "/d", "targets": ["~/t.csv", "s3://b/t.csv"]}})


def test_the_home_is_put_in_as_a_shell_does(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = of("~/runs/x")
    assert config.out == f"{tmp_path}/runs/x"
    assert config.survey.targets == (f"{tmp_path}/t.csv", "s3://b/t.csv")
    assert load_config({"out": "x", "survey": {"synthetic": {}}}, out="~/y").out == f"{tmp_path}/y"
    assert paths.local_path("~/runs/x") == tmp_path / "runs/x"
    assert of("a~b/~c").out == "a~b/~c"


@pytest.mark.parametrize(("out", "says"), [("$HOME/x", r"write \$\{HOME\}"), ("/a/$USER/x", r"write \$\{USER\}"),
                                           ("~nobody-of-that-name/x", "no such user")])  # fmt: skip
def test_a_variable_without_braces_and_an_unknown_home_are_refused(out, says):
    with pytest.raises(ConfigError, match=says):
        of(out)


def test_a_dollar_within_a_name_and_a_folder_that_exists_are_taken_as_they_are(tmp_path):
    assert of("/a/b$c/d").out == "/a/b$c/d"
    (tmp_path / "$HOME").mkdir()
    assert of(f"{tmp_path}/$HOME").out == f"{tmp_path}/$HOME"


@pytest.mark.parametrize("name", ["file/run", "file/a/b", "n" * 300 + "/run"])
def test_a_place_that_cannot_be_is_a_named_error(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Choose another out"):
        paths.write_text(f"{tmp_path}/{name}/x.json", "x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
@pytest.mark.parametrize("out", ["/proc/lensflow/run", "/dev/null/run"])
def test_a_folder_of_the_system_that_takes_none_is_a_named_error(out):
    with pytest.raises(StoreError, match="Choose another out"):
        paths.create_exclusive(f"{out}/x.json", b"x")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_named_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="no permission"):
        paths.write_text(f"{tmp_path}/x.json", "x")


@pytest.mark.parametrize(
    ("url", "tidy"),
    [
        ("s3://b//run", "s3://b/run"),
        ("s3://b/a//b///c/", "s3://b/a/b/c"),
        ("/a//b", "/a//b"),
        ("s3a://b/x", "s3a://b/x"),
    ],
)
def test_slashes_of_s3_are_single(url, tidy):
    assert reach.tidy(url) == tidy


def test_what_obstore_would_write_in_other_characters_is_refused():
    with pytest.raises(StoreError, match=r"'\[' '\]' .*storage\.library: s3fs"):
        paths.zarr_store(Place("s3://b/x [1]/run", StorageConfig(library="obstore")))
