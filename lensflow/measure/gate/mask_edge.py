"""The mask-edge gate: can the mask on the arcs' cores be seen?

A hole that every injection has and no lens in the sky is a mark of the class, whatever the core gates say of what lies
inside it: a network learns to find round halos with a hole. Two comparisons, each by the machinery of every gate; the
worse one counts:

- the stamps as they are against the same arcs without the mask, so that all that differs is the mask;
- the control plus a round halo with the mask's hole against the same without it: no arc is left that could hide the
  hole. The halo has the radial profile of the row's own arc, so that it is as bright as the run's arcs are.

Features are about each row's lens, where the mask is: the step of light across the mask's edge in 12 sectors, sorted
(an arc crosses some of them, at any angle), and the means of 1-pixel rings about the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lensflow import geometry
from lensflow.config import DiagnosticsConfig, GateConfig, fingerprint
from lensflow.config.checks import MASK_EDGE
from lensflow.errors import GateError
from lensflow.injection.core.masks import keep_weights
from lensflow.measure.gate.estimators import estimator_of
from lensflow.measure.gate.features import Features, block_columns, distinct_controls, features_of, with_features
from lensflow.measure.gate.gate import Part, measure_parts, recipe_of_fit, rows_of_gate
from lensflow.measure.gate.means import mean_weights
from lensflow.measure.gate.recipes import sky
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.stats.hostsums import column

SECTORS, STEP_PIX, RINGS_PIX = 12, 2.0, 4
# Rows rendered again without the mask: this many, of whole hosts, suffice for the gate.
MAX_PAIRS = 2_000
ARCS, HALOS = "mask_edge.arcs", "mask_edge.halos"
_WORDS = {
    ARCS: "the stamps against the same arcs without the mask",
    HALOS: "control plus a round halo of the arc's light, with the mask's hole against without it",
}
_LEAK = "a hole in light of one sky sigma in every pixel, of the mask's radius, in copies of the unmasked"
# A new rendering may differ from the stored arc by rounding and by the renderer's accuracy, hardly by more.
_FLUX_APART = 0.1


@dataclass(frozen=True)
class Mask:
    """Mask of a run or a handling: ``injection.core_mask``.

    Attributes
    ----------
    radius_pix : float
    method : {"hard", "taper", "tanh"}
    width_pix : float
    """

    radius_pix: float
    method: str
    width_pix: float

    @property
    def outer_pix(self) -> float:
        """Radius at which all light, or nearly all, is kept."""
        return self.radius_pix + (0.0 if self.method == "hard" else self.width_pix)

    @property
    def inner_pix(self) -> float:
        """Radius at which the light begins."""
        return self.radius_pix - (self.width_pix if self.method == "tanh" else 0.0)

    def describe(self) -> str:
        """Describe the gate."""
        width = "" if self.method == "hard" else f", {self.width_pix:g} pixels wide"
        return f"{self.method} mask at r = {self.radius_pix:g} pixels{width}"


def mask_rows(pairs: xr.Dataset, unmasked: NDArray[np.floating], mask: Mask) -> xr.Dataset:
    """Reduce the injection rows of a block of masked pairs to the gate's features.

    Parameters
    ----------
    pairs : Dataset
        In memory: ``stamp``, ``ctrl`` and ``arc`` as masked, with the manifest's columns and metrics.
    unmasked : ndarray, shape (sample, band, y, x)
        The same rows' arcs before the mask.
    mask : Mask

    Raises
    ------
    GateError
        If the arcs are not those of ``unmasked`` under the mask; the message names the first such row.
    """
    rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
    before = np.asarray(unmasked)[rows].astype(np.float64)
    x, y = (column(pairs, n)[rows].astype(np.float64) for n in ("x_center", "y_center"))
    size = before.shape[-1]
    keep = keep_weights(size, x, y, mask.radius_pix, mask.method, mask.width_pix)[:, None].astype(np.float64)
    stamp, arc, every_ctrl = (column(pairs, n) for n in ("stamp", "arc", "ctrl"))
    stamp, arc = stamp[rows].astype(np.float64), arc[rows].astype(np.float64)
    _refuse_other_arcs(pairs, rows, arc, keep * before)
    ctrl = every_ctrl[rows].astype(np.float64)
    host_index = column(pairs, "host_index")[rows].astype(np.int64)
    first, host = distinct_controls(host_index, every_ctrl, rows)
    rings = _Rings.of(x, y, size, mask)
    halo = _round(before, x, y)
    # The light that the mask took is put back without shot noise: it is below the sky's, and has no mean.
    whole = np.where(keep < 1, stamp + (1 - keep) * before, stamp)
    features = {
        ARCS: Features(rings.features(stamp), rings.features(whole)),
        HALOS: Features(rings.features(ctrl + keep * halo), rings.features(ctrl + halo)),
    }
    return with_features(block_columns(pairs, rows, sky(every_ctrl[rows[first]])[1][host]), features)


def mask_edge_gate(
    block: xr.Dataset,
    mask: Mask,
    config: GateConfig,
    bands: Sequence[str],
    seed: int,
    edges: Sequence[float] = DiagnosticsConfig().theta_e_edges,
) -> GateResult:
    """Ask whether the mask can be seen.

    Parameters
    ----------
    block : Dataset
        From :func:`mask_rows`, of any rows in any order.
    mask : Mask
    config : GateConfig
        ``folds``, ``bootstrap``, ``c``, and the threshold of ``mask_edge``.
    bands : sequence of str
        Names of the block's bands.
    seed : int
    edges : sequence of float
        Strata of theta_E, arcsec.

    Returns
    -------
    GateResult
        PASS by proof where the mask takes no light from any row.
    """
    estimator = estimator_of("linear", config, seed)
    recipe = {
        "features": f"step of light across the mask's edge in {SECTORS} sectors, sorted, and means of 1-pixel rings "
        "about it, centred on each lens",
        "view": "raw: pixels as stored, nMgy/pixel",
        "classes": "1: with the mask; 0: without it",
        "region": mask.describe(),
        "compared": list(_WORDS.values()),
        **recipe_of_fit(estimator, config, list(bands), seed, edges, len(_WORDS)),
    }
    blank = GateResult(
        name=MASK_EDGE,
        recipe=recipe,
        recipe_hash=fingerprint(recipe),
        threshold=config.threshold_of(MASK_EDGE),
        verdict=Verdict.ERROR,
        reason="not run",
    )
    used = rows_of_gate(block, range(len(bands)), config, seed)
    found, n_rows = [features_of(used, k) for k in _WORDS], used.sizes["sample"]
    if n_rows and all(np.array_equal(f.stamp, f.ctrl) for f in found):
        return blank.decided(
            Verdict.PASS,
            f"the {mask.describe()} takes no light from any of {n_rows} rows: they are the same with and without it",
            n_rows=n_rows,
            n_hosts=int(np.unique(used["host_index"].values).size),
        )
    sigma = np.median(used["sky_sigma"].values.astype(np.float64), axis=0) if n_rows else np.full(len(bands), np.nan)
    unit = (sigma[:, None] * hole_unit(mask)).ravel()
    parts = []
    for words, f in zip(_WORDS.values(), found, strict=True):
        masked, whole = (v.reshape(n_rows, len(unit)).astype(np.float64) for v in (f.stamp, f.ctrl))
        parts.append(Part(words, masked, whole, None, unit, _LEAK))
    return measure_parts(blank, used, parts, estimator, config, seed, edges)


def hole_unit(mask: Mask) -> NDArray[np.float64]:
    """Shift of a band's features by a hole in light of 1 in every pixel."""
    ring = _ring_edges(mask)
    inside = ring + 0.5 < mask.radius_pix
    return np.concatenate([np.ones(SECTORS), -inside.astype(np.float64)])


