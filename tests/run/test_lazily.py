"""Measurements of lazy pairs: nothing before it is asked for, one pass for all of them, few tasks."""

import threading
from collections import Counter

import dask
import numpy as np
import pytest
import xarray as xr
from dask.highlevelgraph import HighLevelGraph
from distributed import Client

import lensflow as lf
from lensflow.errors import StoreError
from lensflow.measure.pixels import DIAGNOSTICS
from lensflow.measure.zoo.small_run import small_run
from lensflow.run.lazy import Origin

pytestmark = pytest.mark.whole

CHUNK = 16


@pytest.fixture(scope="module")
def run():
    return small_run(hosts=12, per_host=4)


@pytest.fixture(scope="module")
def config(run):
    gate = run.config.gate.model_copy(update={"recipes": ("core_r",), "bootstrap": 50})
    return run.config.model_copy(update={"gate": gate})


@pytest.fixture
def rendered(monkeypatch):
    """How often each chunk was rendered."""
    found, lock, render = Counter(), threading.Lock(), Origin.render

    def counted(origin, number):
        with lock:
            found[number] += 1
        return render(origin, number)

    monkeypatch.setattr(Origin, "render", counted)
    return found


def test_diagnose_and_gate_render_each_chunk_once_when_they_are_asked_for_together(run, config, rendered):
    pairs = lf.inject(run.hosts, run.manifest, config, chunk=CHUNK)
    diagnostics, gates = lf.diagnose(pairs, config), lf.gate(pairs, config)
    assert [*diagnostics] == [*DIAGNOSTICS] and "not computed yet" in repr(diagnostics) and not rendered
    found, verdicts = dask.compute(diagnostics, gates)
    chunks = -(-pairs.sizes["sample"] // CHUNK)
    assert rendered == dict.fromkeys(range(chunks), 1)
    assert isinstance(found, dict) and [g.name for g in verdicts] == ["core_r"]
    in_memory = lf.diagnose(pairs.compute(), config)
    for name, ds in found.items():
        for v in ds.data_vars:
            if ds[v].dtype.kind == "f":
                size = float(np.abs(ds[v]).max()) if ds[v].size else 0.0
                np.testing.assert_allclose(
                    in_memory[name][v], ds[v], rtol=1e-6, atol=1e-9 * size, err_msg=f"{name}.{v}"
                )


def test_what_is_computed_is_kept(run, config, rendered):
    pairs = lf.inject(run.hosts, run.manifest, config, chunk=CHUNK)
    gates = lf.gate(pairs, config)
    (gate,) = gates
    chunks = rendered.total()
    assert gates[0] is gate is gates.compute()[0] and "not computed yet" not in repr(gates)
    assert gates.to_dataset()["auc"].sel(gate="core_r") == gate.auc and rendered.total() == chunks


def test_what_is_persisted_is_rendered_once_and_keeps_its_names(run, config, rendered):
    pairs = lf.inject(run.hosts, run.manifest, config, chunk=CHUNK)
    (kept,) = dask.persist(lf.diagnose(pairs, config))
    assert [*kept] == [*DIAGNOSTICS] and "not computed yet" in repr(kept)
    chunks = rendered.total()
    assert chunks and int(kept["annulus"]["n_injections"]) > 0 and rendered.total() == chunks


@pytest.mark.slow
def test_a_cluster_says_the_same(run, config):
    """Dask finishes results in a task there: nothing may depend on what only the client holds."""
    pairs = lf.inject(run.hosts, run.manifest, config, chunk=CHUNK)
    here = dask.compute(lf.diagnose(pairs, config), lf.gate(pairs, config))
    with Client(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None):
        there = dask.compute(lf.diagnose(pairs, config), lf.gate(pairs, config))
        alone = lf.gate(pairs, config)
        assert [g.to_dict() for g in there[1]] == [g.to_dict() for g in here[1]] == [g.to_dict() for g in alone]
    # These tests render fewer images in this process (tests/quick.py) than a worker does.
    for name in {*here[0]} - {"psf", "rendering"}:
        xr.testing.assert_identical(here[0][name], there[0][name])


def test_a_chunk_is_few_tasks_whatever_is_measured(run, config):
    pairs = lf.inject(run.hosts, run.manifest, config, chunk=2)
    for asked in ([lf.diagnose(pairs, config)], [lf.diagnose(pairs, config), lf.gate(pairs, config)]):
        graph = HighLevelGraph.merge(*(a.__dask_graph__() for a in asked))
        tasks = asked[0].__dask_optimize__(graph, [a.__dask_keys__() for a in asked])
        assert len(dict(tasks)) <= 5 * len(asked) * pairs.sizes["sample"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda p: p.isel(sample=slice(None, None, 2)), lambda p: p.sortby("row_id")])
def test_some_of_the_rows_in_any_order_are_measured_as_they_are(run, config, change):
    pairs = change(lf.inject(run.hosts, run.manifest, config, chunk=CHUNK))
    a, b = lf.diagnose(pairs, config)["annulus"], lf.diagnose(pairs.compute(), config)["annulus"]
    xr.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12)


def test_an_edited_variable_is_measured_and_not_the_one_that_was_rendered(run, config):
    pairs = lf.inject(run.hosts, run.manifest, config, chunk=CHUNK)
    spoiled = pairs.assign(stamp=pairs["stamp"] + np.float32(0.25))
    found = lf.diagnose(spoiled, config)["annulus"]["annulus_residual_mean"]
    np.testing.assert_allclose(found, 0.25, atol=1e-3)


def test_pairs_without_pixels_or_rows_are_refused_at_once(run, config):
    pairs = lf.inject(run.hosts, run.manifest, config)
    with pytest.raises(StoreError, match="no 'ctrl'"):
        lf.diagnose(pairs.drop_vars("ctrl"), config)
    with pytest.raises(StoreError, match="no rows"):
        lf.gate(pairs.isel(sample=slice(0, 0)), config)
