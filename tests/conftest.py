"""Fixtures that several packages of tests share: the S3 server."""

import uuid

import pytest

from tests.s3.server import CannotStart, environment, make_bucket, running_server


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server; tests that need it are skipped, with the reason, where it cannot be had."""
    server = running_server()
    try:
        started = server.__enter__()
    except CannotStart as reason:
        pytest.skip(str(reason))
    yield started
    server.__exit__(None, None, None)


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """URL of a new bucket; this process and those it starts have the credentials, and no word of the server."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    name = f"lensflow-{uuid.uuid4().hex[:12]}"
    make_bucket(s3_server, name, environment())
    return f"s3://{name}"
