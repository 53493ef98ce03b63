"""Do stamps lie on the same lattice as their controls, in the middle as in the outskirts?

Survey files are often quantised. Where a control's pixels lie on a lattice, an arc takes a stamp's off it,
and a network reads that (AUC 1.000 for steps of sky/16). The lattice's step is measured in each image's outer zone,
24 <= r < 32 pix of 64, and pixels on it are counted there and at r < 16 pix
(:mod:`lensflow.measure.pixels.bits_lattice`). Stamps are compared with their own controls. Where there is no lattice,
4 % of the pixels lie on any, in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.bits_lattice import ON_INNER, ON_OUTER, zone_shares
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.specimens import injections
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import HostSums, column, interval, named, ratio, same_layout

# Of a control's outer pixels on one lattice: it is rounded.
ROUNDED = 0.9
_ROWS_AT_ONCE = 128
# Sums of each host and band.
_ROWS, _STAMP, _CTRL, _INNER, _OUTER, _ROUNDED = range(6)


@dataclass(frozen=True, eq=False)
class Lattice:
    """Sums over hosts of the shares of pixels on the lattice, of a sample of injection rows.

    Attributes
    ----------
    bands : tuple of str
    hosts : HostSums
        By band: rows; shares of the inner zone of stamps and of controls; inner less outer zone, stamp less control;
        outer zone, stamp less control; controls that are rounded.
    """

    bands: tuple[str, ...]
    hosts: HostSums

    @classmethod
    def from_block(cls, block: Block) -> Lattice:
        """Measure the chosen rows of one block; bands without data are left out."""
        pairs, bands = block.pairs, block.bands
        rows, _ = injections(pairs, block.last_key)
        every, seen = np.zeros((len(rows), len(bands), 6)), np.zeros((len(rows), len(bands)), bool)
        stamps, ctrls, fwhm = (column(pairs, n) for n in ("stamp", "ctrl", "psf_fwhm_arcsec"))
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[first : first + _ROWS_AT_ONCE]
            stamp, ctrl = zone_shares(stamps[some]), zone_shares(ctrls[some])
            sums = np.stack(
                [
                    np.ones(stamp.shape[:2]),
                    stamp[..., ON_INNER],
                    ctrl[..., ON_INNER],
                    (stamp[..., ON_INNER] - stamp[..., ON_OUTER]) - (ctrl[..., ON_INNER] - ctrl[..., ON_OUTER]),
                    stamp[..., ON_OUTER] - ctrl[..., ON_OUTER],
                    ctrl[..., ON_OUTER] > ROUNDED,
                ],
                axis=-1,
            )
            known = np.isfinite(sums).all(axis=-1) & np.isfinite(fwhm[some])
            every[first : first + len(some)] = np.where(known[..., None], sums, 0.0)
            seen[first : first + len(some)] = known
        return cls(bands, HostSums.from_rows(column(pairs, "host_index")[rows], every, seen))

    def __add__(self, other: Lattice) -> Lattice:
        same_layout(self.bands, other.bands)
        return Lattice(self.bands, self.hosts + other.hosts)

    def result(self, settings: Settings) -> xr.Dataset:
        """Mean shares, and mean differences with 95 % intervals over hosts, by band."""
        total = self.hosts.total.reshape(-1, 6)
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.lattice")
        drawn = drawn.reshape(-1, len(total), 6)
        out: dict[str, Any] = {}
        for name, k, text in (
            ("inner_difference", _INNER,
             "share of pixels on the outskirts' lattice, r < 16 pix less 24 <= r < 32 pix, stamps less controls"),
            ("outer_difference", _OUTER, "share of the outskirts' pixels on their lattice, stamps less controls"),
        ):  # fmt: skip
            ends = interval(ratio(drawn[..., k], drawn[..., _ROWS]), self.hosts.n_hosts)
            out |= with_interval(name, ["band"], (ratio(total[:, k], total[:, _ROWS]), ends), "1", text)
        for name, k, text in (
            ("stamp_share", _STAMP, "share of stamps' pixels at r < 16 pix on the outskirts' lattice; 0.04 by chance"),
            ("ctrl_share", _CTRL, "the same of controls"),
            ("rounded_share", _ROUNDED, f"share of controls with more than {ROUNDED:g} of the outskirts on a lattice"),
        ):
            out[name] = named(["band"], ratio(total[:, k], total[:, _ROWS]), "1", text)
        out["n_rows"] = named(["band"], total[:, _ROWS].astype(np.int64), "1", "injection rows that were looked at")
        out["n_hosts"] = named(["band"], self.hosts.n_hosts, "1", "their hosts")
        return xr.Dataset(out, coords={"band": list(self.bands)}, attrs={"title": "lattice of the pixels"})
