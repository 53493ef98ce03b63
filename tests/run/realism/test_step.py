"""Injections of a run held against the lenses of a synthetic sky, from the bricks to the page."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow.errors import ConfigError, LensflowError, StoreError
from lensflow.run.realism.examples import shown_realism
from lensflow.run.realism.files import results_of
from lensflow.run.realism.hosts import host_covariates, reliability, stamp_covariates
from lensflow.run.realism.scoring import judge_scorer
from lensflow.run.realism.sets import _rows_of_hosts
from lensflow.run.realism.stamps import RealFolder, open_real
from lensflow.run.realism.stored import stored_realism
from lensflow.run.realism.synthetic_sky import synthetic_sky
from lensflow.run.report import report_step
from lensflow.store import paths
from lensflow.store.open import open_all_pairs
from lensflow.store.run_folder import RunFolder
from tests.run.realism.sky import N_LENSES, PLAN, SURVEY, injected_run, sky_tree, the_sky

pytestmark = pytest.mark.whole
BLUE = "lensflow.measure.scorer.scorer:blue_ring"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return injected_run(tmp_path_factory.mktemp("realism") / "run")


@pytest.fixture(scope="module")
def found(config):
    return lf.compare_real(config)


@pytest.fixture(scope="module")
def scored(config):
    return lf.compare_real(config, scorer=BLUE)


def test_every_lens_of_the_table_is_compared_or_counted(found):
    n_sets = found["sets"].sizes["set"]
    assert n_sets >= 10
    assert n_sets + sum(found.counts.values()) == found.kept.numbers["n_table"]
    assert found.sentence.startswith(f"{int(found.kept.numbers['n_table'])} real lenses, {n_sets} of them visible")


def test_rows_are_those_of_the_stores(config, found):
    rows = found["rows"]
    real, place = rows["is_real"].values, rows["feature"].values.tolist().index("arc_snr")
    folder = RunFolder.of(config)
    pairs = open_all_pairs(folder.pairs, folder.manifest, folder.cutouts)
    own = rows["store_row"].values[~real]
    assert (pairs["host_index"].values[own] == rows["host_row"].values[~real]).all()
    assert not pairs["is_control"].values[own].any()
    assert (rows["values"].values[:, place] >= config.realism.min_arc_snr).all()
    assert len(np.unique(rows["host_row"].values[~real])) == own.size  # one injection a host, no host twice


def test_the_same_prior_on_both_sides_is_not_told_apart(found):
    gate = found.gate
    assert not gate.area.excludes(0.5)
    assert gate.controls["null"]["holds_half"]
    assert gate.controls["null_lenses"]["holds_half"]
    assert (found.features["p_holm"] > 0.01).all()
    assert {"readable", "pixels", "hosts", "null: injections"} <= set(found["areas"]["probe"].values.tolist())


def test_bright_arcs_hide_little_of_the_hosts_they_are_matched_by(config):
    """theta_E 1.2 to 2", arcs as bright in g as their hosts: light within 1" alone is bluer by 3 sd of the hosts."""
    url = RunFolder.of(config).cutouts
    rows = _rows_of_hosts(RunFolder.of(config).manifest)[0]
    bare = host_covariates(url).isel(host=rows.hosts)
    with_arc = stamp_covariates(config, np.array([rows[int(h)][0] for h in rows.hosts]))
    share = reliability(bare, with_arc)
    for name in ("mag_z", "g_r", "r_z", "inner_radius_arcsec", "axis_ratio"):
        one, other = bare[name].values, with_arc[name].values
        low, high = np.nanquantile(one, [0.05, 0.95])
        sd = np.nanstd(one[(one > low) & (one < high)])
        assert abs(np.nanmedian(other - one)) < 0.5 * sd, name
        assert share[name] > (0.15 if name == "g_r" else 0.5), (name, share[name])
    assert share["psfsize_r_arcsec"] == share["psfdepth_r_mag"] == 1


def test_the_balance_says_what_arcs_hide(found):
    balance = found["balance"]
    assert float(balance["hidden"].sel(covariate="psfsize_r_arcsec")) == 0
    assert float(balance["hidden"].sel(covariate="g_r")) > 0 and "hidden by arcs" in found._repr_html_()
    assert abs(float(balance["smd_before"].sel(covariate="g_r"))) < 1  # 2.9 where one side alone had arcs


def test_what_is_stored_is_read_and_another_table_is_compared_again(config, found, tmp_path, monkeypatch):
    from lensflow.run.realism import step

    def refuse(*args, **others):
        raise AssertionError("measured again")

    monkeypatch.setattr(step, "_measured", refuse)
    again = lf.compare_real(config)
    assert again.gate.to_json() == found.gate.to_json()
    xr.testing.assert_identical(again.features, found.features)
    other = tmp_path / "lenses.csv"
    other.write_text("".join(Path(config.realism.table).read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(AssertionError, match="measured again"):
        lf.compare_real(config, other)
    with pytest.raises(AssertionError, match="measured again"):
        lf.compare_real(config, min_arc_snr=6.0)


def test_a_folder_that_may_not_be_written_is_read_and_refuses_before_anything_is_measured(config, found, monkeypatch):
    from lensflow.run.realism import stamps, step

    def denied(*args, **others):
        raise StoreError("no permission to write here")

    for name in ("write_bytes", "write_text", "write_json", "create_exclusive"):
        monkeypatch.setattr(paths, name, denied)
    monkeypatch.setattr(stamps, "hold", denied)
    assert lf.compare_real(config).gate.to_json() == found.gate.to_json()
    monkeypatch.setattr(step, "gather", lambda *args, **others: pytest.fail("measured for nothing"))
    with pytest.raises(StoreError, match="no permission"):
        lf.compare_real(config, again=True)


def test_a_scorer_has_its_verdicts_and_every_lens_its_score(config, scored):
    assert [g.name for g in scored.gates] == ["realism", "real_recall", "real_fpr", "gap"]
    lenses = scored["lenses"]
    assert lenses.sizes["lens"] == scored.kept.numbers["n_table"]
    assert np.isfinite(lenses["score"]).all()
    tau = float(scored["thresholds"]["tau"][0])
    of_a = scored["real_recall"].isel(line=0)
    assert int(of_a["count"]) == int((lenses["score"] >= tau).sum())
    assert scored.gates[2].verdict == "NOT_TESTABLE"
    assert "training overlap unknown" in scored.gates[1].reason


def test_a_scorer_is_not_asked_for_lenses_that_it_was_trained_on(config):
    every = lf.read_lenses(config.realism.table)

    class Trained:
        trained_on = np.stack([every["ra_deg"].values[:3], every["dec_deg"].values[:3]], axis=1)

        def __call__(self, images):
            return images[:, 1].mean(axis=(1, 2))

    found = lf.compare_real(config, scorer=Trained())
    gate = found.gates[1]
    assert gate.recipe["removed_for_training"] == 3
    assert "training overlap unknown" not in gate.reason
    assert not np.isin(every["lens_id"].values[:3], found["lenses"]["lens_id"].values).any()
    assert found.path == ""


def test_real_lenses_are_scored_as_the_run_s_own_images_are(config, found):
    seen = {}

    class Counts:
        def __call__(self, images):
            seen["peak"] = float(np.abs(images[:, 1, 30:34, 30:34]).mean())
            return images[:, 1].mean(axis=(1, 2))

    def mean_peak(light):
        scorer = config.scorer.model_copy(update={"lens_light": light})
        url = RealFolder.of(config).cutouts  # cut for the comparison before
        judge_scorer(config.model_copy(update={"scorer": scorer}), Counts(), url, open_real(config))
        return seen["peak"]  # of the last images that were scored: those of real lenses

    assert mean_peak("radial") < 0.3 * mean_peak("kept")


def test_a_scorer_without_images_or_threshold_is_refused_before_any_work(config):
    with pytest.raises(ConfigError, match="cannot score the stamps of real lenses"):
        lf.compare_real(config, scorer="snr_matched")
    without = config.model_copy(update={"completeness": type(config.completeness)()})
    with pytest.raises(ConfigError, match="threshold"):
        lf.compare_real(without, scorer=BLUE)


def test_a_run_without_a_table_says_how_to_name_one(config):
    bare = config.model_copy(update={"realism": type(config.realism)()})
    with pytest.raises(ConfigError, match="--real TABLE"):
        lf.compare_real(bare)


@pytest.mark.slow
def test_an_encoder_is_advisory_and_a_bad_one_is_an_error(config, tmp_path, monkeypatch):
    (tmp_path / "encoders_of_this_test.py").write_text(
        "import numpy as np\n"
        "def embed(images): return np.nan_to_num(images).mean(axis=(2, 3))\n"
        "def broken(images): return np.full((len(images), 2), np.nan)\n"
        "def same(images): return np.ones((len(images), 4))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    good = lf.compare_real(config, encoder="encoders_of_this_test:embed")
    assert int(good["areas"]["n_features"].sel(probe="embedding")) == 3
    bad = lf.compare_real(config, encoder="encoders_of_this_test:broken")
    assert bad.verdict == "ERROR"
    assert "not finite" in bad.reason
    constant = lf.compare_real(config, encoder="encoders_of_this_test:same")
    assert constant.verdict == good.verdict and constant.reason == good.reason
    assert ["embedding", "left out: realism.probe.embedding: no feature differs between rows (e0, e1, e2, e3 constant)"
            ] in constant.kept.numbers["notes"]  # fmt: skip
    assert "no feature differs between rows" in repr(constant)


def test_a_scorer_that_looks_at_its_batch_is_an_error_that_names_the_lens(config, found):
    class Rank:
        def __call__(self, images):
            return np.cumsum(images[:, 1].mean(axis=(1, 2)))

    with pytest.raises(LensflowError, match=r"depend on the images besi"):
        judge_scorer(config, Rank(), RealFolder.of(config).cutouts, open_real(config))  # cut for the comparison before


def test_the_page_shows_both_comparisons_with_their_stamps(config, found, scored):
    page = Path(report_step(config)).read_text()
    assert "Notes on the comparison" in page and "the real lenses have no fluxes and sizes" in page
    assert "Against real lenses (lenses.csv)" in page
    assert f"Against real lenses (lenses.csv, {BLUE})" in page
    assert "nearest injection" in page
    assert "not that a search will transfer" in page
    assert page.count("log odds of being real") >= 24
    assert len(stored_realism(config)) >= 2


@pytest.mark.slow
def test_arcs_that_are_redder_in_the_sky_are_found_by_their_colour(tmp_path):
    """A planted difference: light of real arcs has half the g flux of the prior's."""

    def redder(light, rows):
        out = light.copy()
        out[:, 0] *= 10 ** (-0.4 * 0.7)
        return out

    # The same hosts: the bricks differ in the lenses' pixels alone, and other files are not written again.
    shutil.copytree(the_sky() / "survey", tmp_path / "sky" / "survey")
    sky = synthetic_sky(tmp_path / "sky", N_LENSES, survey=SURVEY, plan=PLAN, seed=7, change=redder)
    assert sky.n_lenses >= 20
    tree = sky_tree(tmp_path / "run", the_sky())
    tree["survey"]["root"] = sky.root
    tree["realism"]["table"] = sky.lenses
    config = lf.load_config(tree)
    for step in (lf.cut, lf.plan):
        step(config)
    from lensflow.run import inject_step

    inject_step(config)
    found = lf.compare_real(config)
    features = found.features
    colour = features.sel(feature="arc_gr")
    assert float(colour["auc_low"]) > 0.6
    assert float(colour["p_holm"]) < 0.2  # 99 relabellings of 15 features: the smallest that can be is 0.15
    assert abs(float(features["auc"].sel(feature="arc_radius")) - 0.5) < 0.25


