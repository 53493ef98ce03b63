"""Fixtures that several packages of tests share: the command, the S3 server.

Imports of lensflow stand where they are used: the process that only starts others, and hands tests to them, needs none.
"""

import contextlib
import gc
import importlib
import os
import pickle
import shutil
import sys
import tempfile
import uuid

import hypothesis
import pytest
import yaml

from tests import shared

# How long an example takes says what else the machine does. More examples: --hypothesis-profile thorough.
hypothesis.settings.register_profile("lensflow", deadline=None, max_examples=25)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=100)
hypothesis.settings.load_profile("lensflow")


def pytest_configure(config):
    """One folder for all processes of the session: those of pytest-xdist start with this one's environment."""
    if shared.PLACE not in os.environ:
        os.environ[shared.PLACE] = tempfile.mkdtemp(prefix="lensflow-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(shared.PLACE), ignore_errors=True))


def import_own_share(config):
    """Begin with other files than the other processes do.

    All of them collect all files, in one order: where pytest has not yet rewritten the asserts of a file and kept that,
    each would do so, at the same time, which takes longer than all imports.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    root, number = config.rootpath, int(worker["workerid"].removeprefix("gw"))
    asked = [config.invocation_params.dir / a.partition("::")[0] for a in config.args]
    files = [f for f in sorted((root / "tests").rglob("test_*.py")) if any(f.is_relative_to(a) for a in asked)]
    for file in files[
        number * len(files) // worker["workercount"] : (number + 1) * len(files) // worker["workercount"]
    ]:
        # What cannot be imported is collected later, and then it is said why.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Nothing that collecting makes, half a million objects, is ever garbage: not looked through then, nor later."""
    gc.disable()
    try:
        import_own_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        # What is frozen no longer counts as the many objects beside which new ones are few: all would be gone through
        # more often, not less.
        gc.set_threshold(*gc.get_threshold()[:2], 200)
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def reference_rendered_once():
    """Brute force takes seconds a row, and most small runs of these tests have the same rows."""
    from lensflow.lensing.render_reference import render_row_reference
    from lensflow.measure.pixels import reference

    made = {}

    def once(row, **settings):
        key = pickle.dumps((sorted(row.items()), sorted(settings.items())))
        if key not in made:
            made[key] = render_row_reference(row, **settings)
        return made[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "render_row_reference", once)
        yield


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run the command in this process: exit code and everything it printed."""
    from lensflow import cli

    def run(*arguments, config=None):
        if config is not None:
            path = tmp_path / "config.yaml"
            path.write_text(yaml.safe_dump(config) if isinstance(config, dict) else config)
            arguments = (arguments[0], str(path), *arguments[1:])
        monkeypatch.setattr(sys, "argv", ["lensflow", *map(str, arguments)])
        monkeypatch.setattr(cli.console, "width", 400)
        monkeypatch.setattr(cli.errors, "width", 400)
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, " ".join((printed.out + printed.err).split())

    return run


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server; tests that need it are skipped, with the reason, where it cannot be had."""
    from tests.s3.server import CannotStart, running_server

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
    from tests.s3.server import environment, make_bucket

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    name = f"lensflow-{uuid.uuid4().hex[:12]}"
    make_bucket(s3_server, name, environment())
    return f"s3://{name}"
