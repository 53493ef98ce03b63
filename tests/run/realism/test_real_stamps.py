"""Real lenses are cut as hosts are, split as hosts are, and never used twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy import ndimage

from lensflow import run
from lensflow.config import load_config
from lensflow.errors import RealismError, StoreError, TargetError
from lensflow.run.import_stamps import import_stamps
from lensflow.run.realism.lens_targets import lens_targets, lenses_for
from lensflow.run.realism.of_run import compare_real
from lensflow.run.realism.sets import matched_sets
from lensflow.run.realism.stamps import (
    RealFolder,
    cut_real,
    import_real,
    imported_content,
    open_real,
    real_stamps,
)
from lensflow.store import paths
from lensflow.store.open import open_all_pairs, open_cutouts, read_head
from lensflow.store.results import keep_results, read_results
from lensflow.store.run_folder import RunFolder
from lensflow.targets.lenses import read_lenses
from tests.run.realism.real_run import N_REAL, lenses_of, made, tree, with_real
from tests.run.realism.sky import injected_run

ARCSEC = 1 / 3600
pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return made(tmp_path_factory.mktemp("real-lenses"))


@pytest.fixture(scope="module")
def real(config):
    return with_real(config)


@pytest.fixture(scope="module")
def hosts(config):
    return open_cutouts(RunFolder.of(config).cutouts).drop_dims(["y", "x"])


def table(config, ra, dec, **columns):
    n = len(ra)
    return read_lenses(Table({"name": [f"l{k}" for k in range(n)], "ra": ra, "dec": dec, "tier": ["A"] * n} | columns))


def targets(config, lenses, hosts=None):
    url = RunFolder.of(config).cutouts
    return lens_targets(config, lenses, read_head(url, "cutouts") if hosts is None else hosts, 0.262)


def test_a_real_lens_has_the_pixels_that_it_would_have_as_a_host(config, real, tmp_path):
    """The same code, bricks, bands, masks and PSF: bit for bit."""
    assert real.sizes["host"] == N_REAL and real.attrs["failed"] == {}
    assert config.survey.root is not None
    alike = tree(tmp_path)
    alike["survey"] = {**alike["survey"], "root": config.survey.root, "targets": f"{config.survey.root}/lenses.fits"}
    as_hosts = run.cut_step(load_config(alike)).load()
    found = real.load()
    where = {
        tuple(np.round(p, 7)): i
        for i, p in enumerate(zip(as_hosts.ra_deg.values, as_hosts.dec_deg.values, strict=True))
    }
    at = [where[tuple(np.round(p, 7))] for p in zip(found.ra_deg.values, found.dec_deg.values, strict=True)]
    for name in ("image", "invvar", "maskbits", "psfsize_arcsec", "psf_source", "x_center", "y_center", "band_reasons",
                 "aperture_flux_nmgy", "nexp"):  # fmt: skip
        np.testing.assert_array_equal(found[name].values, as_hosts[name].values[at], err_msg=name)


def test_the_lens_table_stands_beside_the_stamps(config, real):
    given = read_lenses(lenses_of(config))
    order = [given.lens_id.values.tolist().index(n) for n in real.host_id.values]
    np.testing.assert_array_equal(real["theta_e_arcsec"], given["theta_e_arcsec"].values[order])
    assert set(real["tier"].values) == {"A"} and set(real["is_lens"].values) == {1}
    assert real.attrs["n_lenses"] == N_REAL == real.attrs["n_read"]
    assert open_real(config).identical(real)


def test_cutting_again_changes_nothing_and_another_table_replaces_it(config, real, tmp_path):
    other = made(tmp_path)
    folder = RealFolder.of(other)
    first = with_real(other)
    before = paths.sizes_below(folder.root)
    written = paths.local_path(folder.cutouts).stat().st_mtime
    assert with_real(other).identical(first) and paths.sizes_below(folder.root) == before
    assert paths.local_path(folder.cutouts).stat().st_mtime == written
    cutouts = {k: v for k, v in before.items() if k.startswith(("cutouts.zarr", "pairs.zarr", "receipts/cutouts"))}
    fewer = cut_real(other, read_lenses(lenses_of(other)[:5]))
    assert fewer.sizes["host"] == 5
    after = paths.sizes_below(folder.root)
    assert {k: after[k] for k in cutouts} == cutouts  # the run itself is as it was


def test_a_table_that_is_not_of_these_stamps_is_refused(tmp_path):
    other = made(tmp_path)
    with pytest.raises(RealismError, match="no stamps of real lenses"):
        open_real(other)
    with_real(other)
    kept = RealFolder.of(other).table
    keep_results(kept, "another", read_results(kept).results)
    with pytest.raises(RealismError, match="not the table of"):
        open_real(other)
    paths.write_text(kept, paths.read_text(kept).replace('"A"', '"B"'))
    with pytest.raises(StoreError, match="edited or damaged"):
        open_real(other)


def test_lenses_get_the_split_of_their_cell(config, real, hosts):
    known = dict(zip(hosts["cell"].values.tolist(), hosts["split"].values.tolist(), strict=True))
    shared = [(known[c], s) for c, s in zip(real["cell"].values.tolist(), real["split"].values.tolist(), strict=True)
              if c in known]  # fmt: skip
    assert len(shared) > 3 and all(a == b for a, b in shared)
    assert set(real["split"].values.tolist()) <= {0, 1, 2}


def test_a_lens_that_is_a_host_is_dropped_on_both_sides(config, hosts):
    at = [0, 5, 9]
    near = hosts["dec_deg"].values[at] + np.array([0, 1.9, 2.1]) * ARCSEC
    found, dropped, names = targets(config, table(config, hosts["ra_deg"].values[at], near))
    assert dropped["also a host of the run"] == 2
    assert names == [str(hosts["host_id"].values[k]) for k in sorted(at[:2])]
    assert found.sizes["host"] + sum(dropped.values()) == 3


def test_a_lens_that_shares_pixels_with_a_training_host_of_another_split_is_dropped(config, hosts):
    diagonal = np.sqrt(2) * 64 * 0.262 * ARCSEC
    cut = read_head(RunFolder.of(config).cutouts, "cutouts")
    train = int(np.flatnonzero(cut["split"].values == 0)[0])
    ra, dec = cut["ra_deg"].values[train], cut["dec_deg"].values[train]
    alone = cut.isel(host=[train])
    other = alone.copy(deep=True)
    for gap, lost in ((0.9, True), (1.1, False)):
        lens = table(config, [ra], [dec + gap * diagonal])
        for split in (1, 2):
            cell = int(
                lens_targets(config, lens, alone.assign(split=("host", np.array([1], np.uint8))), 0.262)[0].cell[0]
            )
            beside = other.isel(host=[0, 0]).copy(deep=True)
            beside["split"].values[:] = [0, split]
            beside["cell"].values[:] = [alone["cell"].values[0], cell]
            beside["dec_deg"].values[1] += 0.05
            if beside["cell"].values[0] == cell:
                continue
            if lost:
                with pytest.raises(TargetError, match="1 shares pixels with a training host of another split"):
                    lens_targets(config, lens, beside, 0.262)
            else:
                assert lens_targets(config, lens, beside, 0.262)[0]["split"].values.tolist() == [split]


def test_lenses_outside_are_counted_by_reason_and_none_inside_is_an_error(config, hosts):
    ra, dec = float(hosts["ra_deg"].values[0]), float(hosts["dec_deg"].values[0])
    with pytest.raises(
        TargetError, match=r"none of 3 can be cut .*1 declination outside .*2 outside the survey's bricks"
    ):
        cut_real(config, table(config, [ra, ra + 20, ra + 180], [dec + 40, dec, dec]))


def test_lenses_between_the_pixels_of_their_brick_are_no_coverage(tmp_path):
    other = made(tmp_path)
    hosts = read_head(RunFolder.of(other).cutouts, "cutouts")
    ra, dec = float(hosts["ra_deg"].values[0]), float(hosts["dec_deg"].values[0])
    with pytest.raises(TargetError, match=r"no stamp of 1 could be cut \(1 no coverage\)"):
        cut_real(other, table(other, [ra], [dec + 0.11]))


def test_a_table_of_which_nothing_can_be_cut_leaves_the_older_stamps(tmp_path):
    other = made(tmp_path)
    before, folder = with_real(other).load(), RealFolder.of(other)
    sizes = paths.sizes_below(folder.root)
    hosts = read_head(RunFolder.of(other).cutouts, "cutouts")
    ra, dec = float(hosts["ra_deg"].values[0]), float(hosts["dec_deg"].values[0])
    with pytest.raises(TargetError, match="Nothing was changed"):
        cut_real(other, table(other, [ra], [dec + 0.11]))
    assert paths.sizes_below(folder.root) == sizes
    assert open_real(other).load().identical(before)


# Two of the lenses are so near each other that their stamps overlap.
OVERLAP = pytest.mark.filterwarnings("ignore:1 pair.s. of stamps show the same pixels")


def as_imported(real, edit=lambda image: image):
    """Stamps as somebody else would bring them."""
    images = {b: edit(real["image"].sel(band=b).values) for b in "grz"}
    psf = {b: float(np.nanmedian(real["psfsize_arcsec"].sel(band=b))) for b in "grz"}
    return import_stamps(images, psfsize_arcsec=psf, host_id=real["host_id"].values, pixel_scale_arcsec=0.262,
                         stamp_size=64)  # fmt: skip


def half_a_pixel(image):
    return ndimage.shift(image, (0, 0.5, 0.5), order=1, mode="nearest")


def imported(other, edit=lambda image: image):
    lenses = read_lenses(lenses_of(other))
    with_real(other)
    real = open_real(other).load()
    return as_imported(real, edit), lenses, real


@OVERLAP
def test_stamps_of_another_road_come_in_but_carry_no_verdict(tmp_path):
    """Spec 10.6 on a run: resampled by half a pixel."""
    other = made(tmp_path)
    stamps, lenses, before = imported(other, half_a_pixel)
    real = import_real(other, stamps, lenses)
    assert real.sizes["host"] == before.sizes["host"] and set(real["tier"].values) == {"A"}
    at = [before["host_id"].values.tolist().index(n) for n in real["host_id"].values]
    for name in ("ra_deg", "dec_deg", "split", "theta_e_arcsec"):
        np.testing.assert_array_equal(real[name].values, before[name].values[at])
    assert not np.array_equal(real["image"].values, before["image"].values[at])
    found = matched_sets(other, splits=("train", "val", "test"))
    assert not found.road.is_same and found.reason == found.road.reason
    assert "autocorrelation of the sky's noise" in found.reason


@OVERLAP
def test_stamps_that_are_not_of_the_table_or_the_run_are_refused(tmp_path):
    other = made(tmp_path)
    stamps, lenses, _ = imported(other)
    with pytest.raises(RealismError, match=r"stamp 'real10' is of no lens of the table \(1 more alike\)"):
        import_real(other, stamps, lenses.isel(lens=slice(0, 10)))
    with pytest.raises(RealismError, match="stamps of g, r, z and 60 pix; the run has g, r, z and 64 pix"):
        import_real(other, stamps.isel(y=slice(0, 60), x=slice(0, 60)), lenses)
    fewer = import_real(other, stamps.isel(host=slice(0, 5)), lenses)
    assert fewer.attrs["dropped"] == {"no stamp of it is given": N_REAL - 5} and fewer.attrs["n_lenses"] == N_REAL


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:2 pair.s. of stamps show the same pixels")
def test_imported_stamps_are_compared_and_never_cut_over(tmp_path):
    other = injected_run(tmp_path / "run")
    folder, source, fewer = RealFolder.of(other), str(other.realism.table), tmp_path / "fewer.csv"
    fewer.write_text("\n".join(Path(source).read_text().splitlines()[:-1]) + "\n")
    of_cut = compare_real(other)
    assert not imported_content(other) and bool(of_cut["road"]["ok"].all())
    lenses, stamps = lenses_for(other, source), as_imported(open_real(other).load(), half_a_pixel)
    before = import_real(other, stamps, lenses).load()
    sizes = paths.sizes_below(folder.cutouts)
    of_imported = compare_real(other)  # and not what is stored of the stamps that were cut
    assert of_imported.verdict == "NOT_TESTABLE" and "not cut as the hosts were" in of_imported.reason
    assert open_real(other).load().identical(before) and real_stamps(other, lenses).load().identical(before)
    for again in (lambda: compare_real(other, fewer), lambda: cut_real(other, lenses)):
        with pytest.raises(RealismError, match=r"real\.zarr: holds stamps that were imported(.|\n)*elete that folder"):
            again()
    assert paths.sizes_below(folder.cutouts) == sizes
    shutil.rmtree(folder.cutouts)  # the way out
    assert compare_real(other).features.identical(of_cut.features)
    assert not imported_content(other)


@OVERLAP
def test_stamps_that_were_imported_in_part_are_no_stamps_of_the_table(tmp_path):
    other = made(tmp_path)
    stamps, lenses, _ = imported(other)
    import_real(other, stamps, lenses)
    Path(RealFolder.of(other).table).unlink()
    with pytest.raises(RealismError, match=r"imported in part\. Import those of this one"):
        real_stamps(other, lenses)


def test_bare_stamps_and_hosts_without_positions_are_refused(config, tmp_path, hosts):
    with pytest.raises(TargetError, match="stamps without positions"):
        nowhere = read_head(RunFolder.of(config).cutouts, "cutouts")
        nowhere["ra_deg"].values[:] = np.nan
        targets(config, table(config, [1.0], [2.0]), nowhere)


@pytest.fixture(scope="module")
def sets(config, real):
    return matched_sets(config, splits=("train", "val", "test"))


def test_sets_hold_rows_of_the_stores(config, real, sets):
    folder = RunFolder.of(config)
    pairs, cutouts = open_all_pairs(folder.pairs), open_cutouts(folder.cutouts)
    found = sets.sets
    assert found.sizes["set"] > 5 and found["host_row"].shape[1] == 2
    assert len(np.unique(found["host_row"])) == found["host_row"].size
    index, control = pairs["host_index"].values, pairs["is_control"].values
    for draw in range(found.sizes["draw"]):
        rows = found["injection_row"].values[..., draw]
        assert (rows >= 0).all() and not control[rows].any()
        np.testing.assert_array_equal(index[rows], found["host_row"].values)
    assert control[found["control_row"].values].all()
    np.testing.assert_array_equal(index[found["control_row"].values], found["host_row"].values)
    names = real["host_id"].values
    np.testing.assert_array_equal(names[found["real_row"].values], found["lens_id"].values)
    np.testing.assert_array_equal(
        real["theta_e_arcsec"].values[found["real_row"].values], found["theta_e_arcsec"].values
    )
    assert (cutouts["status"].values[found["host_row"].values] != 2).all()


def test_every_lens_has_a_set_or_a_reason(real, sets):
    assert sets.sets.sizes["set"] + sum(sets.counts.values()) == N_REAL
    assert sets.road.is_same and sets.other is None and "no fluxes" in sets.other_reason
    assert sets.reason == sets.matched.reason


def test_hosts_of_train_are_not_matched_where_they_must_not_be(config, real):
    found = matched_sets(config, splits=("test",))
    split = open_cutouts(RunFolder.of(config).cutouts)["split"].values
    assert set(split[found.sets["host_row"].values.ravel()].tolist()) <= {2}
    assert found.hosts_left_out["not of split test"] == int((split != 2).sum())
    with pytest.raises(RealismError, match="no split \\['holdout'\\]"):
        matched_sets(config, splits=("holdout",))
    with pytest.raises(RealismError, match=r"none of 12 real stamps is a lens of tier B \(12 tier A: not compared\)"):
        matched_sets(config, tiers=("B",))


def test_a_host_that_is_a_real_lens_is_in_no_set(tmp_path):
    """Spec 9: silent double use is an error in tests."""
    other = made(tmp_path)
    cutouts = open_cutouts(RunFolder.of(other).cutouts)
    twice = lenses_of(other)
    for k in range(8):
        twice["ra"][k], twice["dec"][k] = cutouts["ra_deg"].values[k], cutouts["dec_deg"].values[k]
    real = cut_real(other, read_lenses(twice))
    assert real.attrs["dropped"]["also a host of the run"] == 8 and real.sizes["host"] <= N_REAL - 8
    found = matched_sets(other, splits=("train", "val", "test"))
    used = cutouts["host_id"].values[found.sets["host_row"].values.ravel()]
    assert not set(used.tolist()) & set(real.attrs["hosts_dropped"])
    assert found.hosts_left_out["the host is a real lens"] == 8


def test_the_catalogue_of_the_lenses_gives_fluxes_and_the_second_matching(tmp_path):
    other = made(tmp_path)
    assert other.survey.root is not None
    catalogue = Table.read(f"{other.survey.root}/lenses.fits")[2:]
    path = tmp_path / "catalogue.fits"
    catalogue.write(path)
    with_it = other.model_copy(update={"realism": other.realism.model_copy(update={"catalogue": str(path)})})
    real = with_real(with_it)
    assert real.attrs["n_in_catalogue"] == N_REAL - 2
    known = {str(n): f for n, f in zip(real.host_id.values, real["flux_nmgy"].values, strict=True)}
    assert np.isnan(known["real0"]).all() and np.isnan(known["real1"]).all()
    for k in range(N_REAL - 2):
        np.testing.assert_allclose(
            known[f"real{k + 2}"], [np.ma.filled(catalogue[f"flux_{b}_nmgy"], np.nan)[k] for b in "grz"], rtol=1e-6
        )
    found = matched_sets(with_it, splits=("train", "val", "test"))
    assert found.other is not None and found.other.counts["mag_r could not be measured"] == 2
    elsewhere = catalogue.copy()
    elsewhere["ra_deg"] += 0.01
    elsewhere.write(path, overwrite=True)
    with pytest.raises(TargetError, match=r"none of 12 real lenses has a galaxy within 1.5 arcsec"):
        with_real(with_it)


def test_catalogue_values_give_the_second_matching(tmp_path):
    other = made(tmp_path)
    lenses = read_lenses(lenses_of(other))
    random = np.random.default_rng(1)
    flux = 10 ** random.normal(1.0, 0.3, (lenses.sizes["lens"], 3))
    cut_real(other, lenses.assign(flux_nmgy=(("lens", "band"), flux)))
    found = matched_sets(other, splits=("train", "val", "test"))
    assert found.other is not None and "mag_r" in found.other.balance["covariate"].values.tolist()
    swapped = matched_sets(other, splits=("train", "val", "test"), matching="catalogue")
    np.testing.assert_array_equal(swapped.matched.sets["distance"], found.other.sets["distance"])
