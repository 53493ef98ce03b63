"""New injections on matched hosts follow the real lenses in what is known of them, and the run in all else."""

import numpy as np
import pytest

from lensflow.errors import RealismError
from lensflow.run.realism.matched_injections import CLIPPED, MAGNITUDE, THETA_E, matched_injections
from lensflow.run.realism.sets import matched_sets
from lensflow.store import paths
from lensflow.store.open import open_all_pairs, open_cutouts
from lensflow.store.run_folder import RunFolder
from tests.run.realism.real_run import made, with_real

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = made(tmp_path_factory.mktemp("matched-injections"))
    with_real(config)
    return config


@pytest.fixture(scope="module")
def sets(config):
    sets = matched_sets(config, splits=("train", "val", "test")).sets.load()
    sets["theta_e_arcsec"].values[0] = np.nan
    return sets


@pytest.fixture(scope="module")
def made_rows(config, sets):
    """New rows, one magnitude fainter for the second set, ten brighter for the third; and the run's files before."""
    before = paths.sizes_below(config.out)
    run_mag = np.full(sets["injection_row"].shape, 22.0)
    real_mag = np.full(sets.sizes["set"], np.nan)
    real_mag[1:3] = [23.0, 12.0]
    return matched_injections(config, sets, real_mag, run_mag), before


@pytest.fixture(scope="module")
def both(config, sets, made_rows):
    old, new = (open_all_pairs(RunFolder.of(c).pairs) for c in (config, made_rows[0].config))
    rows = [s["injection_row"].values for s in (sets, made_rows[0].sets)]
    assert (rows[1] >= 0).all() and len(np.unique(rows[1])) == rows[1].size == new.sizes["sample"]
    of_set = np.broadcast_to(np.arange(rows[0].shape[0])[:, None, None], rows[0].shape).ravel()
    return old.isel(sample=rows[0].ravel()).load(), new.isel(sample=rows[1].ravel()).load(), of_set


def test_einstein_radii_are_those_of_the_real_lenses(sets, both):
    old, new, of_set = both
    wanted = sets["theta_e_arcsec"].values[of_set]
    np.testing.assert_array_equal(new["theta_e_arcsec"].values[of_set > 0], wanted[of_set > 0])
    np.testing.assert_array_equal(new["theta_e_arcsec"].values[of_set == 0], old["theta_e_arcsec"].values[of_set == 0])


def test_fluxes_follow_the_magnitudes_in_all_bands(both, made_rows):
    old, new, of_set = both
    ratio = new["src_flux_nmgy"].values / old["src_flux_nmgy"].values
    expected = np.ones(len(of_set))
    expected[of_set == 1] = 10**-0.4
    expected[of_set == 2] = 10**1.2
    np.testing.assert_allclose(ratio, np.broadcast_to(expected[:, None], ratio.shape), rtol=1e-12)
    n = int((of_set == 1).sum())
    counts = made_rows[0].counts
    assert counts == {"rows": len(of_set), THETA_E: int((of_set > 0).sum()), MAGNITUDE: 2 * n, CLIPPED: n}


def test_the_source_moves_with_theta_e_and_images_keep_their_configuration(both):
    old, new, _ = both
    for name in ("src_x_arcsec", "src_y_arcsec"):
        np.testing.assert_allclose(new[name] / new["theta_e_arcsec"], old[name] / old["theta_e_arcsec"], rtol=1e-9)
    same = np.isfinite(old["image_multiplicity"].values)
    np.testing.assert_array_equal(new["image_multiplicity"].values[same], old["image_multiplicity"].values[same])


def test_all_else_is_the_runs(config, both):
    old, new, _ = both
    of_lens = ("lens_model", "lens_q", "lens_phi_rad", "lens_gamma", "shear", "shear_phi_rad")
    for name in (
        *of_lens,
        "src_reff_arcsec",
        "src_n",
        "src_q",
        "src_phi_rad",
        "src_id",
        "psf_fwhm_arcsec",
        "x_center",
        "y_center",
        "split",
    ):
        np.testing.assert_array_equal(new[name].values, old[name].values, err_msg=name)
    np.testing.assert_array_equal(new["host_id"].values, old["host_id"].values)
    cutouts = open_cutouts(RunFolder.of(config).cutouts)
    np.testing.assert_array_equal(new["ctrl"].values, cutouts["image"].values[old["host_index"].values])


def test_rows_and_noise_are_new_and_the_run_is_as_it_was(config, both, made_rows):
    old, new, of_set = both
    assert not set(old["row_id"].values.tolist()) & set(new["row_id"].values.tolist())
    rows = np.flatnonzero(of_set == 0)  # nothing changed but the noise
    assert len(rows)
    np.testing.assert_allclose(new["arc"].values[rows], old["arc"].values[rows], rtol=1e-6, atol=1e-9)
    noise = [(p["stamp"] - p["ctrl"] - p["arc"]).values[rows] for p in (old, new)]
    assert np.abs(noise[0]).max() > 0 and (noise[0] != noise[1]).any()
    after = paths.sizes_below(config.out)
    assert {k: after[k] for k in made_rows[1]} == made_rows[1]
    assert all(k.startswith("matched/") for k in after.keys() - made_rows[1].keys())


def test_other_magnitudes_replace_them(config, sets, made_rows):
    again = matched_injections(config, sets)
    assert again.counts[MAGNITUDE] == 0
    pairs = open_all_pairs(RunFolder.of(again.config).pairs)
    assert pairs.sizes["sample"] == again.counts["rows"]


def test_magnitudes_that_cannot_be_used_are_refused(config, sets):
    with pytest.raises(RealismError, match="go together"):
        matched_injections(config, sets, np.zeros(sets.sizes["set"]))
    with pytest.raises(RealismError, match="of shape"):
        matched_injections(config, sets, np.zeros(3), np.zeros(sets["injection_row"].shape))
    with pytest.raises(RealismError, match="no matched sets"):
        matched_injections(config, sets.isel(set=[]))
