"""The snippets of docs/training.md run as they stand there, on a small run."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.export_run import export_run

pytestmark = pytest.mark.train
PAGE = (Path(__file__).parents[2] / "docs/training.md").read_text()
SNIPPETS = dict(re.findall(r"```python (view|torch|numpy|jax|model)\n(.*?)```", PAGE, re.DOTALL))


class Model:
    """Takes what Keras' ``fit`` takes."""

    def fit(self, batches, steps_per_epoch, epochs):
        found = list(batches)
        self.shapes = {x.shape[1:] for x, _, _ in found}
        assert all(len(x) == len(y) == len(w) for x, y, w in found) and steps_per_epoch == len(found) / epochs


@pytest.mark.parametrize("name", ["view", "torch", "numpy", "jax"])
def test_a_snippet_of_the_page_runs(name, monkeypatch):
    import lensflow as lf

    if name == "torch":
        pytest.importorskip("torch", reason="torch is in the extra lensflow[train]")
    # Where the page has an array library of others, numpy stands in: what is tested is what lensflow gives.
    monkeypatch.setitem(sys.modules, "jax", type(sys)("jax"))
    monkeypatch.setitem(sys.modules, "jax.numpy", np)
    sys.modules["jax"].numpy = np
    scope = {"lf": lf, "model": Model()}
    exec(SNIPPETS[name].replace("runs/dr9", export_run().out), scope)
    if name == "numpy":
        assert scope["model"].shapes == {(64, 64, 3)}
    if name in ("torch", "jax"):
        assert tuple(scope["x"].shape[1:]) == (3, 64, 64)
    if name == "view":
        assert scope["faint"].sizes["sample"] == int((scope["samples"].snr < 10).sum())


def test_the_model_of_the_page_takes_images_and_features():
    pytest.importorskip("torch", reason="torch is in the extra lensflow[train]")
    from lensflow.config.training import TrainingConfig
    from lensflow.training.loop import scores_of
    from lensflow.training.models import build

    scope = {}
    exec(SNIPPETS["model"], scope)
    net = build(TrainingConfig(model="my_models:Net"), 3, lambda name: scope["Net"], 3)
    assert scores_of(net, np.ones((2, 3, 16, 16), np.float32), features=np.ones((2, 3), np.float32)).shape == (2,)
