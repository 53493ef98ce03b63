"""Notebooks are stored with outputs of the code that they hold, small, whole, and without a word of the machine."""

import base64
import io
import json
import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 300_000
REFRESH = runpy.run_path(str(FOLDER / "refresh.py"), run_name="refresh")
# Folders of a machine: a home, a checkout, a temporary folder with a random end.
_MACHINE = re.compile(r"/(?:root|home|work|Users|dev/shm|var/folders)/|/tmp/(?!lensflow-[a-z-]+\b(?![-_]))\w|pytest-")


def cells(notebook):
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def outputs(notebook):
    for cell in cells(notebook):
        for output in cell["outputs"]:
            yield from output.get("data", {"text/plain": output.get("text", "")}).items()


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def path(request):
    return request.param


def test_the_stored_outputs_are_those_of_the_code_cells(path):
    notebook = json.loads(path.read_text())
    again = f"python notebooks/refresh.py {path.stem}"
    assert notebook["metadata"].get("lensflow", {}).get("outputs_of") == REFRESH["source_hash"](notebook), again
    assert [c["execution_count"] for c in cells(notebook)] == list(range(1, len(cells(notebook)) + 1)), again


def test_there_are_pictures_and_no_error_or_warning(path):
    notebook = json.loads(path.read_text())
    kinds = [o["output_type"] for c in cells(notebook) for o in c["outputs"]]
    assert "error" not in kinds
    assert not [o for c in cells(notebook) for o in c["outputs"] if o.get("name") == "stderr"]
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(v))) for kind, v in outputs(notebook) if kind.startswith("image/")
    ]
    assert pictures and all(max(p.size) >= 300 and len(p.convert("RGB").getcolors(1 << 24)) > 3 for p in pictures)


def test_a_notebook_is_small_and_tells_nothing_of_the_machine(path):
    assert path.stat().st_size < MAX_BYTES
    for _, value in ((k, v) for k, v in outputs(json.loads(path.read_text())) if k.startswith("text/")):
        found = _MACHINE.search("".join(value))
        assert not found, "".join(value)[max(found.start() - 60, 0) : found.end() + 60]


def test_another_line_of_code_makes_the_outputs_those_of_another_notebook():
    notebook = json.loads(NOTEBOOKS[0].read_text())
    before = REFRESH["source_hash"](notebook)
    notebook["cells"][0]["source"] = "# other words"
    assert REFRESH["source_hash"](notebook) == before
    cells(notebook)[-1]["source"] = ["1 + 1"]
    assert REFRESH["source_hash"](notebook) != before


def test_what_is_stored_does_not_change_with_the_random_end_of_a_folder():
    stored = []
    for end in ("ab12_cd3", "zz99zz99"):
        text = f"wrote /tmp/lensflow-training-{end}/run/pairs.zarr and '/dev/shm/x/lensflow-core-{end}'"
        cell = {"cell_type": "code", "source": "", "outputs": [
            {"output_type": "stream", "name": "stdout", "text": text},
            {"output_type": "stream", "name": "stderr", "text": end},
        ]}  # fmt: skip
        notebook = {"cells": [cell], "metadata": {}}
        REFRESH["clean"](notebook)
        stored.append(json.dumps(notebook))
    assert (
        stored[0] == stored[1] and "/tmp/lensflow-training/run/pairs.zarr" in stored[0] and "/dev/shm" not in stored[0]
    )
