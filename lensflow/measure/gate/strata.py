"""A gate's scores in detail: within strata, and the rows that are distinguished most clearly.

Gates of the core are also cut by what the original study cut by: its three ranges of theta_E, and the conditions of the
exposures (PSF, depth, bad pixels, where the PSF's size comes from).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection.quality import MAX_BAD_PIXEL_FRAC
from lensflow.measure.gate.machine import Machine, area_fields
from lensflow.measure.gate.verdicts import MIN_PAIRS, Verdict, judge
from lensflow.stats.estimate import NOT_MEASURED

Floats = NDArray[np.float64]

# What rows are cut by, the range's ends, and the rows.
Cut = tuple[str, float, float, NDArray[np.bool_]]

SNR_EDGES = (0.0, 5.0, 10.0, 20.0, 50.0)
ORIGINAL_EDGES = (0.0, 1.0, 2.0)
# Conditions without given edges are cut into this many parts of equal size.
PARTS = 3
# Bands whose PSF sizes come from different places.
MIXED_SOURCES = 9
WORST_ROWS = 12


def ranges(theta_e_arcsec: Floats, arc_snr: Floats, edges: Sequence[float]) -> list[Cut]:
    """Rows within ranges of theta_E (``edges``, arcsec) and of SNR (``SNR_EDGES``, the last one open)."""
    out: list[Cut] = []
    for name, values, bounds in (
        ("theta_e_arcsec", theta_e_arcsec, edges),
        ("arc_snr", arc_snr, (*SNR_EDGES, np.inf)),
    ):
        out += [(name, low, high, (values >= low) & (values < high)) for low, high in pairwise(bounds)]
    return out


def conditions_of(block: xr.Dataset, bands: Sequence[int]) -> dict[str, Floats]:
    """Conditions of each row in a gate's bands, as far as the pairs say them; shape (n,) each.

    ``psf_fwhm_arcsec`` and ``sky_sigma_nmgy`` are means over the bands, ``psf_source`` a code of ``schema.PsfSource``
    or ``MIXED_SOURCES``.
    """
    of_bands = {
        n: block[n].values[:, list(bands)] for n in ("sky_sigma", "psf_fwhm_arcsec", "psf_source") if n in block
    }
    out = {"sky_sigma_nmgy": of_bands["sky_sigma"].mean(axis=1, dtype=np.float64)}
    if "psf_fwhm_arcsec" in block:
        out = {"psf_fwhm_arcsec": of_bands["psf_fwhm_arcsec"].mean(axis=1, dtype=np.float64), **out}
    if "bad_pixel_frac" in block:
        out["bad_pixel_frac"] = block["bad_pixel_frac"].values.astype(np.float64)
    if "psf_source" in block:
        source = of_bands["psf_source"]
        same = (source == source[:, :1]).all(axis=1)
        out["psf_source"] = np.where(same, source[:, 0], MIXED_SOURCES).astype(np.float64)
    return out


def _cuts(conditions: Mapping[str, Floats]) -> list[Cut]:
    out: list[Cut] = []
    for name, values in conditions.items():
        if name == "psf_source":
            out += [(name, float(c), float(c), values == c) for c in np.unique(values)]
            continue
        if name == "bad_pixel_frac":
            edges = [0.0, np.nextafter(0.0, 1.0), MAX_BAD_PIXEL_FRAC]
        else:
            good = values[np.isfinite(values)]
            edges = np.unique(np.quantile(good, np.arange(PARTS) / PARTS)).tolist() if good.size else []
        out += [(name, low, high, (values >= low) & (values < high)) for low, high in pairwise([*edges, np.inf])]
    return out


def strata(
    machine: Machine,
    used: xr.Dataset,
    positive: Floats,
    negative: Floats,
    changed: NDArray[np.bool_],
    edges: tuple[float, ...],
    threshold: float,
    conditions: Mapping[str, Floats] | None = None,
) -> list[dict[str, Any]]:
    """Areas of the pooled out-of-fold scores within ranges of theta_E and SNR, and within splits.

    Parameters
    ----------
    positive, negative : ndarray, shape (n,)
        Scores of the stamps and of their controls.
    changed : ndarray of bool, shape (n,)
        Pairs that differ in any feature.
    edges : tuple of float
        Strata of theta_E, arcsec.
    threshold : float
    conditions : mapping of ndarray, optional
        From :func:`conditions_of`; with it, also within parts of each and within the original ranges of theta_E.
    """
    theta, split = used["theta_e_arcsec"].values, used["split"].values
    cuts = ranges(theta, used["arc_snr"].values, edges)
    cuts += [("split", float(s), float(s), split == s) for s in np.unique(split)]
    if conditions is not None:
        of_original = pairwise([*ORIGINAL_EDGES, np.inf])
        cuts += [("theta_e_original", a, b, (theta >= a) & (theta < b)) for a, b in of_original]
        cuts += _cuts(conditions)
    out = []
    for name, low, high, rows in cuts:
        n, n_hosts = int(rows.sum()), np.unique(machine.groups[rows]).size
        area = NOT_MEASURED
        if n < MIN_PAIRS or n_hosts < len(machine.folds):
            verdict, reason = Verdict.NOT_TESTABLE, f"{n} pairs of {n_hosts} hosts are too few"
        elif not changed[rows].any():
            verdict, reason = Verdict.NOT_TESTABLE, "stamp and control are the same in every feature"
        else:
            purpose = f"gates.core.strata.{name}.{low:g}"
            area, _ = machine.interval_of(positive[rows], negative[rows], machine.groups[rows], purpose)
            verdict, reason = judge(area, threshold)
        place = {"by": name, "low": low, "high": high if high < np.inf else math.nan, "n_rows": n, "n_hosts": n_hosts}
        out.append({**place, **area_fields(area), "verdict": str(verdict), "reason": reason})
    return out


def worst_rows(used: xr.Dataset, margin: Floats) -> list[dict[str, Any]]:
    """Rows with the largest margins, at most one of each host: neighbours in the sky would say the same twice."""
    order = np.lexsort((used["row_id"].values, -margin))
    _, first = np.unique(used["host_index"].values[order], return_index=True)
    columns = {n: used[n].values for n in ("row_id", "host_index", "theta_e_arcsec", "arc_snr")}
    return [
        {**{n: v[k].item() for n, v in columns.items()}, "margin": float(margin[k])}
        for k in order[np.sort(first)[:WORST_ROWS]]
    ]
