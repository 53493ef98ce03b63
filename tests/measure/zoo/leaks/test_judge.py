"""The judge can fail: it reads 0.5 where nothing differs, and finds what is plain; hosts are never in both halves."""

import importlib.util

import numpy as np
import pytest

from lensflow.measure.zoo.leaks import judge
from lensflow.measure.zoo.leaks.judge import BEST, NETWORK, TREES, judge_name, read

SKY = np.array([1.0, 2.0])
torch_is_there = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
JUDGES = [TREES, pytest.param(NETWORK, marks=torch_is_there)]


def galaxies(n_hosts, per_host=2, size=32, seed=0):
    """Rows of hosts that differ by far more than any leak, on white sky."""
    draw = np.random.default_rng(seed)
    r = np.hypot(*(np.mgrid[:size, :size] - (size - 1) / 2))
    light = draw.uniform(5, 50, (n_hosts, 1, 1, 1)) * np.exp(-r / draw.uniform(2, 5, (n_hosts, 1, 1, 1)))
    host = (light + draw.normal(size=(n_hosts, 2, size, size))) * SKY[:, None, None]
    return np.repeat(host, per_host, axis=0).astype(np.float32), np.repeat(np.arange(n_hosts), per_host)


def board(pixels, a):
    size = pixels.shape[-1]
    return (pixels + a * SKY[:, None, None] * (-1.0) ** np.add.outer(np.arange(size), np.arange(size))).astype("f4")


def reading(sound, hosts, a, which, seed=1):
    return read(sound, board(sound, a), board(sound, 3 * a), SKY, hosts, seed, which)


def test_trees_read_a_plain_leak_and_nothing_where_nothing_is():
    sound, hosts = galaxies(24)
    plain = reading(sound, hosts, 1.0, TREES)
    assert plain.area.value > 0.9 and plain.area.low > 0.8 and plain.judge == TREES
    none = reading(sound, hosts, 0.0, TREES)
    assert none.area.value == 0.5 and none.area.low <= 0.5 <= none.area.high


def test_trees_are_the_judge_without_torch(monkeypatch):
    monkeypatch.setattr(judge.importlib.util, "find_spec", lambda name: None)
    assert judge_name() == TREES
    monkeypatch.setattr(judge.importlib.util, "find_spec", lambda name: object())
    assert judge_name() == BEST


def test_no_host_is_scored_by_what_it_trained(monkeypatch):
    sound, hosts = galaxies(10)
    sound[:, 0, 0, 0] = hosts  # rows that name their host
    seen = []

    def fit(train, test, seed):
        seen.append([set(np.unique(part[:, 0, 0, 0])) for part in (train[0], test[0])])
        return np.zeros((2, len(test[0])))

    monkeypatch.setattr(judge, "_trees", fit)
    monkeypatch.setattr(judge, "_features", lambda v: v)
    found = reading(sound, hosts, 0.0, TREES)
    assert found.area.value == 0.5 and len(seen) == 2
    assert all(not train & test for train, test in seen)
    assert set.union(*(test for _, test in seen)) == {np.float32(np.arcsinh(h)) for h in range(10)}


@pytest.mark.train
@torch_is_there
def test_the_network_reads_a_plain_leak_the_same_each_time_and_leaves_torch_as_it_was():
    import torch

    before = torch.get_num_threads(), torch.random.get_rng_state()
    sound, hosts = galaxies(40, 3)
    first, again = (reading(sound, hosts, 1.0, NETWORK) for _ in range(2))
    assert first == again and first.area.value > 0.9
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert torch.get_num_threads() == before[0]


@pytest.mark.slow
@pytest.mark.parametrize("which", JUDGES)
def test_pixels_that_differ_by_chance_alone_read_one_half_within_the_interval(which):
    """Both classes are drawn alike: other noise on the same hosts, which no leak tells apart."""
    inside, areas = 0, []
    for seed in range(8):
        sound, hosts = galaxies(30, 2, seed=seed)
        draw = np.random.default_rng(100 + seed)
        first, second, third = (
            (sound + 0.3 * SKY[:, None, None] * draw.normal(size=sound.shape)).astype("f4") for _ in range(3)
        )
        found = read(first, second, third, SKY, hosts, seed, which)
        inside += found.area.low <= 0.5 <= found.area.high
        areas.append(found.area.value)
    assert inside >= 7
    assert abs(np.mean(areas) - 0.5) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("which", JUDGES)
def test_a_stronger_leak_is_read_better(which):
    sound, hosts = galaxies(40, 3)
    weak, strong = (reading(sound, hosts, a, which).area.value for a in (0.02, 0.5))
    assert strong > 0.9 and strong > weak
