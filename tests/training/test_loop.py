import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.config.training import TrainingConfig
from lensflow.errors import ConfigError, ExportError
from lensflow.training.loop import device_of, fit, rate_at, repeatable, scores_of

CONFIG = TrainingConfig(model="tiny", epochs=2, batch_size=16, warm_up_epochs=0.5, learning_rate=3e-3)


@given(st.integers(2, 60), st.floats(0, 2))
def test_the_rate_rises_to_its_highest_at_the_end_of_the_warm_up_and_falls_to_0(epochs, warm):
    config = TrainingConfig(model="tiny", epochs=epochs, warm_up_epochs=min(warm, epochs - 1))
    at = np.array([rate_at(e, config) for e in np.linspace(0, epochs, 200)])
    assert (at >= 0).all() and at.max() <= 1 and at[0] > 0
    assert rate_at(config.warm_up_epochs, config) == pytest.approx(1)
    assert rate_at(epochs, config) == pytest.approx(0, abs=1e-12)
    after = np.linspace(0, epochs, 200) >= config.warm_up_epochs
    assert (np.diff(at[after]) <= 1e-12).all()


def epochs(bad=None):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(48, 3, 32, 32)).astype(np.float32)
    y = np.arange(48) % 2
    x[y == 1, :, 8:12, 8:12] += 2

    def epoch(k):
        order = np.random.default_rng(k).permutation(48)
        for at in np.array_split(order, 3):
            batch = {"x": x[at].copy(), "y": y[at], "weight": np.ones(len(at)), "row_id": 1000 + at.astype(np.uint64)}
            if bad is not None:
                batch["x"][at == bad, 0, 0, 0] = np.nan
            yield batch

    return epoch


@pytest.mark.train
class TestInTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch", reason="trainings need torch")
        from lensflow.training.models import tiny

        self.tiny = tiny

    def trained(self, seed=0, **options):
        with repeatable(seed):
            return fit(self.tiny(3), epochs(**options), 48, CONFIG)

    def test_the_same_seed_gives_the_same_losses_to_1e_6_and_another_seed_others(self):
        a, b, c = (np.array([h["loss"] for h in self.trained(s).history]) for s in (0, 0, 1))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
        assert np.abs(a - c).max() > 1e-4

    def test_the_state_of_torch_is_left_as_it_was(self):
        before = self.torch.random.get_rng_state()
        self.trained()
        assert self.torch.equal(before, self.torch.random.get_rng_state())
        assert not self.torch.are_deterministic_algorithms_enabled()

    def test_a_nan_stops_the_training_and_names_its_row(self):
        with pytest.raises(ExportError, match=r"epoch 0 is not finite; row_id 1017: their images are not finite"):
            self.trained(bad=17)

    def test_weights_that_run_away_stop_the_training(self):
        net = self.tiny(3)
        with self.torch.no_grad():
            net.head.weight[0, 0] = float("inf")
        with pytest.raises(ExportError, match=r"row_id 10\d\d, .* weights were not finite before this batch"):
            fit(net, epochs(), 48, CONFIG)

    def test_a_class_of_more_weight_is_scored_higher(self):
        x = next(iter(epochs()(0)))["x"]
        means = []
        for weights in ((1.0, 1.0), (0.05, 1.95)):
            with repeatable(0):
                means.append(scores_of(fit(self.tiny(3), epochs(), 48, CONFIG, "cpu", weights).net, x).mean())
        assert means[1] > means[0]

    def test_an_image_scores_the_same_in_any_batch(self):
        net, x = self.trained().net, next(iter(epochs()(0)))["x"]
        alone = np.concatenate([scores_of(net, x[k : k + 1]) for k in range(len(x))])
        np.testing.assert_allclose(scores_of(net, x), alone, atol=1e-6)

    def test_scores_keep_the_libraries_of_a_gpu_and_all_digits(self):
        """``torch.backends.cudnn.flags`` switches off what it is not told: ten times slower on a GPU, silently."""
        seen, cudnn = [], self.torch.backends.cudnn
        net = self.tiny(3).eval()
        net.register_forward_hook(lambda *_: seen.append((cudnn.enabled, cudnn.allow_tf32)))
        before = cudnn.enabled, cudnn.allow_tf32
        scores_of(net, next(iter(epochs()(0)))["x"])
        assert seen == [(True, False)] and (cudnn.enabled, cudnn.allow_tf32) == before

    def test_half_precision_learns_the_same_to_a_percent_and_its_scores_are_of_float32(self):
        config = CONFIG.model_copy(update={"precision": "bfloat16", "learning_rate": 1e-4})
        plain = CONFIG.model_copy(update={"learning_rate": 1e-4})
        found = []
        for c in (plain, config):
            with repeatable(0):
                found.append(fit(self.tiny(3), epochs(), 48, c))
        one, two = (np.array([h["loss"] for h in f.history]) for f in found)
        np.testing.assert_allclose(two, one, rtol=0.01)
        assert (one != two).any()
        x = next(iter(epochs()(0)))["x"]
        direct = found[1].net(self.torch.from_numpy(x)).detach()
        assert direct.dtype == self.torch.float32
        np.testing.assert_array_equal(scores_of(found[1].net, x), direct.double().numpy())

    def test_a_gpu_scores_as_a_cpu_does_and_repeats_itself(self):
        if not self.torch.cuda.is_available():
            pytest.skip("no CUDA device here")
        x = next(iter(epochs()(0)))["x"]
        histories = []
        for _ in range(2):
            with repeatable(0):
                fitted = fit(self.tiny(3), epochs(), 48, CONFIG, "cuda")
            histories.append([h["loss"] for h in fitted.history])
        assert histories[0] == histories[1]
        on_gpu = scores_of(fitted.net, x, "cuda")
        np.testing.assert_array_equal(scores_of(fitted.net, x[:7], "cuda"), on_gpu[:7])
        np.testing.assert_allclose(scores_of(fitted.net.to("cpu"), x), on_gpu, atol=1e-4)

    def test_a_device_that_is_not_here_is_refused(self):
        with pytest.raises(ConfigError, match="Set auto or cpu"):
            device_of(TrainingConfig(model="tiny", device="warp:7"))

    def test_an_epoch_without_a_batch_is_refused(self):
        with pytest.raises(ExportError, match="has no batch"):
            fit(self.tiny(3), lambda k: [], 48, CONFIG)
