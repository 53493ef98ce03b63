"""Figure of the bug zoo: known faults, and the diagnostics that notice them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap

from lensflow.measure.zoo.faults import FAULTS
from lensflow.show.figures import INK, MUTED, Picture, new_figure, picture
from lensflow.show.verdict_style import VERDICT_STYLES

_NOT_TESTED, _QUIET, _ALARM = "#d9d9d9", "#f4f6f8", VERDICT_STYLES["FAIL"].colour


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
