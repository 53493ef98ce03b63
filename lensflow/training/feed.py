"""Batches of a view for a training: the loader's, epoch by epoch."""

from __future__ import annotations

from lensflow.config.training import TrainingConfig
from lensflow.export.view import TrainingView
from lensflow.run.export.loaders import batches
from lensflow.training.loop import Epochs


def epochs_of(view: TrainingView, config: TrainingConfig) -> Epochs:
    """Epochs of a training: shuffled, augmented and masked as its settings say.

    Parameters
    ----------
    view : TrainingView
    config : TrainingConfig

    Returns
    -------
    callable
        Number of an epoch -> its batches; the same number gives the same batches.
    """
    return lambda k: batches(view, epoch=k, epochs=config.epochs, seed=config.seed, training=True, settings=config)
