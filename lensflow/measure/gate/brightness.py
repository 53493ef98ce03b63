"""Gates in bins of the sources' magnitude: the AUC for a population of that brightness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from lensflow.errors import GateError
from lensflow.measure.gate.verdicts import GateResult
from lensflow.units import mag_of_flux


@dataclass(frozen=True)
class BrightnessBin:
    """Gates of the injections whose sources lie in one bin of magnitude, with all controls.

    Attributes
    ----------
    low, high : float
        Unlensed r magnitudes, ``low <= m < high``.
    n_rows : int
        Injections.
    snr, arc_over_host, outshining : float
        Medians of the best band's ``snr_matched`` and of ``arc_over_host`` in r; share of arcs brighter than their
        host.
    gates : tuple of GateResult
        Fitted on the bin's rows alone.
    """

    low: float
    high: float
    n_rows: int
    snr: float
    arc_over_host: float
    outshining: float
    gates: tuple[GateResult, ...]

    def gate(self, name: str) -> GateResult:
        """Return one gate by name.

        Parameters
        ----------
        name : str
            As the config names it.

        Returns
        -------
        GateResult
            Fitted on the bin's rows.
        """
        return next(g for g in self.gates if g.name == name)


def gate_by_magnitude(
    pairs: xr.Dataset, gate: Callable[[xr.Dataset], Sequence[GateResult]], edges: Sequence[float]
) -> tuple[BrightnessBin, ...]:
    """Run gates on each bin of magnitude.

    Parameters
    ----------
    pairs : Dataset
        Lazy or in memory, with the manifest's columns and metrics.
    gate : callable
        Gates of a dataset of pairs.
    edges : sequence of float
        Ends of the bins, unlensed magnitudes in r (in the first band where there is no r); rising.

    Returns
    -------
    tuple of BrightnessBin
        Bins without injections are left out.

    Raises
    ------
    GateError
        If the edges do not rise, or no injection lies between them.
    """
    if len(edges) < 2 or any(b <= a for a, b in pairwise(edges)):
        raise GateError(f"edges of magnitude must rise, and there must be two: {list(edges)}")
    bands = [str(b) for b in pairs["band"].values]
    r = bands.index("r") if "r" in bands else 0
    control = pairs["is_control"].values
    magnitude = np.where(control, np.nan, mag_of_flux(pairs["src_flux_nmgy"].values[:, r]))
    snr = np.where(control, np.nan, np.nan_to_num(pairs["snr_matched"].values).max(axis=1))
    ratio = np.where(control, np.nan, pairs["arc_over_host"].values[:, r])
    out = []
    for low, high in pairwise(edges):
        rows = (magnitude >= low) & (magnitude < high)
        if rows.any():
            gates = tuple(gate(pairs.isel(sample=np.flatnonzero(rows | control))))
            beside = ratio[rows][np.isfinite(ratio[rows])]
            middle, outshining = (
                (float(np.median(beside)), float((beside > 1).mean())) if beside.size else (np.nan, np.nan)
            )
            bright = float(np.median(snr[rows]))
            out.append(BrightnessBin(float(low), float(high), int(rows.sum()), bright, middle, outshining, gates))
    if not out:
        raise GateError(f"no injection has a source of r between {edges[0]:g} and {edges[-1]:g}")
    return tuple(out)
