"""The published injections stand alone: pandas reweights them as lensflow does, and nothing is lost on the way."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from scipy import stats

from lensflow.config.completeness import AxisConfig
from lensflow.errors import CompletenessError, ConfigError
from lensflow.manifest.build import build_manifest
from lensflow.measure.completeness.population import publish
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.injection_set import InjectionSet, injections_beside, read_injection_set
from lensflow.measure.completeness.population.publish import Contents, write_injection_set
from lensflow.measure.completeness.population.reweight import reweight_rows
from lensflow.measure.completeness.population.reweight_cells import reweight_cells
from lensflow.measure.completeness.population.target_density import target_density
from lensflow.measure.completeness.population.target_population import target_population
from tests.factories import make_config, make_cutouts

PLAN = {"theta_e_arcsec": {"min": 0.5, "max": 2.5}, "dmag": {"min": 1, "max": 4}, "injections_per_host": 60}
AXES = (AxisConfig(variable="theta_e_arcsec", edges=(0.5, 1.0, 1.5, 2.0, 2.51)),
        AxisConfig(variable="psfsize_r", edges=(1.0, 1.6)))  # fmt: skip


@pytest.fixture(scope="module")
def contents():
    cutouts, random = make_cutouts(40), np.random.default_rng(0)
    config = make_config(plan=PLAN)
    manifest = build_manifest(cutouts, config)
    host = manifest["host_index"].values
    n, band = manifest.sizes["sample"], ("sample", "band")
    score = manifest["theta_e_arcsec"].values + random.normal(0, 0.3, n)
    score[5] = np.nan
    of_hosts = {k: (("sample", *cutouts[k].dims[1:]), cutouts[k].values[host]) for k in (
        "flux_nmgy", "aperture_flux_nmgy", "psf_source", "psfsize_arcsec", "psfdepth_mag")}  # fmt: skip
    rows = manifest.assign(of_hosts).assign(
        score=("sample", score), total_injected_flux_nmgy=(band, np.ones((n, 3))),
        render_not_converged=("sample", random.random(n) < 0.05), is_clean=("sample", random.random(n) < 0.7),
        assumed_psf=("sample", np.zeros(n, bool)),
    ).assign_coords(host_id=("sample", cutouts["host_id"].values[host]))  # fmt: skip
    prior = InjectedPrior.of(config, manifest.attrs)
    return Contents(rows, prior, [1.5, 2.0], [0.01, np.nan], AXES, {"scorer": "a:b", "split": "val", "key": "f00"})


@pytest.fixture(scope="module")
def path(contents, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("set") / "a-b.val.injections.parquet")
    assert write_injection_set(contents, path) == 2400
    return path


def test_ten_lines_of_pandas_give_what_lensflow_gives(path):
    """In a process that cannot import lensflow."""
    told = read_injection_set(path).about["how_to_use"]
    assert len(told.strip().splitlines()) <= 10 and "lensflow" not in told
    code = f"import sys; sys.modules['lensflow'] = None\nPATH = {path!r}\n{told}\nprint(completeness, sd, n_det)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, sd, n_det = map(float, done.stdout.split())
    target = target_population({"theta_e_arcsec": target_density(stats.expon(scale=0.5), (0.5, 2.5))})
    found = reweight_rows(read_injection_set(path).at(0), target)
    assert value == pytest.approx(found.completeness.value, rel=1e-9) and 0.05 < value < 0.3
    assert (sd, n_det) == pytest.approx((found.completeness.sd, found.result.n_det), rel=1e-9)


def test_every_injection_is_there_with_its_units_and_what_became_of_it(contents, path):
    rows = pd.read_parquet(path)
    arcs = contents.rows.isel(sample=~contents.rows["is_control"].values)
    assert rows["row_id"].tolist() == arcs["row_id"].values.tolist()
    assert rows["theta_e_arcsec"].tolist() == arcs["theta_e_arcsec"].values.tolist()
    assert rows["src_flux_nmgy_r"].tolist() == arcs["src_flux_nmgy"].values[:, 1].tolist()
    assert rows["host_id"].tolist() == arcs["host_id"].values.tolist()
    lost = rows[~rows.valid]
    assert set(lost.lost) == {"score_not_finite", "render_not_converged"} and not lost.recovered_0.any()
    valid = rows[rows.valid]
    assert ((valid.score >= 1.5) == valid.recovered_0).all() and ((valid.score >= 2) == valid.recovered_1).all()
    # 1 / q is 2" x 3 mag wide, in its own units.
    assert np.exp(-rows.log_q_theta_e_arcsec - rows.log_q_dmag).to_numpy() == pytest.approx(6)
    schema = pq.read_schema(path)
    for field in schema:
        assert field.metadata[b"long_name"] and b"units" in field.metadata
    assert schema.field("theta_e_arcsec").metadata[b"units"] == b"arcsec"
    assert b"at least 1.5" in schema.field("recovered_0").metadata[b"long_name"]


def test_what_is_read_is_what_was_written(contents, path):
    found = read_injection_set(path)
    assert found.prior.plan == contents.prior.plan and found.about["thresholds"][0] == {
        "column": "recovered_0", "tau": 1.5, "rate": 0.01}  # fmt: skip
    assert found.about["thresholds"][1]["rate"] is None and found.about["key"] == "f00"
    assert "follow from a relation" in found.about["prior_unknown"]["src_z"] or "no redshift" in str(found.about)
    assert found.rows["src_flux_nmgy"].dims == ("sample", "band")
    target = target_population({"dmag": stats.uniform(1, 2)})
    clean = reweight_rows(found.at(1, "clean"), target)
    assert clean.result.kish < reweight_rows(found.at(1), target).result.kish
    by_cell = reweight_cells(found.at(0), target_population({"theta_e_arcsec": stats.uniform(0.5, 2)}), found.axes)
    assert by_cell.completeness.value == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ConfigError, match=r"name one by its number, not None \(0: tau 1.5, fpr 0.01; 1: tau 2\)"):
        found.at()
    other = dict(found.about) | {"plan": found.about["plan"] | {"theta_ee": 1}}
    with pytest.raises(CompletenessError, match="its plan is none of lensflow"):
        InjectionSet(path, found.rows, other).at(0)
    for threshold, curve in ((2, "all"), (-1, "all"), (0, "cleanest")):
        with pytest.raises(ConfigError):
            found.at(threshold, curve)


def test_pieces_of_any_size_write_the_same_rows_and_a_failure_leaves_nothing(contents, path, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "_ROWS_AT_ONCE", 499)
    other = str(tmp_path / "other.parquet")
    write_injection_set(contents, other)
    assert pq.read_metadata(other).num_row_groups > 4
    pd.testing.assert_frame_equal(pd.read_parquet(other), pd.read_parquet(path))
    before = (tmp_path / "other.parquet").read_bytes()
    bad = contents.rows.copy()
    bad["theta_e_arcsec"] = bad["theta_e_arcsec"] + xr.where(np.arange(bad.sizes["sample"]) > 2000, 9.0, 0.0)
    with pytest.raises(CompletenessError, match="which the plan does not draw"):
        write_injection_set(Contents(bad, contents.prior, [1.5], [0.1], AXES, {}), other)
    assert (tmp_path / "other.parquet").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    controls = contents.rows.isel(sample=contents.rows["is_control"].values)
    with pytest.raises(CompletenessError, match="there is no injection"):
        write_injection_set(Contents(controls, contents.prior, [1.5], [0.1], AXES, {}), str(tmp_path / "none.parquet"))
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_set_is_refused(path, tmp_path):
    with pytest.raises(CompletenessError, match="--publish"):
        read_injection_set(str(tmp_path / "absent.parquet"))
    half = tmp_path / "half.parquet"
    half.write_bytes(open(path, "rb").read()[:5000])  # noqa: PTH123, SIM115
    with pytest.raises(CompletenessError, match="cut short"):
        read_injection_set(str(half))
    plain = tmp_path / "plain.parquet"
    pd.DataFrame({"row_id": [1]}).to_parquet(plain)
    with pytest.raises(CompletenessError, match="no set of injections"):
        read_injection_set(str(plain))
    assert injections_beside("runs/x/a.val.json") == "runs/x/a.val.injections.parquet"
