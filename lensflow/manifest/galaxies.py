"""The galaxy of a user's table that each row's source is, with its magnitudes, size and redshift together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lensflow.manifest.cosmology import source_distance
from lensflow.manifest.k_correction import magnitudes_at, movable_from, sizes_at
from lensflow.manifest.source_table import SourceTable
from lensflow.units import nmgy_of_mag

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Galaxies:
    """The source of every row, shape (n,) or (n, band).

    Attributes
    ----------
    row : ndarray of int64
        Row of the table's file; -1 where no galaxy fits: such a row is left out, its other values stand for nothing.
    z : ndarray
        Redshift at which the galaxy is seen; NaN where the table has none.
    flux_nmgy : ndarray
        Above the Galaxy's dust, in the run's bands.
    reff_arcsec : ndarray
    q, sersic_n : ndarray or None
    """

    row: Indices
    z: Floats
    flux_nmgy: Floats
    reff_arcsec: Floats
    q: Floats | None = None
    sersic_n: Floats | None = None

    def at(self, rows: NDArray) -> Galaxies:
        """Return those of some of the rows."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[rows] for k, v in values.items() if v is not None})


class GalaxyDraw:
    """Draws galaxies of a table for lenses at given redshifts; built once, then asked block by block of rows.

    Parameters
    ----------
    table : SourceTable
    bands_nm : sequence of float
        Effective wavelengths of the run's bands, nm.
    min_behind : int
        A lens needs as many galaxies behind it.
    redshift : {"own", "plan"}
        Whether galaxies stay at their redshift.
    """

    def __init__(self, table: SourceTable, bands_nm: Sequence[float], min_behind: int, redshift: str = "own"):
        self.table, self.bands_nm, self.min_behind, self.redshift = table, tuple(bands_nm), min_behind, redshift
        w = table.weight / table.weight.mean()
        self._below = np.concatenate([[0.0], np.cumsum(w)])
        # (1 - D_l / D)^2 = 1 - 2 D_l / D + (D_l / D)^2: three sums over all galaxies beyond one serve every lens.
        x = 1 / source_distance(table.z) if table.has_redshifts else np.zeros(len(table))
        beyond = [np.concatenate([np.cumsum((w * x**k)[::-1])[::-1], [0.0]]) for k in range(3)]
        self._beyond = np.stack(beyond, axis=1)

    @property
    def farthest_lens_z(self) -> float | None:
        """Redshift that a lens must be in front of: as many galaxies as it needs are at it or behind.

        None where galaxies are moved, or have no redshift.
        """
        own = self.redshift == "own" and self.table.has_redshifts
        return float(self.table.z[-self.min_behind]) if own else None

    def behind(self, z_lens: Floats, u: Floats) -> Indices:
        """Galaxy behind each lens, weighted by the cross-section ``(D_ls / D_s)^2`` and the table's own weight.

        Parameters
        ----------
        z_lens : ndarray, shape (n,)
            NaN where nothing is known of the lens: any galaxy then, by the table's weight alone.
        u : ndarray, shape (n,)
            Uniform numbers.

        Returns
        -------
        ndarray of int64, shape (n,)
            Place in the table; -1 where fewer than ``min_behind`` galaxies are behind the lens.
        """
        n = len(self.table)
        known = np.isfinite(z_lens)
        first = np.zeros(len(u), np.int64)
        distance = np.zeros(len(u))
        if known.any():
            first[known] = np.searchsorted(self.table.z, z_lens[known], side="right")
            distance[known] = source_distance(z_lens[known])
        target = u * self._mass(first, distance)
        # The last galaxy beyond which, itself included, there is more mass than the target.
        low, high = first.copy(), np.full(len(u), n)
        for _ in range(max(1, n).bit_length()):
            middle = (low + high) // 2
            enough = self._mass(middle, distance) > target
            low, high = np.where(enough, middle, low), np.where(enough, high, middle)
        return np.where(first <= n - self.min_behind, np.minimum(low, n - 1), -1)

    def _mass(self, first: Indices, distance: Floats) -> Floats:
        s0, s1, s2 = self._beyond[first].T
        return np.asarray(s0 - 2 * distance * s1 + distance**2 * s2)

    def movable(self, z: Floats, u: Floats) -> Indices:
        """Galaxy that can be moved to each redshift without extrapolating its magnitudes, by the table's weight.

        Returns
        -------
        ndarray of int64, shape (n,)
            Place in the table; -1 where none can.
        """
        low, high = movable_from(z, self.table.band_nm, self.bands_nm)
        first = np.searchsorted(self.table.z, low, side="left")
        stop = np.searchsorted(self.table.z, high, side="right")
        start, end = self._below[first], self._below[np.maximum(first, stop)]
        found = np.searchsorted(self._below, start + u * (end - start), side="right") - 1
        return np.where(stop > first, np.clip(found, first, np.maximum(stop - 1, first)), -1)

    def at_own_redshift(self, place: Indices) -> Galaxies:
        """Galaxies as the table has them."""
        return self._as_galaxies(place, self.table.z[place])

    def at_redshift(self, place: Indices, z: Floats) -> Galaxies:
        """Galaxies moved to other redshifts: distance modulus, K-correction, angular size."""
        return self._as_galaxies(place, np.where(place >= 0, z, self.table.z[place]))

    def _as_galaxies(self, place: Indices, z: Floats) -> Galaxies:
        t, there = self.table, place >= 0
        own = t.z[place]
        mag = np.full((len(place), len(self.bands_nm)), 25.0)
        mag[there] = magnitudes_at(t.mag[place[there]], t.band_nm, own[there], z[there], self.bands_nm)
        size = t.reff_arcsec[place].copy()
        moved = there & np.isfinite(z) & (z != own)
        size[moved] = sizes_at(size[moved], own[moved], z[moved])
        return Galaxies(
            np.where(there, t.row[place], -1),
            z,
            nmgy_of_mag(mag),
            size,
            None if t.q is None else t.q[place],
            None if t.sersic_n is None else t.sersic_n[place],
        )
