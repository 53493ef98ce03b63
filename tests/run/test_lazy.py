"""Lazy pairs: the store's bits for any chunks and rows, few tasks, and written only as they are."""

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lensflow as lf
from lensflow import schema
from lensflow.errors import ConfigError, ManifestError, StaleStoreError, StoreError
from lensflow.manifest.build import build_manifest
from lensflow.run.lazy import LAZY
from lensflow.store import open as stores
from lensflow.store.open import open_all_pairs
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole

SETTINGS = {
    "survey": {"root": "-", "targets": "-", "stamp_size": 32},
    "store": {"samples_per_region": 12, "hosts_per_region": 8, "inner_chunk": 4, "quantize": "sky/16"},
}
NAMES = [v.name for v in LAZY]
PIXELS = ["arc", "stamp", "ctrl", "has_data"]


def hosts(n=9):
    cutouts = make_cutouts(n, size=32, absent=((2, 0),))
    # Light hosts: a flag goes by what the catalogue knows of them.
    sigma = np.where(np.arange(n) % 2, 120.0, np.nan).astype(np.float32)
    return cutouts.assign(sigma_v_km_s=("host", sigma))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run that lf.write_pairs made of cutouts in memory: its config, cutouts, manifest, and every stored pair."""
    config = make_config(str(tmp_path_factory.mktemp("lazy") / "run"), **SETTINGS)
    cutouts = hosts()
    manifest = build_manifest(cutouts, config)
    lf.write_pairs(lf.inject(cutouts, manifest, config), config)
    return config, cutouts, manifest, open_all_pairs(f"{config.out}/pairs.zarr").load()


def differing(lazy, pairs):
    return [n for n in NAMES if lazy[n].values.tobytes() != pairs[n].values.tobytes()]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), chunk=st.integers(1, 70), opened=st.booleans(), lazily=st.booleans())
def test_any_rows_in_any_order_and_any_chunks_have_the_bits_of_the_store(stored, data, chunk, opened, lazily):
    config, cutouts, manifest, pairs = stored
    n = manifest.sizes["sample"]
    rows = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=25, unique=True))
    some = manifest.isel(sample=rows)
    made = lf.inject(
        lf.open_cutouts(config.out) if opened else cutouts, some.chunk(sample=7) if lazily else some, config, chunk
    )
    assert {made.chunksizes["sample"][0]} == {min(chunk, len(rows))}
    assert differing(made.compute(), pairs.isel(sample=rows)) == []


def test_the_flags_know_the_hosts_dispersion_in_the_store_too(stored):
    _, _, manifest, pairs = stored
    light = np.isfinite(hosts()["sigma_v_km_s"].values)[manifest["host_index"].values]
    assert pairs["theta_e_beyond_host"].values[light].any()
    assert not pairs["theta_e_beyond_host"].values[~light].any()


def tasks(collection, optimised):
    return len(dict((dask.optimize(collection)[0] if optimised else collection).__dask_graph__()))


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("optimised", [False, True])
def test_a_chunk_is_one_task_and_one_for_each_array(stored, optimised, opened):
    config, cutouts, manifest, _ = stored
    cutouts = lf.open_cutouts(config.out) if opened else cutouts
    pairs = lf.inject(cutouts, manifest, config, 9)
    n = len(pairs.chunksizes["sample"])
    assert n == 7
    shared = 1  # what all chunks are made of
    assert tasks(pairs[PIXELS], optimised) == 5 * n + shared
    assert tasks(pairs, optimised) == (1 + len(LAZY)) * n + shared
    assert tasks(pairs[["stamp"]], optimised) == (1 if optimised else 2) * n + shared


def test_hosts_and_rows_are_in_one_key_of_the_graph(stored):
    config, cutouts, manifest, _ = stored
    for hosted in (cutouts, lf.open_cutouts(config.out)):
        graph = dict(dask.optimize(lf.inject(hosted, manifest, config, 1)["stamp"])[0].__dask_graph__())
        sizes = {k: len(cloudpickle.dumps(v)) for k, v in graph.items()}
        large = [k for k, size in sizes.items() if size > 4000]
        assert len(sizes) == manifest.sizes["sample"] + 1 and len(large) == 1 and "origin" in large[0]
    # What comes from a store travels as the place where it is.
    assert sizes[large[0]] < manifest.nbytes + cutouts["image"].nbytes


def test_a_chunk_reads_its_own_hosts_and_none_of_the_catalogue(stored, monkeypatch):
    config, _, manifest, _ = stored
    pairs = lf.inject(lf.open_cutouts(config.out), manifest, config, chunk=7)
    read = []

    class Watched:
        def __init__(self, array):
            self.array = array

        def __getattr__(self, name):
            return getattr(self.array, name)

        def __getitem__(self, key):
            read.append(key)
            return self.array[key]

    real = stores.open_array
    monkeypatch.setattr(stores, "open_array", lambda *a: Watched(real(*a)))
    pairs = lf.inject(lf.open_cutouts(config.out), manifest, config, chunk=7)
    read.clear()
    pairs["stamp"].isel(sample=slice(0, 7)).compute(scheduler="synchronous")
    wanted = manifest["host_index"].values[:7]
    assert read
    for key in read:
        first = key[0] if isinstance(key, tuple) else key
        assert first.stop - first.start <= wanted.max() - wanted.min() + 1


def test_rows_of_hosts_that_are_not_there_are_refused(stored):
    config, cutouts, manifest, _ = stored
    with pytest.raises(ManifestError, match=r"host_index 8 is not among the given hosts \(8"):
        lf.inject(cutouts.isel(host=slice(0, 8)), manifest, config)
    index = manifest["host_index"].copy(
        data=np.where(np.arange(manifest.sizes["sample"]) == 3, -1, manifest["host_index"])
    )
    with pytest.raises(ManifestError, match="manifest row 3: host_index -1"):
        lf.inject(cutouts, manifest.assign(host_index=index), config)
    late = lf.inject(cutouts, manifest.assign(host_index=index).chunk(sample=5), config, 10)
    with pytest.raises(ManifestError, match="manifest row 3: host_index -1"):
        late["stamp"].compute()


@pytest.mark.parametrize("lazily", [False, True])
def test_rows_of_a_host_of_another_name_are_refused(stored, lazily):
    config, cutouts, _, _ = stored
    manifest = lf.plan_injections(cutouts, config)
    wrong = cutouts.isel(host=slice(None, None, -1))
    with pytest.raises(ManifestError, match=r"manifest row 0 is of host .* was planned for other cutouts"):
        lf.inject(wrong, manifest.chunk(sample=9) if lazily else manifest, config)["arc_snr"].compute()


@pytest.mark.parametrize(("rows", "chunk", "error"), [(0, 10, ManifestError), (3, 0, ConfigError)])
def test_no_rows_and_no_chunk_are_refused(stored, rows, chunk, error):
    config, cutouts, manifest, _ = stored
    with pytest.raises(error, match=r"no rows|at least 1"):
        lf.inject(cutouts, manifest.isel(sample=slice(0, rows)), config, chunk)


CHANGES = {
    "rows selected": (lambda p: p.isel(sample=slice(0, 5)), "rows were selected"),
    "computed": (lambda p: p.compute(), "compute"),
    "one array computed": (lambda p: p.assign(arc=p["arc"].compute()), "arc was changed"),
    "an array assigned": (lambda p: p.assign(stamp=p["stamp"] * 2), "stamp was changed"),
    "a metric assigned": (
        lambda p: p.assign(arc_snr=("sample", da.zeros_like(p["arc_snr"].data))),
        "arc_snr was changed",
    ),
    "an array dropped": (lambda p: p.drop_vars("ctrl"), "no ctrl"),
    "a column assigned": (lambda p: p.assign(lens_q=p["lens_q"] * 0.9), "lens_q was changed"),
    "one value": (lambda p: p.assign(src_z=p["src_z"].where(p["row_id"] != p["row_id"][3], 2.5)), "src_z was changed"),
    "a column added": (lambda p: p.assign(mine=("sample", np.arange(p.sizes["sample"]))), "mine was added"),
    "a coordinate added": (lambda p: p.assign_coords(mine=("sample", np.arange(p.sizes["sample"]))), "mine was added"),
    "a column of the manifest's own": (lambda p: p.pipe(_with_a_column_of_mine), "mine is no column of a manifest"),
    "a column dropped": (lambda p: p.drop_vars("lens_z"), "no lens_z"),
    "another seed": (lambda p: p.assign_attrs(seed=99), "attrs\\['seed'\\] was changed"),
    "turned": (lambda p: p.transpose("sample", "band", "x", "y"), "was changed"),
    "in place": (lambda p: _set_first_stamp(p), "stamp was changed"),
}


def _set_first_stamp(pairs):
    pairs = pairs.copy()
    pairs["stamp"][0] = 0.0
    return pairs


def _with_a_column_of_mine(pairs):
    manifest = pairs[[v.name for v in schema.MANIFEST]]
    return lf.inject(hosts(), manifest.assign(mine=manifest["lens_z"] * 2))


@pytest.mark.parametrize("change", CHANGES)
def test_pairs_that_were_changed_are_refused_by_name_and_nothing_is_written(stored, tmp_path, change):
    _, cutouts, manifest, _ = stored
    config = make_config(str(tmp_path / "run"), **SETTINGS)
    do, words = CHANGES[change]
    with pytest.raises(StoreError, match=words):
        lf.write_pairs(do(lf.inject(cutouts, manifest, config)), config)
    assert not (tmp_path / "run").exists()


def test_stored_pairs_are_no_lazy_pairs(stored):
    with pytest.raises(StoreError, match=r"takes what lf\.inject gave"):
        lf.write_pairs(lf.open_pairs(stored[0].out), stored[0])


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("injection", {"core_mask_radius_pix": 4.0}, r"injection\.core_mask_radius_pix: .* made with 0\.0, .* 4\.0"),
        ("store", {"quantize": "none"}, r"store\.quantize .*made with 16, .* 0"),
    ],
)
def test_a_config_that_would_write_other_bits_is_refused(stored, tmp_path, section, changes, words):
    config, cutouts, manifest, _ = stored
    other = make_config(str(tmp_path / "run"), **SETTINGS | {section: SETTINGS.get(section, {}) | changes})
    with pytest.raises(ConfigError, match=words):
        lf.write_pairs(lf.inject(cutouts, manifest, config), other)
    assert not (tmp_path / "run").exists()


def test_pairs_of_opened_stores_are_written_and_taken_up_again(stored):
    config, _, manifest, _ = stored
    opened = lf.open_cutouts(config.out)
    again = lf.write_pairs(lf.inject(opened, lf.open_manifest(config.out), config), config)
    assert again.sizes["sample"] + again.attrs["n_sealed"] == manifest.sizes["sample"]
    brighter = opened.assign(image=opened["image"] * 2)
    with pytest.raises(StaleStoreError, match=r"inputs\.cutouts"):
        lf.write_pairs(lf.inject(brighter, manifest, config), config)
    with pytest.raises(StaleStoreError, match=r"inputs\.manifest"):
        lf.write_pairs(lf.inject(opened, manifest.isel(sample=slice(0, 9)), config), config)


def test_cutouts_and_manifest_are_injected_first(stored, tmp_path):
    _, cutouts, manifest, pairs = stored
    other = make_config(str(tmp_path / "run"), **SETTINGS)
    lf.write_pairs(cutouts, manifest, other)
    assert differing(open_all_pairs(f"{other.out}/pairs.zarr"), pairs) == []
    with pytest.raises(StoreError, match=r"takes what lf\.inject gave"):
        lf.write_pairs(cutouts, manifest)
