"""A toy lens finder: a random forest on rings and sectors of what a symmetric host does not explain.

It exists so that a run can show a completeness and a ROC of something that learned from images. It is a toy: a few
hundred training hosts, no neighbours or rings among its negatives. Features are made of pixels alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.errors import GateError
from lensflow.schema import SPLITS
from lensflow.stats.hostsums import Floats, column
from lensflow.stats.kept_rows import KeptRows, first_of_host
from lensflow.units import MAD_TO_SIGMA

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

NOTE = (
    "A toy: a random forest fitted in seconds on the train split of this run, to show what a completeness looks like. "
    "Say nothing of real searches by it"
)
# Rings 2 pixels wide out to 12 pixels, each in eight sectors.
_RINGS, _WIDTH_PIX, _SECTORS = 6, 2, 8
_REACH_PIX = float(_RINGS * _WIDTH_PIX)
_TREES, _LEAF = 100, 5
# With fewer, a forest learns their names.
_LEAST_HOSTS = 20
# The only rows that it may learn from: val sets thresholds and is counted, test is sealed.
SPLIT = "train"


@dataclass(frozen=True, eq=False)
class ToyFinder:
    """A fitted toy, a scorer as :func:`lensflow.measure.scorer.scorer.as_scorer` takes it.

    Attributes
    ----------
    forest : RandomForestClassifier
        Fitted on :func:`features`.
    bands : tuple of str
        Of the images.
    n_lenses, n_hosts : int
        Injections, and hosts without arcs, that it was fitted on; all of the train split.
    made_from : str
        Fingerprint of pixels and code that it was fitted on; empty where nobody asked.
    note : str
        What is said wherever its numbers are shown.
    """

    forest: RandomForestClassifier
    bands: tuple[str, ...]
    n_lenses: int
    n_hosts: int
    made_from: str = ""
    note: str = NOTE

    def __call__(self, images: NDArray[Any]) -> Floats:
        """Score images.

        Parameters
        ----------
        images : ndarray, shape (n, band, y, x)
            nMgy/pixel; an absent band is 0.

        Returns
        -------
        ndarray of float64, shape (n,)
            Share of the forest that calls each a lens, 0 to 1; NaN where a pixel is not finite.

        Raises
        ------
        GateError
            If the images have other bands than those that it was fitted on.
        """
        if images.shape[1] != len(self.bands):
            raise GateError(
                f"toy finder: fitted on bands {', '.join(self.bands)}; images of {images.shape[1]} bands were given"
            )
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        scores: Floats = np.full(len(images), np.nan)
        if finite.any():
            scores[finite] = self.forest.predict_proba(features(images[finite]))[:, 1]
        return scores


def training_rows(pairs: xr.Dataset) -> KeptRows:
    """Features of the train rows of a block of pairs: of their stamps, and of their hosts without arc.

    Parameters
    ----------
    pairs : Dataset
        A block with ``stamp``, ``ctrl``, ``is_control``, ``split``, ``row_id`` and ``host_index``; rows of other splits
        are left out.

    Returns
    -------
    KeptRows
        ``lens`` over sample and feature, ``host`` over host and feature, with ``host_index``, ``row_id`` and their
        like of the hosts, each host once when joined.

    Raises
    ------
    StoreError
        If a variable is missing.
    """
    injected = ~column(pairs, "is_control").astype(bool) & (column(pairs, "split") == SPLITS.index(SPLIT))
    rows = np.flatnonzero(injected)
    of = {n: column(pairs, n)[rows] for n in ("row_id", "host_index")}
    first = first_of_host(of["host_index"], of["row_id"])
    return KeptRows(
        # One block is not joined with any, and comes in the order of its table.
        _in_order(
            xr.Dataset(
                {
                    "lens": (("sample", "feature"), features(column(pairs, "stamp")[rows])),
                    "row_id": ("sample", of["row_id"].astype(np.uint64)),
                    "host_index": ("sample", of["host_index"].astype(np.int64)),
                    "bare": (("host", "feature"), features(column(pairs, "ctrl")[rows[first]])),
                    "bare_host": ("host", of["host_index"][first].astype(np.int64)),
                    "bare_row_id": ("host", of["row_id"][first].astype(np.uint64)),
                }
            )
        ),
        ("sample", "host"),
        _in_order,
    )


def _in_order(rows: xr.Dataset) -> xr.Dataset:
    """The same order in whatever blocks they came; a host of two blocks stays once."""
    order = np.lexsort((rows["row_id"].values, rows["host_index"].values))
    return rows.isel(sample=order, host=first_of_host(rows["bare_host"].values, rows["bare_row_id"].values))


def fit(rows: xr.Dataset, bands: tuple[str, ...], seed: int, made_from: str = "") -> ToyFinder:
    """Fit a toy.

    Parameters
    ----------
    rows : Dataset
        As :func:`training_rows` gives.
    bands : tuple of str
        Of the images.
    seed : int
        Of the forest; the same rows give the same forest.
    made_from : str
        Kept with the finder.

    Returns
    -------
    ToyFinder
        Of each host, its lenses weigh together as much as it does without arc.

    Raises
    ------
    GateError
        If there are too few hosts to learn from.
    """
    n, hosts = rows.sizes["sample"], rows.sizes["host"]
    if hosts < _LEAST_HOSTS:
        raise GateError(f"toy finder: {hosts} hosts with injections in split {SPLIT}, at least {_LEAST_HOSTS} needed")
    _, place, times = np.unique(rows["host_index"].values, return_inverse=True, return_counts=True)
    from sklearn.ensemble import RandomForestClassifier  # those who only take its rows need not wait for it

    # The same trees on any number of cores.
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, random_state=seed % 2**32, n_jobs=-1)
    forest.fit(
        np.concatenate([rows["lens"].values, rows["bare"].values]),
        np.arange(n + hosts) < n,
        sample_weight=np.concatenate([1 / times[place], np.ones(hosts)]),
    )
    # It scores in workers, which share the cores already.
    forest.set_params(n_jobs=1)
    return ToyFinder(forest, bands, n, hosts, made_from)


def features(images: NDArray[Any]) -> Floats:
    """Describe images by what a symmetric host of one colour does not explain.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        nMgy/pixel, the target at the stamp's middle to within a pixel; an absent band is 0.

    Returns
    -------
    ndarray of float64, shape (n, k)
        Of every map, in each of six rings: highest, second highest, lowest, median and scatter of the signal to noise
        of eight sectors. The maps are each pair of bands, the bluer less the redder one at the host's colour, and the
        sum of all bands less itself turned by 180 degrees, and what of it is above that. Then colours, flux and
        concentration. NaN where a band is absent.
    """
    size = images.shape[-1]
    middle = geometry.centre(size)
    half = math.ceil(_REACH_PIX)
    box = slice(max(0, size // 2 - half), size - max(0, size // 2 - half))
    away = np.flatnonzero(geometry.annulus(size, middle, middle, geometry.ANNULUS_INNER_PIX))[::3]
    near = images[:, :, box, box].astype(np.float64)
    sky = images.reshape(*images.shape[:2], size * size)[:, :, away].astype(np.float64)
    r = geometry.radius_pix(size, middle, middle)[box, box]
    cells = _cells(size)[:, box, box].reshape(_RINGS * _SECTORS, -1)
    present = np.abs(near).sum(axis=(2, 3)) > 0
    sigma = np.where(present, _noise(sky), np.nan)
    columns: list[Floats] = []
    for a in range(images.shape[1]):
        for b in range(a + 1, images.shape[1]):
            both = present[:, a] & present[:, b]
            inner = r < geometry.CORE_RADIUS_PIX
            top, bottom = ((near[:, k] * near[:, b])[:, inner].sum(axis=1) for k in (a, b))
            colour = np.divide(top, bottom, out=np.full(len(images), np.nan), where=both & (bottom > 0))
            left = near[:, a] - colour[:, None, None] * near[:, b]
            columns += _spots(left, _noise(sky[:, a] - colour[:, None] * sky[:, b]), cells)
    weight = np.nan_to_num(1 / sigma)[:, :, None, None]
    total = (near * weight).sum(axis=1)
    turned = total[:, ::-1, ::-1]
    noise = np.sqrt(present.sum(axis=1).astype(np.float64))
    columns += _spots(total - turned, noise * math.sqrt(2), cells)
    columns += _spots(np.maximum(total - turned, 0.0), noise * math.sqrt(2), cells)
    disc, core = r < _REACH_PIX, r < geometry.CORE_RADIUS_PIX
    flux = np.where(present, near[:, :, disc].sum(axis=2), np.nan)
    flux = np.where(flux > 0, flux, np.nan)
    columns += [np.log10(flux[:, k] / flux[:, k + 1]) for k in range(images.shape[1] - 1)]
    columns += [np.log10(flux[:, -1]), near[:, -1][:, core].sum(axis=1) / flux[:, -1]]
    return np.stack(columns, axis=1)


def _cells(size: int) -> Floats:
    """Weights that give each cell's summed signal in units of the noise of one pixel, shape (cells, y, x)."""
    middle = geometry.centre(size)
    ring = geometry.ring_index(size, middle, middle, _RINGS * _WIDTH_PIX) // _WIDTH_PIX
    sector = geometry.sector_index(size, middle, middle, _SECTORS)
    inside = np.stack([(ring == k) & (sector == s) for k in range(_RINGS) for s in range(_SECTORS)])
    # Square root: the sum of n pixels has sqrt(n) times the noise of one.
    return inside / np.sqrt(np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1))


def _noise(pixels: Floats) -> Floats:
    """Scatter of the sky along the last axis; NaN where it is 0."""
    scatter = np.median(np.abs(pixels), axis=-1) * MAD_TO_SIGMA
    return np.where(scatter > 0, scatter, np.nan)


def _spots(of: Floats, noise: Floats, cells: Floats) -> list[Floats]:
    """Statistics of the sectors' signal to noise in each ring."""
    # Not a matrix product of all images: its rounding depends on how many there are.
    signal = np.einsum("nk,ck->nc", of.reshape(len(of), cells.shape[1]), cells) / noise[:, None]
    rings = np.sort(signal.reshape(len(of), _RINGS, _SECTORS), axis=2)
    found = (rings[..., -1], rings[..., -2], rings[..., 0], np.median(rings, axis=2), rings.std(axis=2))
    return [part[:, k] for k in range(_RINGS) for part in found]
