"""Whatever a server answers to a range: the right bytes, or an error; never other bytes."""

from __future__ import annotations

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lensflow.config import StorageConfig
from lensflow.config.place import Place
from lensflow.fits import transport
from lensflow.fits.checked import Answer, RangeMismatchError, Version
from lensflow.fits.checked_s3 import CheckedS3FileSystem
from lensflow.fits.transport import ByteRange, Transport, TransportError

CONTENT = bytes(range(256)) * 40


def honest(start, stop):
    stop = min(stop, len(CONTENT))
    return 206, CONTENT[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(CONTENT)}"}


def from_the_start(start, stop):
    n = stop - start
    return 206, CONTENT[:n], {"Content-Range": f"bytes 0-{n - 1}/{len(CONTENT)}"}


def without_a_word(start, stop):
    return 206, CONTENT[: stop - start], {}


def shorter(start, stop):
    return 206, CONTENT[start : stop - 5], {"Content-Range": f"bytes {start}-{stop - 6}/{len(CONTENT)}"}


def shorter_than_it_says(start, stop):
    return 206, CONTENT[start : stop - 5], {"Content-Range": f"bytes {start}-{stop - 1}/{len(CONTENT)}"}


def longer(start, stop):
    return 206, CONTENT[start : stop + 5], {"Content-Range": f"bytes {start}-{stop + 4}/{len(CONTENT)}"}


def garbled(start, stop):
    return 206, CONTENT[start:stop], {"Content-Range": "bytes everything"}


def whole(start, stop):
    return 200, CONTENT, {}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ranges, entire=lambda: (200, CONTENT, {})):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges, self.entire, self.signed = ranges, entire, 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        wish = self.headers.get("Range")
        self.server.signed += "Authorization" in self.headers
        if wish:
            first, last = wish.removeprefix("bytes=").split("-")
            status, body, more = self.server.ranges(int(first), int(last) + 1 if last else len(CONTENT))
        else:
            status, body, more = self.server.entire()
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(transport, "RETRY_AFTER_S", (0.0, 0.01, 0.01))


@pytest.fixture(params=["http", "s3"])
def open_at(request, monkeypatch):
    """Open a transport on a server, as a website or as a public bucket."""

    def opened(server):
        if request.param == "http":
            return Transport(server.url), f"{server.url}/f"
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        CheckedS3FileSystem.clear_instance_cache()  # fsspec's, of the server before
        return Transport(Place("s3://bucket", StorageConfig(anonymous=True))), "s3://bucket/f"

    return opened


@pytest.mark.parametrize(
    "answer", [honest, from_the_start, without_a_word, shorter, shorter_than_it_says, longer, garbled]
)
def test_the_bytes_are_those_of_the_file_whatever_range_a_server_sends(open_at, answer):
    with Server(answer) as server:
        reader, path = open_at(server)
        with reader:
            for start, stop in ((0, 50), (100, 200), (10_000, 10_240)):
                (got,) = reader.read([ByteRange(path, start, stop)])
                assert got == (CONTENT if len(got) == len(CONTENT) else CONTENT[start:stop])
        assert server.signed == 0


@pytest.mark.slow
def test_a_server_that_sends_a_part_even_of_the_whole_file_is_refused(open_at):
    with Server(from_the_start, lambda: without_a_word(0, 77)) as server:
        reader, path = open_at(server)
        with reader, pytest.raises(TransportError, match="other bytes than those asked for"):
            reader.read([ByteRange(path, 100, 200)])


def test_a_range_beyond_a_file_that_is_sent_whole_is_cut_out_of_it(open_at):
    with Server(whole) as server:
        reader, path = open_at(server)
        with reader:
            assert reader.read([ByteRange(path, 10_000, 90_000)]) == [CONTENT[10_000:]]


@pytest.mark.parametrize(
    "versions",
    [({"ETag": '"a"'}, {"ETag": '"b"'}), ({"ETag": '"a"'}, {"ETag": 'W/"b"'})],
)
def test_a_file_that_changes_while_it_is_read_stops_the_region(open_at, versions):
    turn = itertools.chain(versions, itertools.repeat(versions[-1]))

    def answer(start, stop):
        status, body, more = honest(start, stop)
        return status, body, {**more, **next(turn)}

    with Server(answer) as server:
        reader, path = open_at(server)
        with reader, pytest.raises(TransportError, match="changed while it was read"):
            for start in (0, 100):
                reader.read([ByteRange(path, start, start + 10)])


def test_mirrors_that_differ_in_the_etag_alone_serve_one_file():
    day = "Wed, 01 Jan 2020 00:00:00 GMT"
    assert not Version("a", day, 5).is_another(Version("b", day, 5))
    assert Version("a", day, 5).is_another(Version("a", day, 6))
    assert Version("a", None, 5).is_another(Version("b", None, 5))
    assert not Version().is_another(Version("b", None, 5))


def test_only_200_and_206_are_answers():
    with pytest.raises(RangeMismatchError, match="status 203"):
        Answer.of(b"x", 0, 1, 203, {})


def test_missing_credentials_name_the_setting_for_public_buckets(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with Server(honest) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        CheckedS3FileSystem.clear_instance_cache()
        with Transport("s3://bucket") as reader, pytest.raises(TransportError, match=r"storage\.anonymous: true"):
            reader.read([ByteRange("s3://bucket/f", 0, 10)])
