"""Light in the core by theta_E: the fraction of the arc on the galaxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import (
    HostSums,
    interval,
    named,
    ratio,
    same_layout,
    stratum_coords,
    with_all,
)

_SUMS = (
    "core", "total", "arc_core", "arc_total", "control_core", "rows",
    "row_core_diff", "row_core_diff_n", "row_leakage", "row_leakage_n", "brighter",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Stratified:
    """Core difference and leakage per band in strata of theta_E."""

    bands: tuple[str, ...]
    edges: tuple[float, ...]
    hosts: HostSums  # columns: (stratum + outside, band, statistic)

    @classmethod
    def from_block(cls, block: Block) -> Stratified:
        """Summarise one block of pairs."""
        d = block.differences
        core, total = d.inside(d.difference), d.difference.sum(axis=-1)
        per_host = 100 * ratio(core, np.where(d.control_core > 0, d.control_core, 0))
        per_arc = 100 * ratio(core, np.where(total > 0, total, 0))
        rows = np.stack(
            [
                core,
                total,
                core - d.inside(d.residual),
                total - d.residual.sum(axis=-1),
                d.control_core,
                d.covered.astype(np.float64),
                np.nan_to_num(per_host),
                np.isfinite(per_host).astype(np.float64),
                np.nan_to_num(per_arc),
                np.isfinite(per_arc).astype(np.float64),
                (core > 0).astype(np.float64),
            ],
            axis=-1,
        )
        cells = d.by_stratum(d.covered)
        # "all" is not the sum of the strata's hosts, so it has cells of its own.
        cells = np.concatenate([d.covered[:, None], cells[:, :-1]], axis=1)
        hosts = HostSums.from_cells(d.host_index, (d.stratum, len(d.edges)), rows, cells)
        return cls(d.bands, d.edges, hosts)

    def __add__(self, other: Stratified) -> Stratified:
        same_layout((self.bands, self.edges), (other.bands, other.edges))
        return Stratified(self.bands, self.edges, self.hosts + other.hosts)

    def result(self, settings: Settings) -> xr.Dataset:
        """Pooled and per-row percentages with n and 95 % intervals over hosts (of the pooled ones)."""
        same_layout(self.edges, tuple(settings.diagnostics.theta_e_edges))
        shape = (len(self.edges), len(self.bands), len(_SUMS))
        n_hosts = self.hosts.n_hosts.reshape(shape[:2])
        total = dict(zip(_SUMS, np.moveaxis(with_all(self.hosts.total.reshape(shape), 0), -1, 0), strict=True))
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.stratified").reshape(-1, *shape)
        draws = dict(zip(_SUMS, np.moveaxis(with_all(drawn, 1), -1, 0), strict=True))
        dims = ["stratum", "band"]
        out: dict[str, Any] = {}
        for name, bottom, text in (
            ("core_diff_pct", "control_core", "100 sum(stamp - ctrl, r < 5 pix) / sum(ctrl, r < 5 pix)"),
            ("leakage_pct", "total", "100 sum(stamp - ctrl, r < 5 pix) / sum(stamp - ctrl, whole stamp)"),
        ):
            low, high = interval(100 * ratio(draws["core"], draws[bottom]), n_hosts)
            pooled = 100 * ratio(total["core"], total[bottom])
            out |= with_interval(
                f"{name}_pooled", dims, (pooled, (low, high)), "percent", f"{text}, sums over all rows"
            )
            key = "row_core_diff" if bottom == "control_core" else "row_leakage"
            used = total[f"{key}_n"]
            mean = ratio(total[key], used)
            out[f"{name}_row_mean"] = named(
                dims, mean, "percent", f"{text} of each row, mean over the rows whose denominator is positive"
            )
            out[f"{name}_row_mean_n"] = named(dims, used.astype(np.int64), "1", "rows in that mean")
        expected = 100 * ratio(total["arc_core"], total["arc_total"])
        excess = 100 * ratio(draws["core"], draws["total"]) - 100 * ratio(draws["arc_core"], draws["arc_total"])
        low, high = interval(excess, n_hosts)
        found = 100 * ratio(total["core"], total["total"])
        out |= with_interval(
            "leakage_pct_excess",
            dims,
            (found - expected, (low, high)),
            "percent",
            "leakage_pct_pooled - leakage_pct_expected; 0 is expected",
        )
        out["leakage_pct_expected"] = named(
            dims, expected, "percent", "100 sum(arc, r < 5 pix) / sum(arc): the noiseless rendering of the same rows"
        )
        low, high = interval(100 * ratio(draws["brighter"], draws["rows"]), n_hosts)
        share = 100 * ratio(total["brighter"], total["rows"])
        out |= with_interval(
            "brighter_pct",
            dims,
            (share, (low, high)),
            "percent",
            "rows whose core (r < 5 pix) is brighter than the control's",
        )
        out["n_rows"] = named(dims, total["rows"].astype(np.int64), "1", "injection rows covered in the band")
        out["n_hosts"] = named(dims, n_hosts, "1", "hosts of those rows")
        return xr.Dataset(
            out,
            coords={"band": list(self.bands), **stratum_coords(self.edges)},
            attrs={"title": "core light by theta_E", "interval": "expanded percentile, bootstrap over hosts"},
        )
