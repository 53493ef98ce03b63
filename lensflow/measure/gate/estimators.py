"""The interchangeable part of a gate: its estimator."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lensflow.config import GateConfig
from lensflow.measure.gate.crossfit import Folds, Linear
from lensflow.measure.gate.trees import Trees

Floats = NDArray[np.float64]


class Fit(Protocol):
    """Features of pairs, prepared for fits with different labels."""

    @property
    def test(self) -> list[NDArray[np.int64]]:
        """Pairs that each fold tests."""

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""

    def scores(self, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Out-of-fold scores of stamps and of controls; where not ``positive`` the labels are swapped."""

    def scores_of_swaps(self, positives: NDArray[np.bool_]) -> Floats:
        """Scores of several sets of labels (k, n), swapped at random, shape (k, 2, n): stamps, then controls."""

    def summary(self) -> tuple[tuple[float, ...], dict[str, Any]]:
        """Coefficients of a fit of all rows, () where there are none, and numbers about it."""


class Estimator(Protocol):
    """A classifier with its hyperparameters."""

    @property
    def null_swaps(self) -> int:
        """Fits of swapped labels that the null control makes."""

    def describe(self) -> str:
        """Describe the estimator with all hyperparameters."""

    def crossfit(self, stamp: NDArray[Any], ctrl: NDArray[Any], folds: Folds) -> Fit:
        """Prepare the fits of features (pair, feature)."""


def estimator_of(name: str, config: GateConfig, seed: int) -> Estimator:
    """Estimator by the name that it has in a recipe's (``lensflow.config.checks.GATE_ESTIMATORS``)."""
    made: dict[str, Estimator] = {"linear": Linear(config.c), "trees": Trees.seeded(seed)}
    return made[name]
