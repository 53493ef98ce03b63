"""A tiny network is trained on 2,000 pairs with visible arcs; what it reaches, keeps, and may not hide."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import lensflow as lf
from lensflow import run as steps
from lensflow.errors import ConfigError, ExportError
from lensflow.measure.scorer.gates import AUROC, CORE_DROP
from lensflow.run.export.open_view import open_view
from lensflow.run.importable import load
from lensflow.run.inject import InjectTask
from lensflow.store.arrays import read_arrays
from lensflow.store.run_folder import config_of
from lensflow.training import files
from lensflow.training import step as training_step
from lensflow.training.checkpoint import read_checkpoint, write_checkpoint
from lensflow.training.evaluate import score_view
from lensflow.training.feed import epochs_of
from lensflow.training.loop import fit, repeatable, scores_of
from lensflow.training.models import build
from lensflow.training.nulls import host_halves, judge_host_halves, judge_zero_flux, without_arcs
from lensflow.training.result import BLOCKING
from lensflow.training.step import scored_samples, train_step
from lensflow.training.verdicts import EXPERIENCE, area_of, verdicts
from lensflow.training.views import class_weights, refuse_one_class
from tests.quick import no_figures
from tests.shared import made_once
from tests.training.leak import FWHM_PIX, leaky, leaky_block
from tests.training.trained_run import make_run, trained_run

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="trainings need torch")
pytest.importorskip("safetensors", reason="checkpoints need safetensors")


def _train(out):
    shutil.copytree(trained_run().out, out)
    train_step(config_of(str(out)))


@pytest.fixture(scope="module")
def config():
    """A run with a finished training, for whoever writes nothing to it."""
    return config_of(str(made_once("training-done", _train)))


@pytest.fixture
def own(config, tmp_path):
    """A copy of it."""
    shutil.copytree(config.out, tmp_path / "run")
    return config_of(str(tmp_path / "run"))


@pytest.fixture(scope="module")
def found(config):
    return train_step(config)


@pytest.fixture(scope="module")
def views(config):
    """Train as it was trained on, and val in pairs."""
    return open_view(config, split="train"), open_view(config, split="val", view="pairs")


def train_on(view, config, seed=0, **settings):
    of = config.training.model_copy(update=settings)
    with repeatable(seed):
        net = build(of, len(view.channels), None)
        return fit(net, epochs_of(view, of), view.samples.sizes["sample"], of, "cpu", class_weights(view)).net


def judged(view, net, config):
    scores = score_view(view, lambda x: scores_of(net, x), view.pixel_scale_arcsec, config.seed)
    return {g.name: g for g in verdicts(scores, scores, config, "net", "net")}


class TestWhatItReaches:
    def test_three_epochs_find_arcs_of_snr_10_on_hosts_never_seen(self, config, views):
        table = read_arrays(files.scores_url(config), "scores")
        snr = dict(zip(views[1].samples["row_id"].values.tolist(), views[1].samples["snr"].values, strict=True))
        of_rows = np.array([snr.get(int(r), 0) for r in table["row_id"].values])
        bright, ctrl = table["score"].values[of_rows >= 10], table["host_score"].values
        assert len(bright) > 400
        labels = np.repeat([1, 0], [len(bright), len(ctrl)])
        assert roc_auc_score(labels, np.concatenate([bright, ctrl])) > 0.75

    def test_the_verdict_on_its_auroc_is_that_of_sklearn(self, found, config):
        table = read_arrays(files.scores_url(config), "scores")
        labels = np.repeat([1, 0], [table.sizes["sample"], table.sizes["host"]])
        auc = roc_auc_score(labels, np.concatenate([table["score"].values, table["host_score"].values]))
        # Ours leaves a host's own control out of the comparisons.
        assert found[AUROC].auc == pytest.approx(auc, abs=0.005)

    def test_it_does_not_need_the_core_and_reads_no_light_there_but_that_of_arcs(self, found):
        assert found[CORE_DROP].verdict == "PASS"
        result = found["core_unexplained"]
        assert result.verdict == "PASS" and result.n_rows > 400, result.reason

    def test_brighter_arcs_are_found_more_surely(self, found):
        by = found.by_property.to_dataframe().query("by == 'snr' and n > 60")
        assert len(by) >= 2 and (np.diff(by["auc"]) > 0).all()

    def test_it_uses_rings_and_not_what_has_no_arcs(self, found):
        use = found.used.to_dataframe()["use"]
        assert use["profile"] == "used" and use["bits"] == use["corners"] == use["edge"] == "not used"

    def test_real_lenses_are_not_tested_and_the_numbers_of_experience_are_said(self, found):
        assert found["real_lenses"].verdict == "NOT_TESTABLE"
        assert "fell from 0.99" in EXPERIENCE and "92 to 50 %" in EXPERIENCE
        assert EXPERIENCE in repr(found) and found.numbers["experience"] == EXPERIENCE
        assert found.numbers["pretrained"].startswith("false")

    def test_every_sample_of_train_is_seen_once_in_each_epoch(self, found, views):
        assert (found.history["rows"].values == views[0].samples.sizes["sample"]).all()


class TestWhatIsKept:
    def test_the_header_of_the_network_says_for_which_data_it_is(self, config, views):
        about = read_checkpoint(files.weights_of(config)).about
        assert about.bands == config.bands and about.pixel_scale_arcsec == pytest.approx(0.262)
        assert about.normalisation == views[0].normalisation.to_json()
        assert about.normalisation["annulus_pix"] == [20.0, 32.0]

    def test_the_history_in_parquet_is_the_one_in_the_report(self, config, found):
        kept = pq.read_table(files.history_of(config).removeprefix("file://"))
        np.testing.assert_array_equal(kept["loss"].to_numpy(), found.history["loss"].values)
        assert kept.num_rows == config.training.epochs

    def test_a_finished_training_is_read_and_not_made_again(self, config, monkeypatch):
        monkeypatch.setattr(training_step, "fit", lambda *_, **__: pytest.fail("trained again"))
        assert train_step(config)[AUROC].verdict == "PASS"

    def test_a_network_that_was_changed_is_trained_again(self, own, monkeypatch):
        weights = files.weights_of(own)
        about = read_checkpoint(weights).about
        write_checkpoint(weights, build(own.training, 3, None), about)

        class TrainedAgainError(Exception):
            pass

        def again(*_, **__):
            raise TrainedAgainError

        monkeypatch.setattr(training_step, "fit", again)
        with pytest.raises(TrainedAgainError):
            train_step(own)

    def test_the_report_page_shows_it(self, own):
        with no_figures():
            page = steps.report_step(own)
        html = Path(page).read_text(encoding="utf-8")
        assert 'id="training"' in html and "Verdicts on the trained network" in html and "92 to 50 %" in html

    def test_the_command_prints_the_verdicts_of_the_stored_training(self, own, command):
        code, printed = command("train", own.out)
        assert code in (0, 3) and "core_drop" in printed and "summaries/training" in printed


class TestAsAScorer:
    def test_the_loader_and_the_scorer_in_the_file_see_the_same_images(self, config, found, views):
        assert found.numbers["scorer_differs_by"] < 1e-4
        scorer = load(files.weights_of(config), "")
        raw = views[1].raw(0)["x"][:20]
        bare = scorer(np.nan_to_num(raw))
        read = scores_of(scorer.net, views[1].read(0)["x"][:20])
        np.testing.assert_allclose(bare, read, atol=1e-5)

    def test_score_finds_the_auroc_of_the_training(self, own, found):
        every = own.model_copy(update={"scorer": own.scorer.model_copy(update={"max_pairs": 10**6})})
        scorer = load(files.weights_of(own), "")
        by_name = {g.name: g for g in lf.score_pairs(lf.open_pairs(own.out), scorer, every)}
        assert by_name[AUROC].auc == pytest.approx(found[AUROC].auc, abs=1e-3)

    def test_its_completeness_is_that_of_its_table_of_scores(self, own, command):
        for scorer in ("summaries/training/weights.safetensors", "summaries/training/scores.zarr"):
            code, printed = command("completeness", own.out, scorer, "--fpr", "0.1")
            assert code == 0, printed
        by_image, by_table = (
            lf.completeness(own, f"{own.out}/summaries/training/{name}", fpr=0.1)
            for name in ("weights.safetensors", "scores.zarr")
        )
        whole = [c["curves"].sel(curve="all")["completeness"].item() for c in (by_image, by_table)]
        assert whole[0] == pytest.approx(whole[1], abs=0.005) and whole[0] > 0.5

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"bands": ("z", "r", "g")}, r"bands z, r, g, and the data have g, r, z"),
            ({"pixel_scale_arcsec": 0.4}, r"pixel scale \(arcsec\) 0.4, and the data have 0.262"),
            ({"stamp_size_pix": 101}, r"stamp size \(pix\) 101, and the data have 64"),
        ],
    )
    def test_a_network_for_other_images_is_refused_with_both_values(self, own, change, words):
        weights = files.weights_of(own)
        about = read_checkpoint(weights).about
        write_checkpoint(weights, build(own.training, 3, None), replace(about, **change))
        with pytest.raises(ConfigError, match=words):
            lf.completeness(own, weights, fpr=0.1)
        with pytest.raises(ConfigError, match=words):
            steps.score_step(own, weights)

    def test_a_start_from_another_annulus_is_refused_with_both_values(self, own, views):
        weights = files.weights_of(own)
        about = read_checkpoint(weights).about
        other = {**about.normalisation, "kind": "annulus", "annulus_pix": [31.6, 50.5]}
        write_checkpoint(weights, build(own.training, 3, None), replace(about, normalisation=other))
        with pytest.raises(ConfigError, match=r"kind is annulus in .* and survey in the data"):
            lf.train(own, pretrained=weights)
        mine = replace(about, normalisation={**about.normalisation, "kind": "annulus"})
        theirs = replace(mine, normalisation={**mine.normalisation, "annulus_pix": [31.6, 50.5]})
        with pytest.raises(ConfigError, match=r"annulus_pix is \(20.0, 32.0\) in .* and \(31.6, 50.5\)"):
            mine.refuse_other_data(theirs, "weights")

    def test_a_file_that_is_no_network_is_refused(self, own):
        Path(files.weights_of(own)).write_bytes(b"0" * 100)
        with pytest.raises(ConfigError, match="no checkpoint of lensflow"):
            lf.completeness(own, files.weights_of(own), fpr=0.1)

    def test_a_header_holds_plain_json(self, config):
        about = read_checkpoint(files.weights_of(config)).about
        assert json.loads(json.dumps(asdict(about)))["made"]["run"] == config.name


class TestWhereNothingIsLeftToLearn:
    @pytest.fixture(scope="class")
    @classmethod
    def few(cls, config):
        """Pairs of train and val, on a quarter of the hosts."""
        out = []
        for split in ("train", "val"):
            view = open_view(config, split=split, view="pairs")
            host = view.samples["host_index"].values
            out.append(view.select(host < np.quantile(host, 0.3)))
        return out

    def test_arcs_of_no_flux_give_an_auc_of_exactly_one_half(self, few, config):
        train, val = map(without_arcs, few)
        net = train_on(train, config, epochs=1, warm_up_epochs=0.3)
        scores = score_view(val, lambda x: scores_of(net, x), val.pixel_scale_arcsec, config.seed)
        assert np.ptp(scores["stamp"].values) > 0
        np.testing.assert_array_equal(scores["stamp"].values, scores["own_ctrl"].values)
        result = judge_zero_flux(scores, config)
        assert result.verdict == "PASS" and result.auc == 0.5

    def test_a_loader_that_scales_one_class_otherwise_fails_it(self, few, config):
        train, val = map(without_arcs, few)

        class Scaled:
            def read(self, samples, shard):
                x = val.pixels.read(samples, shard)
                return x * np.where(samples["y"].values == 1, np.float32(1.05), np.float32(1))[:, None, None, None]

        net = train_on(train, config, epochs=1, warm_up_epochs=0.3)
        scores = score_view(replace(val, pixels=Scaled()), lambda x: scores_of(net, x), 0.262, config.seed)
        assert judge_zero_flux(scores, config).verdict == "FAIL"

    @pytest.mark.parametrize("seed", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3, 4))])
    def test_random_halves_of_the_hosts_cannot_be_told(self, config, seed):
        train, val = (host_halves(open_view(config, split=s, view="pairs"), seed) for s in ("train", "val"))
        assert 0.3 < train.samples["y"].values.mean() < 0.7
        net = train_on(train, config, seed)
        result = judge_host_halves(*scored_samples(val, net, "cpu", 0), config, seed)
        assert result.verdict == "PASS", result.reason


class TestALeak:
    def test_a_network_that_reads_a_blob_in_the_core_fails_without_it(self, views, config):
        """Each arc's flux as a point source on the target, and the arcs taken away: nothing else can be learnt."""
        few = (v.select(v.samples["host_index"].values < 250) for v in views)
        train, val = (leaky(v, 1.0, arcs=0.0) for v in few)
        result = judged(val, train_on(train, config), config)
        assert result[AUROC].auc > 0.8 and result[CORE_DROP].verdict == "FAIL", result[CORE_DROP].reason

    def test_two_per_cent_of_an_arc_in_its_core_fail_lensflow_train_and_without_them_it_passes(
        self, found, tmp_path, monkeypatch, command
    ):
        """Acceptance 4 over the whole road: stored with the leak, trained and judged by the command (decision 0017)."""
        with monkeypatch.context() as patch:
            patch.setattr(InjectTask, "make", leaky_block(InjectTask.make, 0.02))
            leaky_run = make_run(tmp_path / "run", 150, 5)
        code, printed = command("train", leaky_run.out)
        assert code == 3 and "no arc's" in printed
        gates = {g.name: g for g in train_step(leaky_run).gates}
        assert gates["core_unexplained"].verdict == "FAIL" and gates["core_unexplained"].n_rows > 80
        # The drop without the core cannot see it.
        assert gates[CORE_DROP].verdict != "FAIL"
        # The same road without the leak; 82 hosts of val are too few for the strata of controls.
        passed = {g.name for g in found.gates if g.verdict == "PASS"}
        assert {"core_unexplained", CORE_DROP, AUROC, "train_val_gap"} <= passed and "core_unexplained" in BLOCKING
        assert {g.name: str(g.verdict) for g in found.not_passed} == {"arc_free_strata": "INCONCLUSIVE"}

    def test_what_two_per_cent_of_an_arc_add_is_no_loss_that_core_drop_could_see(self, views):
        """For a reader that sees all there is: why the drop is not what notices such a leak (docs/training.md)."""
        samples = views[1].samples
        some = samples.isel(sample=np.flatnonzero((samples["unit"].values == 0) & (samples["y"].values == 1)))
        arc = views[1].pixels.arcs(some, int(views[1].shards[0])).astype(float)
        y, x = np.mgrid[:64, :64]
        r = np.hypot(x - 31.5, y - 31.5)
        psf = np.exp(-4 * np.log(2) * (r / FWHM_PIX) ** 2)
        blob = 0.02 * arc.sum(axis=(2, 3), keepdims=True) * psf / psf.sum()
        sky = np.array([0.003, 0.004, 0.009])[:, None, None]
        seen, outside, leak = (
            np.sqrt(((v / sky) ** 2).sum(axis=(1, 2, 3))) for v in (arc, arc * (r > FWHM_PIX), arc + blob)
        )
        # Fainter, until the whole arc has an area of 0.85.
        area = [norm.cdf(norm.ppf(0.85) * np.median(v / seen)) for v in (seen, leak, outside)]
        drop = 1 - area[2] / np.array(area[:2])
        assert 0 < drop[1] - drop[0] < 0.01 and np.median(leak / seen) < 1.05

    def test_views_that_do_not_know_their_arcs_are_not_judged_by_them(self, few_scores, config):
        blind = few_scores.assign(stamp_explained=few_scores["stamp_explained"] * np.nan)
        named = {g.name: g for g in verdicts(blind, blind, config, "net", "net")}
        assert named["core_unexplained"].verdict == "NOT_TESTABLE"
        for shift, verdict in ((0.0, "PASS"), (1e-3, "FAIL"), (-1e-3, "FAIL")):
            moved = few_scores.assign(stamp_explained=few_scores["stamp"] + shift)
            named = {g.name: g for g in verdicts(moved, moved, config, "net", "net")}
            assert named["core_unexplained"].verdict == verdict

    @pytest.fixture
    def few_scores(self, views):
        few = views[1].select(views[1].samples["host_index"].values < 250)
        return score_view(few, lambda x: x[:, 1].mean(axis=(1, 2)).astype(float), few.pixel_scale_arcsec, 1)

    def test_one_class_alone_is_refused(self):
        with pytest.raises(ExportError, match="split val has no positives"):
            refuse_one_class(np.zeros(4), "val")
        with pytest.raises(ExportError, match="split train has no negatives"):
            refuse_one_class(np.ones(4), "train")

    def test_a_sample_that_holds_the_control_is_refused(self, config):
        export = config.export.model_copy(update={"view": "concat", "purpose": "study"})
        with pytest.raises(ExportError, match="view concat puts other images"):
            train_step(config.model_copy(update={"export": export}))

    def test_a_run_without_visible_arcs_is_refused(self, config):
        with pytest.raises(ExportError, match="no positive"):
            train_step(config.model_copy(update={"export": config.export.model_copy(update={"min_snr": 1e6})}))

    def test_the_area_needs_more_than_one_host(self, views, config):
        one = views[1].select(views[1].samples["host_index"].values == views[1].samples["host_index"].values[0])
        scores = score_view(one, lambda x: x.mean(axis=(1, 2, 3)).astype(float), 0.262, 1)
        assert np.isnan(area_of(scores, config.scorer, 1, "test").value)
