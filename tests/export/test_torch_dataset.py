"""The loader through torch's DataLoader: exact epochs with worker processes, restart, and what is refused."""

import itertools
import pickle
import sys
from collections import Counter

import numpy as np
import pytest

from lensflow.config import LoaderConfig
from lensflow.errors import ExportError
from lensflow.run.export.loaders import batches, torch_dataset
from tests.export.memory_view import memory_view

pytestmark = pytest.mark.train
HOW = LoaderConfig(batch_size=8, window=2, core_mask={"r0": 0.2, "r1": 0.5})
VIEW = memory_view()
ALL = Counter(VIEW.samples["sample_id"].values.tolist())


def dataset(workers=0, **changes):
    pytest.importorskip("torch", reason="torch is in the extra lensflow[train]")
    return torch_dataset(VIEW, epochs=4, seed=3, settings=HOW, workers=workers, **changes)


def loader(data, workers):
    from torch.utils.data import DataLoader

    return DataLoader(data, batch_size=None, num_workers=workers)


def ids(batch):
    return batch["sample_id"].numpy().tolist()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 3), (1, 4), (2, 1), (2, 3)])
def test_an_epoch_through_worker_processes_has_every_sample_once(world, workers):
    seen, n = Counter(), []
    for rank in range(world):
        data = dataset(workers, rank=rank, world=world, drop_last=False)
        found = list(loader(data, workers))
        assert len(found) == len(data)
        n.append(len(found))
        for b in found:
            real = b["weight"].numpy() > 0
            seen.update(b["sample_id"].numpy()[real].tolist())
    assert seen == ALL and len(set(n)) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_restart_in_mid_epoch_goes_on_to_the_bit(workers):
    data = dataset(workers)
    data.set_epoch(2)
    whole = list(loader(data, workers))
    data = dataset(workers)
    data.set_epoch(2)
    before = list(itertools.islice(loader(data, workers), 5))
    state = data.state_dict(5 if workers else None)
    again = dataset(workers)
    again.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert len(again) == len(whole) - 5
    after = list(loader(again, workers))
    assert [ids(b) for b in [*before, *after]] == [ids(b) for b in whole]
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(after, whole[5:], strict=True))
    if not workers:
        assert again.epoch == 3, "the next pass is the next epoch, from its beginning"
        assert len(list(again)) == len(whole)


def test_tensors_are_those_of_the_numpy_batches():
    import torch

    for a, b in zip(loader(dataset(), 0), batches(VIEW, epochs=4, seed=3, settings=HOW), strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[k].numpy(), b[k]) for k in b)
        assert a["x"].dtype == a["y"].dtype == torch.float32 and a["row_id"].dtype == torch.uint64


def test_epochs_go_on_by_themselves_without_worker_processes():
    data = dataset()
    first, second = ([ids(b) for b in data] for _ in range(2))
    assert first != second and Counter(i for b in second for i in b) == ALL
    data.set_epoch(0)
    assert [ids(b) for b in data] == first


def test_samples_by_number_are_the_views_own():
    data = dataset()
    found = data.__getitems__([70, 3, 70, 12])
    x = np.concatenate([VIEW.read(u)["x"] for u in range(VIEW.n_units)])
    assert all(np.array_equal(f["x"].numpy(), x[k]) for f, k in zip(found, [70, 3, 70, 12], strict=True))
    assert found[0]["sample_id"].item() == int(VIEW.samples["sample_id"].values[70])


def test_states_and_loaders_of_another_kind_are_refused():
    data = dataset()
    state = data.state_dict()
    with pytest.raises(ExportError, match=r"seed is 3 in the state and 4 here"):
        torch_dataset(VIEW, epochs=4, seed=4, settings=HOW).load_state_dict(state)
    with pytest.raises(ExportError, match="samples is"):
        torch_dataset(memory_view(seed=1), epochs=4, seed=3, settings=HOW).load_state_dict(state)
    with pytest.raises(ExportError, match="it lacks batches"):
        data.load_state_dict({"epoch": 1})
    with pytest.raises(ExportError, match="say how many"):
        dataset(2).state_dict()
    with pytest.raises(ExportError, match="num_workers 0, and the dataset was made for 2"):
        list(loader(dataset(2), 0))


def test_without_torch_the_extra_is_named_and_numpy_batches_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExportError, match=r'needs the package torch; pip install "lensflow\[train\]"'):
        torch_dataset(VIEW)
    assert len(list(batches(VIEW, epochs=4, settings=HOW)))
