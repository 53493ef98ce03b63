"""A URL means the same server whatever the process read before: its settings go where it goes."""

import json
import pickle
from functools import partial

import cloudpickle
import pytest
import yaml

from lensflow.config import RunConfig, StorageConfig, load_config
from lensflow.config.base import Section
from lensflow.config.place import INPUT, Place, join, parent
from lensflow.fits import reach
from lensflow.store import paths
from lensflow.store.objects import CheckedStore, folder_of, record_url, run_of
from lensflow.store.run_folder import RunFolder
from lensflow.survey.layout import Layout
from lensflow.targets.brick_table import brick_tables

HERE, THERE = StorageConfig(endpoint_url="http://here:1"), StorageConfig(endpoint_url="http://there:2")


@pytest.fixture(autouse=True)
def _a_server_in_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://environment:3")


def a_run(**storage):
    return load_config({"out": "s3://b/run", "survey": {"root": "s3://in", "targets": "s3://in/t.csv"},
                        "storage": storage})  # fmt: skip


MADE = {
    "str": str,
    "rstrip": lambda p: p.rstrip("/"),
    "join": lambda p: join(p, "a", "b.zarr"),
    "parent": lambda p: parent(join(p, "a")),
    "tidy": reach.tidy,
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
    "cloudpickle": lambda p: cloudpickle.loads(cloudpickle.dumps(p)),
    "run folder": lambda p: RunFolder(p).pairs,
    "store in a run": lambda p: parent(RunFolder(p).pairs),
    "receipts": folder_of,
    "record": record_url,
    "run of a store": lambda p: run_of(join(p, "x.zarr")),
    "survey file": lambda p: Layout(p).path("0001m002", "image", "r"),
    "survey folder": lambda p: Layout(p).folders("0001m002", ("r",))[0],
    "brick table": lambda p: brick_tables(p)[-1],
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_what_is_made_of_a_place_is_reached_as_it_is(made):
    for storage in (HERE, THERE):
        assert reach.options(made(Place("s3://b/run/", storage)))["endpoint_url"] == storage.endpoint_url


def test_a_plain_url_is_reached_as_the_environment_says_whatever_was_loaded_before():
    RunFolder.of(a_run(endpoint_url="http://here:1", anonymous=True))
    assert reach.storage_of("s3://b/run") == StorageConfig(endpoint_url="http://environment:3")
    assert reach.options("s3://in")["anon"] is False


def test_two_runs_on_two_servers_do_not_meet_in_one_process():
    first, second = a_run(endpoint_url="http://here:1"), a_run(endpoint_url="http://there:2")
    for config, server in ((first, "http://here:1"), (second, "http://there:2"), (first, "http://here:1")):
        for url in (config.out, RunFolder.of(config).cutouts, pickle.loads(pickle.dumps(config)).out):
            fs, _ = paths.filesystem(url)
            assert fs.endpoint_url == server
            assert paths.zarr_store(url).fs.endpoint_url == server


def test_a_checked_store_takes_its_settings_to_another_process():
    place = Place("s3://b/run/pairs.zarr", HERE)
    arrived = cloudpickle.loads(cloudpickle.dumps(CheckedStore(paths.zarr_store(place), place)))
    assert reach.storage_of(record_url(arrived.url)) == HERE


@pytest.mark.parametrize(("anonymous", "inputs", "out"), [(False, False, False), ("inputs", True, False), (True,) * 3])
def test_inputs_are_reached_without_credentials_where_the_config_says_so(anonymous, inputs, out):
    config = a_run(anonymous=anonymous, endpoint_url="http://here:1")
    assert reach.options(config.out)["anon"] is out
    for url in (config.survey.root, config.survey.targets, Layout(config.survey.root).path("0001m002", "maskbits")):
        # The server of the run's folder is not that of the survey.
        assert (reach.options(url)["anon"], reach.options(url)["endpoint_url"]) == (inputs, "http://environment:3")


@pytest.mark.parametrize("dump", [yaml.safe_dump, yaml.dump, partial(yaml.dump, Dumper=yaml.CSafeDumper), json.dumps])
def test_a_place_is_written_as_its_url(dump):
    assert dump({"out": Place("s3://b/run", HERE)}) == dump({"out": "s3://b/run"})


def inputs_of(section, prefix=""):
    """Names and values of all settings that are marked as inputs."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from inputs_of(value, f"{prefix}{name}.")
        elif INPUT in field.metadata and value and not isinstance(value, bool):
            every = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
            yield from ((f"{prefix}{name}", v) for v in every)


def test_every_input_of_a_config_is_a_place():
    bricks = {"root": "s3://in", "targets": ["s3://in/*.csv", "/disk/t.csv"], "brick_cuts": {"table": "s3://in/b.fits"}}
    stamps = {"files": {"r": "s3://in/r.fits"}, "psf_files": {"r": "s3://in/p.fits"}, "hosts": "s3://in/h.csv",
              "pixel_scale_arcsec": 0.262, "psfsize_arcsec": {"r": 1.2}}  # fmt: skip
    found = {}
    for survey in (bricks, {"stamps": stamps}):
        config = load_config({"out": "s3://b/run", "bands": ["r"], "survey": survey, "storage": {"anonymous": "inputs"},
                              "completeness": {"negatives": "s3://in/n.csv"},
                              "training": {"pretrained": "s3://in/weights.safetensors"},
                              "plan": {"design": "table", "table": "s3://in/plan.csv"}})  # fmt: skip
        found |= dict(inputs_of(config))
        assert RunConfig.model_validate(config.model_dump()) == config
        assert "Place" not in config.to_yaml() and load_config(config.effective()) == config
    assert {*found} == {"survey.root", "survey.targets", "survey.brick_cuts.table", "survey.stamps.files",
                        "survey.stamps.psf_files", "survey.stamps.hosts", "plan.table",
                        "completeness.negatives", "training.pretrained"}  # fmt: skip
    assert all(isinstance(v, Place) and v.storage == StorageConfig(anonymous=True) for v in found.values())
