"""Axis ratio and angle on the stamp, from a catalogue's ellipticity on the sky."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def catalogue_shapes(cutouts: xr.Dataset) -> tuple[Floats, Floats]:
    """Rotate ``shape_e1`` and ``shape_e2`` to the stamp's axes.

    ``(e1, e2) = e (cos 2 PA, sin 2 PA)`` with ``e = (a - b) / (a + b)`` and the position angle PA of the major axis
    from north through east, as tractor has them. The model was convolved with the PSF to be fitted: its shape is its
    own.

    Parameters
    ----------
    cutouts : Dataset
        Dim host: shape_e1, shape_e2, east_phi_rad, north_phi_rad; what it lacks is unknown.

    Returns
    -------
    q, phi_rad : ndarray, shape (host,)
        Axis ratio, and angle of the major axis from +x counter-clockwise, in [0, pi). NaN where the catalogue has none,
        it has exactly (0, 0) (tractor's PSF and REX are round by definition, not by measurement), an ellipticity of 1
        or more, or the orientation of the stamp is not known.

    References
    ----------
    https://www.legacysurvey.org/dr10/catalogs/#ellipticities; tractor/ellipses.py, EllipseE.getRaDecBasis
    (github.com/dstndstn/tractor): the major axis is (sin PA, cos PA) in (RA, Dec).
    """
    n = cutouts.sizes["host"]
    e1, e2, east, north = (
        cutouts[name].values.astype(np.float64) if name in cutouts else np.full(n, np.nan)
        for name in ("shape_e1", "shape_e2", "east_phi_rad", "north_phi_rad")
    )
    e, pa = np.hypot(e1, e2), 0.5 * np.arctan2(e2, e1)
    x = np.sin(pa) * np.cos(east) + np.cos(pa) * np.cos(north)
    y = np.sin(pa) * np.sin(east) + np.cos(pa) * np.sin(north)
    known = (e > 0) & (e < 1) & np.isfinite(east) & np.isfinite(north)
    q, phi = np.full(n, np.nan), np.full(n, np.nan)
    q[known] = ((1 - e) / (1 + e))[known]
    turned = np.arctan2(y, x)[known] % np.pi
    phi[known] = np.where(turned < np.pi, turned, 0.0)
    return q, phi
