"""Figures of findings: the matrix of the bug zoo, and the gates' AUCs on the stamp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap

from lensflow import geometry
from lensflow.config.checks import MASK_EDGE, parse_recipe
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.recipes import CORNER_PIX, EDGE_PIX, RING_PIX
from lensflow.measure.zoo.faults import FAULTS
from lensflow.show.figures import INK, MUTED, Picture, label, new_figure, picture

_NOT_TESTED, _QUIET, _ALARM = "#d9d9d9", "#f4f6f8", "#c0362c"


def zoo(matrix: xr.DataArray) -> Picture:
    """Faults against diagnostics.

    Parameters
    ----------
    matrix : DataArray
        As :func:`lensflow.measure.zoo.faults.matrix`: the sound run, then the faults.
    """
    required = {f.name: f.caught_by for f in FAULTS}
    faults, diagnostics = ([str(v) for v in matrix[d].values] for d in ("fault", "diagnostic"))
    counts = matrix.values
    figure, (axes,) = new_figure(0.27 * len(faults) + 1.5, width=9.0)
    colours = ListedColormap([_NOT_TESTED, _QUIET, _ALARM])
    axes.imshow(np.sign(counts), cmap=colours, norm=BoundaryNorm([-1.5, -0.5, 0.5, 1.5], 3), aspect="auto")
    for i, j in np.ndindex(counts.shape):
        if counts[i, j] > 0:
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=8, color="white", fontweight="bold")
        if diagnostics[j] in required.get(faults[i], ()):
            axes.plot([j - 0.46, j + 0.46, j + 0.46, j - 0.46, j - 0.46],
                      [i - 0.43, i - 0.43, i + 0.43, i + 0.43, i - 0.43], color=INK, linewidth=1.3)  # fmt: skip
    axes.set_xticks(range(len(diagnostics)), [d.replace("_", " ") for d in diagnostics], rotation=35, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(faults)), ["sound run", *faults[1:]])
    axes.axhline(0.5, color=MUTED, linewidth=1.0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return picture(
        figure,
        "zoo",
        "Matrix of known faults and the diagnostics that detect them",
        "Red: number of alarms that the diagnostic raised on a small run with the fault. Framed: required (checked by "
        "a test). Pale: no alarm. Grey: not tested there.",
    )


def areas_on_the_stamp(gates: Sequence[GateResult], size: int) -> Picture | None:
    """Area under the curve of each gate whose features are a region of the stamp, painted on that region.

    None if no such gate was measured. Smaller regions lie on top of larger ones; of several gates of one kind the one
    with all bands is shown, in its first view, of a linear fit.
    """
    middle = geometry.centre(size)
    r = geometry.radius_pix(size, middle, middle)
    inside = np.zeros((size, size), dtype=bool)
    inside[geometry.core_box(size, min(geometry.CORE_BOX_PIX, size))] = True
    corner = np.minimum(np.arange(size), np.arange(size)[::-1]) < CORNER_PIX
    places = {
        "stamp": np.ones((size, size), dtype=bool),
        "annulus": r >= geometry.ANNULUS_INNER_PIX,
        "ring": (r >= size / 2 - RING_PIX) & (r < size / 2),
        "corners": corner[:, None] & corner,
        "edge": geometry.edge_frame(size, EDGE_PIX),
        "core": inside,
        "brightness": r < geometry.CORE_RADIUS_PIX / 2,
    }
    shown: dict[str, GateResult] = {}
    named = [(parse_recipe(g.name), g) for g in gates if g.fitted and g.name != MASK_EDGE]
    for (kind, *_), g in sorted(named, key=lambda n: (n[0].estimator != "linear", n[0].band != "all")):
        if kind in places and np.isfinite(g.auc):
            shown.setdefault(kind, g)
    if not shown:
        return None
    value = np.full((size, size), np.nan)
    for kind, place in places.items():
        if kind in shown:
            value[place] = shown[kind].auc
    figure, (axes, listed) = new_figure(3.6, 1, 2, width=8.2, width_ratios=[1.2, 1.0])
    image = axes.imshow(value, origin="lower", cmap="RdYlBu_r", vmin=0.3, vmax=1.0)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("AUC", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED, labelcolor=INK)
    bar.outline.set_visible(False)
    axes.grid(False)
    label(axes, "x (pixel)", "y (pixel)", "AUC by region")
    listed.axis("off")
    for k, g in enumerate(sorted(shown.values(), key=lambda g: -g.auc)):
        text = f"{g.name}: {g.auc:.3f}  ({g.auc_low:.3f} – {g.auc_high:.3f})"
        listed.text(0, 0.95 - 0.12 * k, text, fontsize=8.5, color=INK, transform=listed.transAxes)
    return picture(
        figure,
        "auc-by-region",
        "Stamp with its regions coloured by the area under the curve of the gate that looks at them",
        "Each region in the colour of its gate’s AUC; 0.5 is a coin. The innermost disc: the core’s brightness alone. "
        "White: no gate looks there (gate.advisory adds more).",
    )
