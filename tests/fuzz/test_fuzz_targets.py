"""Broken target tables: each row of a readable one is kept, merged or counted, everything else is a TargetError."""

import warnings

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from lensflow.errors import TargetError
from lensflow.targets import read_targets

N = 30
ODD = [np.nan, np.inf, -np.inf, 0.0, -1.0, 400.0, -95.0, 1e300, 1e-300]
SUFFIXES = ("csv", "ecsv", "fits", "parquet")
# A damaged table ends in lensflow's own error; a library's warning on the terminal would say the same twice.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning"),
]


def table(rng):
    return Table(
        {
            "host_id": [f"h{i:03d}" for i in range(N)],
            "ra_deg": 150 + 0.01 * np.arange(N),
            "dec_deg": rng.uniform(-1, 1, N),
            "brickname": [f"15{i % 3:02d}p000" for i in range(N)],
            "flux_r_nmgy": rng.uniform(1, 30, N),
            "z_lens": rng.uniform(0.1, 0.8, N),
        }
    )


def mutate(t, rng):
    """Change columns or values of a table, one to three times."""
    for _ in range(rng.integers(1, 4)):
        name, row = t.colnames[rng.integers(len(t.colnames))], int(rng.integers(N))
        if len(t) == 0:
            break
        row %= len(t)
        kind = rng.integers(9)
        number = t[name].dtype.kind == "f"
        if kind == 0 and len(t.colnames) > 1:
            t.remove_column(name)
        elif kind == 1:
            t.rename_column(name, name.upper() if rng.random() < 0.5 else f"{name}x")
        elif kind == 2 and number:
            t[name][row] = ODD[rng.integers(len(ODD))]
        elif kind == 3:
            t[name] = t[name][:1].repeat(len(t))
        elif kind == 4 and number and t[name].ndim == 1:
            t[name] = [str(v) if i != row else "n/a" for i, v in enumerate(t[name])]
        elif kind == 5 and t[name].ndim == 1:
            t[name] = MaskedColumn(t[name], mask=np.arange(len(t)) == row % len(t))
        elif kind == 6:
            t[name] = np.arange(len(t)) * int(rng.choice([1, -1, 2**40]))
        elif kind == 7:
            t = t[: int(rng.integers(0, 3))]
        elif number:
            t[name] = np.asarray(t[name])[:, None] * np.ones(2)
        if not t.colnames:
            break
    return t


def write(t, path):
    try:
        with warnings.catch_warnings(action="ignore"):
            t.write(path, overwrite=True)
    except Exception:  # the mutation cannot be written in this format: no case
        return False
    return True


def check(path, seed):
    try:
        targets = read_targets(str(path), ("g", "r", "z"), {})
    except TargetError as error:
        assert path.name in str(error) or "survey." in str(error), (seed, str(error))
        return False
    attrs = targets.attrs
    removed = sum(v for k, v in attrs.items() if k.startswith("n_") and k != "n_read")
    assert targets.sizes["host"] + removed == attrs["n_read"], (seed, attrs)
    ra, dec = targets["ra_deg"].values, targets["dec_deg"].values
    assert np.isfinite(ra).all() and np.isfinite(dec).all() and (np.abs(dec) <= 90).all(), seed
    assert len(set(targets["host_id"].values)) == targets.sizes["host"], seed
    return True


@pytest.mark.parametrize("cases", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_broken_table_is_a_target_error_or_accounts_for_every_row(suffix, cases, tmp_path):
    path, read = tmp_path / f"targets.{suffix}", 0
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        if write(mutate(table(rng), rng), path):
            read += check(path, seed)
    assert read > cases // 15


@pytest.mark.parametrize("cases", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_garbled_bytes_of_a_table_never_cross_as_a_traceback(suffix, cases, tmp_path):
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"targets.{suffix}"
    table(np.random.default_rng(0)).write(whole)
    content = whole.read_bytes()
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        garbled = bytearray(content)
        for _ in range(rng.integers(1, 8)):
            garbled[rng.integers(len(garbled))] = rng.integers(256)
        if rng.random() < 0.3:
            del garbled[rng.integers(len(garbled)) :]
        path.write_bytes(garbled)
        check(path, seed)
