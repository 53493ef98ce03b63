"""What is not needed is not imported: the help answers at once, physics does without Dask."""

import json
import subprocess
import sys

import pytest

CLUSTER = {"dask", "distributed", "fsspec", "s3fs", "zarr"}
HEAVY = CLUSTER | {"astropy", "jinja2", "matplotlib", "numba", "numpy", "pandas", "scipy", "sklearn", "xarray"}
HELP = """
from typer.testing import CliRunner
import lensflow
from lensflow.cli import app
assert "cut" in dir(lensflow)
assert "certify" in CliRunner().invoke(app, ["--help"]).output
"""


@pytest.mark.parametrize(
    ("code", "needless"),
    [
        (HELP, HEAVY),
        ("import lensflow.lensing.render_reference, lensflow.stats.estimate", CLUSTER),
    ],
    ids=["lensflow and its help", "physics"],
)
def test_no_heavy_module_is_imported_before_it_is_needed(code, needless):
    show = "import sys, json; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    shown = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    assert not {*json.loads(shown.stdout)} & needless
