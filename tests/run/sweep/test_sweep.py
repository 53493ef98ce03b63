"""A sweep from start to end: numbers are those of paired runs, what is done is kept, chance is an error."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow.config.sweep import with_setting
from lensflow.errors import ConfigError, RealismError, StoreError
from lensflow.run import measure
from lensflow.run.inject import InjectTask
from lensflow.run.sweep import prove, realism, score, step
from lensflow.run.sweep.step import stored_sweeps
from lensflow.stats.estimate import Estimate
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from tests.run.sweep.small_sweep import N_HOSTS, PER_HOST, swept_run

pytestmark = pytest.mark.whole

ROWS = N_HOSTS * (PER_HOST + 1)
SCORER = "lensflow.measure.scorer.scorer:blue_ring"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = swept_run(tmp_path_factory.mktemp("sweep") / "run")
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config


@pytest.fixture(scope="module")
def swept(run):
    return lf.sweep(run, {"plan.src_mag_shift": [0, 1, -1]}, SCORER)


def test_numbers_are_those_of_paired_runs(run, swept):
    assert [a.label for a in swept.arms] == ["1", "-1"] and swept.reference == "0"
    for arm in swept.arms:
        alone = lf.paired(run.out, arm.folder, SCORER, owned=["src_flux_nmgy"])
        one, all_rows = alone.results[0], arm.numbers.isel(threshold=0, stratum=0)
        assert float(all_rows["difference"]) == one.difference.value and float(all_rows["p"]) == one.p
        assert (int(all_rows["gained"]), int(all_rows["lost"])) == (one.gained, one.lost)
        assert float(all_rows["score_difference"]) == pytest.approx(one.score_difference)
        assert arm.differs == ("plan.src_mag_shift",) and arm.n_rendered == arm.n_rows == ROWS
        assert set(arm.gates["gate"].values) == {"brightness_all"}
        # Both arms drew the same hosts: what those share cancels, and does not widen the change.
        (change, *areas) = (
            Estimate.in_dataset(arm.gates.isel(gate=0), n) for n in ("change", "auc_arm", "auc_reference")
        )
        alone = areas[0] - areas[1]
        assert bool(arm.gates["paired"].all()) and change.value == alone.value
        assert change.high - change.low <= alone.high - alone.low + 1e-12
    brighter = next(a for a in swept.arms if a.label == "-1").numbers.isel(threshold=0, stratum=0)
    assert float(brighter["score_difference_low"]) > 0


def test_strata_are_those_of_the_frozen_plan_even_where_the_factor_moves_magnitudes(swept):
    tables = [a.numbers.isel(threshold=0) for a in swept.arms]
    of = [t.sel(stratum=t["variable"] == "src_mag_r") for t in tables]
    assert len(of[0]["bin"]) > 1 and (of[0]["n_rows"].values == of[1]["n_rows"].values).all()
    assert int(of[0]["n_rows"].sum()) == int(tables[0]["n_rows"][0])


def test_a_finished_sweep_is_read_and_nothing_is_done_again(run, swept, monkeypatch):
    monkeypatch.setattr(InjectTask, "make", None)
    for place, name in ((step, "score_arm"), (prove, "ProofTask"), (measure, "_MeasureTask")):
        monkeypatch.setattr(place, name, None)
    again = lf.sweep(run.out, ["plan.src_mag_shift=0,1,-1"], SCORER)
    assert again.to_json() == swept.to_json()
    assert [s.to_json() for s in stored_sweeps(run)[0] if s.name == swept.name] == [swept.to_json()]


def test_a_sweep_that_was_killed_goes_on(run, monkeypatch):
    """The third region of the second arm is as far as it comes."""
    real, done = InjectTask.make, []

    def killed(self, rows, *rest):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append((self.config.out, rows.index))
        return real(self, rows, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(InjectTask, "make", killed)
        with pytest.raises(KeyboardInterrupt):
            lf.sweep(run, "plan.src_n=1,2,4", SCORER, gates=False)
    before = len(done)
    assert before > 0 and not (Path(run.out) / "sweeps" / "plan.src_n" / "sweep.json").exists()
    whole = []

    def counted(self, rows, *rest):
        whole.append((self.config.out, rows.index))
        return real(self, rows, *rest)

    monkeypatch.setattr(InjectTask, "make", counted)
    found = lf.sweep(run, "plan.src_n=1,2,4", SCORER, gates=False)
    assert len(found.arms) == 2 and all(a.gates is None for a in found.arms)
    # Two arms are stored, of three regions each; the null arm makes those of the reference once more, and is not.
    assert 0 < len(whole) < 9 and len({*done, *whole}) == 9
    assert not list((Path(run.out) / "sweeps" / "plan.src_n").glob("null*"))


@pytest.mark.slow
def test_a_sweep_that_was_killed_in_scoring_scores_what_is_left(run, swept, monkeypatch):
    """Of three arms two are scored; another threshold then scores none."""
    real, done = score.scored_of, []

    def killed(config, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(config.out)
        return real(config, *rest)

    where = Path(run.out) / "sweeps" / "plan.src_mag_shift" / "numbers"
    shutil.rmtree(where)
    with monkeypatch.context() as patch:
        patch.setattr(score, "scored_of", killed)
        with pytest.raises(KeyboardInterrupt):
            lf.sweep(run, "plan.src_mag_shift=0,1,-1", SCORER)
    assert not list(where.glob("*.json"))

    def counted(config, *rest):
        done.append(config.out)
        return real(config, *rest)

    monkeypatch.setattr(score, "scored_of", counted)
    found = lf.sweep(run, "plan.src_mag_shift=0,1,-1", SCORER)
    assert len(done) == 3 == len(set(done)) and found.to_json() == swept.to_json()
    other = lf.sweep(run, "plan.src_mag_shift=0,1,-1", SCORER, fpr=0.5)
    assert len(done) == 3 and other.thresholds != found.thresholds
    # Scores that were changed are not believed.
    (kept,) = where.glob("*/1.zarr")
    (kept / "score" / "c" / "0").write_bytes(b"0")
    (where / next(iter(where.glob("*.json"))).name).unlink()
    assert lf.sweep(run, "plan.src_mag_shift=0,1,-1", SCORER).to_json() == swept.to_json() and len(done) == 4


def test_a_scorer_that_hangs_on_chance_is_an_error_for_the_whole_sweep(run):
    rng = np.random.default_rng()

    def noisy(images):
        return images.sum(axis=(1, 2, 3)) * (1 + 1e-9 * rng.normal(size=len(images)))

    with pytest.raises(RealismError, match=r"null arm is not the reference: .* scores 12 rows differently"):
        lf.sweep(run, "injection.noise=true,false", noisy, gates=False)


def test_only_the_scorers_view_changes_and_no_pixel_is_written(run, monkeypatch):
    monkeypatch.setattr(InjectTask, "make", None)
    config = with_setting(run, "export.normalisation.kind", "annulus")
    seen = []

    def brightest(images):
        seen.append(float(images.max()))
        return images.max(axis=(1, 2, 3))

    found = lf.sweep(config, "export.normalisation.clip=20,5", brightest)
    assert [a.folder for a in found.arms] == [run.out] and found.arms[0].n_rendered == 0
    assert max(seen) == 20 and min(seen) > 0 and found.arms[0].gates is None
    assert float(found.arms[0].numbers["score_difference"].isel(threshold=0, stratum=0)) < 0
    assert int((found.arms[0].proof["n_differ"]).sum()) == 0
    with pytest.raises(RealismError, match="'clip' changed nothing"):
        lf.sweep(run, "export.normalisation.clip=20,5", SCORER)  # kind: survey has no clip
    with pytest.raises(ConfigError, match="scores no images"):
        lf.sweep(config, "export.normalisation.clip=20,5", "snr_matched", value=5.0)


@pytest.mark.slow
def test_two_factors_are_crossed(run):
    found = lf.sweep(
        run, ["injection.noise=true,false", "plan.src_mag_shift=0,1"], SCORER, interaction=True, gates=False
    )
    assert [a.label for a in found.arms] == ["false+0", "true+1", "false+1"]
    assert [a.n_rendered for a in found.arms] == [0, ROWS, 0]
    four = [1.0, *(float(a.numbers["recovered_arm"].isel(threshold=0, stratum=0)) for a in found.arms)]
    four[0] = float(found.arms[0].numbers["recovered_reference"].isel(threshold=0, stratum=0))
    expected = four[3] - four[1] - four[2] + four[0]
    assert float(found.interaction["interaction"].isel(threshold=0)) == pytest.approx(expected)
    assert found.arms[2].against == "false+0" and len(found.arms[2].differs) == 2


def test_a_null_arm_of_other_bits_stops_the_sweep(run, monkeypatch):
    real = InjectTask.make

    def off(self, *given):
        block, found = real(self, *given)
        # Stored as it is, and off by one bit when it is made again.
        if not self.stamp:
            block["stamp"].values[0, 0, 0, 0] += 1e-6
        return block, found

    monkeypatch.setattr(InjectTask, "make", off)
    with pytest.raises(RealismError, match="the null arm is not the reference: stamp in 3 rows"):
        lf.sweep(run, "none", SCORER)
    assert not (Path(run.out) / "sweeps" / "none" / "sweep.json").exists()


def test_the_command_sweeps_shows_and_refuses(command, run):
    code, text = command("sweep", run.out, "--factor", "injection.noise=true,false", "--scorer", SCORER, "--no-gates",
                         "--fpr", "0.5")  # fmt: skip
    assert code == 0 and "false-positive rate 0.5" in text
    assert code == 0 and "the null arm is bit-equal in 36 rows" in text and "shot noise true false" in text
    code, text = command("sweep", run.out)
    assert code == 0 and "shot noise true false" in text and "index.html" in text
    assert "injection.noise" in (Path(run.out) / "sweeps" / "index.html").read_text()
    assert lf.open_run(run.out).config.completeness.threshold.fpr == (0.25,)
    code, text = command("sweep", run.out, "--factor", "plan.color=v3,uv_slope")
    assert code == 2 and "Did you mean 'plan.colours'" in text
    code, text = command("sweep", run.out, "--factor", "injection.noise=true,false", "--factor", "plan.src_n=1,4")
    assert code == 2 and "--interaction" in text
    code, text = command("sweep", run.out, "--factor", "injection.core_mask_method=hard,taper")
    assert code == 1 and "changed nothing" in text


def test_a_result_of_something_else_is_named(run):
    folder = Path(run.out) / "sweeps" / "broken"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"results": {"name": "x"}}))
    with pytest.raises(StoreError, match="no result of a sweep"):
        stored_sweeps(run)
    (folder / "sweep.json").unlink()


def test_an_option_counts_and_changes_no_setting_of_any_arm(run):
    lf.sweep(run, "injection.noise=true,false", SCORER, fpr=0.5)
    for out in (run.out, f"{run.out}/sweeps/injection.noise/false"):
        kept = lf.open_run(out).config
        assert kept.completeness.threshold.fpr == (0.25,)


def test_a_sweep_of_other_pixels_is_named_and_not_shown(tmp_path, command):
    run = swept_run(tmp_path / "run")
    paths.write_text(RunFolder.of(run).config, run.to_yaml())
    lf.sweep(run, "injection.gain_factor=1,9", SCORER, gates=False)
    assert [s.name for s in stored_sweeps(run)[0]] == ["injection.gain_factor"] and stored_sweeps(run)[1] == []
    moved = tmp_path / "moved"
    shutil.move(run.out, moved)
    assert [s.name for s in stored_sweeps(run.model_copy(update={"out": str(moved)}))[0]] == ["injection.gain_factor"]
    shutil.rmtree(moved / "sweeps" / "injection.gain_factor" / "9" / "receipts")
    code, text = command("sweep", moved)
    assert code == 0 and "injection.gain_factor: its arms have other pixels" in text and "gain 1 9" not in text


def compared(area, table="lenses.csv", content="a", pairs="these", tables=None, **settings):
    kept = SimpleNamespace(table=f"folder/{table}", numbers={"table_content": content},
                           gates=(SimpleNamespace(area=area if isinstance(area, Estimate) else Estimate(area),
                                                  recipe={"folds": 5, "seed": 3}),),
                           tables=tables or {})  # fmt: skip
    return SimpleNamespace(
        pairs=pairs, kept=kept, settings={"min_sets": 30, "required": False, "bootstrap": 300, **settings}
    )


@pytest.fixture
def areas(monkeypatch):
    """Areas of a reference and its arms, of what each has stored."""

    def of(*stored):
        monkeypatch.setattr(realism, "stored_realism", lambda config: stored[config])
        monkeypatch.setattr(realism, "pairs_content", lambda config: "these")
        found = realism.realism_areas(0, range(1, len(stored)))
        of.changes = found.changes
        return [f.value for f in (found.reference, *found.arms)], found.notes

    return of


def test_the_area_against_real_lenses_is_that_of_the_pixels_that_are_there(areas):
    found, notes = areas([compared(0.6, pairs="others")], [])
    assert np.isnan(found).all() and notes == ()
    assert areas([compared(0.6, pairs="others"), compared(0.7)], [])[0][0] == 0.7


def test_arms_are_held_against_the_same_real_lenses_as_the_reference(areas):
    found, notes = areas(
        [compared(0.5, "a.csv"), compared(0.9, "b.csv")],
        [compared(0.6, "b.csv"), compared(0.55, "z.csv")],
        [compared(0.95, "b.csv")],
        [compared(0.7, "a.csv")],
    )
    assert found[:3] == [0.9, 0.6, 0.95] and np.isnan(found[3])
    assert notes[0] == "areas against real lenses are of b.csv" and "left out (2)" in notes[1]


def test_a_change_of_an_area_is_paired_where_the_arms_have_the_same_lenses(areas):
    """Arms whose rows have the same scores: draws of the same lenses move both alike, whatever each interval is."""
    draws = np.random.default_rng(1)
    sets, is_real = np.repeat(np.arange(40), 3), np.tile([True, False, False], 40)
    scores = xr.Dataset({"set": ("row", sets), "is_real": ("row", is_real), "score": ("row", draws.normal(size=120))})

    def arm(value, names):
        tables = {"scores": scores, "sets": xr.Dataset({"number": ("set", np.arange(40)), "lens_id": ("set", names)})}
        return [compared(Estimate(value, value - 0.08, value + 0.08, 40), tables=tables)]

    names = np.array([f"L{k}" for k in range(40)])
    _, notes = areas(arm(0.6, names), arm(0.65, names), arm(0.65, np.char.add("other ", names)), [])
    same, others, none = areas.changes
    assert same.value == pytest.approx(0.05) and same.high - same.low < 0.01
    assert others.high - others.low == pytest.approx(2 * np.hypot(0.08, 0.08))
    assert np.isnan(none.value) and "share too few real lenses" in notes[1]


@pytest.mark.parametrize("other", [{"content": "b"}, {"min_arc_snr": 9.0}])
def test_another_content_or_other_settings_are_another_comparison(areas, other):
    found, notes = areas([compared(0.5)], [compared(0.8, **other)])
    assert found[0] == 0.5 and np.isnan(found[1]) and "left out (1)" in notes[1]
    assert areas([compared(0.5)], [compared(0.8, required=True)])[0] == [0.5, 0.8]
