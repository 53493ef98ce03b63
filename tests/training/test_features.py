"""The host's PSF beside the pixels: it arrives, it tells no class, and where it could it is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import lensflow as lf
from lensflow import run as steps
from lensflow.config import load_config
from lensflow.config.training import TrainingConfig
from lensflow.errors import ConfigError, ExportError, GateError
from lensflow.run.completeness.negatives import _CutoutTask
from lensflow.run.export.open_view import open_view
from lensflow.run.identity import pairs_content
from lensflow.run.importable import load
from lensflow.run.realism.scoring import _scores
from lensflow.store.open import host_tables, stored_regions
from lensflow.store.results import keep_results, read_results
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.training import features as features_module
from lensflow.training import files
from lensflow.training.checkpoint import read_checkpoint
from lensflow.training.feature_gate import refuse_telling_samples, refuse_without_gate
from lensflow.training.feature_scale import FeatureScale
from lensflow.training.features import HostFeatures
from lensflow.training.loop import fit, repeatable, scores_of
from lensflow.training.models import build
from lensflow.training.step import train_step
from tests.export_run import certify_as
from tests.shared import made_once
from tests.training.trained_run import make_run

GATE = {"recipes": ["metadata_all"], "checks": []}
NAMES = ("psf_fwhm_g", "psf_fwhm_r", "psf_fwhm_z")


def _make(out):
    config = make_run(out, 60, 3, psf_scatter=0.15, gate=GATE)
    certify_as(config, "PASS", steps.gate_step(config))


@pytest.fixture(scope="module")
def base():
    """A run of 60 hosts of different seeing, whose gate on metadata says PASS; nobody writes to it."""
    return config_of(str(made_once("psf-run", _make)))


def with_features(config, names=("psf_fwhm",), **training):
    tree = config.effective()
    section = {**tree["training"], "epochs": 1, "features": list(names), **training}
    return load_config({**tree, "training": section})


@pytest.fixture(scope="module")
def config(base):
    return with_features(base)


@pytest.fixture
def own(base, tmp_path):
    shutil.copytree(base.out, tmp_path / "run")
    return with_features(config_of(str(tmp_path / "run")))


@pytest.fixture(scope="module")
def features(base):
    return HostFeatures.open(with_features(base), open_view(base, split="train", view="pairs"))


def psf_of(config):
    read, n = host_tables(RunFolder.of(config).cutouts)
    return read(0, n)["psfsize_arcsec"].values.astype(np.float64)


class TestWhatItSays:
    @pytest.mark.parametrize("split", ["train", "val"])
    def test_features_alone_have_an_area_of_exactly_one_half_within_pairs(self, config, features, split):
        s = open_view(config, split=split, view="pairs").samples
        found = features.of(s["host_index"].values)
        assert np.ptp(found, axis=0).min() > 1
        for k in range(3):
            assert roc_auc_score(s["y"].values, found[:, k]) == 0.5
        # Stamp and control exchanged: the same numbers, pair by pair.
        by_pair = {}
        for pair, y, values in zip(s["pair_id"].values, s["y"].values, found, strict=True):
            by_pair.setdefault(int(pair), {})[int(y)] = values
        assert all(np.array_equal(v[0], v[1]) for v in by_pair.values()) and len(by_pair) > 20

    def test_constants_are_those_of_the_hosts_of_train_controls_each_once(self, config, features):
        train = np.flatnonzero(np.arange(60) % 5 != 4)
        train = train[train < 54]
        psf = psf_of(config)
        s = open_view(config, split="train", view="pairs").samples
        hosts = np.unique(s["host_index"].values)
        assert set(hosts) <= set(train) and features.scale.n_hosts == len(hosts)
        np.testing.assert_allclose(features.scale.mean, psf[hosts].mean(axis=0))
        np.testing.assert_allclose(features.scale.scale, psf[hosts].std(axis=0))
        assert features.scale.columns == NAMES

    def test_a_band_that_is_absent_is_the_mean_and_what_is_no_size_is_refused(self, features):
        values = np.tile(features.scale.mean, (3, 1))
        values[1, 2] = np.nan
        np.testing.assert_allclose(features.scale.apply(values, "x"), 0, atol=1e-6)
        for odd in (np.inf, 0.0, -1.0):
            values[2, 1] = odd
            with pytest.raises(ConfigError, match=r"x: psf_fwhm_r of image 2 is .* arcsec: no PSF size"):
                features.scale.apply(values, "x")
        with pytest.raises(ConfigError, match=r"trained with psf_fwhm_g, .* and is given features of shape \(3, 2\)"):
            features.scale.apply(values[:, :2], "x")

    def test_a_feature_that_is_the_same_everywhere_is_refused(self):
        with pytest.raises(ExportError, match=r"psf_fwhm_r is 1\.3 arcsec in all of them"):
            FeatureScale.of(("psf_fwhm",), ("g", "r"), np.array([[1.0, 1.3], [1.2, 1.3]]))
        with pytest.raises(ExportError, match="psf_fwhm_r is in none of them"):
            FeatureScale.of(("psf_fwhm",), ("g", "r"), np.array([[1.0, np.nan], [1.2, np.nan]]))

    def test_objects_of_a_table_have_the_psf_of_the_table(self, features):
        both = replace(features, table=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
        np.testing.assert_array_equal(both.stored(np.array([-2, 0, -1])),
                                      [[4.0, 5.0, 6.0], features.hosts[0], [1.0, 2.0, 3.0]])  # fmt: skip

    def test_a_table_of_non_lenses_is_read_where_negatives_are_of_it(self, config, monkeypatch):
        """Constants come from pairs, which have none: the single images that are trained on do."""
        pairs = open_view(config, split="train", view="pairs")
        own, read = psf_of(config), []
        monkeypatch.setattr(features_module, "_read", lambda url, names: (read.append(url), own)[1])
        negatives = {"control": 0.9, "counterfactual": 0.0, "host_other": 0.0, "table": 0.1}
        tree = config.effective()
        with_table = load_config({**tree, "export": {**tree["export"], "negatives": negatives}})
        found = HostFeatures.open(with_table, pairs)
        assert [str(u).endswith("real.zarr") for u in read] == [False, True]
        np.testing.assert_array_equal(found.stored(np.array([-3])), own[[2]])


class TestTheGate:
    def test_a_run_whose_gate_passed_is_let_through_and_the_report_says_so(self, config):
        assert refuse_without_gate(config, pairs_content(config)).startswith("metadata_all PASS (AUC 0.5 by constr")
        assert refuse_without_gate(with_features(config, ()), pairs_content(config)) == ""

    @pytest.mark.train
    def test_a_gate_that_was_not_run_is_refused_with_the_way_out(self, own):
        Path(RunFolder.of(own).gates).unlink()
        with pytest.raises(
            ExportError, match=r"needs PASS of the gate metadata_all, and the gates .* were not run\. Name"
        ):
            train_step(own)

    def test_a_gate_of_other_pixels_or_settings_is_refused(self, own):
        with pytest.raises(ExportError, match="of other pixels or settings than the run's"):
            refuse_without_gate(own, "other pixels")
        tree = own.effective()
        other = load_config({**tree, "gate": {**tree["gate"], "folds": 4}})
        with pytest.raises(ExportError, match="of other pixels or settings than the run's"):
            refuse_without_gate(other, pairs_content(other))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"verdict": "FAIL", "reason": "AUC 0.9"}, "metadata_all says FAIL: AUC 0.9. Where metadata tell"),
            ({"verdict": "NOT_TESTABLE", "reason": "no control rows"}, "says NOT_TESTABLE: no control rows"),
            ({"verdict": "INCONCLUSIVE"}, "says INCONCLUSIVE"),
            ({"name": "core_all"}, "no gate looked at the metadata of band g"),
            ({"name": "metadata_g"}, "no gate looked at the metadata of band r"),
            ({"columns": ["x_center"]}, "metadata_all did not look at psf_fwhm_arcsec_g"),
        ],
    )
    def test_anything_but_a_pass_that_looked_at_the_psf_is_refused(self, own, change, words):
        url = RunFolder.of(own).gates
        found = read_results(url)
        (gate,) = found.results
        if "columns" in change:
            gate = {**gate, "recipe": {**gate["recipe"], **change}}
        keep_results(url, found.key, [{**gate, **{k: v for k, v in change.items() if k != "columns"}}])
        with pytest.raises(ExportError, match=words):
            refuse_without_gate(own, pairs_content(own))

    def test_negatives_on_hosts_of_another_seeing_are_refused_although_the_runs_own_gate_passed(self, config, features):
        """A fifth of the weight: the area over all negatives would stay below the limit, and that kind be read off."""
        view = open_view(config, split="train", view="single")
        assert refuse_telling_samples(config, view, features).startswith("control: 0.5 by proof")
        s = view.samples
        some = (s["y"].values == 0) & (s["host_index"].values % 2 == 0)
        kind = np.where(some, np.int8(2), s["negative_kind"].values)
        hosts = s["host_index"].values.copy()
        hosts[some] += 1000
        worse = np.concatenate([features.hosts, np.full((1000, 3), 3.0)])
        other = replace(view, samples=s.assign(negative_kind=("sample", kind), host_index=("sample", hosts)))
        with pytest.raises(ExportError, match="may tell negatives of kind host_other from positives"):
            refuse_telling_samples(config, other, replace(features, hosts=worse))


@pytest.mark.train
class TestInTorch:
    torch = property(lambda self: pytest.importorskip("torch", reason="trainings need torch"))

    def test_where_the_psf_decides_the_network_learns_it_and_without_it_learns_nothing(self):
        """Images are noise, and the label says whether brightness goes with the PSF or against it."""
        _ = self.torch
        of = TrainingConfig(model="tiny", epochs=12, batch_size=32, learning_rate=3e-3, warm_up_epochs=0.5)
        draw = np.random.default_rng(0)
        n = 384
        bright, psf = draw.choice([-1.0, 1.0], n), draw.choice([-1.0, 1.0], n)
        x = (draw.normal(size=(n, 3, 16, 16)) + bright[:, None, None, None]).astype(np.float32)
        f = np.repeat(psf[:, None], 3, axis=1).astype(np.float32)
        y = (bright == psf).astype(np.int8)
        train = np.arange(n) < 256

        def epochs(k):
            order = np.random.default_rng(k).permutation(256)
            for at in np.array_split(order, 8):
                yield {"x": x[at], "y": y[at], "weight": np.ones(len(at)), "row_id": at, "features": f[at]}

        with repeatable(0):
            net = fit(build(of, 3, None, 3), epochs, 256, of).net
        found = scores_of(net, x[~train], features=f[~train])
        assert roc_auc_score(y[~train], found) > 0.95
        # The other PSF turns every answer round; no PSF at all leaves nothing.
        assert roc_auc_score(y[~train], scores_of(net, x[~train], features=-f[~train])) < 0.05
        with pytest.raises(ConfigError, match="built for 3 features and gets none"):
            scores_of(net, x[:2])
        with pytest.raises(ConfigError, match="built for 0 features and gets 3"):
            scores_of(build(of, 3, None), x[:2], features=f[:2])

    @pytest.mark.parametrize("model", ["tiny", "resnet18"])
    def test_both_networks_mix_the_features_with_what_they_see(self, model):
        of, x = TrainingConfig(model=model), self.torch.randn(4, 3, 32, 32)
        with repeatable(0):
            net = build(of, 3, None, 3).eval()
        f = self.torch.zeros(4, 3, requires_grad=True)
        (slope,) = self.torch.autograd.grad(net(x, f).sum(), f)
        assert slope.shape == (4, 3) and bool((slope != 0).all())
        # What the PSF does depends on what is seen: a shift alone could say nothing of a pair.
        assert float((slope[0] - slope[1]).abs().max()) > 0

    def test_a_network_without_features_has_the_layers_that_it_had(self):
        _ = self.torch
        assert not any("mix" in k for k in build(TrainingConfig(model="tiny"), 3, None).state_dict())

    def test_a_users_model_gets_the_number_of_features_and_their_values_or_is_refused(self):
        nn = self.torch.nn

        class Both(nn.Module):
            def __init__(self, channels, n):
                super().__init__()
                self.layer = nn.Linear(channels + n, 1)

            def forward(self, x, features):
                return self.layer(self.torch_cat([x.mean(dim=(2, 3)), features], dim=1))

            torch_cat = staticmethod(self.torch.cat)

        class Alone(nn.Module):
            def __init__(self, channels, n=0):
                super().__init__()

            def forward(self, x):
                return x.mean(dim=(1, 2, 3))

        of = TrainingConfig(model="m:net", epochs=1, warm_up_epochs=0)
        net = build(of, 3, lambda m: Both, 3)
        zeros, ones = np.zeros((4, 3, 8, 8), np.float32), np.ones((4, 3), np.float32)
        assert not np.allclose(scores_of(net, zeros, features=ones), scores_of(net, zeros, features=0 * ones))
        with pytest.raises(
            ConfigError, match=r"forward of m:net does not take images and features .* leave training.feat"
        ):
            build(of, 3, lambda m: Alone, 3)
        with pytest.raises(ConfigError, match=r"m:net\(3, 3\) failed with TypeError"):
            build(of, 3, lambda m: lambda channels: Both(channels, 3), 3)


@pytest.mark.train
class TestATraining:
    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, base):
        """A copy of the run with a finished training and its nulls."""
        pytest.importorskip("safetensors", reason="checkpoints need safetensors")

        def train(out):
            shutil.copytree(base.out, out)
            train_step(with_features(config_of(str(out))), nulls=True)

        return with_features(config_of(str(made_once("psf-training", train))))

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, config):
        return train_step(config, nulls=True)

    def test_the_scorer_in_the_file_reads_the_psf_by_the_road_of_every_scorer(self, config, found, features):
        assert found.numbers["scorer_differs_by"] < 1e-4
        about = read_checkpoint(files.weights_of(config)).about
        assert about.scale == features.scale and about.features["columns"] == list(NAMES)
        assert found.numbers["features"] == ["psf_fwhm"] and "metadata_all PASS" in found.numbers["features_gate"]
        assert "control: 0.5 by proof" in found.numbers["features_of_samples"]

    def test_where_nothing_is_left_to_learn_the_features_teach_nothing(self, found):
        """Arcs of no flux: stamp and control are one image with one PSF, and tie."""
        assert found["null_zero_flux"].verdict == "PASS" and found["null_zero_flux"].auc == 0.5
        assert found["null_host_halves"].verdict in ("PASS", "NOT_TESTABLE")

    def test_a_stored_training_is_not_handed_out_once_its_gate_is_gone(self, config, found, tmp_path):
        shutil.copytree(config.out, tmp_path / "run")
        here = with_features(config_of(str(tmp_path / "run")))
        Path(RunFolder.of(here).gates).unlink()
        with pytest.raises(ExportError, match="were not run"):
            train_step(here, nulls=True)

    def test_it_says_whether_the_feature_is_used_beside_its_gate(self, found):
        view = found.used.sel(view="metadata")
        assert str(view["gate"].values) == "PASS" and "psf_fwhm" in str(view["what"].values)
        assert str(view["use"].values) in ("used", "not used", "open", "not tested")

    def test_a_network_that_gets_no_psf_or_does_not_want_any_is_an_error_that_names_both(self, config, found):
        scorer = load(files.weights_of(config), "")
        images = np.zeros((2, 3, 64, 64), np.float32)
        with pytest.raises(
            ConfigError, match=r"weights.safetensors: was trained with features psf_fwhm_g, .* given none"
        ):
            scorer(images)
        with pytest.raises(GateError, match="psf_fwhm beside them, and these rows have no psfsize_arcsec"):
            list(lf.score_pairs(lf.open_pairs(config.out), scorer, config))
        bare = replace(scorer, about=replace(scorer.about, features={}))
        with pytest.raises(ConfigError, match="features none beside the images, and is given some"):
            bare(images, np.ones((2, 3)))

    def test_pairs_in_memory_are_scored_once_they_have_the_psf(self, config, found):
        pairs = lf.open_pairs(config.out)
        pairs = pairs.assign(psfsize_arcsec=(("sample", "band"), psf_of(config)[pairs["host_index"].values]))
        every = config.model_copy(update={"scorer": config.scorer.model_copy(update={"max_pairs": 10**6})})
        by_name = {g.name: g for g in lf.score_pairs(pairs, load(files.weights_of(config), ""), every)}
        assert by_name["synthetic_auroc"].n_rows > 0

    def test_completeness_and_score_take_it_as_any_other(self, config, found, tmp_path):
        shutil.copytree(config.out, tmp_path / "run")
        here = with_features(config_of(str(tmp_path / "run")))
        assert steps.score_step(here, files.weights_of(here))[0].n_rows > 0
        by_image, by_table = (
            lf.completeness(here, f, fpr=0.1) for f in (files.weights_of(here), files.scores_url(here))
        )
        whole = [c["curves"].sel(curve="all")["completeness"].item() for c in (by_image, by_table)]
        assert whole[0] == pytest.approx(whole[1], abs=0.005)

    def test_a_start_from_a_network_without_features_is_refused_with_both(self, base, config, found):
        with pytest.raises(ConfigError, match=r"trained for features psf_fwhm_g, .*, and the data have none"):
            lf.train(with_features(base, ()), pretrained=files.weights_of(config))


class Seeing:
    """The PSF in r."""

    needs_features = ("psf_fwhm",)

    def __call__(self, images, features):
        return features[:, 1]


def test_hosts_without_an_injection_and_real_lenses_are_scored_with_their_own_psf(base):
    rows, cutouts = np.array([3, 5, 17, 40]), RunFolder.of(base).cutouts
    who = SimpleNamespace(what=Seeing())
    found = _scores(base, cutouts, rows, who, "", lambda *_: None)
    np.testing.assert_allclose(found, psf_of(base)[rows, 1], rtol=1e-6)
    task = _CutoutTask(base, stored_regions(cutouts, "cutouts"), rows, Seeing(), "")
    np.testing.assert_allclose(task(0).rows["score"].values, psf_of(base)[rows, 1], rtol=1e-6)
