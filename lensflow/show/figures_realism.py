"""Figures of a comparison with real lenses: features as paired strips, areas beside their nulls, stamps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.show.figures import INK, MUTED, RULE, Picture, error_reach, label, legend, new_figure, picture
from lensflow.show.figures_images import side_by_side
from lensflow.show.numbers import number
from lensflow.show.realism import PROBES

REAL, INJECTED = "#d55e00", "#3a5fa8"
_SIDES = (("real", REAL, 0.17, "real lenses"), ("injected", INJECTED, -0.17, "injections"))


@dataclass(frozen=True, eq=False)
class RealExample:
    """Stamps that a page shows side by side.

    Attributes
    ----------
    name : str
        Unique in its gallery.
    images : tuple of ndarray, shape (band, y, x)
        nMgy/pixel.
    ctrl : ndarray
        One without an arc; sets the stretch.
    absent : tuple of str
        Bands without data.
    facts : tuple of (str, str)
    alt : str
    """

    name: str
    images: tuple[NDArray[np.float32], ...]
    ctrl: NDArray[np.float32]
    absent: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    alt: str


def strips(found: xr.Dataset, name: str) -> Picture:
    """Quantiles of each feature, real lenses above injections, on an axis of the feature's own range.

    Parameters
    ----------
    found : Dataset
        As :func:`lensflow.measure.realism.compare.compare`.
    name : str
        Beginning of the picture's name.
    """
    names = found["feature"].values.tolist()
    figure, (axes,) = new_figure(1.1 + 0.46 * len(names))
    words = []
    for k, feature in enumerate(names):
        q = found["quantiles"].sel(feature=feature)
        every = q.values[np.isfinite(q.values)]
        if not every.size:
            continue
        low, high = float(every.min()), float(every.max())
        span = (high - low) or 1.0
        y = len(names) - 1 - k
        for side, colour, shift, what in _SIDES:
            a, b, m, c, d = ((q.sel(side=side).values - low) / span).tolist()
            first = what if k == 0 else None
            axes.plot([a, d], [y + shift] * 2, color=colour, lw=1.2, solid_capstyle="butt")
            axes.plot([b, c], [y + shift] * 2, color=colour, lw=6.5, alpha=0.55, solid_capstyle="butt", label=first)
            axes.plot([m], [y + shift], "|", color=INK, ms=9, mew=1.8)
        axes.text(-0.015, y, number(low, 3), ha="right", va="center", fontsize=7.5, color=MUTED)
        axes.text(1.015, y, number(high, 3), ha="left", va="center", fontsize=7.5, color=MUTED)
        auc, p = float(found["auc"].sel(feature=feature)), float(found["p_holm"].sel(feature=feature))
        if math.isfinite(auc):
            loud = p < 0.05
            axes.text(1.11, y, f"AUC {auc:.2f}", ha="left", va="center", fontsize=8.5,
                      color=REAL if loud else MUTED, fontweight="bold" if loud else "normal")  # fmt: skip
            words.append(f"{feature} {auc:.2f}")
    axes.set_yticks(range(len(names)), [n.replace("_", " ") for n in reversed(names)])
    axes.set_xticks([])
    axes.set_xlim(-0.1, 1.24)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)
    for k in range(1, len(names)):
        axes.axhline(k - 0.5, color=RULE, lw=0.5)
    legend(axes, loc="lower left", bbox_to_anchor=(0.06, 1.0), ncols=2)
    return picture(
        figure, f"{name}-features",
        f"Quantiles of each feature in real lenses and injections. AUC: {', '.join(words)}.",
        "Each feature on its own axis, from the smallest to the largest number shown at its ends: the thin line spans "
        "5 to 95 % of the stamps, the thick one 25 to 75 %, the tick is the median. The AUC is bold where the two "
        "sides differ (p below 0.05 after Holm).",
    )  # fmt: skip


def areas(found: xr.Dataset, limit: float, name: str) -> Picture:
    """Areas of every probe and control, with the band in which an area lies where nothing differs.

    Parameters
    ----------
    found : Dataset
        Dim probe: ``auc``, its ends, ``null_sd``.
    limit : float
        ``realism.max_auc``.
    name : str
        Beginning of the picture's name.
    """
    names = found["probe"].values.tolist()
    value, low, high = (found[k].values.astype(float) for k in ("auc", "auc_low", "auc_high"))
    band = found["null_sd"].values.astype(float)
    figure, (axes,) = new_figure(1.2 + 0.42 * len(names))
    y = np.arange(len(names))[::-1].astype(float)
    for k, at in enumerate(y):
        if math.isfinite(band[k]):
            half = 1.96 * band[k]
            axes.barh(at, 2 * half, left=0.5 - half, height=0.72, color=RULE, lw=0,
                      label="95 % where nothing differs" if k == 0 else None)  # fmt: skip
    colours = [REAL if n == "readable" else INJECTED for n in names]
    for k, at in enumerate(y):
        axes.errorbar(value[k : k + 1], [at], xerr=error_reach(value[k : k + 1], low[k : k + 1], high[k : k + 1]),
                      fmt="o", ms=5.5, lw=1.8, color=colours[k])  # fmt: skip
        axes.text(1.02, at, f"{value[k]:.3f}", va="center", fontsize=8.5, color=INK)
    axes.axvline(0.5, color=MUTED, lw=0.8, ls="--")
    axes.axvline(limit, color=INK, lw=1.3, label=f"limit {limit:g}")
    axes.set_yticks(y, [PROBES.get(n, n) for n in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(min(0.3, float(np.nanmin(low)) - 0.02), 1.1)
    label(axes, "AUC within folds (0.5: cannot tell)", "")
    legend(axes, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    words = "; ".join(f"{n} {v:.3f}" for n, v in zip(names, value, strict=True))
    return picture(
        figure, f"{name}-areas", f"AUC of every probe and control. {words}.",
        "The verdict is that of the readable features (orange). Nulls must hold 0.5, brighter arcs must be found; "
        "matched hosts against random ones is what unmatched hosts would have added. With many features an AUC of 0.6 "
        "is not nearly alike: see the power above.",
    )  # fmt: skip


def triptychs(
    examples: Sequence[RealExample], bands: Sequence[str], pixel_scale_arcsec: float, name: str
) -> list[Picture]:
    """Stamps of each example side by side, all in the fixed stretch.

    Parameters
    ----------
    examples : sequence of RealExample
    bands : sequence of str
    pixel_scale_arcsec : float
    name : str
        Beginning of the pictures' names.
    """
    if not examples:
        return []
    return [Picture(f"{name}-{e.name}", side_by_side(e.images, e, bands, pixel_scale_arcsec), e.alt) for e in examples]
