from __future__ import annotations

import itertools
import os

import pytest
import xarray as xr
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from s3fs.errors import translate_boto_error

from lensflow.fits import transport
from lensflow.fits.transport import ByteRange, Transport, TransportError, is_past_end, merge_ranges, whole_is_cheaper
from lensflow.schema import Reason, Status
from lensflow.survey import bricks
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from tests.fits.range_server import serve
from tests.survey.brick_factory import BRICK, SURVEY, file_of, targets, write_brick

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
TWO_TILES = targets([50, 60], [50, 120])


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(transport, "RETRY_AFTER_S", (0.0, 0.01, 0.01))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("survey")
    write_brick(path)
    return path


def cut(root, hosts=TWO_TILES, **settings):
    return cut_block(hosts, Layout(str(root)), "grz", SURVEY.model_copy(update=settings))


def test_over_http_the_stamps_are_the_same_and_only_ranges_move(folder, monkeypatch):
    monkeypatch.setattr(bricks, "HEAD_BYTES", 2880)
    monkeypatch.setattr(transport, "MERGE_GAP_BYTES", 0)
    with serve(folder) as server:
        remote = cut(server.url, access="ranges")
        served = sum(server.served.values())
    local = cut(folder)
    xr.testing.assert_identical(remote.drop_attrs(), local.drop_attrs())
    assert remote.attrs["bytes_read"] == served
    assert served < 0.6 * remote.attrs["bytes_whole"]
    assert remote.attrs["n_files_opened"] == 13


@pytest.mark.slow
def test_whole_objects_are_read_where_asked_and_where_it_is_faster(folder, monkeypatch):
    monkeypatch.setattr(bricks, "HEAD_BYTES", 2880)
    with serve(folder) as server:
        whole = cut(server.url, access="whole")
        image = f"legacysurvey-{BRICK}-image-r.fits.fz"
        size = file_of(folder, "image", "r").stat().st_size
        assert server.served[image] >= size
        server.served.clear()
        monkeypatch.setattr(transport, "MERGE_GAP_BYTES", 0)
        monkeypatch.setattr(transport, "CONCURRENT", 1)  # ranges one after the other: the whole file is faster
        automatic = cut(server.url)
        assert server.served[image] >= size
    xr.testing.assert_identical(whole.drop_attrs(), automatic.drop_attrs())


def test_a_server_without_ranges_serves_too(folder):
    with serve(folder) as server:
        server.takes_ranges = False
        out = cut(server.url)
    xr.testing.assert_identical(out.drop_attrs(), cut(folder).drop_attrs())


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [500, 503, 429, "reset"])
def test_a_passing_error_is_tried_again_and_leaves_no_trace(folder, trouble):
    with serve(folder) as server:
        server.fail = {f"legacysurvey-{BRICK}-image-r.fits.fz": [trouble, trouble]}
        out = cut(server.url)
    xr.testing.assert_identical(out.drop_attrs(), cut(folder).drop_attrs())


@pytest.mark.slow
def test_an_error_that_lasts_stops_the_region_and_marks_nobody(folder):
    name = f"legacysurvey-{BRICK}-invvar-g.fits.fz"
    with serve(folder) as server:
        server.fail = {name: [503] * 100}
        with pytest.raises(TransportError, match=rf"{name}: cannot be reached .*503.*tried 4 times.*Run again"):
            cut(server.url)
        assert server.requests[name] == 4


def test_a_refusal_is_not_tried_again(folder):
    name = f"legacysurvey-{BRICK}-image-r.fits.fz"
    with serve(folder) as server:
        server.fail = {name: [403] * 100}
        with pytest.raises(TransportError, match=r"access refused .*check survey\.root, and the credentials"):
            cut(server.url)
        assert server.requests[name] == 1


def test_a_server_that_is_not_there_stops_the_region():
    with pytest.raises(TransportError, match="cannot be reached"):
        cut("http://127.0.0.1:9")


def test_a_missing_object_is_a_missing_file(tmp_path):
    write_brick(tmp_path, skip=[("image", "g")])
    with serve(tmp_path) as server:
        out = cut(server.url)
    assert (out["status"] == Status.PARTIAL).all()
    assert (out["band_reasons"].values[:, 0] == Reason.MISSING_FILE).all()


def test_an_object_that_ends_early_strikes_the_hosts_beyond_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(bricks, "HEAD_BYTES", 2880)
    write_brick(tmp_path, bands="r")
    path = file_of(tmp_path, "image", "r")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with serve(tmp_path) as server:
        out = cut_block(targets([50, 250], [50, 250]), Layout(server.url), "r", SURVEY)
    assert out["status"].values.tolist() == [Status.OK, Status.FAILED]
    assert int(out["band_reasons"][1, 0]) == Reason.CORRUPT_FILE
    assert "the file ends before it" in out.attrs["messages"][0]


@pytest.mark.parametrize("message", ["The requested range is not satisfiable", None])
def test_a_range_beyond_the_end_is_known_by_its_code(message):
    refused = ClientError({"Error": {"Code": "InvalidRange", "Message": message}}, "GetObject")
    assert is_past_end(translate_boto_error(refused))
    other = ClientError({"Error": {"Code": "InvalidArgument", "Message": None}}, "GetObject")
    assert not is_past_end(translate_boto_error(other))


def test_a_disk_that_fails_is_not_a_corrupt_file(folder, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    with Transport(str(folder)) as opened:
        monkeypatch.setattr(transport.Path, "open", fail)
        with pytest.raises(TransportError, match="Input/output error"):
            opened.read([ByteRange(str(file_of(folder, "image", "r")), 0, 10)])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_refusal(tmp_path):
    write_brick(tmp_path, bands="r")
    file_of(tmp_path, "image", "r").chmod(0)
    with pytest.raises(TransportError, match="access refused"):
        cut(tmp_path)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 100)), max_size=20), st.integers(0, 50))
def test_merged_ranges_hold_every_byte_and_lie_apart(pairs, gap):
    ranges = [(start, start + length) for start, length in pairs]
    merged = merge_ranges(ranges, gap)
    assert all(any(a <= start and stop <= b for a, b in merged) for start, stop in ranges)
    assert all(b + gap < c for (_, b), (c, _) in itertools.pairwise(merged))


def test_few_ranges_beat_the_whole_object_and_many_do_not():
    few = [(k * 300_000, k * 300_000 + 8_000) for k in range(16)]
    many = [(k * 30_000, k * 30_000 + 8_000) for k in range(300)]
    assert not whole_is_cheaper(few, 11_000_000)
    assert whole_is_cheaper(many, 11_000_000)
    assert not whole_is_cheaper([(0, 100)], 100)
