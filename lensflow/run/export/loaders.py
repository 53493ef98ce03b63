"""Batches of a run, an export or an opened view: in numpy, or as a torch dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lensflow.config import LoaderConfig, RunConfig
from lensflow.export.loader.batches import Batches
from lensflow.export.loader.epoch import Layout
from lensflow.export.loader.torch_dataset import dataset_of, world_and_rank
from lensflow.export.view import TrainingView
from lensflow.run.export.source import as_view, loader_settings
from lensflow.run.open_run import Run


def batches(
    source: TrainingView | Run | RunConfig | str | Path,
    *,
    split: str = "train",
    epoch: int = 0,
    epochs: int | None = None,
    seed: int | None = None,
    rank: int = 0,
    world: int = 1,
    drop_last: bool | None = None,
    training: bool | None = None,
    settings: LoaderConfig | None = None,
    **options: Any,
) -> Batches:
    """Batches of one epoch of a run or an export, in numpy; no torch is needed.

    Parameters
    ----------
    source : TrainingView, Run, RunConfig or path
        A run's folder, an export's folder, or an opened view.
    split : {"train", "val", "test"}
        Of a run or export.
    epoch : int
        Another one has another order and other augmentations.
    epochs : int, optional
        Of the whole training, for the schedule of core masks.
    seed : int, optional
        Of order and augmentation; the run's by default.
    rank, world : int
        Of a distributed training: each reads its own whole shards.
    drop_last : bool, optional
        Drop incomplete batches; by default only with several ranks. Without, and with several ranks, batches are filled
        up with samples of weight 0, so that all ranks have the same number.
    training : bool, optional
        Augment and mask; by default only the train split.
    settings : LoaderConfig, optional
        By default the run's section ``training``.
    **options
        Settings of the loader (``batch_size``, ``order``, ``balance``, ``window``, ``augment``, ``max_shift_pix``,
        ``core_mask``), of ``export`` (``view``, ``min_snr``), and ``unseal_test``.

    Returns
    -------
    Batches
        Iterable; ``len`` is the number of batches. Each is a dict of arrays: ``x`` float32 (n, channel, y, x), y,
        weight, row_id, sample_id, host_index, pair_id, negative_kind, split, snr, stratum, x_center, y_center.

    Raises
    ------
    ExportError
        If the view is refused, a pair cannot be kept together or apart, or a rank has no data.
    ConfigError
        If a setting is wrong.
    """
    own, options = loader_settings(source, settings, options)
    view = as_view(source, split, options)
    if training is None:
        training = view.attrs.get("split", split) == "train"
    return Batches(
        view, own, int(view.attrs.get("seed", 0)) if seed is None else seed, epoch, epochs, Layout(rank, world),
        world > 1 if drop_last is None else drop_last, training,
    )  # fmt: skip


def torch_dataset(
    source: TrainingView | Run | RunConfig | str | Path,
    *,
    split: str = "train",
    epochs: int | None = None,
    seed: int | None = None,
    rank: int | None = None,
    world: int | None = None,
    workers: int = 0,
    drop_last: bool | None = None,
    training: bool | None = None,
    settings: LoaderConfig | None = None,
    **options: Any,
) -> Any:
    """Samples of a run or an export as a torch ``IterableDataset`` of whole batches.

    Parameters
    ----------
    source : TrainingView, Run, RunConfig or path
        A run's folder, an export's folder, or an opened view.
    split : {"train", "val", "test"}
        Of a run or export.
    epochs : int, optional
        Of the whole training, for the schedule of core masks.
    seed : int, optional
        Of order and augmentation; the run's by default.
    rank, world : int, optional
        Of a distributed training; torch.distributed's where it is initialised, else 0 and 1.
    workers : int
        ``num_workers`` of the DataLoader, which must be the same. Threads read anyway.
    drop_last, training, settings, **options
        As for :func:`lensflow.batches`.

    Returns
    -------
    torch.utils.data.IterableDataset
        For ``DataLoader(dataset, batch_size=None)``: dicts of tensors, ``y`` as float32. ``set_epoch(k)`` before each
        epoch (without worker processes it goes on by itself); ``state_dict()`` and ``load_state_dict(state)`` restart
        within an epoch (with worker processes, which read ahead: ``state_dict(batches_done)``); ``len`` is the number
        of batches of this rank; ``__getitems__(numbers)`` reads single samples, slowly and as they are stored.

    Raises
    ------
    ExportError
        If torch is missing, or as :func:`lensflow.batches`.
    ConfigError
        If a setting is wrong.

    Notes
    -----
    Threads read; worker processes copy every batch once more, and pay only where augmentation is slow.
    """
    world, rank = world_and_rank(world, rank)
    plan = batches(
        source, split=split, epochs=epochs, seed=seed, rank=rank, world=world, drop_last=drop_last, training=training,
        settings=settings, **options,
    )  # fmt: skip
    return dataset_of(plan, workers)
