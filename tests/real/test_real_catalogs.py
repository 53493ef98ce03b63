"""Sweep and tractor files of the survey as they are."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table, vstack

from lensflow.config import BrickCutsConfig
from lensflow.errors import TargetError
from lensflow.targets import read_targets

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "ls_catalogs"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the real catalogues are not at {FOLDER}"),
]


def raw(pattern):
    return vstack([Table.read(p) for p in sorted(FOLDER.glob(pattern))], metadata_conflicts="silent")


@pytest.mark.parametrize("pattern", ["sweep-*.fits", "tractor-*.fits"])
def test_every_row_of_the_catalogues_is_a_host_a_duplicate_or_removed(pattern):
    t = raw(pattern)
    out = read_targets(str(FOLDER / pattern))
    assert out.attrs["n_read"] == len(t) == out.sizes["host"] + out.attrs["n_duplicates"]
    ids = [f"{r}-{b}-{o}" for r, b, o in zip(t["RELEASE"], t["BRICKID"], t["OBJID"], strict=True)]
    at = [ids.index(name) for name in out["host_id"].values]
    np.testing.assert_array_equal(out["ra_deg"], t["RA"][at])
    np.testing.assert_array_equal(out["flux_nmgy"].sel(band="r"), t["FLUX_R"][at])
    assert out["brickname"].values.tolist() == [str(b) for b in t["BRICKNAME"][at]]
    assert out["type"].values.tolist() == [str(v).strip() for v in t["TYPE"][at]]
    np.testing.assert_array_equal(out["ebv"], t["EBV"][at])
    wanted = 22.5 - 2.5 * np.log10(5 / np.sqrt(t["PSFDEPTH_R"][at].astype(float)))
    known = np.isfinite(wanted)
    np.testing.assert_allclose(out["psfdepth_mag"].sel(band="r").values[known], wanted[known], rtol=1e-6)


def test_the_widest_selection_takes_the_rows_that_its_definition_says():
    t = raw("*.fits")
    flux = {b: np.asarray(t[f"FLUX_{b}"], float) for b in ("R", "Z", "W1")}
    good = (flux["R"] > 0) & (flux["Z"] > 0) & (flux["W1"] > 0) & (np.char.strip(t["TYPE"].astype(str)) != "PSF")
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = {b: 22.5 - 2.5 * np.log10(v) for b, v in flux.items()}
    taken = good & (mag["Z"] < 21.5) & (mag["R"] - mag["Z"] > 0.3) & (mag["Z"] - mag["W1"] > 0.8)
    assert 0 < taken.sum() < len(t)
    out = read_targets(str(FOLDER / "*.fits"), selection="v5_very_relaxed")
    assert out.sizes["host"] + out.attrs["n_duplicates"] == taken.sum()
    assert sum(out.attrs["removed"].values()) == (~taken).sum()


def test_brick_cuts_name_the_column_that_these_catalogues_lack():
    with pytest.raises(TargetError, match=r"psfsize_r_arcsec, which survey\.brick_cuts needs"):
        read_targets(str(FOLDER / "sweep-*.fits"), brick_cuts=BrickCutsConfig())
    out = read_targets(str(FOLDER / "sweep-*.fits"), brick_cuts=BrickCutsConfig(max_psfsize_r_arcsec=None))
    assert out.attrs["n_read"] == out.sizes["host"] + out.attrs["n_duplicates"] + sum(out.attrs["removed"].values())
    assert (out["ebv"].values <= 0.12).all() and (out["psfdepth_mag"].sel(band="r").values >= 23.6).all()
