"""Features of the core gate: the pixels of the core box of stamps and of their own controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.diagnostics.hostsums import column
from lensflow.errors import GateError, did_you_mean

_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Core boxes of injection rows, each with its own unlensed control.

    Attributes
    ----------
    stamp, ctrl : ndarray of float32, shape (n, band, box, box)
        Pixels of the core box, nMgy/pixel.
    covered : ndarray of bool, shape (n, band)
        The row has a PSF, hence an arc, in the band.
    sky_sigma : ndarray of float32, shape (n, band)
        Pixel scatter of the control away from the target (1.4826 MAD), nMgy/pixel: the unit of known leaks.
    host_index, row_id, theta_e_arcsec, arc_snr, split : ndarray, shape (n,)
        As in the manifest and the metrics.
    """

    stamp: NDArray[np.float32]
    ctrl: NDArray[np.float32]
    covered: NDArray[np.bool_]
    sky_sigma: NDArray[np.float32]
    host_index: NDArray[np.int64]
    row_id: NDArray[np.uint64]
    theta_e_arcsec: NDArray[np.float64]
    arc_snr: NDArray[np.float64]
    split: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.host_index)

    def take(self, rows: NDArray[np.int64]) -> FeatureBlock:
        """Rows of the block, in the order given."""
        return FeatureBlock(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concat(blocks: Iterable[FeatureBlock]) -> FeatureBlock:
        """Join blocks of the same bands and box; the order does not matter to the gate."""
        parts = list(blocks)
        if not parts:
            raise GateError("core gate: no block of features to join")
        shapes = {p.stamp.shape[1:] for p in parts}
        if len(shapes) > 1:
            raise GateError(f"core gate: blocks of different (band, y, x): {sorted(shapes)}")
        return FeatureBlock(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(FeatureBlock)}
        )


def core_block(pairs: xr.Dataset, box_pix: int, bands: Sequence[str] | None = None) -> FeatureBlock:
    """Cut the core box (``geometry.core_box``) of the injection rows of a block of pairs, in all its bands or some.

    Raises
    ------
    GateError
        If a band is not in the block.
    StoreError
        If a variable is missing.
    """
    have = [str(b) for b in pairs["band"].values]
    bands = have if bands is None else bands
    for band in bands:
        if band not in have:
            raise GateError(f"core gate: no band {band!r} in the pairs ({', '.join(have)}).{did_you_mean(band, have)}")
    pick = np.array([have.index(b) for b in bands], dtype=np.int64)
    stamp, ctrl = column(pairs, "stamp"), column(pairs, "ctrl")
    rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
    size = stamp.shape[-1]
    box = np.ix_(rows, pick, *(np.arange(size)[s] for s in geometry.core_box(size, box_pix)))
    return FeatureBlock(
        stamp=np.ascontiguousarray(stamp[box], dtype=np.float32),
        ctrl=np.ascontiguousarray(ctrl[box], dtype=np.float32),
        covered=np.isfinite(column(pairs, "psf_fwhm_arcsec"))[np.ix_(rows, pick)],
        sky_sigma=_sky_sigma(ctrl[np.ix_(rows, pick)]),
        host_index=column(pairs, "host_index")[rows].astype(np.int64),
        row_id=column(pairs, "row_id")[rows].astype(np.uint64),
        theta_e_arcsec=column(pairs, "theta_e_arcsec")[rows].astype(np.float64),
        arc_snr=column(pairs, "arc_snr")[rows].astype(np.float64),
        split=column(pairs, "split")[rows].astype(np.uint8),
    )


def _sky_sigma(ctrl: NDArray[np.float32]) -> NDArray[np.float32]:
    size = ctrl.shape[-1]
    middle = geometry.centre(size)
    inner = min(geometry.ANNULUS_INNER_PIX, max(size / 2 - 2, 0.0))
    sky = ctrl[:, :, geometry.annulus(size, middle, middle, inner)]
    deviation = np.abs(sky - np.median(sky, axis=-1, keepdims=True))
    return (_MAD_TO_SIGMA * np.median(deviation, axis=-1)).astype(np.float32)
