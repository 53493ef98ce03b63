"""A process that compiled the kernels and one that loaded them from the cache store the same bits."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, numpy as np
from lensflow.injection import inject_block
from lensflow.manifest.build import build_manifest
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts
hosts = with_measurements(make_cutouts(4)).assign_coords(host_index=("host", np.arange(4)))
pairs = inject_block(hosts, build_manifest(hosts, make_config()))
for data in (hosts, pairs):
    for name in sorted(map(str, data.data_vars)):
        if data[name].dtype.kind == "f":
            print(name, hashlib.sha256(data[name].values.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_compiled_here_or_loaded_from_the_cache_the_bits_are_the_same(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    compiled, loaded = (
        subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert compiled.count("\n") > 20 and any(tmp_path.rglob("*.nbc"))
    assert loaded == compiled
