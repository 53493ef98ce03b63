"""Outer annulus: is there a pedestal where no arc reaches?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.pixel_sums import TOUCHED
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import (
    Z_95,
    Z_POWER_80,
    HostSums,
    interval,
    named,
    ratio,
    same_layout,
    spread,
)

_SUMS = 6  # per band: sum, residual and pixels of the annulus, then of the core


@dataclass(frozen=True, eq=False)
class Annulus:
    """Mean of ``stamp - ctrl`` for r >= 20 pix and for r < 5 pix, per band; and the state of the control rows."""

    bands: tuple[str, ...]
    hosts: HostSums  # columns: (band, 6)
    n_rows: NDArray[np.int64]  # (band,)
    n_nonfinite: NDArray[np.int64]  # (band,)
    n_injections: int
    n_controls: int
    n_controls_changed: int
    max_control_change: float
    n_touched: NDArray[np.int64]  # (band,): rows with a changed pixel where there is no arc

    @classmethod
    def from_block(cls, block: Block) -> Annulus:
        """Summarise one block of pairs."""
        d = block.differences
        pixels = d.pixels[:, None, :] * d.covered[..., None]
        sums = [part(v) for part in (d.outside, d.inside) for v in (d.difference, d.residual, pixels)]
        rows = np.stack(sums, axis=-1)
        return cls(
            d.bands,
            HostSums.from_rows(d.host_index, rows, d.covered),
            d.covered.sum(axis=0, dtype=np.int64),
            d.n_nonfinite,
            len(d.host_index),
            d.n_controls,
            d.n_controls_changed,
            d.max_control_change,
            (d.sums[..., TOUCHED] > 0).sum(axis=0, dtype=np.int64),
        )

    def __add__(self, other: Annulus) -> Annulus:
        same_layout(self.bands, other.bands)
        return Annulus(
            self.bands,
            self.hosts + other.hosts,
            self.n_rows + other.n_rows,
            self.n_nonfinite + other.n_nonfinite,
            self.n_injections + other.n_injections,
            self.n_controls + other.n_controls,
            self.n_controls_changed + other.n_controls_changed,
            float(np.fmax(self.max_control_change, other.max_control_change)),
            self.n_touched + other.n_touched,
        )

    def result(self, settings: Settings) -> xr.Dataset:
        """Means, 95 % intervals over hosts and the smallest pedestal that would have been seen, per band."""
        n_bands = len(self.bands)
        n_hosts = self.hosts.n_hosts
        total = self.hosts.total.reshape(n_bands, _SUMS)
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.annulus").reshape(
            -1, n_bands, _SUMS
        )
        per_pixel = "nMgy/pixel"
        out = {}
        for place, region in enumerate(("annulus", "core")):
            where = "r >= 20 pix" if region == "annulus" else "r < 5 pix"
            pixels = 3 * place + 2
            for offset, suffix, what in (
                (0, "", "stamp - ctrl"),
                (1, "_residual", "stamp - ctrl - arc (0 within its interval unless something else was added)"),
            ):
                k = 3 * place + offset
                replicates = ratio(drawn[..., k], drawn[..., pixels])
                low, high = interval(replicates, n_hosts)
                smallest = (Z_95 + Z_POWER_80) * spread(replicates, n_hosts)
                name = f"{region}{suffix}"
                text = f"mean of {what} over {where}, all rows pooled"
                out[f"{name}_mean"] = named(["band"], ratio(total[:, k], total[:, pixels]), per_pixel, text)
                out[f"{name}_low"] = named(["band"], low, per_pixel, f"{text}: lower end of the 95 % host bootstrap")
                out[f"{name}_high"] = named(["band"], high, per_pixel, f"{text}: upper end of the 95 % host bootstrap")
                out[f"{name}_power"] = named(
                    ["band"], smallest, per_pixel,
                    f"smallest pedestal over {where} seen with 80 % probability by a two-sided 5 % test of the mean of "
                    f"{what.split(' (')[0]}: (1.96 + 0.84) x bootstrap standard deviation",
                )  # fmt: skip
        quotient = ratio(ratio(drawn[..., 0], drawn[..., 2]), ratio(drawn[..., 3], drawn[..., 5]))
        low, high = interval(quotient, n_hosts)
        mean = ratio(ratio(total[:, 0], total[:, 2]), ratio(total[:, 3], total[:, 5]))
        out |= with_interval("annulus_over_core", ["band"], (mean, (low, high)), "1", "annulus_mean / core_mean")
        out["n_rows"] = named(["band"], self.n_rows, "1", "injection rows that are covered in the band")
        out["n_hosts"] = named(["band"], n_hosts, "1", "hosts of those rows")
        out["n_nonfinite"] = named(
            ["band"], self.n_nonfinite, "1", "injection rows left out because a pixel of the band is not finite"
        )
        out["n_touched"] = named(
            ["band"], self.n_touched, "1",
            "injection rows with a pixel that differs from the control although no arc is there; must be 0",
        )  # fmt: skip
        out["n_injections"] = named([], self.n_injections, "1", "injection rows")
        out["n_controls"] = named([], self.n_controls, "1", "control rows")
        out["n_controls_changed"] = named([], self.n_controls_changed, "1", "control rows whose stamp is not its host")
        out["max_control_change"] = named(
            [], self.max_control_change, per_pixel, "largest |stamp - ctrl| over control rows: must be exactly 0"
        )
        return xr.Dataset(
            out,
            coords={"band": list(self.bands)},
            attrs={"title": "outer annulus pedestal", "interval": "expanded percentile, bootstrap over hosts"},
        )
