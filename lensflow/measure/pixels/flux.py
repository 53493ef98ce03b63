"""Flux: does the added light agree with the declared flux, and how does it depend on theta_E?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection.metrics import all_on_stamp
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.differences import Differences
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, HostSums, flat_rows, interval, named, ratio, same_layout

# Sums per band for lines y = a + b log10(theta_E): of the flux added, the flux expected of manifest and magnification,
# and the flux that the manifest's own prior gives without any rendering; then the fluxes themselves.
_RESPONSES = ("added", "expected", "prior")
_LIGHT = 4  # added and expected flux, of all rows and of those on the stamp
_SUMS = 3 + 2 * len(_RESPONSES)  # n, x, x^2, (y, x y) each
# A row whose stamp holds less than this share of its light, all bands together, loses more in a band of a wider PSF.
_WHOLE = 0.98


@dataclass(frozen=True, eq=False)
class Flux:
    """Added flux beside unlensed flux x magnification x share on the stamp, per band; light where no band is."""

    bands: tuple[str, ...]
    hosts: HostSums  # columns: (band, _SUMS), then (band, _LIGHT)
    n_filled: NDArray[np.int64]  # (band,): rows with light in a band that has no PSF
    n_dark: NDArray[np.int64]  # (band,): rows with light on pixels without data
    n_unknown: int  # rows that do not say which pixels have data
    n_not_positive: NDArray[np.int64]  # (band,): rows whose added flux is not positive, left out of the lines

    @classmethod
    def from_block(cls, block: Block) -> Flux:
        """Summarise one block of pairs."""
        d = block.differences
        added = d.difference.sum(axis=-1)
        source, magnified = d.per_band("src_flux_nmgy"), d.per_band("magnification")
        if "band_magnification" in block.pairs:
            magnified = d.per_band("band_magnification")
        kept = 1 - np.nan_to_num(d.per_band("core_mask_flux_fraction"))
        kept = kept * (1 - np.nan_to_num(d.per_band("nodata_flux_fraction")))
        expected = _expected(d, source * magnified * kept)
        prior = source * point_sis_magnification(*(d.per_band(k) for k in (
            "theta_e_arcsec", "src_x_arcsec", "src_y_arcsec", "src_reff_arcsec")))  # fmt: skip
        theta_e = d.per_band("theta_e_arcsec")
        whole = d.covered & np.isfinite(expected)
        used = whole & (added > 0) & (expected > 0) & (prior > 0) & (theta_e > 0)
        x, *y = (np.log10(np.where(used, v, 1.0)) for v in (theta_e, added, expected, prior))
        terms = [used.astype(float), x, x * x]
        for values in y:
            terms += [values, x * values]
        # The fraction on the stamp is itself a sum over the arc; rows certainly on the stamp do not need it.
        near = whole & _on_stamp(d, block.stamp_size, block.pixel_scale_arcsec)[:, None]
        light = [np.where(whole, v, 0.0) for v in (added, expected)]
        light += [np.where(near, v, 0.0) for v in (added, source * magnified * kept)]
        rows = np.concatenate([flat_rows(np.stack(terms, axis=-1)), flat_rows(np.stack(light, axis=-1))], axis=1)
        cells = np.concatenate([used, whole, near], axis=1)
        count = {"n_filled": d.filled, "n_dark": d.dark, "n_not_positive": whole & ~used}
        sums = {k: v.sum(axis=0, dtype=np.int64) for k, v in count.items()}
        return cls(d.bands, HostSums.from_rows(d.host_index, rows, cells), n_unknown=d.n_unknown, **sums)

    def __add__(self, other: Flux) -> Flux:
        same_layout(self.bands, other.bands)
        return Flux(
            self.bands,
            self.hosts + other.hosts,
            self.n_filled + other.n_filled,
            self.n_dark + other.n_dark,
            self.n_unknown + other.n_unknown,
            self.n_not_positive + other.n_not_positive,
        )

    def result(self, settings: Settings) -> xr.Dataset:
        """Ratios and slopes with 95 % intervals over hosts."""
        n_bands = len(self.bands)
        n_lines, n_light, n_near = self.hosts.n_hosts.reshape(3, n_bands)
        total = self.hosts.total
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.flux")
        lines, line_draws = (v[..., : n_bands * _SUMS].reshape(-1, n_bands, _SUMS) for v in (total[None], drawn))
        light, light_draws = (v[..., n_bands * _SUMS :].reshape(-1, n_bands, _LIGHT) for v in (total[None], drawn))
        out: dict[str, Any] = {}
        low, high = interval(ratio(light_draws[..., 0], light_draws[..., 1]), n_light)
        closure = "sum(stamp - ctrl) / sum(unlensed flux x magnification x the band's share on the stamp with data)"
        out |= with_interval(
            "closure", ["band"], (ratio(light[0, :, 0], light[0, :, 1]), (low, high)), "1", f"{closure}; 1 is expected"
        )
        low, high = interval(ratio(light_draws[..., 2], light_draws[..., 3]), n_near)
        whole = "sum(stamp - ctrl) / sum(unlensed flux x magnification, less a mask), rows with arcs on the stamp"
        out |= with_interval(
            "magnified", ["band"], (ratio(light[0, :, 2], light[0, :, 3]), (low, high)), "1", f"{whole}; 0.97 to 1"
        )
        texts = {
            "added": "sum(stamp - ctrl)",
            "expected": "unlensed flux x magnification x share on the stamp",
            "prior": "unlensed flux x magnification of a point behind an SIS at the same offset: the manifest alone",
        }
        for k, name in enumerate(_RESPONSES):
            low, high = interval(_slope(line_draws, k), n_lines)
            text = f"slope of log10 of {texts[name]} on log10 theta_E"
            out |= with_interval(f"slope_{name}", ["band"], (_slope(lines, k)[0], (low, high)), "1", text)
        low, high = interval(_slope(line_draws, 0) - _slope(line_draws, 1), n_lines)
        excess = _slope(lines, 0)[0] - _slope(lines, 1)[0]
        out |= with_interval(
            "slope_excess", ["band"], (excess, (low, high)), "1", "slope_added - slope_expected; 0 is expected"
        )
        out["n_filled"] = named(["band"], self.n_filled, "1", "rows with light in a band without a PSF; must be 0")
        out["n_dark"] = named(
            ["band"], self.n_dark, "1", "rows with light (of the arc, or a changed pixel) where invvar is 0; must be 0"
        )  # fmt: skip
        out["n_unknown"] = named([], self.n_unknown, "1", "rows that do not say which pixels have data")
        out["n_not_positive"] = named(["band"], self.n_not_positive, "1", "rows without positive flux: in no line")
        out["n_rows"] = named(["band"], lines[0, :, 0].astype(np.int64), "1", "rows of the lines")
        out["n_hosts"] = named(["band"], n_lines, "1", "hosts of those rows")
        return xr.Dataset(
            out,
            coords={"band": list(self.bands)},
            attrs={"title": "flux against theta_E", "interval": "expanded percentile, bootstrap over hosts"},
        )


def _expected(d: Differences, lensed: Floats) -> Floats:
    """Flux that each band of a stamp should hold, of the flux ``lensed`` that no mask or hole takes.

    ``stamp_flux_fraction`` is the share of all bands together. Where next to nothing leaves the stamp it is every
    band's; else the bands share it as the renderer declares (``total_injected_flux_nmgy``), for wider PSFs lose more.
    """
    fraction = d.per_band("stamp_flux_fraction")
    jointly = lensed * fraction
    declared = np.where(d.covered, d.per_band("total_injected_flux_nmgy"), 0.0)
    total = np.where(d.covered, jointly, 0.0).sum(axis=1) * ratio(1.0, declared.sum(axis=1))
    return np.where(fraction >= _WHOLE, jointly, declared * total[:, None])


def _on_stamp(d: Differences, stamp_size: int, pixel_scale_arcsec: float) -> NDArray[np.bool_]:
    needed = ("lens_q", "shear", "src_n", "lens_model", "src_reff_arcsec")
    if not np.isfinite(pixel_scale_arcsec) or any(name not in d.pairs for name in needed):
        return np.zeros(len(d.rows), dtype=bool)
    # Of a run's hundred columns these are looked at.
    names = [*needed, "x_center", "y_center", "psf_fwhm_arcsec", "theta_e_arcsec"]
    sources = [str(n) for n in d.pairs.data_vars if str(n).startswith("src_")]
    return all_on_stamp(d.columns(dict.fromkeys([*names, *sources])), stamp_size, pixel_scale_arcsec)


def _slope(sums: Floats, response: int) -> Floats:
    n, x, xx = (sums[..., k] for k in range(3))
    y, xy = sums[..., 3 + 2 * response], sums[..., 4 + 2 * response]
    varies = n * xx - x * x
    return ratio(n * xy - x * y, np.where(varies > 1e-9 * n * xx, varies, 0.0))


def point_sis_magnification(theta_e: Floats, src_x: Floats, src_y: Floats, src_reff: Floats) -> Floats:
    """Magnification of a point behind an SIS: 2 theta_E / beta inside theta_E, 1 + theta_E / beta outside.

    ``beta`` is taken no smaller than two thirds of the source's half-light radius: the mean over a disc behind the
    lens's centre. Ellipticity and shear change the scatter, hardly the trend.
    """
    beta = np.maximum(np.hypot(src_x, src_y), 2 / 3 * src_reff)
    y = ratio(beta, theta_e)
    return np.where(y < 1, ratio(2.0, y), 1 + ratio(1.0, y))
