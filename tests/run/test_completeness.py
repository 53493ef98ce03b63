"""The completeness of a scorer on a stored run: every injection of the split is counted, once."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
import yaml
import zarr

import lensflow as lf
from lensflow.config.completeness import CompletenessConfig
from lensflow.errors import CompletenessError, ConfigError, StaleStoreError, StoreError
from lensflow.measure.completeness import tautology
from lensflow.measure.scorer.scorer import blue_ring
from lensflow.run import selection as selection_module
from lensflow.run.completeness import completeness_step, results_of, scorers, with_options
from lensflow.run.completeness.stored import stored_completeness
from lensflow.run.score import scores_of
from lensflow.show.completeness import sentence
from lensflow.store.run_folder import RunFolder
from tests.reseal import rewrite
from tests.run.completeness_run import completeness_run

pytestmark = pytest.mark.whole

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return completeness_run(tmp_path_factory)


@pytest.fixture(scope="module")
def found(config):
    return completeness_step(config, BLUE_RING, publish=True)


def test_every_injection_of_the_split_is_in_one_bin_of_every_table(found):
    assert int(found["funnel"]["n_planned"]) == int(found["funnel"]["n_valid"]) == 36
    whole = found["curves"].sel(curve="all")
    assert int(whole["n_planned"]) == 36 and int(whole["n_hosts"]) == 12
    tables = [
        ds for name, ds in found.items()
        if name in ("resolution", "resolution_fwhm", "selection", "plane") or "stratum" in name
    ]  # fmt: skip
    assert len(tables) > 5
    for ds in tables:
        every = ds.sel(curve="all")
        for count in ("n_planned", "n_valid"):
            assert int(every[count].sum()) == int(whole[count])
        dims = [d for d in every["n_recovered"].dims if d != "threshold"]
        assert every["n_recovered"].sum(dims).values.tolist() == whole["n_recovered"].values.tolist()


def test_the_plane_has_the_counts_of_the_whole_table_and_the_hosts_of_its_own_cells(found):
    plane, whole = found["plane"], found["selection"]
    over = [d for d in whole["n_valid"].dims if d not in plane["n_valid"].dims]
    assert len(over) == 2 and plane["n_valid"].identical(whole["n_valid"].sum(over, keep_attrs=True))
    # A host with rows in two cells of the whole table is one host of the plane's cell.
    assert (plane["n_hosts"] <= whole["n_hosts"].sum(over)).all()


def test_strata_of_the_plan_have_its_values_whether_rows_have_them_or_not(found):
    theta_e = found["stratum_theta_e_arcsec"]
    assert theta_e["theta_e_arcsec"].values.tolist()[:7] == ["0.5", "0.75", "1", "1.25", "1.5", "2", "2.5"]
    assert theta_e.attrs["bins_from"] == "the plan"
    assert "the rows' own range" in found["stratum_magnification"].attrs["bins_from"]


def test_the_numbers_are_those_of_the_scores(config, found):
    pairs = lf.open_pairs(config.out, split="val").load()
    injected = ~pairs["is_control"].values
    stamp = blue_ring(pairs["stamp"].values[injected])
    hosts, first = np.unique(pairs["host_index"].values, return_index=True)
    negative = np.sort(blue_ring(pairs["ctrl"].values[first]))
    for k, rate in enumerate((0.1, 0.5)):
        tau = np.nextafter(negative[-1 - int(rate * len(hosts) + 1e-9)], np.inf)
        assert found["thresholds"]["tau"].values[k] == tau
        assert int(found["curves"]["n_recovered"].sel(curve="all").values[k]) == (stamp >= tau).sum()
        low, value, high = (
            float(found["curves"][f"completeness{e}"].sel(curve="all")[k]) for e in ("_low", "", "_high")
        )
        assert low <= value == (stamp >= tau).mean() <= high


@pytest.mark.slow
def test_published_injections_are_those_of_the_results_and_can_be_weighed(config, found, tmp_path):
    """Measured again only where they are not there; a set of other settings is not taken for these."""
    asked = []
    published = completeness_step(config, BLUE_RING, publish=True)
    assert published["curves"].equals(found["curves"])
    completeness_step(config, BLUE_RING, lambda *a: asked.append(a), publish=True)
    assert not asked
    injections = lf.injection_set(published)
    assert injections.path == published.path.removesuffix(".json") + ".injections.parquet"
    rows = injections.rows
    for k in range(2):
        recovered = published["curves"]["n_recovered"].sel(curve="all").values[k]
        assert rows[f"recovered_{k}"].values.sum() == recovered == rows[f"recovered_{k}"].values[rows["valid"]].sum()
    assert len(set(rows["host_id"].values.tolist())) == 12 and injections.about["scorer"] == BLUE_RING
    # The plan's own lists: a half at each of two values, of the seven that were injected.
    assert (injections.about["kind"], injections.about["verdict"]) == ("images", "")
    some = lf.reweight(published, {"theta_e_arcsec": {1.0: 0.5, 2.5: 0.5}}, threshold=1)
    theta, valid = rows["theta_e_arcsec"].values, rows["valid"].values
    by_value = [rows["recovered_1"].values[valid & (theta == v)] for v in (1.0, 2.5)]
    assert some.completeness.value == pytest.approx(np.concatenate(by_value).mean())
    assert some.uncovered.value == 0 and "N_det" in str(some)
    assert f"of {BLUE_RING} at tau" in str(some)
    with pytest.raises(ConfigError, match=r"a list \(a grid\) can only be weighed"):
        lf.reweight(published, {"theta_e_arcsec": lf.target_density(([0.5, 2.5], [0.5, 0.5]))}, threshold=0)
    with pytest.raises(ConfigError, match="threshold: name one by its number"):
        lf.reweight(published, {"theta_e_arcsec": {1.0: 1.0}})
    selection = published.path.replace(".json", ".zarr")
    for source in (selection, lf.open_selection(selection)):
        with pytest.raises(ConfigError, match=r"the plan draws the values 0\.5, 0\.75"):
            lf.reweight(source, {"theta_e_arcsec": lf.target_density(([0.5, 2.5], [0.5, 0.5]))}, threshold=0)
    with pytest.raises(ConfigError, match="has cells and no rows"):
        lf.reweight(selection, {"theta_e_arcsec": {1.0: 1.0}}, by="row")
    with pytest.raises(CompletenessError, match="no share of it is in a tested cell"):  # 12 hosts are few
        lf.reweight(selection, {"src_mag_r": lf.target_density(([22, 25], [1 / 3, 1 / 3]))}, threshold=1)
    with pytest.raises(ConfigError, match="threshold: name one by its number"):
        lf.reweight(selection, {"src_mag_r": lf.target_density(([22, 25], [1 / 3, 1 / 3]))})
    other = tmp_path / "other.json"
    other.write_bytes(Path(published.path).read_bytes())
    rewrite(other, key="of other settings")
    (tmp_path / "other.injections.parquet").write_bytes(Path(injections.path).read_bytes())
    with pytest.raises(StaleStoreError, match="of other settings, pixels or code"):
        lf.reweight(SimpleNamespace(path=str(other)), {"theta_e_arcsec": {1.0: 1.0}})
    with pytest.raises(CompletenessError, match="--publish"):
        lf.reweight(str(tmp_path / "none.parquet"), {"theta_e_arcsec": {1.0: 1.0}})
    with pytest.raises(ConfigError, match="a parquet file, a set of them or a completeness"):
        lf.injection_set(3)


def test_results_are_kept_with_their_key_and_read_again(config, found):
    told = []
    again = completeness_step(config, BLUE_RING, lambda *a: told.append(a))
    assert not told and again["curves"].equals(found["curves"])
    kept = json.loads(Path(results_of(config, BLUE_RING)).read_text())
    assert kept["key"] and kept["code"] and kept["results"]["split"] == "val"
    # They say by which settings: a command's --fpr is not in the run's config.
    settings = CompletenessConfig.model_validate(kept["results"]["settings"])
    assert settings == config.completeness
    completeness_step(with_options(config, fpr=0.25), BLUE_RING, lambda *a: told.append(a))
    assert told  # another threshold is another result


def test_what_cannot_be_measured_is_refused_by_name(config):
    with pytest.raises(ConfigError, match="without a threshold nothing is recovered or missed"):
        bare = config.completeness.model_copy(update={"threshold": None})
        completeness_step(config.model_copy(update={"completeness": bare}), BLUE_RING)
    with pytest.raises(CompletenessError, match="needs 1,000 negatives at least; 12 were given"):
        completeness_step(with_options(config, fpr=1e-3), BLUE_RING)
    with pytest.raises(ConfigError, match=r"^completeness\.threshold: fpr: a rate lies between 0 and 1"):
        with_options(config, fpr=[1.5])
    assert with_options(config, fpr=np.float32(0.25)).completeness == with_options(config, fpr=0.25).completeness
    assert with_options(config, fpr=np.array([0.5, 0.25])).completeness.threshold.fpr == (0.5, 0.25)
    with pytest.raises(StoreError, match=r"run: a folder, not a file\."):
        completeness_step(with_options(config, negatives=config.out), BLUE_RING)
    with pytest.raises(StoreError, match="the test split is sealed"):
        sealed = config.completeness.model_copy(update={"split": "test"})
        completeness_step(config.model_copy(update={"completeness": sealed}), BLUE_RING)


def test_a_scorer_that_restates_what_was_injected_is_named(config, tmp_path, monkeypatch):
    pairs = lf.open_pairs(config.out, split="val").load()
    theta_e = dict(zip(pairs["row_id"].values.tolist(), pairs["theta_e_arcsec"].values.tolist(), strict=True))

    def restated(*given, **more):
        scores = scores_of(*given, **more)
        truth = [theta_e[r] for r in scores["row_id"].values.tolist()]
        return scores.assign(stamp=("sample", truth), ctrl=("host", np.full(scores.sizes["host"], 1.3)))

    monkeypatch.setattr(scorers, "scores_of", restated)
    monkeypatch.setattr(tautology, "ENOUGH_OF_EACH", 5)
    found = completeness_step(with_options(config, fpr=[0.3]), "lensflow.measure.scorer.scorer:blue_ring")
    said = sentence("truth", "val", found)
    assert "NOT TESTABLE" in said and "theta_e_arcsec >= " in said


@pytest.mark.parametrize("change", [{"weights": "area"}, {"split": "train"}])
def test_settings_that_are_not_carried_out_are_refused(config, change):
    asked = config.completeness.model_copy(update=change)
    with pytest.raises((ConfigError, CompletenessError), match=f"completeness.{next(iter(change))}: "):
        completeness_step(config.model_copy(update={"completeness": asked}), BLUE_RING)


def test_averages_over_the_sky_come_from_the_table_of_bricks(config, found, tmp_path):
    """All hosts are in one brick of 0.06 deg^2; nothing is known of another that is five times as large."""
    table = tmp_path / "bricks.csv"
    table.write_text("brickname,psfsize_r,psfdepth_r,area_deg2\n1500p020,1.3,24.0,0.0625\n0001p000,1.5,24.0,0.3125\n")
    asked = config.completeness.model_copy(update={"weights": "area", "brick_table": str(table)})
    sky = completeness_step(config.model_copy(update={"completeness": asked}), BLUE_RING, keep=False)
    one, hosts = sky["area"].sel(curve="all"), found["curves"].sel(curve="all")
    assert one["completeness"].values.tolist() == hosts["completeness"].values.tolist()
    assert one["untested_share"].values == pytest.approx(5 / 6) and not one["tested"].any()
    assert one["effective_area_deg2"].values == pytest.approx(0.0625 * one["completeness"].values)
    shown = next(t for t in sky.tables() if "area" in t.title)
    assert "not tested" in str(shown.html()) and shown.rows[0][3] == "0.0625" and "0.375 deg2" in shown.notes


def test_the_command_prints_the_sentence_and_the_three_curves(command, config):
    code, text = command("completeness", config.out, BLUE_RING, "--fpr", "0.1")
    assert code == 0 and "on split val, for injections drawn from this run's plan" in text
    assert "no psf fallback" in text and "well_resolved" in text and "few" in text and "nan" not in text


@pytest.mark.slow
def test_a_notebook_gets_the_numbers_of_the_command_as_one_object_that_reads_well(config, found):
    run = lf.open_run(config.out)
    again = run.completeness("blue_ring", fpr=[0.1, 0.5])
    assert again.curves.equals(found.curves) and again.verdict is None and again.kind == "images"
    assert set(again.strata) == {k.removeprefix("stratum_") for k in found if k.startswith("stratum_")}
    text, page = repr(again), again._repr_html_()
    assert "Completeness of blue_ring" in text and "well_resolved" in text and "<table>" in page
    assert max(map(len, text.splitlines())) <= 100
    flat = again.to_dataset()
    assert flat["resolution.n_valid"].sel(curve="all").sum() == 36 and flat.attrs["scorer"] == "blue_ring"
    assert sum(len(t.data_vars) for t in again.values()) == len(flat.data_vars)


def test_the_selection_function_is_opened_from_the_run_and_says_whose_it_is(config, found):
    again = completeness_step(config, BLUE_RING)["selection"]  # others were measured since
    selection = lf.open_selection(config.out, scorer=BLUE_RING)
    assert selection.path == results_of(config, BLUE_RING).replace(".json", ".zarr")
    xr.testing.assert_identical(again, found["selection"])
    table, attrs = selection.table, selection.table.attrs
    for name, stored in (("n_recovered", "n_recovered"), ("low", "completeness_low"), ("high", "completeness_high")):
        np.testing.assert_array_equal(table[name], found["selection"][stored])
    np.testing.assert_array_equal(table["tau"], found["thresholds"]["tau"])
    np.testing.assert_array_equal(table["true_rate_high"], found["thresholds"]["true_rate_high"])
    assert (table["n_hosts"].dtype, table["tested"].dtype) == (np.int64, bool)
    assert table["theta_e_arcsec_edges"].attrs["units"] == "arcsec"
    assert (attrs["scorer"], attrs["scorer_kind"], attrs["split"]) == (BLUE_RING, "images", "val")
    assert yaml.safe_load(attrs["prior"])["injections_per_host"] == 3
    assert attrs["n_negatives"] == 12 and attrs["threshold_source"] == "fpr" and attrs["certificate_seal"] is None
    assert attrs["lensflow_version"] == lf.__version__ and attrs["data_gates"] == {} and attrs["area_deg2"] is None
    for name in (
        "scorer_fingerprint",
        "negatives_fingerprint",
        "run_fingerprint",
        "pairs_content",
        "key",
        "code",
        "bins",
    ):
        assert len(attrs[name]) >= 16
    assert "blue_ring" in repr(selection) and "tau" in selection._repr_html_()


def test_sums_over_axes_of_the_selection_function_are_the_table_of_all_rows(config, found):
    completeness_step(config, BLUE_RING)  # others were measured since
    selection = lf.open_selection(config.out, scorer=BLUE_RING)
    every = selection.table.sum([*selection.axes])
    for count in ("n_planned", "n_rendered", "n_valid", "n_recovered"):
        np.testing.assert_array_equal(every[count], found["curves"][count])


def test_a_selection_function_of_another_run_or_scorer_or_half_written_is_refused(config, found):
    url = lf.open_selection(config.out, scorer=BLUE_RING).path
    with pytest.raises(StoreError, match="no selection function of other:score"):
        lf.open_selection(config.out, scorer="other:score")
    if len(list(Path(url).parent.glob("*.zarr"))) == 1:
        completeness_step(config, "blue_ring")
    with pytest.raises(CompletenessError, match=r"holds \d+ selection functions; name the file or scorer: .*blue_ring"):
        lf.open_selection(config.out)
    pairs = zarr.open_group(RunFolder.of(config).pairs)
    of = found["selection"]
    before = Path(url, "zarr.json").read_text()
    Path(url, "zarr.json").write_text(before.replace('"complete": true', '"complete": false'))
    with pytest.raises(StoreError, match="its writing did not end"):
        lf.open_selection(url)
    xr.testing.assert_identical(completeness_step(config, BLUE_RING)["selection"], of)  # measured again
    assert lf.open_selection(url).table.attrs["run_fingerprint"] == pairs.attrs["fingerprint"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection_module, "read_attrs", lambda *a: {"fingerprint": "another"})
        with pytest.raises(StaleStoreError, match="was measured on other pairs"):
            lf.open_selection(url)


def test_numbers_of_another_threshold_have_a_file_of_their_own_and_the_runs_own_stay(config, found):
    """Which is which, the name says; the same settings, however they are given, are one result."""
    own = results_of(config, BLUE_RING)
    before = Path(own).read_bytes()
    other = completeness_step(with_options(config, fpr=0.25), BLUE_RING)
    assert Path(own).read_bytes() == before
    assert other.path == own.replace(".val.json", ".val.fpr-0.25.json") and Path(other.path).exists()
    assert results_of(with_options(config, value=1.5), BLUE_RING) == own.replace(".val.json", ".val.value-1.5.json")
    assert lf.open_selection(other.path.replace(".json", ".zarr")).table.sizes["threshold"] == 1
    assert lf.open_selection(config.out, scorer=BLUE_RING).table.sizes["threshold"] == 2
    # Every digit of a rate, and every other option, is in the name.
    others = [{"fpr": rates} for rates in (0.1, 0.1 + 1e-15, [0.5, 0.1], [*np.linspace(0.1, 0.9, 30)])]
    others += [{"negatives": n} for n in ("cutouts", "a/b.csv", "a-b.csv")] + [{"truth": True}, {"value": 0.1}, {}]
    names = {results_of(with_options(config, **o), BLUE_RING) for o in others}
    assert len(names) == 10 and own in names and max(len(Path(n).name) for n in names) < 200
    same = with_options(config, fpr=[0.1, 0.5])
    assert (
        results_of(same, BLUE_RING)
        == own
        == results_of(with_options(with_options(config, fpr=0.3), fpr=[0.1, 0.5]), BLUE_RING)
    )
    stored = {s.kept.file.rsplit("/", 1)[-1]: s for s in stored_completeness(config)}
    assert all(s.is_current for s in stored.values())
    assert stored[Path(other.path).name].renew.endswith("blue_ring --fpr 0.25")
    assert stored[Path(own).name].renew.endswith("blue_ring")
    assert stored[Path(other.path).name].kept.title.endswith("blue_ring (--fpr 0.25)")
    assert stored[Path(own).name].kept.title.endswith("blue_ring")
    with pytest.raises(ConfigError, match="no rate is given"):
        with_options(config, fpr=[])
