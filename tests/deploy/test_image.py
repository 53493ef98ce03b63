"""The Dockerfile, and that nothing under deploy/ or in the image's context holds a credential."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
SECRET = re.compile(
    r"(AKIA|ASIA)[0-9A-Z]{16}|aws_secret_access_key\s*[:=]\s*\S{8}|-----BEGIN [A-Z ]*PRIVATE KEY|"
    r"(password|token)\s*[:=]\s*['\"]?[A-Za-z0-9/+]{12}",
    re.IGNORECASE,
)


def test_the_linter_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra: test)")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_base_images_are_pinned_to_a_full_version():
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert bases and all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", b) for b in bases)


def test_versions_are_those_of_the_lock_and_the_user_is_not_root():
    assert "--constraint requirements.lock" in TEXT
    last = TEXT[TEXT.rindex("FROM ") :]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert "ENTRYPOINT" not in last  # the operator's args are whole commands


def test_workers_get_the_environment_that_local_ones_get():
    from lensflow.cluster.forked import WORKER_ENVIRONMENT

    for name, value in WORKER_ENVIRONMENT.items():
        assert f"{name}={value}" in TEXT


def test_everything_that_is_copied_is_let_in_and_nothing_else():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE) for name in line.split()[:-1]}
    assert copied == allowed and all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("folder", ["deploy", "workflows", "lensflow", "Dockerfile", "docs"])
def test_no_file_holds_a_credential(folder):
    root = ROOT / folder
    files = [root] if root.is_file() else [p for p in root.rglob("*") if p.is_file()]
    texts = [
        p for p in files if p.suffix in (".py", ".yaml", ".yml", ".md", ".sh", ".json", "") and "pycache" not in str(p)
    ]
    assert texts
    for path in texts:
        assert not SECRET.search(path.read_text()), path


@pytest.mark.parametrize(
    "text", ["AKIAABCDEFGHIJKLMNOP", "aws_secret_access_key = wJalrXUtnFEMI", "-----BEGIN EC PRIVATE KEY-----"]
)
def test_the_search_for_credentials_finds_them(text):
    assert SECRET.search(text)
