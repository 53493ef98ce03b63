"""Can the arcs be seen at all? A passed gate proves nothing if there is nothing to see.

Signal to noise of every arc in its best band, matched and of its brightest pixel, and its flux beside its host's, as
histograms per host: medians and shares with intervals over hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, HostSums, interval, named, ratio, same_layout

SEEN_SNR = 5.0
# Logarithms of SNR and of the flux ratio; values beyond the ends count in the last bins.
_STEP = 0.05
_SNR_EDGES = np.arange(-3.0, 5.0 + _STEP / 2, _STEP)
_RATIO_EDGES = np.arange(-6.0, 3.0 + _STEP / 2, _STEP)
_N_SNR, _N_RATIO = len(_SNR_EDGES) - 1, len(_RATIO_EDGES) - 1


@dataclass(frozen=True, eq=False)
class Visibility:
    """SNR of the arcs and their flux over their hosts', from the stored metrics of injections."""

    bands: tuple[str, ...]
    hosts: HostSums  # columns: rows, rows seen, rows that outshine their host, then the three histograms

    @classmethod
    def from_block(cls, block: Block) -> Visibility:
        """Summarise one block of pairs."""
        d = block.differences
        snr = np.nan_to_num(d.per_band("snr_matched"), nan=-np.inf)
        best = snr.max(axis=1, initial=-np.inf)
        peak = np.nan_to_num(d.per_band("snr_peak"), nan=-np.inf).max(axis=1, initial=-np.inf)
        names = list(d.bands)
        compared = d.per_band("arc_over_host")[:, names.index("r") if "r" in names else 0]
        known, beside = np.isfinite(best), np.isfinite(compared)
        rows = np.concatenate(
            [
                np.stack([known, best > SEEN_SNR, beside & (compared > 1)], axis=1).astype(np.float64),
                _histogram(best, known, _SNR_EDGES),
                _histogram(peak, known, _SNR_EDGES),
                _histogram(compared, beside, _RATIO_EDGES),
            ],
            axis=1,
        )
        return cls(d.bands, HostSums.from_rows(d.host_index, rows, np.stack([known, beside], axis=1)))

    def __add__(self, other: Visibility) -> Visibility:
        same_layout(self.bands, other.bands)
        return Visibility(self.bands, self.hosts + other.hosts)

    def result(self, settings: Settings) -> xr.Dataset:
        """Medians and shares with 95 % intervals over hosts."""
        n_known, n_beside = self.hosts.n_hosts
        total = self.hosts.total[None]
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.visibility")
        band = "r" if "r" in self.bands else self.bands[0]
        out: dict[str, Any] = {}
        for name, of, n_hosts, text in (
            ("seen_share", _seen_share, n_known, f"share of arcs with snr_matched > {SEEN_SNR:g} in their best band"),
            ("snr_median", _snr_median, n_known, "median snr_matched of the arcs in their best band"),
            ("peak_median", _peak_median, n_known, "median SNR of the arcs' brightest pixels in their best band"),
            ("arc_over_host_median", _ratio_median, n_beside, f'median flux of arc over host within 5" in {band}'),
            ("outshining_share", _outshining, n_beside, f"share of arcs brighter than their host in {band}"),
        ):
            low, high = interval(of(drawn), n_hosts)
            out |= with_interval(name, [], (of(total)[0], (low, high)), "1", text)
        out["n_rows"] = named([], int(total[0, 0]), "1", "injections with an SNR")
        out["n_hosts"] = named([], int(n_known), "1", "their hosts")
        return xr.Dataset(out)


def _histogram(values: Floats, known: np.ndarray, edges: Floats) -> Floats:
    """Place of every row's logarithm among the bins, (n, bin); a row that is not known counts nowhere."""
    log = np.log10(np.where(known & (values > 0), values, 10.0 ** edges[0]))
    place = np.clip(np.floor((log - edges[0]) / _STEP).astype(np.int64), 0, len(edges) - 2)
    out = np.zeros((len(values), len(edges) - 1))
    out[np.flatnonzero(known), place[known]] = 1.0
    return out


def _seen_share(sums: Floats) -> Floats:
    return ratio(sums[:, 1], sums[:, 0])


def _outshining(sums: Floats) -> Floats:
    return ratio(sums[:, 2], sums[:, 3 + 2 * _N_SNR :].sum(axis=1))


def _snr_median(sums: Floats) -> Floats:
    return _median(sums[:, 3 : 3 + _N_SNR], _SNR_EDGES)


def _peak_median(sums: Floats) -> Floats:
    return _median(sums[:, 3 + _N_SNR : 3 + 2 * _N_SNR], _SNR_EDGES)


def _ratio_median(sums: Floats) -> Floats:
    return _median(sums[:, 3 + 2 * _N_SNR :], _RATIO_EDGES)


def _median(counts: Floats, edges: Floats) -> Floats:
    """Median of histograms (n, bin), even within a bin; NaN of an empty one."""
    half = 0.5 * counts.sum(axis=1)
    reached = np.cumsum(counts, axis=1)
    place = np.argmax(reached >= half[:, None], axis=1)
    rows = np.arange(len(counts))
    inside = ratio(half - (reached[rows, place] - counts[rows, place]), counts[rows, place])
    return np.where(half > 0, 10 ** (edges[place] + _STEP * inside), np.nan)
