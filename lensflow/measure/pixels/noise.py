"""Noise of the arc: does its scatter agree with the declared gain?

A coadd's gain is its sky flux per pixel times its inverse variance, so shot noise of the arc has the variance
``arc / (sky x invvar)``. The measured scatter therefore names the sky that was used, in mag/arcsec^2. The inverse
variance under each arc comes from the stored metrics: ``snr_matched^2 / sum arc^2``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.pixel_sums import ARC_SQUARE, RESIDUAL_SQUARE
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, HostSums, interval, named, ratio, same_layout
from lensflow.units import mag_of_flux


@dataclass(frozen=True, eq=False)
class Noise:
    """Scatter of ``stamp - ctrl - arc`` relative to that for one unit of sky flux, per band."""

    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    hosts: HostSums  # columns: (band, 3): sum of squares, sum of arc / invvar, rows left out because they are rounded

    @classmethod
    def from_block(cls, block: Block) -> Noise:
        """Summarise one block of pairs."""
        d = block.differences
        arc = (d.difference - d.residual).sum(axis=-1)
        snr = d.per_band("snr_matched")
        rounded = np.nan_to_num(d.per_band("quantize_step_nmgy")) > 0
        known = d.covered & np.isfinite(snr) & (snr > 0) & (d.sums[..., ARC_SQUARE] > 0)
        used = known & ~rounded
        unit = arc * ratio(d.sums[..., ARC_SQUARE], np.where(used, snr, 0.0) ** 2)
        rows = np.stack(
            [np.where(used, d.sums[..., RESIDUAL_SQUARE], 0), np.where(used, unit, 0), known & rounded], axis=-1
        )
        return cls(d.bands, block.pixel_scale_arcsec, HostSums.from_rows(d.host_index, rows, used))

    def __add__(self, other: Noise) -> Noise:
        same_layout(self.bands, other.bands)
        scale = self.pixel_scale_arcsec if np.isfinite(self.pixel_scale_arcsec) else other.pixel_scale_arcsec
        return Noise(self.bands, scale, self.hosts + other.hosts)

    def result(self, settings: Settings) -> xr.Dataset:
        """Sky brightness implied by the noise, with 95 % intervals over hosts, beside the declared one."""
        n_bands, n_hosts = len(self.bands), self.hosts.n_hosts
        total = self.hosts.total.reshape(n_bands, 3)
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.noise").reshape(-1, n_bands, 3)
        low, high = interval(self._sky(drawn), n_hosts)
        declared = [np.nan] * n_bands
        attrs = {"title": "noise of the arc", "declared": "not known here"}
        injection = settings.injection
        if injection is not None:
            attrs["declared"] = f"gain: {injection.gain}" if injection.noise else "no noise"
            if injection.noise and injection.gain == "invvar":
                declared = [injection.sky_mag_arcsec2.get(b, np.nan) for b in self.bands]
        what = "sky brightness whose shot noise, with the stored inverse variance, gives the scatter of stamp-ctrl-arc"
        out = {
            **with_interval(
                "sky_mag", ["band"], (self._sky(total), (low, high)), "mag/arcsec^2", f"{what}; inf: no noise at all"
            ),
            "sky_mag_declared": named(["band"], declared, "mag/arcsec^2", "of injection.sky_mag_arcsec2; NaN: no such"),
            "noise_rms_over_unit": named(
                ["band"], np.sqrt(ratio(total[:, 0], total[:, 1])), "nMgy^-1/2", "rms, per sqrt(arc / invvar)"
            ),
            "n_rounded": named(["band"], total[:, 2].astype(np.int64), "1", "rows left out because they are rounded"),
            "n_hosts": named(["band"], n_hosts, "1", "hosts of the rows used"),
        }
        return xr.Dataset(out, coords={"band": list(self.bands)}, attrs=attrs)

    def _sky(self, sums: Floats) -> Floats:
        square, unit = sums[..., 0], sums[..., 1]
        flux = ratio(unit, square) / self.pixel_scale_arcsec**2  # nMgy/arcsec^2
        sky = mag_of_flux(flux)
        # Without any scatter the sky would have to be infinitely bright.
        return np.where((square == 0) & (unit > 0), -np.inf, sky)
