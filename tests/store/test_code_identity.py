"""A digest of what code does: both directions."""

import ast
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import pytest

from lensflow.cluster.agreement import code_digest
from lensflow.store.code_identity import ROOT, digest_of

FILES = {
    "pixels/__init__.py": '"""Pixels."""\n\nfrom lensflow.pixels.draw import draw\n\n__all__ = ["draw"]\n',
    "pixels/draw.py": '"""Draw."""\n\nimport math\n\nfrom lensflow.ground import SCALE\n\n\n'
    'def draw(x, size=3):\n    """Draw x."""\n    # why\n    return math.sin(x) * SCALE + size\n',
    "pixels/use.py": "from lensflow.pixels import draw\n\n\nclass Use:\n    '''Use.'''\n\n    at = draw(1)\n"
    "    size = Field(2, description='Size.')\n",
    "ground.py": "SCALE = 2.0\n",
    "other.py": "SCALE = 3.0\n",
    "pixels/scale.yaml": "# Measured.\nscale: [1, 2.0]\n",
}


@pytest.fixture
def package(tmp_path):
    """Write the package, changed, and give the digest of its folder ``pixels`` (or of where its files went)."""
    root = tmp_path / "lensflow"

    def digest(changes=(), moved=None, parts=("pixels",)):
        shutil.rmtree(root, ignore_errors=True)
        for name, text in FILES.items():
            for old, new in changes:
                text = text.replace(old, new)
            path = root / (moved or {}).get(name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        found = digest_of(parts, root)
        assert re.fullmatch("[0-9a-f]{16}", found)
        assert digest_of(parts, root) == found  # as it was kept
        return found

    return digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Draw x."""', '"""Draw x, at a size."""'),
        ("# Measured.\nscale: [1, 2.0]", "# Measured again.\nscale:\n- 1\n- 2.0"),
        ('    """Draw x."""\n', ""),
        ("# why", "# because"),
        ("math.sin(x) * SCALE + size", "(\n        math.sin(x) * SCALE\n        + size\n    )"),
        ("'''Use.'''", "'''Used.'''"),
        ("description='Size.'", "description='The size.'"),
        ('__all__ = ["draw"]', '__all__ = ["draw", "draw"]'),
        ("import math\n\nfrom lensflow.ground import SCALE", "from lensflow.ground import SCALE\nimport math"),
    ],
)
def test_what_code_does_not_do_does_not_count(package, old, new):
    assert package([(old, new)]) == package()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size=3", "size=4"),
        ("scale: [1, 2.0]", "scale: [1, 2.5]"),
        ("+ size", "- size"),
        ("math.sin", "math.cos"),
        ("Field(2", "Field(3"),
        ("draw(1)", "draw(True)"),
        ("draw(1)", "draw('1')"),
        ("SCALE = 2.0", "SCALE = 2.5"),  # in a module outside, that it imports
        ("lensflow.ground import", "lensflow.other import"),  # another thing of the same name
        ("import SCALE", "import SCALE as SIZE"),
    ],
)
def test_what_code_does_counts(package, old, new):
    assert package([(old, new)]) != package()


def test_workers_with_other_presets_have_other_code(tmp_path):
    preset = tmp_path / "presets" / "plan" / "own.yaml"
    preset.parent.mkdir(parents=True)
    digests = set()
    for value in (1, 2):
        preset.write_text(f"dmag: [{value}]\n")
        digests.add(code_digest.__wrapped__(tmp_path))
    assert len(digests) == 2


def test_a_moved_file_does_not_count_nor_a_package_that_hands_names_on(package):
    before = package()
    moved = {"pixels/draw.py": "engine/draw.py", "ground.py": "base/ground.py"}
    imports = [("lensflow.pixels.draw", "lensflow.engine.draw"), ("lensflow.ground", "lensflow.base.ground")]
    assert package(imports, moved, ("pixels", "engine")) == before
    assert package([("from lensflow.pixels import draw", "from lensflow.pixels.draw import draw")]) == before


def test_a_part_that_is_not_there_is_an_error(package):
    with pytest.raises(FileNotFoundError):
        package(parts=("pixls",))


def test_a_spoilt_note_of_an_earlier_look_is_not_believed(package, tmp_path):
    before = package()
    (note,) = (tmp_path / "lensflow" / "__pycache__").glob("code-*.txt")
    for text in (b"", b"\xff\xfe", b"0123456789abcdef0"):
        note.write_bytes(text)
        assert digest_of(("pixels",), tmp_path / "lensflow") == before
    assert note.read_text() == before


@pytest.mark.slow
def test_threads_that_look_at_the_same_time_agree(tmp_path):
    shutil.copytree(ROOT / "stats", tmp_path / "lensflow" / "stats", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("errors.py", "rng.py", "jit.py"):
        shutil.copy(ROOT / name, tmp_path / "lensflow" / name)

    def look(k):
        for _ in range(5):
            for note in (tmp_path / "lensflow" / "__pycache__").glob("code-*.txt"):
                note.unlink(missing_ok=True)
            with suppress(SystemError):
                ast.parse((ROOT / "schema.py").read_bytes())  # as any other thread may
            yield digest_of(("stats",), tmp_path / "lensflow")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: {*look(k)}, range(4)))
    assert len(set.union(*found)) == 1


def test_every_import_of_the_package_is_found():
    from lensflow.store.code_identity import Sources

    sources, words = Sources(ROOT), cache(lambda file: set(re.findall(r"\w+", file.read_text())))
    for file in ROOT.rglob("*.py"):
        found = sources._imports(file)
        assert bool(found) == bool(re.search(r"^ *(from|import) lensflow\b", file.read_text(), re.M)), file
        for name, target in found:
            what, of_a_module, _ = name.partition(" ")
            assert target.exists(), (file, name, target)
            assert not of_a_module or what in {*words(target), target.stem, target.parent.name}, (file, name, target)
