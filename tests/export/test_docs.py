"""The snippets of docs/exports.md run as they stand there, on a small export."""

import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from tests.export_run import export_run

pytestmark = pytest.mark.train
PAGE = (Path(__file__).parents[2] / "docs/exports.md").read_text()
SNIPPETS = dict(re.findall(r"```python (\w+)\n(.*?)```", PAGE, re.S))
FORMAT = {"datasets": "parquet", "pandas": "parquet", "polars": "parquet", "mlcroissant": "parquet", "lsdb": "hats"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the run at ``runs/dr9`` and an export of each format."""
    root = tmp_path_factory.mktemp("docs")
    (root / "runs").mkdir()
    shutil.copytree(export_run().out, root / "runs" / "dr9")
    for form in ("zarr", "npy", "parquet", "webdataset", "hats"):
        lf.export(root / "runs" / "dr9", root / form, format=form, check=False, shard_mb=4)
    return root


def test_every_format_has_a_snippet():
    assert {FORMAT.get(n, n) for n in SNIPPETS} == {"zarr", "npy", "parquet", "webdataset", "hats"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_reads_images_and_labels(name, place, monkeypatch, tmp_path):
    package = {"pandas": "pandas", "zarr": "zarr", "npy": "numpy"}.get(name, name)
    pytest.importorskip(package, reason="pip install lensflow[export]")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.chdir(place)
    lenses = Path("lenses")
    if lenses.is_symlink():
        lenses.unlink()
    lenses.symlink_to(FORMAT.get(name, name))
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(SNIPPETS[name], name, "exec"), found)  # the page's own text
    if "x" in found:
        assert np.asarray(found["x"]).shape[-3:] == (3, 64, 64)
    if "y" in found:
        assert set(np.unique(found["y"])) <= {0, 1}
    if name == "lsdb":
        assert len(found["flux"]) == 3 and 0 < len(found["lenses"]) < len(found["table"])
