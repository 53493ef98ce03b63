"""The five bins of resolution: theta_E over the size of the PSF, in both of its definitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.measure.completeness.bins import EDGE_TOLERANCE, UNKNOWN, Places

RESOLUTION_EDGES = (0.4, 0.6, 0.8, 1.0)
RESOLUTION_NAMES = ("very_unresolved", "marginally_unresolved", "marginally_resolved", "resolved", "well_resolved")


def resolution(theta_e_arcsec: ArrayLike, psf_arcsec: ArrayLike) -> Places:
    """Bin of theta_E over PSF size: 0 to 4 as ``RESOLUTION_NAMES``, 5 where the PSF is not known.

    Parameters
    ----------
    theta_e_arcsec : array_like, shape (n,)
        Einstein radii, arcsec.
    psf_arcsec : array_like, shape (n,)
        ``psfsize_arcsec`` of the survey, or ``psf_fwhm_arcsec`` of the profile that was applied, arcsec. **The two
        differ**: the survey's is the width of the Gaussian of equal noise-equivalent area, and a Moffat of beta 3.5
        has a FWHM of 0.811 times that. Published numbers of the original pipeline used the first.

    Returns
    -------
    ndarray of int64, shape (n,)
        Lower edges (0.4, 0.6, 0.8, 1.0) belong to their bin.
    """
    theta, psf = np.asarray(theta_e_arcsec, dtype=np.float64), np.asarray(psf_arcsec).astype(np.float64)
    theta, psf = np.broadcast_arrays(theta, psf)
    known = np.isfinite(theta) & np.isfinite(psf) & (psf > 0)
    x = np.divide(theta, psf, out=np.zeros(theta.shape), where=known)
    place = np.searchsorted(RESOLUTION_EDGES, x * (1 + EDGE_TOLERANCE), side="right")
    return np.where(known, place, len(RESOLUTION_NAMES)).astype(np.int64)


@dataclass(frozen=True)
class Resolution:
    """The five resolution bins, as :func:`resolution` places them, and ``unknown``.

    Attributes
    ----------
    variable : str
        ``resolution`` (by psfsize_arcsec) or ``resolution_fwhm`` (by psf_fwhm_arcsec).
    """

    variable: str = "resolution"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the bins."""
        return (*RESOLUTION_NAMES, UNKNOWN)

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """All but the last."""
        return np.arange(len(self.labels)) < len(RESOLUTION_NAMES)

    def place(self, values: ArrayLike) -> Places:
        """Bin of rows by their theta_E over PSF size.

        Parameters
        ----------
        values : array_like, shape (n,)
            Ratios; NaN where the PSF is not known.

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        return resolution(np.asarray(values, dtype=np.float64), 1.0)
