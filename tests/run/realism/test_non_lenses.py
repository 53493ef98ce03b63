"""Real non-lenses as negatives: cut by the run's road, split by sky, counted, and refused where anything else is."""

import shutil

import numpy as np
import pytest
from astropy.table import Table

import lensflow as lf
from lensflow import run
from lensflow.config import SyntheticConfig, load_config
from lensflow.errors import ExportError, StaleStoreError
from lensflow.export.samples import TABLE
from lensflow.run.export.non_lenses import non_lenses, table_content
from lensflow.run.export.open_view import open_view
from lensflow.run.realism.stamps import RealFolder, cut_real
from lensflow.store import paths
from lensflow.store.open import open_cutouts
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.survey.synthetic.bricks import write_survey
from lensflow.targets.lenses import read_lenses
from tests.export_run import certify_as
from tests.run.realism import real_run

pytestmark = pytest.mark.whole
SHARES = {"control": 0.5, "counterfactual": 0.1, "host_other": 0.0, "table": 0.4}
LENSES, N_HOSTS = 2, 50


def table_of(config):
    """The survey's galaxies that are no hosts: two lenses, the others known to be none."""
    found = Table.read(f"{config.survey.root}/others.fits")
    n = len(found)
    return Table({"name": [f"thing{k}" for k in range(n)], "ra": found["ra_deg"], "dec": found["dec_deg"],
                  "tier": ["A"] * LENSES + ["N"] * (n - LENSES), "is_lens": [True] * LENSES + [False] * (n - LENSES),
                  "kind": ["galaxy"] * n})  # fmt: skip


def finish(place):
    place.mkdir()
    of = SyntheticConfig(n_bricks=2, brick_size_pix=900, hosts_per_brick=45, bricks_without_g=0)
    galaxies = Table.read(write_survey(str(place / "survey"), of))
    order = np.random.default_rng(0).permutation(len(galaxies))
    for name, rows in (("hosts", order[:N_HOSTS]), ("others", order[N_HOSTS:])):
        galaxies[np.sort(rows)].write(place / "survey" / f"{name}.fits")
    config = load_config(real_run.tree(place, splits={"fractions": [0.6, 0.3, 0.1], "nside": 2048}))
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)
    cut_real(config, read_lenses(table_of(config)))
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    certify_as(config, "PASS")
    return config_of(config.out)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("non-lenses") / "made")


@pytest.fixture
def own(config, tmp_path):
    shutil.copytree(config.out, tmp_path / "run")
    return config_of(str(tmp_path / "run"))


def opened(config, split="train"):
    return open_view(config, split=split, negatives=SHARES, min_snr=0, faint="keep")


def test_every_object_of_the_table_is_a_negative_of_its_own_split_or_counted(config):
    real = open_cutouts(RealFolder.of(config).cutouts)
    seen = []
    for split in ("train", "val", "test"):
        try:
            rows, left_out = non_lenses(config.model_copy(update={"export": config.export}), split)
        except ExportError as error:
            assert "is a non-lens of the" in str(error)
            continue
        assert rows.sizes["sample"] + sum(left_out.values()) == real.sizes["host"]
        assert left_out["not said to be no lens"] == LENSES and (rows["host_index"].values < 0).all()
        seen += rows["host_id"].values.tolist()
    assert len(seen) == len(set(seen)) and 0 < len(seen) <= real.sizes["host"] - LENSES


def test_their_pixels_are_the_stamps_that_were_cut_to_the_bit(config):
    view, real = opened(config), open_cutouts(RealFolder.of(config).cutouts).load()
    mine = view.samples["negative_kind"].values == TABLE
    assert mine.sum() == view.counts.negatives["table"] > 0 and not view.samples["y"].values[mine].any()
    assert view.counts.left_out["table: not said to be no lens"] == LENSES
    names = real["host_id"].values.astype(str).tolist()
    found = 0
    for unit in range(view.n_units):
        rows = np.flatnonzero(view.samples["unit"].values == unit)
        x = view.raw(unit)["x"]
        for k in np.flatnonzero(mine[rows]):
            at = names.index(str(view.samples["host_id"].values[rows[k]]))
            valid = real["invvar"].values[at] > 0
            np.testing.assert_array_equal(x[k], np.where(valid, real["image"].values[at], np.nan))
            found += 1
    assert found == mine.sum()


def test_an_export_holds_them_and_its_checks_know_them(config, tmp_path):
    for form in ("npy", "zarr"):
        done = lf.export(config.out, tmp_path / form, format=form, split="train", negatives=SHARES, min_snr=0,
                         faint="keep")  # fmt: skip
        assert done.passed and done.verdicts["roundtrip"] == done.verdicts["duplicates"] == "PASS", done.verdicts
        assert done.record["splits"]["train"]["negatives_by_kind"]["table"] > 0
        assert done.record["run"]["non_lenses"]
    batches = list(lf.batches(tmp_path / "npy", seed=1))
    kinds = np.concatenate([b["negative_kind"] for b in batches])
    assert (kinds == TABLE).sum() == done.record["splits"]["train"]["negatives_by_kind"]["table"]


def test_formats_that_know_hosts_alone_refuse_them(config, tmp_path):
    with pytest.raises(ExportError, match="takes hosts of the run alone"):
        lf.export(config.out, tmp_path / "out", format="hats", negatives=SHARES, min_snr=0)


def test_an_index_over_other_stamps_is_stale(own, tmp_path):
    done = lf.export(own.out, tmp_path / "out", split="train", negatives=SHARES, min_snr=0, faint="keep", check=False)
    before = table_content(own.model_copy(update={"export": own.export.model_copy(
        update={"negatives": type(own.export.negatives)(**SHARES)})}))  # fmt: skip
    assert before == done.record["run"]["non_lenses"]
    table = table_of(own)
    table.remove_row(len(table) - 1)
    cut_real(own, read_lenses(table))
    with pytest.raises(StaleStoreError, match="other stamps of real non-lenses"):
        lf.batches(done.path)


def test_without_a_table_or_by_another_road_they_are_refused(own, monkeypatch):
    from lensflow.run.export import non_lenses as module

    road = module.road_check(RealFolder.of(own).cutouts, RunFolder.of(own).cutouts, own.realism.max_road_sd)
    assert road.is_same
    # A road of its own: as the check says it of stamps that were moved by half a pixel (test_real_stamps.py).
    other = type(road)(road.table, "cut otherwise: autocorrelation", road.n_real, road.n_run)
    with monkeypatch.context() as patch:
        patch.setattr(module, "road_check", lambda *_: other)
        with pytest.raises(ExportError, match=r"not cut as the run's hosts are(.|\n)*cut otherwise: autocorrelation"):
            opened(own)
    shutil.rmtree(RealFolder.of(own).cutouts)
    with pytest.raises(ExportError, match=r"no stamps of real lenses(.|\n)*lensflow realism"):
        opened(own)
