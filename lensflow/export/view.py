"""A training view: samples of a run with their classes, and their pixels, read a whole shard at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.normalisation import Normalisation
from lensflow.export.pixels.kernels import not_finite
from lensflow.export.samples import Counts

# Of a sample, beside its pixels, in what a unit and a batch give.
COLUMNS = (
    "y", "weight", "row_id", "sample_id", "host_index", "pair_id", "negative_kind", "split", "snr", "stratum",
    "x_center", "y_center",
)  # fmt: skip


class Pixels(Protocol):
    """Where the pixels of samples come from."""

    def read(self, samples: xr.Dataset, shard: int) -> NDArray[np.float32]:
        """Pixels before normalisation, shape (n, channel, y, x); NaN where there is no data."""
        ...


@runtime_checkable
class PixelsWithArcs(Pixels, Protocol):
    """Pixels whose arcs are known as they were rendered."""

    @property
    def lens_light(self) -> str:
        """Light of the lens that :meth:`read` takes off: kept (none), radial or smooth."""
        ...

    def arcs(self, samples: xr.Dataset, shard: int) -> NDArray[np.float32]:
        """Noiseless arcs of samples that have a row, shape (n, band, y, x)."""
        ...

    def with_light(self) -> Pixels:
        """The same pixels before the lens's light is taken off."""
        ...

    def less_light(self, x: NDArray[np.float32], samples: xr.Dataset) -> NDArray[np.float32]:
        """Images of samples with the lens's light taken off as ``lens_light`` says."""
        ...


@dataclass(frozen=True)
class Certified:
    """What a run's certificate says.

    Attributes
    ----------
    verdict : str
        Over the required gates.
    reason : str
        Of the verdict.
    seal : str
        SHA-256 of the certificate.
    """

    verdict: str
    reason: str
    seal: str


@dataclass(frozen=True, eq=False)
class Unit:
    """Samples of one unit in memory.

    Attributes
    ----------
    x : ndarray of float32, shape (n, channel, y, x)
        Normalised; 0 where there is no data.
    lacks : ndarray of bool, shape (n,)
        Samples that lack data somewhere.
    columns : dict of ndarray, shape (n,)
        The rest of ``COLUMNS``.
    """

    x: NDArray[np.float32]
    lacks: NDArray[np.bool_]
    columns: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class TrainingView:
    """Samples for a training: what they are, and how their pixels are read.

    Attributes
    ----------
    samples : Dataset, dim sample
        One row a sample, ordered by unit and within it by id: unit, sample_id, row_id, host_index, host_id, pair_id
        (number of the manifest's row; below 0 without one), y, weight, negative_kind (index into
        ``lensflow.config.export.NEGATIVE_KINDS``, -1 for positives), split, snr, theta_e_arcsec, psfsize_arcsec
        (reference band), host_mag, bad_pixel_frac, is_clean, ra_deg, dec_deg, x_center, y_center, stratum.
    view : str
        Which view it is.
    bands, channels : tuple of str
    shape : tuple of int
        (channel, y, x) of one sample.
    normalisation : Normalisation
    shards : ndarray of int64, shape (unit,)
        Shard of the store that each unit is.
    pixels : Pixels
    certified : Certified or None
        The run's certificate.
    counts : Counts
        Honest numbers of the whole view; those of a selection are not counted again.
    valid_channel : bool
        Whether the last channel says where there is data.
    pixel_scale_arcsec : float
    name : str
        Of the run.
    """

    samples: xr.Dataset
    view: str
    bands: tuple[str, ...]
    channels: tuple[str, ...]
    shape: tuple[int, int, int]
    normalisation: Normalisation
    shards: NDArray[np.int64]
    pixels: Pixels
    certified: Certified | None
    counts: Counts
    valid_channel: bool = False
    pixel_scale_arcsec: float = float("nan")
    name: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_units(self) -> int:
        """Number of units: whole shards that are read as one."""
        return len(self.shards)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First sample of each unit, and the end of the last, shape (unit + 1,)."""
        return np.searchsorted(self.samples["unit"].values, np.arange(self.n_units + 1))

    def raw(self, unit: int) -> dict[str, NDArray[Any]]:
        """Pixels of a unit before normalisation.

        Parameters
        ----------
        unit : int

        Returns
        -------
        dict
            ``x`` float32 (n, channel, y, x), nMgy/pixel, NaN where there is no data; ``valid`` bool, the same shape. In
            the order of ``samples``.

        Raises
        ------
        ExportError
            If a stamp has other valid pixels than its control.
        """
        x = self._raw(unit)
        return {"x": x, "valid": np.isfinite(x)}

    def unit(self, unit: int) -> Unit:
        """Read a unit as loaders use it.

        Parameters
        ----------
        unit : int

        Returns
        -------
        Unit
        """
        some = self._some(unit)
        x = self._raw(unit)
        row_id = some["row_id"].values
        valid = self._valid(x) if self.valid_channel else None
        lacks = self.normalisation.apply_in_place(x, row_id)
        odd = not_finite(x)
        if odd.any():
            raise ExportError(f"row {row_id[np.argmax(odd)]}: a value that is not finite is left after normalisation")
        if valid is not None:
            x = np.concatenate([x, valid], axis=1)
        return Unit(x, lacks, {n: some[n].values for n in COLUMNS})

    @staticmethod
    def _valid(x: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.ones((len(x), 1, *x.shape[2:]), np.float32)
        missing = np.flatnonzero(not_finite(x))
        out[missing, 0] = np.isfinite(x[missing]).all(axis=1)
        return out

    def read(self, unit: int) -> dict[str, NDArray[Any]]:
        """Samples of a unit as a network reads them.

        Parameters
        ----------
        unit : int

        Returns
        -------
        dict
            ``x`` float32 (n, *shape), normalised and finite: 0 where there is no data; and of each sample y, weight,
            row_id, sample_id, host_index, pair_id, negative_kind, split, snr, stratum, x_center, y_center.
        """
        found = self.unit(unit)
        return {"x": found.x, **found.columns}

    def select(self, mask: NDArray[Any]) -> TrainingView:
        """Some samples, of the same units; units without any are left out.

        Parameters
        ----------
        mask : ndarray of bool, shape (sample,)

        Returns
        -------
        TrainingView
        """
        keep = np.asarray(mask)
        if keep.dtype != np.bool_ or keep.shape != (self.samples.sizes["sample"],):
            raise ExportError(f"select: a mask of shape ({self.samples.sizes['sample']},), not {keep.shape}")
        units, unit = np.unique(self.samples["unit"].values[keep], return_inverse=True)
        samples = self.samples.isel(sample=np.flatnonzero(keep)).assign(unit=("sample", unit.astype(np.int32)))
        return replace(self, samples=samples, shards=self.shards[units])

    def _some(self, unit: int) -> xr.Dataset:
        if not 0 <= unit < self.n_units:
            raise ExportError(f"no unit {unit} among {self.n_units}")
        starts = self.starts
        return self.samples.isel(sample=slice(int(starts[unit]), int(starts[unit + 1])))

    def _raw(self, unit: int) -> NDArray[np.float32]:
        return self.pixels.read(self._some(unit), int(self.shards[unit]))