def _ring_edges(mask: Mask) -> NDArray[np.float64]:
    """Inner radii of the 1-pixel rings."""
    first = max(np.floor(mask.inner_pix) - RINGS_PIX, 0.0)
    return np.arange(first, np.ceil(mask.outer_pix) + RINGS_PIX)


@dataclass(frozen=True, eq=False)
class _Rings:
    """Weights (pixel, feature) of each distinct centre, and the centre of each row."""

    weights: list[csr_array]
    place: NDArray[np.int64]
    n_features: int

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64], size: int, mask: Mask) -> _Rings:
        centres, place = np.unique(np.stack([x, y], axis=1), axis=0, return_inverse=True)
        width = SECTORS + len(_ring_edges(mask))
        return cls([_weights(cx, cy, size, mask) for cx, cy in centres], place.ravel(), width)

    def features(self, pixels: NDArray[np.floating]) -> NDArray[np.float32]:
        """Features of pixels (n, band, y, x), shape (n, band, f)."""
        n, bands = pixels.shape[:2]
        flat = pixels.reshape(n, bands, pixels.shape[-1] ** 2)
        out = np.empty((n, bands, self.n_features), np.float32)
        for k, weights in enumerate(self.weights):
            own = np.flatnonzero(self.place == k)
            found = np.asarray(flat[own].reshape(len(own) * bands, flat.shape[-1]) @ weights).reshape(
                len(own), bands, -1
            )
            inner, outer, rings = np.split(found, [SECTORS, 2 * SECTORS], axis=2)
            steps = np.sort(outer - inner, axis=2)[..., ::-1]
            out[own] = np.concatenate([steps, rings], axis=2)
        return out


