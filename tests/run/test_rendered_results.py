"""One config with stored, half stored and rendered pixels: every measurement and export is the same, to the bit."""

import hashlib
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import xarray as xr

import lensflow as lf
from lensflow import run as steps
from lensflow.errors import CertificateError
from lensflow.run.certify import check_step
from lensflow.run.sweep.null import NullTask
from lensflow.store import paths, receipts
from lensflow.store.open import open_all_pairs
from lensflow.store.run_folder import RunFolder, config_of
from tests.export_run import make_run
from tests.small_run import SMALL, injected_copy, small_config

pytestmark = pytest.mark.whole

STORE = {"samples_per_region": 64, "hosts_per_region": 8, "inner_chunk": 4}
SURVEY = {"root": "unused", "targets": "unused", "stamp_size": 32}
KINDS = ("full", "stamp", "virtual")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Configs of the runs, measured."""
    place = tmp_path_factory.mktemp("rendered")
    out = {}
    for kind in KINDS:
        injected_copy(place / kind)
        out[kind] = small_config(place / kind, store={**SMALL["store"], "pixels": kind})
        if kind != "full":
            shutil.rmtree(RunFolder.of(out[kind]).pairs)
            shutil.rmtree(RunFolder.of(out[kind]).receipts("pairs"))
            steps.inject_step(out[kind])
        steps.measure_step(out[kind])
    return out


def of_every(runs, value):
    return [value(runs[kind]) for kind in KINDS]


def test_diagnostics_and_gates_are_the_same_with_the_same_keys(runs):
    for name in ("diagnostics", "gates", "gate_draws"):
        one, *others = of_every(runs, lambda c, name=name: paths.read_json(getattr(RunFolder.of(c), name)))
        assert all(o == one for o in others), name
    again, _ = steps.measure_step(runs["virtual"], again=True, keep=False, gates=False)
    assert set(again) == set(steps.diagnose_step(runs["full"]))


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Configs of runs that count as certified."""
    place = tmp_path_factory.mktemp("exported")
    return {k: make_run(place / k, 16, 32, survey=SURVEY, store={**STORE, "pixels": k}) for k in KINDS}


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "npy"},
        {"format": "npy", "view": "residual", "purpose": "study", "residual_negatives": "matched"},
        {"format": "npy", "counterfactuals": ["moved", "blob"]},
    ],
)
@pytest.mark.slow
def test_exports_have_the_same_files(certified, tmp_path, settings):
    def files(config):
        out = tmp_path / config.store.pixels
        lf.export(config, out, check=False, **settings)
        data = [p for p in sorted(out.rglob("*")) if p.is_file() and p.suffix not in (".json", ".md", ".parquet")]
        index = [repr(pq.read_table(p).to_pydict()) for p in sorted(out.rglob("*.parquet"))]
        assert data
        return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in data}, index

    (one, index), *others = of_every(certified, files)
    for other, other_index in others:
        assert other == one
        assert other_index == index


def test_the_null_arm_of_a_sweep_compares_its_receipts(runs):
    for config in runs.values():
        done = receipts.read_receipts(RunFolder.of(config).receipts("pairs"))
        arrays = NullTask(config, None, done)(0).arrays
        assert {"arc", "stamp", "metrics", "flags"} == {*arrays} and not any(c.n_differ for c in arrays.values())


def test_a_certificate_holds_the_pixels_that_are_rendered(certified, tmp_path):
    shutil.copytree(certified["virtual"].out, tmp_path / "run")
    moved = config_of(str(tmp_path / "run"))
    check_step(moved)
    place = next(p for p in Path(RunFolder.of(moved).pairs, "row_checks").rglob("*") if p.parent.parent.name == "c")
    place.write_bytes(place.read_bytes()[::-1])
    with pytest.raises(CertificateError, match="pairs"):
        check_step(moved)


def test_a_run_that_grows_renders_old_and_new_rows(tmp_path):
    """One region is stored before it grows, and the last one, which was not full, is made again."""
    first, larger = ({"injections_per_host": n, "limit_hosts": 6} for n in (2, 3))
    out = {}
    for kind in ("full", "virtual"):
        injected_copy(tmp_path / kind)
        for name in ("manifest", "pairs"):
            shutil.rmtree(tmp_path / kind / f"{name}.zarr")
            shutil.rmtree(tmp_path / kind / "receipts" / name, ignore_errors=True)
        store = {"samples_per_region": 8, "hosts_per_region": 8, "inner_chunk": 8, "pixels": kind}
        for plan in (first, larger):
            config = small_config(tmp_path / kind, store=store, plan=plan)
            steps.plan_step(config)
            steps.inject_step(config)
            if kind == "virtual" and plan is first:
                assert steps.materialise_step(config.out, [slice(8, 9)]).left > 0
        folder = RunFolder.of(config)
        out[kind] = open_all_pairs(folder.pairs)[["arc", "stamp", "row_id"]].load()
        assert steps.verify_step(config.out).damage == ()
    assert out["full"].identical(out["virtual"]) and out["full"].sizes["sample"] % 8
    assert steps.materialise_step(config.out).left == 0
    seen = xr.open_zarr(folder.pairs, consolidated=False)
    assert all(seen[n].values.tobytes() == out["full"][n].values.tobytes() for n in ("arc", "stamp"))
