"""Stamps that come as files: each file is opened once a run, whoever cuts, and regions are those of one cut alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import lensflow as lf
from lensflow.cluster import connect
from lensflow.config import load_config
from lensflow.errors import StoreError, SurveyError
from lensflow.run.cut import cut_step
from lensflow.run.cut_parts import Parts
from lensflow.run.cut_stamps import StampTask
from lensflow.run.cut_task import CutTask
from lensflow.run.execute import Stopwatch
from lensflow.store import receipts
from lensflow.store.open import open_cutouts, read_attrs, stored_regions
from lensflow.store.run_folder import RunFolder
from lensflow.store.writing import regional_arrays
from lensflow.survey import stamp_files

N, ROWS, SIZE = 20, 6, 32


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Cubes of two bands, PSF images of one of them; two stamps are constant in r."""
    folder, draw = tmp_path_factory.mktemp("stamps"), np.random.default_rng(3)
    for band in "gr":
        cube = draw.normal(0, 0.01, (N, SIZE, SIZE)).astype(np.float32)
        cube[:, SIZE // 2, SIZE // 2] += 1
        if band == "r":
            cube[[2, 17]] = np.arange(2)[:, None, None] + 1
        fits.writeto(folder / f"{band}.fits", cube)
    y, x = np.mgrid[-7:8, -7:8]
    fits.writeto(folder / "psf.fits", np.exp(-(x**2 + y**2) / 8).astype(np.float32))
    return folder


def config_of(files, out, **more):
    stamps = {
        "files": {b: str(files / f"{b}.fits") for b in "gr"}, "psf_files": {"g": str(files / "psf.fits")},
        "pixel_scale_arcsec": 0.262, "psfsize_arcsec": {"g": 1.3, "r": 1.2},
    }  # fmt: skip
    survey = {"stamps": stamps, "stamp_size": SIZE, "failure_budget": 0.5, **more}
    return load_config({"out": str(out), "bands": ["g", "r"], "survey": survey, "store": {"hosts_per_region": ROWS,
                        "inner_chunk": 2}})  # fmt: skip


@pytest.fixture
def opened(monkeypatch):
    """How often each file is opened."""
    counts, real = Counter(), stamp_files._first_image

    def read(path, *words):
        counts[Path(path).name] += 1
        return real(path, *words)

    monkeypatch.setattr(stamp_files, "_first_image", read)
    return counts


def done_of(config):
    return receipts.read_receipts(RunFolder.of(config).receipts("cutouts"))


@pytest.mark.parametrize("way", ["notebook", "Dask"])
def test_every_file_of_stamps_is_opened_once_a_run(files, tmp_path, opened, way):
    config = config_of(files, tmp_path / "run")
    if way == "notebook":
        cutouts = lf.cut(config)
    else:
        with connect(config.cluster.model_copy(update={"kind": "threads", "workers": 2})):
            cutouts = cut_step(config)
    done = done_of(config)
    assert len(done) == -(-N // ROWS) and opened == {"g.fits": 1, "r.fits": 1, "psf.fits": 1}
    assert receipts.total_counts(done.values())["files: opened"] == 3
    assert cutouts.sizes["host"] == N and not Path(RunFolder.of(config).parts).exists()


def test_regions_have_the_bits_of_one_cut_alone_and_say_what_befell_their_own_hosts(files, tmp_path):
    config = config_of(files, tmp_path / "run", host_shapes=True)
    cut_step(config)
    folder, done = RunFolder.of(config), done_of(config)
    regions, names = stored_regions(folder.cutouts, "cutouts"), open_cutouts(folder.cutouts)["host_id"].values
    alone = CutTask(config, read_attrs(folder.cutouts, "cutouts")["fingerprint"], regions, {})
    for region in regions:
        arrays = regional_arrays(alone.block(region, Stopwatch()), folder.cutouts, "cutouts", region)
        again = {name: lf.store.create.checksum(values) for name, values in arrays.items()}
        assert again == done[region.index].checksums
        said = " ".join(done[region.index].messages)
        for host in ("stamp-00002", "stamp-00017"):
            assert (f"Host {host}" in said or "1 other marked" in said) == (host in names[region.slice].tolist())


def test_a_run_of_stamps_that_was_stopped_cuts_what_is_left(files, tmp_path, opened):
    config, folder = config_of(files, tmp_path / "run"), RunFolder(str(tmp_path / "run"))

    def stop(stage, done, total):
        if (stage, done) == ("cut", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_step(config, stop)
    first = done_of(config)
    assert len(first) > 0 and Path(folder.parts).exists()
    opened.clear()
    cut_step(config)
    done = done_of(config)
    assert {i: done[i] for i in first} == first and set(opened.values()) == {1} and not Path(folder.parts).exists()
    opened.clear()
    cut_step(config)  # nothing is left to cut; the files say whether they are the run's
    assert set(opened.values()) == {1} and not Path(folder.parts).exists()


def test_stamps_that_are_gone_or_are_others_are_an_error_and_finished_regions_need_none(files, tmp_path):
    config = config_of(files, tmp_path / "run")
    cut_step(config)
    folder, done = RunFolder.of(config), done_of(config)
    regions = stored_regions(folder.cutouts, "cutouts")
    cut = CutTask(config, read_attrs(folder.cutouts, "cutouts")["fingerprint"], regions, {})
    task = StampTask(cut, Parts(str(tmp_path / "parts")))
    assert task(0) == done[0]  # as a task that is done again, since its worker died
    receipts.remove_receipts(folder.receipts("cutouts"), [regions[0]])
    with pytest.raises(StoreError, match=r"stamps of region 0 are gone"):
        task(0)
    place = tmp_path / "parts/region-000000/000000.npz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PK half of it")
    with pytest.raises(StoreError, match=r"000000.npz: not what was written"):
        task(0)
    assert 0 not in done_of(config)


def test_a_file_of_several_bands_is_opened_once(tmp_path, opened):
    cube = np.random.default_rng(1).normal(0, 1, (2, SIZE, SIZE)).astype(np.float32)
    fits.writeto(tmp_path / "both.fits", cube, fits.Header({"BANDS": "gr"}))
    stamps = {"files": dict.fromkeys("gr", str(tmp_path / "both.fits")), "pixel_scale_arcsec": 0.262,
              "psfsize_arcsec": {"g": 1.2, "r": 1.2}}  # fmt: skip
    config = load_config({"out": str(tmp_path / "run"), "bands": ["g", "r"], "survey": {"stamps": stamps,
                          "stamp_size": SIZE}})  # fmt: skip
    cutouts = cut_step(config)
    assert opened == {"both.fits": 1}
    np.testing.assert_array_equal(cutouts["image"].values[0], cube)
    fits.writeto(tmp_path / "both.fits", cube, overwrite=True)
    with pytest.raises(SurveyError, match="no card BANDS says"):
        cut_step(config.model_copy(update={"out": str(tmp_path / "other")}))