def _weights(x: float, y: float, size: int, mask: Mask) -> csr_array:
    """Means over the sectors inside the edge, those outside it, and the rings, as columns of weights."""
    r = geometry.radius_pix(size, x, y).ravel()
    sector = geometry.sector_index(size, x, y, SECTORS).ravel()
    cells = [
        np.where((r >= low) & (r < low + STEP_PIX), sector, -1)
        for low in (max(mask.inner_pix - STEP_PIX, 0.0), mask.outer_pix)
    ]
    rings = _ring_edges(mask)
    cells.append(np.where((r >= rings[0]) & (r < rings[-1] + 1), np.floor(r - rings[0]).astype(np.int64), -1))
    return mean_weights(cells, (SECTORS, SECTORS, len(rings)))


def _round(arc: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Halo with each arc's radial profile: the means of 1-pixel rings about the lens, in every pixel of the ring."""
    n, bands, size = arc.shape[:3]
    ring = np.rint(geometry.radius_pix(size, x, y)).astype(np.int64).reshape(n, size * size)
    width = int(ring.max(initial=0)) + 1
    out = np.empty_like(arc)
    for i in range(n):
        count = np.maximum(np.bincount(ring[i], minlength=width), 1)
        for b in range(bands):
            mean = np.bincount(ring[i], arc[i, b].ravel(), minlength=width) / count
            out[i, b] = mean[ring[i]].reshape(size, size)
    return out


def _refuse_other_arcs(
    pairs: xr.Dataset, rows: NDArray[np.int64], arc: NDArray[np.float64], masked: NDArray[np.float64]
) -> None:
    total = masked.sum(axis=(1, 2, 3))
    apart = np.abs(arc - masked).sum(axis=(1, 2, 3))
    # What rounding adds has no sign and grows with the pixels, not with the light: only bright rows can be compared.
    other = np.abs((arc - masked).sum(axis=(1, 2, 3))) > _FLUX_APART * total
    other &= apart > _FLUX_APART * total
    bright = total > np.median(total) if len(total) else np.zeros(0, bool)
    if (other & bright).any():
        row = rows[int(np.argmax(other & bright))]
        raise GateError(
            f"row {int(column(pairs, 'row_id')[row])}: the stored arc is not what a new rendering gives under the mask "
            "of this config: use the config that the pairs were made with"
        )
