"""Wheel and source distribution: what is in them, what is not, and what an index would show.

.ci/packaging tries both in clean environments without the lock; here they are built without isolation, and listed.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import lensflow

ROOT = Path(lensflow.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD = "from setuptools import build_meta as b; import sys; getattr(b, sys.argv[1])(sys.argv[2])"
# Files of the package that setuptools does not take by itself.
DATA = (".yaml", ".j2", ".typed", ".md", ".js", ".css", ".html")

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git checkout: what is tracked is not known"
)


def tracked(*under):
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", *under]
    return [n for n in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
            if (ROOT / n).is_file()]  # fmt: skip


def build(source, kind, goal):
    done = subprocess.run([sys.executable, "-c", BUILD, kind, str(goal)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and source distribution of the tracked files: building leaves folders behind."""
    source, goal = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        if not name.startswith(("tests/", "benchmarks/", "docs/figures/", "notebooks/")) or name.endswith(
            "test_units.py"
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    build(source, "build_sdist", goal)
    build(source, "build_wheel", goal)
    return source, goal


def test_the_wheel_holds_the_package_its_data_and_its_pages_and_nothing_else(built):
    (file,) = built[1].glob("*.whl")
    names = {n for n in zipfile.ZipFile(file).namelist() if ".dist-info/" not in n}
    package = {n for n in tracked("lensflow") if n.endswith(".py") or n.endswith(DATA)}
    pages = {f"lensflow/{n}" for n in tracked("docs") if re.fullmatch(r"docs/[a-z0-9-]+\.md", n)}
    assert package <= names
    assert names - package <= pages
    assert {f"lensflow/docs/{p}.md" for p in ("gates", "config", "schema", "your-survey", "failure-modes")} <= names
    assert file.stat().st_size < 3e6


def test_the_wheel_says_what_an_installer_and_an_index_need(built):
    (file,) = built[1].glob("*.whl")
    wheel = zipfile.ZipFile(file)
    text = {n.rsplit("/", 1)[-1]: wheel.read(n).decode() for n in wheel.namelist() if ".dist-info/" in n}
    assert "lensflow = lensflow.cli:main" in text["entry_points.txt"]
    assert "lensflow = lensflow.store.backend:LensflowBackend" in text["entry_points.txt"]
    assert "BSD 3-Clause" in text["LICENSE"]
    assert f"\nVersion: {lensflow.__version__}\n" in text["METADATA"]
    assert "Requires-Python: >=3.11" in text["METADATA"]
    body = text["METADATA"].split("\n\n", 1)[1]
    assert body.startswith("# lensflow")
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", body) == []


def test_the_source_distribution_builds_and_has_no_tests(built):
    (file,) = built[1].glob("*.tar.gz")
    with tarfile.open(file) as source:
        names = {n.split("/", 1)[1] for n in source.getnames() if "/" in n}
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md",
            "docs/gates.md", "docs/conf.py", "lensflow/py.typed"} <= names  # fmt: skip
    assert not [n for n in names if n.startswith("tests") or "__pycache__" in n or n.endswith((".nbc", ".nbi"))]


def test_with_an_address_the_links_are_absolute(built, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    text = (ROOT / "pyproject.toml").read_text()
    assert 'home = ""' in text
    (source / "pyproject.toml").write_text(text.replace('home = ""', 'home = "https://example.org/lensflow/"'))
    (source / "lensflow").mkdir()
    (source / "lensflow" / "__init__.py").touch()
    build(source, "prepare_metadata_for_build_wheel", tmp_path)
    (file,) = tmp_path.glob("*.dist-info/METADATA")
    assert "(https://example.org/lensflow/raw/main/docs/figures/" in file.read_text()
    assert "(https://example.org/lensflow/blob/main/docs/gates.md)" in file.read_text()
    assert "Project-URL: Source, https://example.org/lensflow\n" in file.read_text()


def test_the_version_is_in_one_place():
    assert lensflow.__version__ == PROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == lensflow.__version__
    assert f"{{{lensflow.__version__}}}" in (ROOT / "docs" / "citation.md").read_text()


def test_every_extra_that_documents_and_messages_name_is_there():
    extras = PROJECT["project"]["optional-dependencies"]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "lensflow").rglob("*.py")]
    named = {
        e for p in pages for found in re.findall(r"lensflow\[([a-z0-9,-]+)\]", p.read_text()) for e in found.split(",")
    }
    assert named and named <= set(extras)
