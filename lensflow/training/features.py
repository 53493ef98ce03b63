"""What a network reads beside the pixels: the PSF of its host's bands, the same for a stamp and its control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.config.training import FEATURES
from lensflow.export.samples import CONTROL
from lensflow.export.view import TrainingView
from lensflow.run.realism.stamps import RealFolder
from lensflow.store.open import host_tables
from lensflow.store.run_folder import RunFolder
from lensflow.training.feature_scale import FeatureScale

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HostFeatures:
    """Features of every host of a run, and of its table of real non-lenses.

    Attributes
    ----------
    scale : FeatureScale
    hosts, table : ndarray, shape (host, feature * band)
        As stored, arcsec; NaN where a band is absent. ``table`` is empty where no sample is of it.
    """

    scale: FeatureScale
    hosts: Floats
    table: Floats

    @classmethod
    def open(cls, config: RunConfig, train: TrainingView) -> HostFeatures | None:
        """Read the features that ``training.features`` names; None without any.

        Parameters
        ----------
        config : RunConfig
        train : TrainingView
            Of the train split: its controls set the constants.

        Returns
        -------
        HostFeatures or None

        Raises
        ------
        ExportError
            If a feature is the same for every host.
        """
        names = config.training.features
        if not names:
            return None
        hosts = _read(RunFolder.of(config).cutouts, names)
        kind = train.samples["negative_kind"].values
        # As a view of single images has them; ``train`` may be one of pairs.
        has_table = config.export.view == "single" and config.export.negatives.table > 0
        table = _read(RealFolder.of(config).cutouts, names) if has_table else np.empty((0, hosts.shape[1]))
        own = np.unique(train.samples["host_index"].values[kind == CONTROL])
        return cls(FeatureScale.of(names, config.bands, hosts[own]), hosts, table)

    def stored(self, host_index: NDArray[np.int64]) -> Floats:
        """Features of samples as they are stored, shape (n, feature * band).

        Parameters
        ----------
        host_index : ndarray of int64, shape (n,)
            As samples have it: -1 - place for objects of the table.
        """
        host = np.asarray(host_index, np.int64)
        out = np.empty((len(host), self.hosts.shape[1]))
        out[host >= 0] = self.hosts[host[host >= 0]]
        out[host < 0] = self.table[-1 - host[host < 0]]
        return out

    def of(self, host_index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of samples as a network reads them, shape (n, feature * band)."""
        return self.scale.apply(self.stored(host_index), "training.features")


def _read(cutouts: str, names: tuple[str, ...]) -> Floats:
    read, n = host_tables(cutouts)
    hosts = read(0, n)
    return np.concatenate([hosts[FEATURES[name]].values.astype(np.float64) for name in names], axis=1)
