"""The judge: how well a classifier of fixed design distinguishes pixels with a leak from pixels without.

The question is put so that it favours the leak. A leak that can be put into a stamp is put into bare *controls*, in
the pixels where the arc would be: no arc's light and noise lie over it, and what is read is the mark alone. Leaks that
are changes of arcs are judged on stamps against the same stamps without. Both classes have the same hosts in training,
so that only the leak differs. What is reported is what a finder could use: hosts that were never seen, each row with
the leak against rows without it of *other* hosts.

There are two classifiers: a small convolutional network, and gradient-boosted trees on means by phase and by place,
which are the better judge of patterns that are fixed to the pixel grid. The higher area counts; without torch there are
trees alone. The network is trained on a stronger leak of the same kind first, then on the leak itself: it need not find
it, only use it.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lensflow.measure.gate.machine import training_share
from lensflow.stats.auc import host_bootstrap
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import interval

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]

NETWORK, TREES = "network", "boosted trees"
BEST = f"the better of {NETWORK} and {TREES}"
FOLDS, BOOTSTRAP = 2, 400
# One thread: the same numbers on any machine, and two readings side by side on two cores.
EPOCHS, BATCH, RATE, THREADS = 14, 64, 3e-3, 1
_ONE_AT_A_TIME = Lock()
# Trees see means over pixels of one phase of this period, and over squares of this side.
_PERIOD, _SQUARE = 8, 8


@dataclass(frozen=True)
class Reading:
    """A classifier's AUC for a leak.

    Attributes
    ----------
    area : Estimate
        Area under the curve over held-out hosts, with its 95 % bootstrap interval over hosts.
    judge : str
        ``NETWORK`` or ``TREES``: which of them it was.
    """

    area: Estimate
    judge: str


def judge_name() -> str:
    """The judge of this installation: with torch the better of network and trees, trees without."""
    return BEST if importlib.util.find_spec("torch") else TREES


def read(
    sound: Pixels,
    leaked: Pixels,
    stronger: Pixels,
    sky: NDArray[np.floating],
    hosts: NDArray[np.int64],
    seed: int,
    judge: str = "",
) -> Reading:
    """Train on half of the hosts, score the others, and the other way round.

    Parameters
    ----------
    sound, leaked, stronger : ndarray, shape (n, band, y, x)
        The same rows without the leak, with it, and with a stronger one to begin with.
    sky : ndarray, shape (band,)
        Sky sigma, nMgy/pixel.
    hosts : ndarray, shape (n,)
    seed : int
    judge : str
        ``NETWORK``, ``TREES`` or ``BEST``; what is installed without.
    """
    judge = judge or judge_name()
    if judge == BEST:
        found = [read(sound, leaked, stronger, sky, hosts, seed, one) for one in (NETWORK, TREES)]
        return max(found, key=lambda r: r.area.value)
    inputs: list[Any] = [_input(v, sky) for v in (sound, leaked, stronger)]
    if judge == TREES:
        inputs = [_features(v) for v in inputs]
    unique, place = np.unique(hosts, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(unique.size)[place] % FOLDS
    scores = np.zeros((2, len(hosts)))
    fit = _network if judge == NETWORK else _trees
    with threadpool_limits(THREADS):
        for k in range(FOLDS):
            train, test = fold != k, fold == k
            scores[:, test] = fit([v[train] for v in inputs], [v[test] for v in inputs[:2]], seed + k)
    # The folds' classifiers have scales of their own: ranks within each.
    for k in range(FOLDS):
        both = scores[:, fold == k]
        order = np.argsort(both, axis=None, kind="stable")
        ranks = np.empty(both.size)
        _, first, place_of = np.unique(both.ravel()[order], return_index=True, return_inverse=True)
        ranks[order] = first[place_of] / both.size
        scores[:, fold == k] = ranks.reshape(both.shape)
    labels = np.repeat([False, True], len(hosts))
    auc, draws = host_bootstrap(labels, scores.ravel(), np.tile(hosts, 2), BOOTSTRAP, seed, "leaks.interval")
    low, high = interval(draws, unique.size)
    wider = training_share(FOLDS)
    ends = max(0.0, auc - wider * (auc - float(low))), min(1.0, auc + wider * (float(high) - auc))
    return Reading(Estimate(auc, *ends, unique.size), judge)


def _input(pixels: Pixels, sky: NDArray[np.floating]) -> Pixels:
    """Sky sigmas, compressed where galaxies are bright; 0 where there is no data."""
    scaled = np.asarray(pixels, np.float64) / np.asarray(sky, np.float64)[:, None, None]
    return np.nan_to_num(np.arcsinh(scaled)).astype(np.float32)


def _features(pixels: Pixels) -> Floats:
    """Means over phases and squares, scatter of neighbours, and exact values: numbers a tree can split on."""
    n, bands, size = pixels.shape[:3]
    whole = size // _PERIOD * _PERIOD
    cut = pixels[..., :whole, :whole].astype(np.float64)
    cells = cut.reshape(n, bands, whole // _PERIOD, _PERIOD, whole // _PERIOD, _PERIOD)
    phases = cells.mean(axis=(2, 4)).reshape(n, -1)
    squares = cells.mean(axis=(3, 5)).reshape(n, -1)
    board = (-1.0) ** np.add.outer(np.arange(whole), np.arange(whole))
    across, along = np.diff(cut, axis=-1), np.diff(cut, axis=-2)
    curved = 4 * cut[..., 1:-1, 1:-1] - cut[..., :-2, 1:-1] - cut[..., 2:, 1:-1] - cut[..., 1:-1, :-2]
    curved = curved - cut[..., 1:-1, 2:]
    numbers = np.stack(
        [
            (cut * board).mean(axis=(2, 3)),
            np.log10(np.abs(across).mean(axis=(2, 3)) + 1e-9),
            np.log10(np.abs(along).mean(axis=(2, 3)) + 1e-9),
            np.log10(np.abs(curved).mean(axis=(2, 3)) + 1e-9),
            (cut == 0).mean(axis=(2, 3)),
            cut.min(axis=(2, 3)),
        ],
        axis=-1,
    )
    return np.concatenate([phases, squares, numbers.reshape(n, -1)], axis=1)


def _trees(train: list[Floats], test: list[Floats], seed: int) -> Floats:
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = np.concatenate(train[:2])
    y = np.repeat([0, 1], len(train[0]))
    model = HistGradientBoostingClassifier(
        max_iter=80, learning_rate=0.1, max_leaf_nodes=8, max_bins=63, early_stopping=False, random_state=seed
    )
    model.fit(x, y)
    return np.stack([model.decision_function(v) for v in test])


def _network(train: list[Pixels], test: list[Pixels], seed: int) -> Floats:
    import torch

    with _ONE_AT_A_TIME:  # torch's settings and its seed are the process's
        torch.set_num_threads(THREADS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = _design(train[0].shape[1])
    sound, leaked, stronger = (torch.from_numpy(v) for v in train)
    order = np.random.default_rng(seed)
    steps = math.ceil(len(sound) / BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps)
    for epoch in range(EPOCHS):
        marked = stronger if epoch < EPOCHS // 2 else leaked
        for rows in np.array_split(order.permutation(len(sound)), steps):
            # Both rows of a pair are in one batch: their hosts cancel in the gradient.
            score = net(torch.cat([sound[rows], marked[rows]]))[:, 0]
            truth = torch.cat([torch.zeros(len(rows)), torch.ones(len(rows))])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        return np.stack(
            [torch.cat([net(part) for part in torch.from_numpy(v).split(256)])[:, 0].numpy() for v in test]
        ).astype(np.float64)


def _design(bands: int) -> Any:
    """Three convolutions of stride 2, so that a pattern fixed to the pixel grid keeps its phase; mean and maximum.

    Beside them the mean of filters of one period, without any bend: the light of galaxies would hide a faint pattern.
    """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(bands, 16, 6, 2, 2), nn.LeakyReLU(0.2),
                nn.Conv2d(16, 24, 3, 2, 1), nn.LeakyReLU(0.2),
                nn.Conv2d(24, 32, 3, 2, 1), nn.LeakyReLU(0.2),
            )  # fmt: skip
            self.linear = nn.Conv2d(bands, 16, _PERIOD, _PERIOD)
            self.head = nn.Linear(2 * 32 + 16, 1)

        def forward(self, x: Any) -> Any:
            maps = self.body(x)
            parts = [maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3)), self.linear(x).mean(dim=(2, 3))]
            return self.head(torch.cat(parts, dim=1))

    return Net()
