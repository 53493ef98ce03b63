"""How numbers beside the pixels are normalised, with constants that go into the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ConfigError, ExportError

Floats = NDArray[np.float64]
# Scatter over mean of a column from which on it says anything.
_LEAST_SCATTER = 1e-3


@dataclass(frozen=True)
class FeatureScale:
    """How features become the numbers that a network reads: (value - mean) / scale, 0 where a band is absent.

    Attributes
    ----------
    names : tuple of str
        Keys of ``lensflow.config.training.FEATURES``.
    bands : tuple of str
    mean, scale : tuple of float
        Mean and standard deviation over the hosts of train controls, each once: feature by feature, band by band.
    n_hosts : int
        Hosts that they are of.
    """

    names: tuple[str, ...]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    n_hosts: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Name and band of each number."""
        return tuple(f"{name}_{band}" for name in self.names for band in self.bands)

    @classmethod
    def of(cls, names: tuple[str, ...], bands: tuple[str, ...], values: Floats) -> FeatureScale:
        """Take the constants from hosts.

        Parameters
        ----------
        names, bands : tuple of str
        values : ndarray, shape (host, feature * band)
            NaN where a band is absent.

        Returns
        -------
        FeatureScale

        Raises
        ------
        ExportError
            If a column has no value, or the same one everywhere: a network cannot learn from it.
        """
        mean, scale = [], []
        for k, name in enumerate(cls(names, bands, (), (), 0).columns):
            column = values[np.isfinite(values[:, k]), k]
            middle, scatter = (float(column.mean()), float(column.std())) if column.size else (np.nan, np.nan)
            if not scatter > _LEAST_SCATTER * abs(middle):
                what = f"is {middle:.4g} arcsec in all of them" if column.size else "is in none of them"
                raise ExportError(
                    f"training.features: {name} {what} ({len(values):,} hosts of train): nothing can be learnt from "
                    "it, and what the network makes of another value would be chance. Leave training.features empty"
                )
            mean.append(middle)
            scale.append(scatter)
        return cls(names, bands, tuple(mean), tuple(scale), len(values))

    def apply(self, values: NDArray[Any], whose: str) -> NDArray[np.float32]:
        """Numbers that a network reads.

        Parameters
        ----------
        values : ndarray, shape (n, feature * band)
            arcsec; NaN where a band is absent, which becomes 0: the mean, as pixels without data become 0.
        whose : str
            For messages.

        Returns
        -------
        ndarray of float32, shape (n, feature * band)

        Raises
        ------
        ConfigError
            If there is another number of columns, or a value is infinite or not above 0.
        """
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise ConfigError(
                f"{whose}: was trained with {', '.join(self.columns)} beside the images, and is given features of "
                f"shape {values.shape}, not ({len(values)}, {len(self.columns)})"
            )
        odd = np.argwhere(~np.isnan(values) & ~((values > 0) & np.isfinite(values)))
        if len(odd):
            row, k = odd[0]
            raise ConfigError(f"{whose}: {self.columns[k]} of image {row} is {values[row, k]:g} arcsec: no PSF size")
        return np.nan_to_num((values - self.mean) / self.scale, nan=0.0).astype(np.float32)

    def refuse_other(self, other: FeatureScale, whose: str) -> None:
        """Refuse features with other constants: a network reads only what it was trained with.

        Parameters
        ----------
        other : FeatureScale
            Of the data.
        whose : str
            Name of the checkpoint, for the message.

        Raises
        ------
        ConfigError
            Naming both values.
        """
        for what in ("columns", "mean", "scale"):
            mine, theirs = getattr(self, what), getattr(other, what)
            alike = mine == theirs if what == "columns" else np.allclose(mine, theirs, rtol=1e-3)
            if not alike:
                raise ConfigError(
                    f"{whose}: was trained for features with {what} {mine}, and those of the data have {theirs}"
                )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, for a checkpoint's header."""
        return {"names": list(self.names), "bands": list(self.bands), "columns": list(self.columns),
                "mean_arcsec": list(self.mean), "scale_arcsec": list(self.scale), "n_hosts": self.n_hosts}  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureScale:
        """Read what :meth:`to_json` gave.

        Raises
        ------
        ConfigError
            If it is none.
        """
        try:
            return cls(tuple(value["names"]), tuple(value["bands"]), tuple(map(float, value["mean_arcsec"])),
                       tuple(map(float, value["scale_arcsec"])), int(value["n_hosts"]))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"features: not those of a training of lensflow ({error!r})") from error
