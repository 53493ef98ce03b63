"""Scores of a trained network on a view: stamps and their controls, both also without their core."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, rng
from lensflow.errors import ExportError
from lensflow.export.view import PixelsWithArcs, TrainingView
from lensflow.measure.scorer.core_noise import annulus_noise, fill_core_with_noise
from lensflow.stats.kept_rows import first_of_host
from lensflow.training.features import HostFeatures

# Normalised images (n, channel, y, x), and features (n, k) where there are any, to scores (n,).
Score = Callable[..., NDArray[np.float64]]
# Bits of float32 sums differ with the size of a batch: equal images must have equal scores.
DECIMALS = 6
_OF_ROWS = ("row_id", "host_index", "split", "snr", "theta_e_arcsec", "psfsize_arcsec", "host_mag", "x_center",
            "y_center", "pair_id")  # fmt: skip


def score_view(
    view: TrainingView,
    score: Score,
    pixel_scale_arcsec: float,
    seed: int,
    crop_pix: int = 0,
    features: HostFeatures | None = None,
) -> xr.Dataset:
    """Score the pairs of a view.

    Parameters
    ----------
    view : TrainingView
        Of pairs: each positive with its own control in the same unit.
    score : callable
    pixel_scale_arcsec : float
        The core is a circle of one PSF size (FWHM in the reference band) about the target.
    seed : int
        Of the noise in filled cores.
    crop_pix : int
        Pixels that the network does not see on each side.
    features : HostFeatures, optional
        ``score`` is then called with (images, features of their hosts).

    Returns
    -------
    Dataset
        As :func:`lensflow.measure.scorer.scorer.score_block`: of injections (sample) ``stamp``, ``stamp_filled``,
        ``own_ctrl`` (the control of this very row), ``stamp_explained`` (the stamp with the core that control and
        rendered arc make; NaN where the view does not know its arcs), ``snr``, ``arc_snr``, ``theta_e_arcsec``,
        ``psfsize_arcsec``, ``host_mag`` and ids; of hosts (host) ``ctrl``, ``ctrl_filled``, ``ctrl_host``,
        ``ctrl_row_id``. Scores are rounded to 1e-6.

    Raises
    ------
    ExportError
        If a positive has no control in its unit, or there is none.
    """
    parts = []
    for unit in range(view.n_units):
        at = np.flatnonzero(view.samples["unit"].values == unit)
        if at.size:
            some = view.samples.isel(sample=at)
            parts.append(_unit(view, unit, some, beside(score, features), pixel_scale_arcsec, seed, crop_pix))
    if not parts:
        raise ExportError("scores: the view has no sample")
    rows = xr.concat(parts, "sample")
    rows = rows.isel(sample=np.lexsort((rows["row_id"].values, rows["host_index"].values)))
    first = first_of_host(rows["host_index"].values, rows["row_id"].values)
    of_host = rows.isel(sample=first)
    return rows.drop_vars("ctrl_filled").assign(
        ctrl=("host", of_host["own_ctrl"].values),
        ctrl_filled=("host", of_host["ctrl_filled"].values),
        ctrl_host=("host", of_host["host_index"].values),
        ctrl_row_id=("host", of_host["row_id"].values),
    )


# Normalised images and the numbers of their hosts to scores.
ScoreOf = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float64]]


def beside(score: Score, features: HostFeatures | None) -> ScoreOf:
    """Score images with the features of their hosts beside them, if there are any.

    Parameters
    ----------
    score : callable
    features : HostFeatures or None

    Returns
    -------
    callable
        Images and ``host_index`` of each to scores.
    """
    if features is None:
        return lambda images, host: score(images)
    return lambda images, host: score(images, features.of(host))


def _unit(
    view: TrainingView, unit: int, samples: xr.Dataset, score: ScoreOf, pixel_scale_arcsec: float, seed: int, crop: int
) -> xr.Dataset:
    raw = view.raw(unit)
    stamp, own = paired_places(samples)
    of = samples.isel(sample=stamp)
    x, valid = raw["x"], raw["valid"]
    bare = score(network_input_of(view, x, valid, crop, samples["row_id"].values), samples["host_index"].values)
    # Of a positive and of its own control.
    host = of["host_index"].values
    noise = annulus_noise(x[own])
    radius = of["psfsize_arcsec"].values.astype(np.float64) / pixel_scale_arcsec
    key = rng.mix_ids(of["host_index"].values.astype(np.uint64), np.uint64(1))
    filled = []
    for which in (stamp, own):
        cored = fill_core_with_noise(x[which], noise, of["x_center"].values, of["y_center"].values, radius, key, seed)
        filled.append(score(network_input_of(view, cored, valid[which], crop, of["row_id"].values), host))
    explained = np.full(len(stamp), np.nan)
    if isinstance(pixels := view.pixels, PixelsWithArcs):
        shard = int(view.shards[unit])
        # Where the lens's light is taken off, it is taken off last: of the stamp with the explained core.
        whole = x if pixels.lens_light == "kept" else pixels.with_light().read(samples, shard)
        light = whole[own] + pixels.arcs(of, shard)
        r = geometry.radius_pix(x.shape[-1], of["x_center"].values, of["y_center"].values)
        cored = np.where((r < radius[:, None, None])[:, None], light, whole[stamp])
        cored = pixels.less_light(cored, of)
        explained = score(network_input_of(view, cored, valid[stamp], crop, of["row_id"].values), host)
    scores = {
        "stamp": bare[stamp],
        "stamp_explained": explained,
        "own_ctrl": bare[own],
        "stamp_filled": filled[0],
        "ctrl_filled": filled[1],
    }
    return xr.Dataset(
        {k: ("sample", np.round(v, DECIMALS)) for k, v in scores.items()}
        | {k: ("sample", of[k].values) for k in _OF_ROWS}
        # The judges of scores know an arc's SNR by this name.
        | {"arc_snr": ("sample", of["snr"].values), "absent": ("sample", np.zeros(len(stamp), np.uint8))}
    )


def paired_places(samples: xr.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the positives, and of the control of each.

    Parameters
    ----------
    samples : Dataset
        Of one unit of a view of pairs.

    Returns
    -------
    (ndarray, ndarray) of int64

    Raises
    ------
    ExportError
        If a positive has no control there.
    """
    y, pair, kind = (samples[k].values for k in ("y", "pair_id", "negative_kind"))
    stamp, ctrl = np.flatnonzero(y == 1), np.flatnonzero((y == 0) & (kind == 0))
    ctrl = ctrl[np.argsort(pair[ctrl], kind="stable")]
    at = np.searchsorted(pair[ctrl], pair[stamp])
    has = at < len(ctrl)
    has[has] = pair[ctrl][at[has]] == pair[stamp][has]
    if not has.all():
        row = samples["row_id"].values[stamp[~has][0]]
        raise ExportError(f"scores: row {row} has no control in its unit; a view of pairs has one for every positive")
    return stamp, ctrl[at]


def network_input_of(
    view: TrainingView,
    raw: NDArray[np.float32],
    valid: NDArray[np.bool_],
    crop_pix: int = 0,
    row_id: NDArray[np.uint64] | None = None,
) -> NDArray[np.float32]:
    """Raw images as ``view.read`` gives them, without the pixels that the network does not see.

    Parameters
    ----------
    view : TrainingView
    raw : ndarray of float32, shape (n, band, y, x)
        nMgy/pixel.
    valid : ndarray of bool, same shape
        Pixels with data.
    crop_pix : int
        Pixels cut from each side.
    row_id : ndarray of uint64, shape (n,), optional
        For messages.

    Returns
    -------
    ndarray of float32, shape (n, channel, y, x)
    """
    x = view.normalisation.apply(raw, valid, row_id)
    if len(view.channels) > len(view.bands):
        x = np.concatenate([x, valid.all(axis=1, keepdims=True).astype(np.float32)], axis=1)
    return _cut(x, crop_pix)


def _cut(x: NDArray[np.float32], crop: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(x[:, :, crop : x.shape[2] - crop, crop : x.shape[3] - crop]) if crop else x
