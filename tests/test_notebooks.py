from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
TRAINS = ("04_training",)
MARKED = [pytest.param(p, marks=pytest.mark.train if p.stem in TRAINS else pytest.mark.slow) for p in NOTEBOOKS]


@pytest.mark.parametrize("path", MARKED, ids=lambda p: p.stem)
def test_the_notebook_runs_from_top_to_bottom(path, tmp_path):
    if path.stem in TRAINS:
        pytest.importorskip("torch", reason="the training in this notebook needs torch")
    notebook = nbformat.read(path, as_version=4)
    timeout = 400 if path.stem in TRAINS else 200
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert pictures
