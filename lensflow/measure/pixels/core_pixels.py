"""The centre pixel by pixel: light added to the 3 x 3 pixels around each lens, per band.

Light that lands beside the middle, or a host that is moved by a pixel, shows here as a pattern that means over the core
do not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import HostSums, flat_rows, interval, named, ratio, same_layout


@dataclass(frozen=True, eq=False)
class CorePixels:
    """Sums of stamp - ctrl, and of stamp - ctrl - arc, over the rows, of each of 3 x 3 pixels."""

    bands: tuple[str, ...]
    hosts: HostSums  # columns: (difference | residual, band, dy, dx), then covered rows of each band
    n_rows: NDArray[np.int64]

    @classmethod
    def from_block(cls, block: Block) -> CorePixels:
        """Summarise one block of pairs."""
        d = block.differences
        rows = np.concatenate([flat_rows(d.middle), d.covered.astype(np.float64)], axis=1)
        hosts = HostSums.from_rows(d.host_index, rows, d.covered)
        return cls(d.bands, hosts, d.covered.sum(axis=0, dtype=np.int64))

    def __add__(self, other: CorePixels) -> CorePixels:
        same_layout(self.bands, other.bands)
        return CorePixels(self.bands, self.hosts + other.hosts, self.n_rows + other.n_rows)

    def result(self, settings: Settings) -> xr.Dataset:
        """Means with 95 % intervals over hosts."""
        n_bands = len(self.bands)
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.core_pixels")

        def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = values[..., :-n_bands].reshape(*values.shape[:-1], 2, n_bands, 3, 3)
            return ratio(sums, values[..., None, -n_bands:, None, None])

        found, draws = means(self.hosts.total), means(drawn)
        n_hosts = self.hosts.n_hosts
        dims, unit = ["band", "dy", "dx"], "nMgy/pixel"
        out: dict[str, Any] = {}
        for k, (name, text) in enumerate(
            (("difference", "mean of stamp - ctrl"), ("residual", "mean of stamp - ctrl - arc; 0 is expected"))
        ):
            low, high = interval(draws[:, k], n_hosts[:, None, None])
            out |= with_interval(
                name, dims, (found[k], (low, high)), unit, f"{text}, at so many pixels from the one that holds the lens"
            )
        out["n_rows"] = named(["band"], self.n_rows, "1", "injection rows covered in the band")
        out["n_hosts"] = named(["band"], n_hosts, "1", "hosts of those rows")
        coords = {"band": list(self.bands), "dy": [-1, 0, 1], "dx": [-1, 0, 1]}
        return xr.Dataset(out, coords=coords, attrs={"title": "the middle pixel by pixel"})
