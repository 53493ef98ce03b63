"""Batches of a view for a training: the loader's, epoch by epoch, with what is read beside the pixels."""

from __future__ import annotations

from collections.abc import Iterator

from lensflow.config.training import TrainingConfig
from lensflow.export.loader.batches import Batches
from lensflow.export.view import TrainingView
from lensflow.run.export.loaders import batches
from lensflow.training.features import HostFeatures
from lensflow.training.loop import Batch, Epochs


def epochs_of(view: TrainingView, config: TrainingConfig, features: HostFeatures | None = None) -> Epochs:
    """Epochs of a training: shuffled, augmented and masked as its settings say.

    Parameters
    ----------
    view : TrainingView
    config : TrainingConfig
    features : HostFeatures, optional
        Each batch then has ``features``, of the hosts of its samples.

    Returns
    -------
    callable
        Number of an epoch -> its batches; the same number gives the same batches.
    """

    def epoch(k: int) -> Batches | Iterator[Batch]:
        found = batches(view, epoch=k, epochs=config.epochs, seed=config.seed, training=True, settings=config)
        return found if features is None else _beside(found, features)

    return epoch


def _beside(source: Batches, features: HostFeatures) -> Iterator[Batch]:
    for batch in source:
        yield {**batch, "features": features.of(batch["host_index"])}
