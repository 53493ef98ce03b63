"""What a training reads: views of train and val, features of their hosts, and what both classes weigh."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lensflow._version import __version__
from lensflow.config import RunConfig
from lensflow.config.training import TrainingConfig
from lensflow.errors import ExportError
from lensflow.export.view import TrainingView
from lensflow.measure.gate.machine import chosen_hosts
from lensflow.run.execute import Progress
from lensflow.run.export.open_view import RunViews
from lensflow.run.importable import load
from lensflow.training.checkpoint import About
from lensflow.training.features import HostFeatures
from lensflow.training.kept_units import kept
from lensflow.training.models import MODEL_EXAMPLE, build


class Views:
    """Views of train and val: as trained on, and as pairs to be scored; and what is read beside their pixels."""

    def __init__(
        self, train: TrainingView, train_pairs: TrainingView, val: TrainingView, features: HostFeatures | None = None
    ):
        self.train, self.train_pairs, self.val, self.features = train, train_pairs, val, features

    @classmethod
    def open(cls, config: RunConfig, progress: Progress) -> Views:
        """Open them, without hosts of many bad pixels.

        Raises
        ------
        ExportError
            If a split lacks a class.
        """
        if config.export.view not in ("single", "pairs"):
            raise ExportError(
                f"training: export.view {config.export.view} puts other images than a stamp alone into a sample, and "
                "what learns from them cannot score one: set single or pairs, or train on it with your own code"
            )
        learnt, scored = config.export.lens_light, config.scorer.lens_light
        if learnt != scored:
            raise ExportError(
                f"training: export.lens_light is {learnt} and scorer.lens_light {scored}, so the network would score "
                f"other images than it learns from. Set both to {learnt if learnt != 'kept' else scored}, or to kept"
            )
        most = config.training.max_bad_pixel_frac
        opened, found = RunViews(config, config, progress), []
        for split, view in (("train", None), ("train", "pairs"), ("val", "pairs")):
            one = opened.open(split, view)
            found.append(one.select(one.samples["bad_pixel_frac"].values <= most))
            refuse_one_class(found[-1].samples["y"].values, split, f"bad_pixel_frac <= {most:g}")
        train, train_pairs, val = found
        features = HostFeatures.open(config, train_pairs)
        # Val is read after each epoch, too, and comes first where both do not fit.
        val = kept(val, config.training.keep_mb)
        bytes_of_val = 4e-6 * val.samples.sizes["sample"] * math.prod(val.shape)
        return cls(kept(train, max(config.training.keep_mb - bytes_of_val, 0)), train_pairs, val, features)

    def net(self, of: TrainingConfig) -> Any:
        """Make an untrained network for their channels and features, from torch's present random state."""
        folder, n = str(Path.cwd()), len(self.features.scale.columns) if self.features else 0
        imported = partial(load, folder=folder, what="training.model", example=MODEL_EXAMPLE)
        return build(of, len(self.train.channels), imported, n)

    def about(self, config: RunConfig, content: str) -> About:
        """For which data the network is."""
        made = {
            "run": config.name, "pairs": content, "seed": config.training.seed, "epochs": config.training.epochs,
            "view": self.train.view, "lensflow": __version__,
        }  # fmt: skip
        return About(
            self.train.bands, self.train.channels, float(self.train.pixel_scale_arcsec), int(self.train.shape[1]),
            self.train.normalisation.to_json(), config.training.model, config.training.stem,
            config.training.max_shift_pix, made, config.export.lens_light,
            self.features.scale.to_json() if self.features else {},
        )  # fmt: skip

    def some_train(self, config: RunConfig) -> TrainingView:
        """Pairs of train to be scored: as many hosts as ``scorer.max_pairs`` allows."""
        host = self.train_pairs.samples["host_index"].values
        some = chosen_hosts(host[self.train_pairs.samples["y"].values == 1], config.scorer.max_pairs, config.seed)
        return self.train_pairs.select(np.isin(host, some))

    def in_words(self) -> str:
        """Number of samples in each class."""
        y = self.train.samples["y"].values
        return f"{int((y == 1).sum()):,} positives and {int((y == 0).sum()):,} negatives of train"


def refuse_one_class(y: np.ndarray, split: str, why: str = "") -> None:
    """Refuse samples of one class alone.

    Parameters
    ----------
    y : ndarray
        Labels.
    split : str
    why : str
        What was left out, for the message.

    Raises
    ------
    ExportError
    """
    for name, label in (("positives", 1), ("negatives", 0)):
        if not (y == label).any():
            left = f" with {why}" if why else ""
            raise ExportError(
                f"training: split {split} has no {name}{left} ({len(y):,} samples): nothing can be learnt from one "
                "class, or measured on it. export.min_snr, export.negatives and splits decide"
            )


def class_weights(view: TrainingView) -> tuple[float, float]:
    """Factors on the weights of negatives and positives that make both classes of train weigh the same."""
    y, weight = view.samples["y"].values, view.samples["weight"].values.astype(np.float64)
    sums = [float(weight[y == k].sum()) for k in (0, 1)]
    return sum(sums) / 2 / sums[0], sum(sums) / 2 / sums[1]
