"""A run whose sources have bulges and knots: stored, opened, rendered again and measured as any other."""

import shutil

import numpy as np
import pytest

import lensflow as lf
from lensflow import schema
from lensflow.errors import StoreError
from lensflow.lensing import source_profiles
from lensflow.manifest.build import build_manifest
from lensflow.measure.pixels import Status, findings
from lensflow.run.lazy import variables_of
from lensflow.store.open import open_all_pairs, open_manifest
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole

PLAN = {"src_bulge": {"n": 1.0}, "src_knots": {}, "injections_per_host": 3, "src_mag": "apparent"}
SETTINGS = {
    "survey": {"root": "-", "targets": "-", "stamp_size": 32},
    "store": {"samples_per_region": 12, "hosts_per_region": 8, "inner_chunk": 4, "quantize": "sky/16"},
    "plan": PLAN,
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The run's config, cutouts, manifest, and every stored pair."""
    config = make_config(str(tmp_path_factory.mktemp("components") / "run"), **SETTINGS)
    cutouts = make_cutouts(9, size=32, absent=((2, 0),))
    manifest = build_manifest(cutouts, config)
    lf.write_pairs(lf.inject(cutouts, manifest, config), config)
    return config, cutouts, manifest, open_all_pairs(f"{config.out}/pairs.zarr").load()


def test_the_truth_of_every_component_is_stored(stored):
    config, _, manifest, pairs = stored
    for opened in (open_manifest(config.out), pairs):
        for v in schema.COMPONENTS:
            np.testing.assert_array_equal(opened[v.name].values, manifest[v.name].values)
            assert opened[v.name].dims == v.dims and opened[v.name].attrs["long_name"] == v.meaning
    row = pairs.isel(sample=int(np.argmax(~pairs["is_control"].values)))
    profiles = source_profiles({k: v.values for k, v in row.data_vars.items()})
    assert [p.kind for p in profiles[:2]] == ["disc", "bulge"] and len(profiles) == 2 + int(row["src_knots"])


@pytest.mark.parametrize("chunk", [5, 100])
def test_lazy_pairs_have_the_bits_of_the_store_for_any_chunks(stored, chunk):
    config, cutouts, manifest, pairs = stored
    names = [v.name for v in variables_of(manifest)]
    lazy = lf.inject(cutouts, manifest, config, chunk)[names].compute()
    assert "band_magnification" in names
    assert [n for n in names if lazy[n].values.tobytes() != pairs[n].values.tobytes()] == []


def test_a_stored_row_is_rendered_again_bit_for_bit(stored):
    config, _, _, pairs = stored
    for i in np.flatnonzero(~pairs["is_control"].values)[[0, 7]]:
        row = lf.rerender(config.out, int(pairs["row_id"].values[i]))
        assert row.attrs["identical"] and np.isfinite(row["band_magnification"].values[0, 1])


def test_pairs_whose_magnifications_by_band_are_gone_are_refused(stored, tmp_path):
    shutil.copytree(stored[0].out, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "pairs.zarr" / "band_magnification")
    with pytest.raises(StoreError, match="band_magnification"):
        open_all_pairs(str(tmp_path / "run" / "pairs.zarr")).load()


def test_the_checks_of_the_pixels_find_nothing(stored):
    config, _, _, pairs = stored
    measured = lf.diagnose(pairs, config)
    found = {(f.diagnostic, f.check): f for f in findings(measured) if f.diagnostic in ("flux", "rendering")}
    assert found[("rendering", "stored arcs rendered again")].status is Status.OK
    assert not [name for name, f in found.items() if f.status is Status.ALARM]
    of_band = pairs["band_magnification"].values[~pairs["is_control"].values]
    assert np.nanmax(np.ptp(of_band[:, 1:], axis=1)) > 0.01
