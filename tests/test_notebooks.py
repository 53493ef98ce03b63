from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
TRAINS = ("04_training",)
MARKED = [pytest.param(p, marks=pytest.mark.train if p.stem in TRAINS else pytest.mark.slow) for p in NOTEBOOKS]
AT_A_TIME, TEST = 2, "test_the_notebook_runs_from_top_to_bottom"


def execute(path, folder):
    notebook = nbformat.read(path, as_version=4)
    folder.mkdir()
    timeout = 400 if path.stem in TRAINS else 200
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return notebook


@pytest.fixture(scope="module")
def begun(request, tmp_path_factory):
    """Notebooks whose tests were asked for, two at a time: each has a process of its own, and this one only waits."""
    asked = [item.callspec.params["path"] for item in request.session.items if item.originalname == TEST]
    if find_spec("torch") is None:
        asked = [path for path in asked if path.stem not in TRAINS]
    folder = tmp_path_factory.mktemp("notebooks")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {path: pool.submit(execute, path, folder / path.stem) for path in asked}


@pytest.mark.parametrize("path", MARKED, ids=lambda p: p.stem)
def test_the_notebook_runs_from_top_to_bottom(path, begun):
    if path.stem in TRAINS:
        pytest.importorskip("torch", reason="the training in this notebook needs torch")
    notebook = begun[path].result()
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert pictures
