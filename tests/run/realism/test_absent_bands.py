"""Real lenses and hosts of which the survey has no exposure in some band: counted with the reason, never light of 0."""

from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run
from lensflow.config import load_config
from lensflow.errors import RealismError
from lensflow.run.realism.features import features_of_cutouts
from lensflow.run.realism.hosts import host_covariates
from lensflow.run.realism.scoring import judge_scorer
from lensflow.run.realism.stamps import RealFolder, open_real
from lensflow.run.realism.synthetic_sky import synthetic_sky
from lensflow.store.open import open_cutouts
from lensflow.store.run_folder import RunFolder
from tests.run.realism.sky import PLAN, SURVEY, sky_tree

pytestmark = [pytest.mark.whole, pytest.mark.slow]
NO_COLOUR = "g_r could not be measured"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run on a survey of which one brick of three has no g: a third of the lenses and of the hosts."""
    place = tmp_path_factory.mktemp("absent-bands")
    survey = {**SURVEY, "n_bricks": 3, "brick_size_pix": 520, "hosts_per_brick": 60}
    synthetic_sky(place / "sky", 36, survey=survey, plan=PLAN, seed=7)
    # A synthetic lens has all bands; then a brick's g exposures are taken away, lenses and hosts alike.
    brick = sorted({p.parent for p in (place / "sky" / "survey").rglob("*-image-g.fits*")})[-1]
    for file in brick.glob("*-g.fits*"):
        file.unlink()
    tree = sky_tree(place / "run", place / "sky")
    config = load_config(tree)
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)
    return config


@pytest.fixture(scope="module")
def found(config):
    return lf.compare_real(config)


def without_g(cutouts):
    return ~cutouts["covered"].values[:, 0]


def test_the_survey_has_lenses_and_hosts_without_g(config, found):
    for url in (RealFolder.of(config).cutouts, RunFolder.of(config).cutouts):
        lacking = without_g(open_cutouts(url))
        assert 0.1 < lacking.mean() < 0.5
        covariates, features = host_covariates(url), features_of_cutouts(url)
        assert np.isnan(covariates["g_r"].values[lacking]).all() and np.isnan(features["arc_gr"].values[lacking]).all()
        # What does not need g is there.
        assert np.isfinite(covariates["r_z"].values[lacking]).mean() > 0.8
        assert np.isfinite(features["arc_snr"].values[lacking]).mean() > 0.8


def test_lenses_without_g_are_counted_with_the_reason_and_in_no_set(config, found):
    real, hosts = open_real(config), open_cutouts(RunFolder.of(config).cutouts)
    n_sets = found["sets"].sizes["set"]
    assert n_sets >= 5 and n_sets + sum(found.counts.values()) == found.kept.numbers["n_table"]
    assert found.counts[NO_COLOUR] >= without_g(real).sum() > 0
    assert not without_g(real)[found["sets"]["real_row"].values].any()
    rows = found["rows"].isel(row=~found["rows"]["is_real"].values)
    assert not without_g(hosts)[rows["host_row"].values].any()
    noted = [note for _, note in found.kept.numbers["notes"] if "hosts cannot be matched" in note]
    assert noted and int(noted[0].split()[0].replace(",", "")) >= 1
    # Were zeros light, colours would be those of nothing; were they read at all, the probe would have them.
    values = found["rows"]["values"].sel(feature="arc_gr").values
    assert np.isfinite(values).all() and (np.abs(values) < 6).all()


def test_they_are_no_other_road(found):
    road = found["road"]
    assert road["ok"].values.all(), road


class NeedsEveryBand:
    """A scorer that says nothing of a stamp without a band."""

    seen = 0

    def __call__(self, images):
        lacking = ~images.any(axis=(2, 3)).all(axis=1)
        self.seen += int(lacking.sum())
        return np.where(lacking, 1e6, images[:, 1].mean(axis=(1, 2)))


def test_a_scorer_is_not_asked_for_a_lens_without_a_band(config, found):
    real = open_real(config)
    scorer = NeedsEveryBand()
    judged = judge_scorer(config, scorer, RealFolder.of(config).cutouts, real)
    recall, fpr, gap = judged.gates
    lacking = int(without_g(real).sum())
    assert judged.tables["lenses"].sizes["lens"] == real.sizes["host"] - lacking
    assert not np.isin(judged.tables["lenses"]["real_row"].values, np.flatnonzero(without_g(real))).any()
    for gate in (recall, fpr, gap):
        assert gate.recipe["removed_for_absent_bands"] == {"g": lacking}
        assert f"{lacking} without g not counted" in gate.reason
    assert int(judged.tables["real_recall"]["n"][0]) == real.sizes["host"] - lacking
    # It says 10^6 of images without a band: the run's own controls are among them, the gap's injections are not.
    assert scorer.seen > 0 and judged.tables["gap"].sizes["line"] == 1
    nothing = real.assign(covered=(real["covered"].dims, np.zeros(real["covered"].shape, bool)))
    with pytest.raises(RealismError, match=f"no real lens can be scored.*{real.sizes['host']} lack a band"):
        judge_scorer(config, NeedsEveryBand(), RealFolder.of(config).cutouts, nothing)


def test_an_encoder_s_features_are_of_stamps_with_every_band(config, found, tmp_path, monkeypatch):
    """Where most lenses lack g, hosts are matched without it: then sets hold stamps of which an encoder reads zeros."""
    (tmp_path / "encoders_of_absent_bands.py").write_text("def embed(images): return images.mean(axis=(2, 3))\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = open_real(config)["host_id"].values.astype(str)[without_g(open_real(config))]
    head, *lines = Path(config.realism.table).read_text().splitlines()
    kept = [line for line in lines if line.split(",")[0] in set(names)]
    others = [line for line in lines if line.split(",")[0] not in set(names)]
    table = tmp_path / "mostly-without-g.csv"
    table.write_text("\n".join([head, *kept, *others[: len(kept) - 2]]) + "\n")
    other = lf.compare_real(config, table, encoder="encoders_of_absent_bands:embed")
    assert "g_r" in other["balance"]["covariate"].values
    assert not bool(other["balance"]["balanced"].sel(covariate="g_r"))
    assert other.verdict in ("INCONCLUSIVE", "NOT_TESTABLE")
    real = open_real(config)
    sets = without_g(real)[other["sets"]["real_row"].values]
    assert sets.any() and not sets.all()
    n_sets = other["areas"]["n_sets"]
    assert int(n_sets.sel(probe="embedding")) <= (~sets).sum() < int(n_sets.sel(probe="readable")) == sets.size
