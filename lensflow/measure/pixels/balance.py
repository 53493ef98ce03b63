"""Class balance: does anything but the arc differ between injections and controls?

Means and missing values come from sums over all rows, by host, and are held against what exchanges between hosts give
(:mod:`lensflow.measure.pixels.exchange`); distributions (Kolmogorov-Smirnov) come from at most ``SAMPLE`` rows of each
class, those with the smallest hash of their id: the same rows however the work is divided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import kolmogorov

from lensflow import geometry, rng
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.differences import regions
from lensflow.measure.pixels.exchange import EXCHANGES, LEAST_HOSTS, LEVEL, chance_limits
from lensflow.measure.pixels.host_shapes import SHAPES, host_shapes
from lensflow.measure.pixels.marks import Marks, absent_pixels, number_format
from lensflow.measure.pixels.pixel_sums import outer_sums
from lensflow.schema import SPLITS
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, HostSums, column, interval, named, ratio, same_layout

SAMPLE = 4000
CLASSES = ("injection", "control")
# What a row's host, band and position give it; the arc's own parameters and metrics differ by construction.
PER_BAND = ("psf_fwhm_arcsec", "quantize_step_nmgy")
PER_ROW = ("x_center", "y_center", "host_partial", "band_absent", "assumed_noise", "assumed_psf")
_NUMBERS = ("x_center", "y_center", *PER_BAND)
# Of stamp - arc at r >= 20 pix, and of the control's core.
_PIXELS = ("outer_mean", "outer_rms", "ctrl_core")
CHANCE = (
    f"exceeded by chance in any column or place of {100 * LEVEL:g} % of sound runs ({EXCHANGES} exchanges between "
    f"hosts); none where a class has fewer than {LEAST_HOSTS} hosts"
)
_SUMS = 4  # rows with a value, sum, sum of squares, rows without


@dataclass(frozen=True, eq=False)
class Balance:
    """Every column that a network could feel, by class and split."""

    columns: tuple[str, ...]
    hosts: HostSums  # columns: (split, class, column, _SUMS)
    keys: NDArray[np.uint64]  # (m,): hash of each row of the sample
    is_control: NDArray[np.bool_]  # (m,)
    sampled: NDArray[np.float32]  # (m, column)
    sampled_host: NDArray[np.int64]  # (m,)
    marks: Marks = field(default_factory=Marks.none)

    @classmethod
    def from_block(cls, block: Block) -> Balance:
        """Summarise one block of pairs: both classes."""
        pairs = block.pairs
        names, values = _columns(pairs)
        control = column(pairs, "is_control").astype(bool)
        split = column(pairs, "split").astype(np.int64)
        finite = np.isfinite(values)
        filled = np.where(finite, values, 0.0)
        terms = np.stack([finite, filled, filled**2, ~finite], axis=-1)
        n = len(control)
        cells = np.zeros((n, len(SPLITS), 2), dtype=bool)
        cells[np.arange(n), split, control.astype(int)] = True
        host = column(pairs, "host_index").astype(np.int64)
        hosts = HostSums.from_cells(host, (2 * split + control, 2 * len(SPLITS)), terms, cells)
        key = rng.mix_ids(column(pairs, "row_id").astype(np.uint64), np.uint64(11))
        sample = _smallest(key, control, values.astype("f4"), host)
        marks = Marks.from_rows(pairs, metadata_columns(pairs)[1])
        return cls(names, hosts, *sample, marks)

    def __add__(self, other: Balance) -> Balance:
        same_layout(self.columns, other.columns)
        kept = (
            np.concatenate([getattr(self, k), getattr(other, k)])
            for k in ("keys", "is_control", "sampled", "sampled_host")
        )
        return Balance(self.columns, self.hosts + other.hosts, *_smallest(*kept), self.marks + other.marks)

    def result(self, settings: Settings) -> xr.Dataset:
        """Standardised differences with intervals over hosts, missing values, and distances of distributions."""
        shape = (len(SPLITS), 2, len(self.columns), _SUMS)
        total = self.hosts.total.reshape(shape)
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.balance").reshape(-1, *shape)
        total, drawn = (np.concatenate([v.sum(axis=-4, keepdims=True), v], axis=-4) for v in (total, drawn))
        by_split = self.hosts.present.reshape(-1, len(SPLITS), 2)
        every = np.concatenate([by_split.any(axis=1, keepdims=True), by_split], axis=1)
        n_hosts, fewest = every.any(axis=2).sum(axis=0), every.sum(axis=0).min(axis=1)
        # Where each class has hosts of its own, the interval is as wide as the fewer of them make it.
        low, high = interval(_standardised(drawn), fewest[:, None])
        # So many hosts of each class that are wholly apart are so by chance with p = 1.6e-4 (2 / C(16, 8)).
        tested = fewest >= LEAST_HOSTS
        gap_low, gap_high = interval(_missing_apart(drawn), fewest[:, None])
        limits = chance_limits(
            self.hosts.sums.reshape(-1, *shape), tested, settings.seed, "diagnostics.balance.exchange"
        )
        distance, p = zip(*(self._ks(k) for k in range(len(self.columns))), strict=True)
        dims = ["place", "column"]
        out = {
            **with_interval(
                "difference",
                dims,
                (_standardised(total, np.where(tested, np.inf, np.nan)[:, None]), (low, high)),
                "1",
                "mean of injections less mean of controls, over the scatter of both classes (root mean of variances); "
                "infinite: they differ, and neither scatters",
            ),
            "difference_limit": named(dims, ratio(limits.mean, _scatter(total)[1]), "1", CHANCE),
            "missing": named(
                ["class", *dims],
                np.moveaxis(ratio(total[..., 3], total[..., 0] + total[..., 3]), 1, 0),
                "1",
                "share of rows without a value",
            ),
            **with_interval(
                "missing_difference",
                dims,
                (_missing_apart(total), (gap_low, gap_high)),
                "1",
                "share of injections without a value less that of controls",
            ),
            "missing_difference_limit": named(dims, limits.missing, "1", CHANCE),
            "n_rows": named(
                ["class", "place"], (total[..., 0] + total[..., 3])[:, :, 0].astype(np.int64).T, "1", "rows"
            ),
            "n_hosts": named(["place"], n_hosts, "1", "hosts with rows of either class"),
            "fewest_hosts": named(["place"], fewest, "1", "hosts of the class that has fewer"),
            "ks": named(["column"], distance, "1", "largest distance of the distributions of the two classes"),
            "ks_p": named(["column"], p, "1", "its p-value, as if each host were one row: rows of a host are alike"),
        }
        differing = self.marks.differing
        out["n_hosts_of_other_bits"] = named(
            [], differing.size, "1", "hosts whose metadata are not the same bits in injections and controls"
        )
        out["n_contradicted"] = named([], self.marks.contradicted, "1", "rows called clean that carry a flag")
        coords = {"class": list(CLASSES), "place": ["all", *SPLITS], "column": list(self.columns)}
        return xr.Dataset(
            out,
            coords=coords,
            attrs={
                "title": "class balance",
                "sampled_rows": int(self.keys.size),
                "first_host_of_other_bits": int(differing[0]) if differing.size else -1,
            },
        )

    def _ks(self, k: int) -> tuple[float, float]:
        values, control = self.sampled[:, k], self.is_control
        good = np.isfinite(values)
        a, b = np.sort(values[good & ~control]), np.sort(values[good & control])
        if not a.size or not b.size:
            return np.nan, np.nan
        at = np.concatenate([a, b])
        apart = np.searchsorted(a, at, side="right") / a.size - np.searchsorted(b, at, side="right") / b.size
        distance = float(np.abs(apart).max())
        n, m = (np.unique(self.sampled_host[good & c]).size for c in (~control, control))
        return distance, float(kolmogorov(distance * np.sqrt(n * m / (n + m))))


def _columns(pairs: xr.Dataset) -> tuple[tuple[str, ...], Floats]:
    """Names and values (row, column) of everything compared."""
    bands = [str(b) for b in pairs["band"].values]
    columns, values = metadata_columns(pairs)
    names = [f"{name}_{band}" if band else name for name, band in columns]
    numbers = [k for k, (name, _) in enumerate(columns) if name in _NUMBERS]
    names += [f"{names[k]} zero bits" for k in numbers] + [f"absent_pixels_{b}" for b in bands]
    values = np.concatenate([values, number_format(values[:, numbers]), absent_pixels(pairs)], axis=1)
    pixels = np.concatenate([_pixel_columns(pairs), _shape_columns(pairs)], axis=-1)
    names += [f"{name}_{b}" for name in (*_PIXELS, *(f"host_{s}" for s in SHAPES)) for b in bands]
    return tuple(names), np.concatenate([values, *np.moveaxis(pixels, -1, 0)], axis=1)


def metadata_columns(pairs: xr.Dataset) -> tuple[tuple[tuple[str, str], ...], Floats]:
    """Metadata of each row: the columns of ``PER_ROW`` and ``PER_BAND`` that the pairs have.

    Returns
    -------
    columns : tuple of (name, band)
        The band is "" where there is none.
    values : ndarray, shape (row, column)
        NaN where a row has no value.
    """
    bands = [str(b) for b in pairs["band"].values]
    columns: list[tuple[str, str]] = []
    values: list[NDArray] = [np.empty((pairs.sizes["sample"], 0))]
    for name in PER_ROW:
        if name in pairs:
            columns.append((name, ""))
            values.append(column(pairs, name).astype(np.float64)[:, None])
    for name in PER_BAND:
        if name in pairs:
            columns += [(name, b) for b in bands]
            values.append(column(pairs, name).astype(np.float64))
    return tuple(columns), np.concatenate(values, axis=1)


def _pixel_columns(pairs: xr.Dataset) -> Floats:
    """Mean and rms of stamp - arc at r >= 20 pix and mean of the control at r < 5 pix, (row, band, 3)."""
    stamp, ctrl, arc = (column(pairs, name) for name in ("stamp", "ctrl", "arc"))
    n, bands, size = stamp.shape[0], stamp.shape[1], stamp.shape[-1]
    middle = geometry.centre(size)
    _, outer = regions(size)
    core = geometry.disc(size, middle, middle)
    sums = np.zeros((n, bands, 3))
    outer_sums(stamp, arc, ctrl, outer, core, sums)
    mean = sums[..., 0] / outer.sum()
    has_psf = np.isfinite(column(pairs, "psf_fwhm_arcsec")).reshape(n, bands)
    found = np.stack(
        [
            mean,
            np.sqrt(np.maximum(sums[..., 1] / outer.sum() - mean**2, 0)),
            sums[..., 2] / core.sum(),
        ],
        axis=-1,
    )
    return np.where(has_psf[..., None], found, np.nan)


def _shape_columns(pairs: xr.Dataset) -> Floats:
    """Shapes of the controls, (row, band, len(SHAPES)); once a host: its rows differ by rounding at most."""
    _, first, place = np.unique(column(pairs, "host_index"), return_index=True, return_inverse=True)
    has_psf = np.isfinite(column(pairs, "psf_fwhm_arcsec"))
    shapes = host_shapes(column(pairs, "ctrl")[first])[place]
    return np.where(has_psf.reshape(*shapes.shape[:2], 1), shapes, np.nan)


def _standardised(sums: Floats, apart_without_scatter: Any = np.nan) -> Floats:
    """Standardised difference of the classes from sums (..., class, column, _SUMS); 0 where nothing differs."""
    mean, scatter = _scatter(sums)
    apart = mean[..., 0, :] - mean[..., 1, :]
    same = np.abs(apart) <= 1e-6 * np.abs(mean).max(axis=-2)
    differ = np.where(scatter == 0, np.copysign(apart_without_scatter, apart), ratio(apart, scatter))
    differ = np.where(np.isnan(apart), np.nan, differ)
    return np.where(same, 0.0, differ)


def _scatter(sums: Floats) -> tuple[Floats, Floats]:
    """Means of the classes (..., class, column), and the root of the mean of their variances (..., column)."""
    n, total, square = (sums[..., k] for k in range(3))
    mean = ratio(total, n)
    # Sums of squares of constants leave rounding behind.
    variance = ratio(square, n) - mean**2
    variance = np.where(variance > 1e-10 * ratio(square, n), variance, 0.0)
    return mean, np.sqrt(variance.mean(axis=-2))


def _missing_apart(sums: Floats) -> Floats:
    """Difference of the classes' shares of rows without a value, from sums (..., class, column, _SUMS)."""
    share = ratio(sums[..., 3], sums[..., 0] + sums[..., 3])
    return np.asarray(share[..., 0, :] - share[..., 1, :])


def _smallest(
    keys: NDArray[np.uint64], control: NDArray[np.bool_], values: NDArray[np.float32], host: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
    order = np.argsort(keys, kind="stable")
    taken = np.sort(np.concatenate([np.flatnonzero(control[order] == c)[:SAMPLE] for c in (False, True)]))
    order = order[taken]
    return keys[order], control[order], values[order], host[order]
