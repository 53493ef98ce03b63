import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.config.training import TrainingConfig
from lensflow.errors import ConfigError
from lensflow.training.losses import losses, margin_loss, pairs_in, rank_loss


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 5), st.floats(0, 20), st.integers(0, 2)), max_size=30))
def test_a_pair_is_a_visible_stamp_and_the_control_of_the_same_row(samples):
    columns = [np.array([s[k] for s in samples]) for k in range(4)] if samples else [np.empty(0)] * 4
    y, pair, snr, kind = columns[0].astype(int), columns[1].astype(np.int64), columns[2], columns[3].astype(int)
    found = pairs_in(y, pair, snr, np.where(y == 1, -1, kind), 5.0)
    for stamp, ctrl in found:
        assert y[stamp] == 1 and y[ctrl] == 0 and kind[ctrl] == 0
        assert pair[stamp] == pair[ctrl] >= 0 and snr[stamp] >= 5
    ready = {int(p) for p, label, k in zip(pair, y, kind, strict=True) if label == 0 and k == 0 and p >= 0}
    assert len(found) == sum(
        label == 1 and s >= 5 and int(p) in ready for label, s, p in zip(y, snr, pair, strict=True)
    )


@pytest.mark.train
class TestInTorch:
    torch = property(lambda self: pytest.importorskip("torch", reason="losses need torch"))

    def test_the_margin_is_reached_by_opposite_embeddings_and_missed_by_equal_ones(self):
        z = self.torch.tensor([[3.0, 0.0]])
        assert margin_loss(z, -z, 1.0).item() == 0
        assert margin_loss(z, 7 * z, 1.0).item() == pytest.approx(1, abs=1e-5)

    def test_equal_embeddings_have_a_finite_gradient(self):
        z = self.torch.zeros(4, 3, requires_grad=True)
        margin_loss(z + 1, z + 1, 1.0).backward()
        assert self.torch.isfinite(z.grad).all()

    def test_a_pair_in_the_wrong_order_costs_more(self):
        high, low = self.torch.tensor([2.0]), self.torch.tensor([-2.0])
        assert rank_loss(low, high) > rank_loss(high, low) > 0

    @pytest.mark.parametrize("aux", ["none", "margin", "rank"])
    def test_a_sample_of_weight_0_changes_nothing(self, aux):
        from lensflow.training.models import tiny

        net, x = tiny(3), self.torch.randn(6, 3, 32, 32)
        y, weight = self.torch.tensor([1.0, 0, 1, 0, 1, 0]), self.torch.tensor([1.0, 1, 1, 1, 0, 0])
        config = TrainingConfig(aux=aux, order="together" if aux != "none" else "free")
        pairs = np.array([[0, 1], [2, 3]])
        whole = losses(net, x, y, weight, pairs, config)
        part = losses(net, x[:4], y[:4], weight[:4], pairs, config)
        assert whole.total.item() == pytest.approx(part.total.item(), rel=1e-5)
        assert (whole.n_pairs == 2) and (aux == "none") == (whole.aux.item() == 0)

    def test_a_model_without_an_embedding_has_no_margin(self):
        net = self.torch.nn.Sequential(self.torch.nn.Flatten(), self.torch.nn.Linear(3 * 64, 1))
        config = TrainingConfig(aux="margin", order="together")
        with pytest.raises(ConfigError, match=r"no embed\(x\) and head; use aux: rank"):
            losses(net, self.torch.randn(2, 3, 8, 8), self.torch.ones(2), self.torch.ones(2), np.empty((0, 2)), config)