@pytest.mark.slow
def test_injections_that_follow_the_real_lenses_are_compared_in_their_place(config):
    found = lf.compare_real(config, injections="matched")
    assert found.gate.recipe["injections"] == "matched"
    assert not found.gate.area.excludes(0.5)
    apart = float(found.features["difference"].sel(feature="arc_mag"))
    assert abs(apart) < 0.6
    # The balance is of the stamps that are compared: the same hosts, with other arcs.
    of_run, of_matched = (c["balance"] for c in (lf.compare_real(config), found))
    np.testing.assert_array_equal(of_matched["real_median"], of_run["real_median"])
    assert (of_matched["host_median"] != of_run["host_median"]).any()
    page = Path(report_step(config)).read_text()
    assert "nearest injection" in page


@pytest.mark.slow
def test_stamps_that_those_of_another_table_replaced_are_not_shown_under_its_names(tmp_path):
    config = injected_run(tmp_path / "run")
    table = Path(config.realism.table)
    first = lf.compare_real(config)
    assert shown_realism(config, first.kept).galleries
    head, *lines = table.read_text().splitlines()
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / table.name
    other.write_text("\n".join([head, *lines[2:]]) + "\n")
    second = lf.compare_real(config, other)
    assert shown_realism(config, first.kept).galleries == ()
    assert shown_realism(config, second.kept).galleries
    assert len(stored_realism(config)) == 2  # tables of one name in two folders
    page = Path(report_step(config)).read_text()
    assert f"The stamps of the comparison with {table} were replaced" in page
    assert f"The stamps of the comparison with {other} were replaced" not in page


def test_results_of_tables_of_one_name_have_files_of_their_own(config):
    assert len({results_of(config, t) for t in ("lenses.csv", "a/lenses.csv", "b/lenses.csv")}) == 3


def test_results_of_several_scorers_have_files_of_their_own(config):
    names = {results_of(config, "a/lenses.csv", s) for s in ("", "m:a", "m:b")}
    assert len(names) == 3
    assert all(n.endswith(".realism.json") for n in names)
