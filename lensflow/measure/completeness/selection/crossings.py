"""Where a curve crosses 50 and 90 %, and its plateau: numbers that need no bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit

from lensflow.config.completeness import band_of
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import CURVES
from lensflow.measure.completeness.selection.smooth import Smooth, smooth_in, smooth_of
from lensflow.measure.completeness.tables import Tables
from lensflow.stats.hostsums import Floats, interval, named

LEVELS = (0.5, 0.9)
# Variables in whose direction completeness is expected to rise, or (magnitudes) to fall.
RISING, FALLING = ("theta_e_arcsec", "snr_peak", "snr_matched", "snr_stamp"), ("src_mag",)
_POINTS = 400
# Share of draws that may lack a crossing before there is no interval.
_WITHOUT = 0.025


def crossings(of: Tables, axes: Sequence[Ranges], seed: int) -> xr.Dataset | None:
    """Find crossings and plateau along every axis that is a radius, a signal-to-noise ratio or a magnitude.

    Parameters
    ----------
    of : Tables
        Of the rows.
    axes : sequence of Ranges
    seed : int

    Returns
    -------
    Dataset or None
        Over ``variable``, ``threshold``, ``curve`` and ``level``: ``crossing`` with its 95 % interval over hosts, in
        the variable's units. It is the first point, coming from small radii, low ratios or faint magnitudes, at which
        the smooth curve of that variable alone (averaged over the others as they were injected) rises through the
        level; NaN where it does not within the tested range. ``plateau`` is the completeness of the last tested bin on
        the other side, ``reason`` why there is no curve. None where no axis is of that kind.
    """
    some = [a for a in axes if _direction(a.variable)]
    if not some:
        return None
    parts = [_along(of, a, seed) for a in some]
    found = xr.concat(parts, "variable", join="exact", coords="minimal", compat="override")
    return found.assign_coords(variable=[a.variable for a in some], curve=list(CURVES), level=list(LEVELS))


def _direction(variable: str) -> int:
    band = band_of(variable)
    base = variable if band is None else variable[: -len(band) - 1]
    return 1 if base in RISING else -1 if base in FALLING else 0


def _along(of: Tables, axis: Ranges, seed: int) -> xr.Dataset:
    one = of.table([axis])
    made = smooth_of(of.counted, of.rows, [axis], one, of.taus, seed)
    shape = (len(of.taus), len(CURVES))
    crossing, plateau = np.full((3, *shape, len(LEVELS)), np.nan), np.full((3, *shape), np.nan)
    reasons = np.full(shape, "", dtype=object)
    up = _direction(axis.variable)
    for t, c in np.ndindex(shape):
        here = one.isel(threshold=t, curve=c)
        tested = np.flatnonzero(here["tested"].values & axis.is_inside)
        if not tested.size:
            reasons[t, c] = "no bin is tested"
            continue
        top = tested[-1] if up > 0 else tested[0]
        for k, end in enumerate(("", "_low", "_high")):
            plateau[k, t, c] = here[f"completeness{end}"].values[top]
        try:
            model = smooth_in(made, [axis.variable], t, CURVES[c])
        except CompletenessError as error:
            reasons[t, c] = str(error)
            continue
        first = int(np.argmax(axis.is_inside))
        points = np.linspace(axis.edges[tested[0] - first], axis.edges[tested[-1] - first + 1], _POINTS)
        crossing[:, t, c] = _crossings(model, points[::up])
    over = ["threshold", "curve"]
    texts = ("smooth curve rises through the level", "lower end of the 95 % interval over hosts", "upper end of it")
    data = {f"crossing{e}": named([*over, "level"], v, "", x) for e, v, x in zip(_ENDS, crossing, texts, strict=True)}
    texts = ("completeness of the last tested bin", *texts[1:])
    data |= {f"plateau{e}": named(over, v, "1", x) for e, v, x in zip(_ENDS, plateau, texts, strict=True)}
    return xr.Dataset({**data, "reason": named(over, reasons.astype(str), "", "why there is no smooth curve")})


_ENDS = ("", "_low", "_high")


def _crossings(model: Smooth, points: Floats) -> Floats:
    """Crossing, low and high for each level, shape (3, levels); points come from where completeness is low."""
    x = model.basis.columns([points])
    curve = expit(x @ model.theta[:-1] + model.theta[-1])
    draws = expit(model.draws[:, :-1] @ x.T + model.draws[:, -1:])
    out = np.full((3, len(LEVELS)), np.nan)
    for k, level in enumerate(LEVELS):
        out[0, k] = first_rise(points, curve[None], level)[0]
        drawn = first_rise(points, draws, level)
        if np.isfinite(out[0, k]) and np.isnan(drawn).mean() <= _WITHOUT:
            low, high = interval(drawn[:, None], model.n_hosts)
            out[1, k], out[2, k] = min(low[0], out[0, k]), max(high[0], out[0, k])
    return out


def first_rise(points: Floats, curves: NDArray[np.float64], level: float) -> Floats:
    """First point at which each curve rises through a level.

    Parameters
    ----------
    points : ndarray, shape (n,)
        Rising or falling.
    curves : ndarray, shape (m, n)
    level : float

    Returns
    -------
    ndarray, shape (m,)
        Linear between points; NaN where a curve does not, or is not below the level where it begins.
    """
    rises = (curves[:, :-1] < level) & (curves[:, 1:] >= level)
    at = rises.argmax(axis=1)
    row = np.arange(len(curves))
    before, after = curves[row, at], curves[row, at + 1]
    share = np.divide(level - before, after - before, out=np.zeros(len(curves)), where=after != before)
    found = points[at] + share * (points[at + 1] - points[at])
    return np.where(rises.any(axis=1) & (curves[:, 0] < level), found, np.nan)
