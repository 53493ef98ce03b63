"""The house: a module imports from its own floor or one below, no circle; physics without Dask, files or network."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lensflow

ROOT = Path(lensflow.__file__).parent
FLOORS = (
    {"geometry", "schema", "config", "rng", "errors", "_version", "sky", "jit", "units"},
    {"lensing", "fits", "stats", "cluster"},
    {"targets", "survey", "manifest", "injection"},
    {"store"},
    {"measure"},
    {"show", "export"},
    # A run loads a trained network as a scorer, and a training scores a run.
    {"run", "training"},
    {"api", "cli", "view", "__main__"},
)
FLOOR = {room: k for k, floor in enumerate(FLOORS) for room in floor}
HEAVY = {"dask", "distributed", "zarr", "s3fs", "fsspec", "obstore"}
PURE = {"lensing", "geometry", "stats"}
MOST_LINES = 500


def name_of(path):
    return ".".join(["lensflow", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def room(module):
    return (module.split(".") + ["lensflow"])[1] if module != "lensflow" else None


@cache
def imports(module):
    """Modules that one imports, those under TYPE_CHECKING and inside functions too."""
    return tuple(_imports(module))


def _imports(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_stands_on_its_own_floor_or_above_what_it_imports(module):
    own = room(module)
    if own is None:  # the package's face hands on names of api.py
        return
    assert own in FLOOR, f"{own}: no room of the house"
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES
    for name in imports(module):
        bits = name.split(".")
        assert not (own in PURE and bits[0] in HEAVY), f"{module} imports {name}: it takes arrays and gives arrays"
        if bits[0] != "lensflow":
            continue
        assert len(bits) > 1, f"{module} imports the package's face"
        assert FLOOR[bits[1]] <= FLOOR[own], f"{module} imports {name}, which is on a higher floor"
        assert bits[1:3] != ["lensing", "engine"] or own == "lensing", f"{module}: {name} is reached through lensing"


def test_no_modules_import_each_other_in_a_circle():
    graph = {m: sorted({n for n in imports(m) if n in MODULES and n != m}) for m in MODULES}
    done = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for other in graph[module]:
                # A package's face imports what is inside it.
                if not (MODULES[module].name == "__init__.py" and other.startswith(module + ".")):
                    visit(other, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


@pytest.mark.slow
def test_every_module_is_imported_first_by_somebody():
    """In a process that has imported nothing of lensflow before: packages' faces can close a circle too."""
    look = (
        "import os, sys, importlib\n"
        "import dask.array, distributed, matplotlib, numba, pydantic, rich, scipy.stats, sklearn, typer, xarray, zarr\n"
        "for name in sys.argv[1:]:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        importlib.import_module(name); os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]: print(name)\n"
    )
    # A package without a face cannot close one.
    faces = [m for m in MODULES if MODULES[m].name == "__init__.py" and any(n in MODULES for n in imports(m))]
    names = sorted({m for m in MODULES for face in faces if "measure" in face and m.startswith(face + ".")})
    assert "lensflow.measure.gate.gate" in names
    done = subprocess.run([sys.executable, "-c", look, *names], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], done.stderr[-2000:]
