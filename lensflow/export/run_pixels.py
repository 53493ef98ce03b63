"""Pixels of samples, from the stores of a run: whole shards of stamps, controls from the cutouts, no copies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import ExportConfig, StoreConfig
from lensflow.errors import ExportError
from lensflow.export.pixels.kernels import not_finite
from lensflow.export.samples import CONTROL, COUNTERFACTUAL, POSITIVE, TABLE
from lensflow.injection.core.counterfactual import add_core_blob, move_arc, rotate_arc
from lensflow.injection.core.matching import match_controls
from lensflow.injection.rounding import round_pixels, rounding_steps, sky_sigma
from lensflow.measure.lens_light import without_light
from lensflow.rng import uniform
from lensflow.store.open import read_hosts, read_manifest_block, read_pixels
from lensflow.store.pixels import pixel_blocks
from lensflow.store.regions import Regions

Images = NDArray[np.float32]
# Radius of the core that matched hosts are alike in, pixels about the stamp's middle.
_CORE = 5


@dataclass(frozen=True)
class RunPixels:
    """Reads the pixels of one unit of samples: one shard of pairs, and the hosts of its rows.

    Attributes
    ----------
    pairs, manifest, cutouts : str
        URLs.
    regions : Regions
        Of the pairs.
    store : StoreConfig
        Rounding of stamps and controls.
    seed : int
    settings : ExportConfig
    pixel_scale_arcsec : float
    table : str
        URL of the stamps of real non-lenses, whose samples have ``host_index`` -1 - their place there; empty without.
    """

    pairs: str
    manifest: str
    cutouts: str
    regions: Regions
    store: StoreConfig
    seed: int
    settings: ExportConfig
    pixel_scale_arcsec: float
    table: str = ""

    def read(self, samples: xr.Dataset, shard: int) -> Images:
        """Pixels of a unit's samples, before normalisation.

        Parameters
        ----------
        samples : Dataset
            Of one unit.
        shard : int
            Region of the pairs that holds its rows.

        Returns
        -------
        ndarray of float32, shape (n, channel, y, x)
            nMgy/pixel; NaN where there is no data, in stamp and control alike.

        Raises
        ------
        ExportError
            If a stamp has other valid pixels than its control; the message names the row.
        """
        view, kind = self.settings.view, samples["negative_kind"].values
        if view in ("single", "pairs"):
            return self._single(samples, shard, kind)
        hosts = self._hosts(samples["host_index"].values)
        own = self._controls(samples, hosts)
        every, stamps = np.arange(len(own)), np.empty_like(own)
        self._stamps(samples, shard, hosts, every, stamps)
        own, stamps = (self.less_light(v, samples) for v in (own, stamps))
        if view == "triplet":
            return np.concatenate([stamps, own, stamps[self._matched(samples, hosts)]], axis=1)
        first = stamps
        if (kind == CONTROL).any():
            other = self._matched(samples, hosts)
            first = np.where((kind == CONTROL)[:, None, None, None], own[other], stamps)
        return np.concatenate([first, own], axis=1) if view == "concat" else first - own

    def arcs(self, samples: xr.Dataset, shard: int) -> Images:
        """Noiseless arcs of samples that have a row, as they were rendered.

        Parameters
        ----------
        samples : Dataset
            Of one unit, each with a row of the manifest.
        shard : int
            Region of the pairs that holds them.

        Returns
        -------
        ndarray of float32, shape (n, band, y, x)
            nMgy/pixel.
        """
        region = self.regions[shard]
        return read_pixels(self.pairs, "pairs", region.slice, ("arc",))["arc"][samples["pair_id"].values - region.start]

    def _single(self, samples: xr.Dataset, shard: int, kind: NDArray[np.int8]) -> Images:
        of_rows, of_table = samples["pair_id"].values >= 0, kind == TABLE
        x: Images | None = None
        # Hosts without rows lie elsewhere in the cutouts, and a table's objects in another store: a slice for each.
        for some in (np.flatnonzero(of_rows), np.flatnonzero(~of_rows & ~of_table), np.flatnonzero(of_table)):
            if not some.size:
                continue
            part = samples if some.size == len(kind) else samples.isel(sample=some)
            hosts, of_kind = self._hosts(part["host_index"].values), kind[some]
            image = hosts["image"]
            if x is None:
                x = np.empty((len(kind), *image.shape[1:]), np.float32)
            dark = np.flatnonzero(of_kind != POSITIVE)
            if dark.size:
                x[some[dark]] = self._controls(part.isel(sample=dark), hosts, dark)
            moved = np.flatnonzero(of_kind == COUNTERFACTUAL)
            own = x[some[moved]]
            lit = np.flatnonzero((of_kind == POSITIVE) | (of_kind == COUNTERFACTUAL))
            if lit.size:
                self._stamps(part.isel(sample=lit), shard, hosts, lit, x, some[lit])
            if moved.size:
                x[some[moved]] = self._counterfactuals(part.isel(sample=moved), shard, own, x[some[moved]])
            if self.settings.steps_per_sigma:
                x[some] = self._rounded(x[some], part, hosts)
        assert x is not None
        return self.less_light(x, samples)

    def _hosts(self, host_index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Images, weights and valid pixels of the hosts of samples, each host once; and the samples' places in them."""
        url = self.cutouts if host_index[0] >= 0 else self.table
        hosts, place = np.unique(host_index if host_index[0] >= 0 else -1 - host_index, return_inverse=True)
        found = read_hosts(url, hosts, ("image", "invvar"))
        valid = (found["invvar"] > 0) & np.isfinite(found["image"])
        return {"place": place, "image": found["image"], "invvar": found["invvar"], "valid": valid}

    def _controls(
        self, samples: xr.Dataset, hosts: dict[str, NDArray[Any]], some: NDArray[np.int64] | None = None
    ) -> Images:
        """Controls of samples (``some`` of those of the hosts), rounded as stamps are; NaN where there is no data."""
        place = hosts["place"] if some is None else hosts["place"][some]
        out = hosts["image"][place]
        if self.store.stamp_steps_per_sigma:
            step, _ = rounding_steps(hosts["invvar"], place, self.store)
            out = round_pixels(out, step, samples["row_id"].values, self.seed)
        _blank(out, np.arange(len(out)), hosts, place)
        return out

    def _stamps(
        self,
        samples: xr.Dataset,
        shard: int,
        hosts: dict[str, NDArray[Any]],
        some: NDArray[np.int64],
        out: Images,
        at: NDArray[np.int64] | None = None,
    ) -> None:
        """Copy stamps to their places; NaN where their hosts have no data, and refused where they alone have none.

        Read a few rows at a time: each is copied while it is in the processor's cache, and a shard is in memory once.
        """
        at = some if at is None else at
        region, place = self.regions[shard], hosts["place"][some]
        rows = samples["pair_id"].values
        order = np.argsort(rows, kind="stable")
        ends = rows[order]
        for numbers, block in pixel_blocks(self.pairs, "pairs", region.slice, "stamp", np.unique(rows)):
            mine = order[np.searchsorted(ends, numbers[0]) : np.searchsorted(ends, numbers[-1], side="right")]
            if not mine.size:
                continue
            bad, found = not_finite(block), np.searchsorted(numbers, rows[mine])
            for k, row in zip(mine.tolist(), found.tolist(), strict=True):
                out[at[k]] = block[row]
                if bad[row]:
                    self._refuse_missing(samples, k, block[row], hosts["valid"][place[k]])
        _blank(out, at, hosts, place)

    @staticmethod
    def _refuse_missing(samples: xr.Dataset, k: int, stamp: Images, valid: NDArray[np.bool_]) -> None:
        odd = ~np.isfinite(stamp) & valid
        if odd.any():
            raise ExportError(
                f"row {samples['row_id'].values[k]} (number {samples['pair_id'].values[k]}): its stamp has no "
                f"value in {int(odd.sum())} pixel(s) where its control has one. Stamp and control must have the "
                "same valid pixels; `lensflow verify` says whether the store is damaged."
            )

    def _counterfactuals(self, samples: xr.Dataset, shard: int, controls: Images, stamps: Images) -> Images:
        """Controls with the added light of their rows where no lens would put it."""
        names, row_id = self.settings.counterfactuals, samples["row_id"].values
        which = (uniform(self.seed, row_id, "export.counterfactual.kind")[:, 0] * len(names)).astype(np.int64)
        added = np.nan_to_num(stamps.astype(np.float64) - controls)
        x, y = (samples[n].values.astype(np.float64) for n in ("x_center", "y_center"))
        light = np.zeros_like(added)
        for k, name in enumerate(names):
            some = np.flatnonzero(which == k)
            if not some.size:
                continue
            if name == "moved":
                light[some] = move_arc(added[some], row_id[some], self.seed)
            elif name == "rotated":
                light[some] = rotate_arc(added[some], x[some], y[some])
            else:
                light[some] = self._blobs(samples.isel(sample=some), shard)
        return (controls + light).astype(np.float32)  # NaN stays where there is no data

    def _blobs(self, samples: xr.Dataset, shard: int) -> NDArray[np.float64]:
        region, arc = self.regions[shard], self.arcs(samples, shard)
        rows = read_manifest_block(self.manifest, region).isel(sample=samples["pair_id"].values - region.start)
        model = str(rows.attrs["psf_model"])
        if model == "kernel":
            raise ExportError("export.counterfactuals: blob needs a PSF profile, and plan.psf_model is kernel")
        fwhm = rows["psf_fwhm_arcsec"].values / self.pixel_scale_arcsec
        x, y = (samples[n].values.astype(np.float64) for n in ("x_center", "y_center"))
        return np.asarray(add_core_blob(arc, x, y, fwhm, model, float(rows.attrs["psf_beta"])), np.float64)

    def _matched(self, samples: xr.Dataset, hosts: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """For each sample one of the unit's of another host, alike in the core's brightness and colour."""
        own = hosts["image"][hosts["place"]]
        size = own.shape[-1]
        core = slice(size // 2 - _CORE, size // 2 + _CORE)
        bright = np.nan_to_num(own[:, :, core, core].astype(np.float64)).mean(axis=(2, 3))
        softening = np.nan_to_num(np.nanmedian(sky_sigma(hosts["invvar"]), axis=0), nan=1.0)
        if len(hosts["image"]) < 2:
            raise ExportError(
                f"view {self.settings.view} matches hosts within a shard, and shard of row "
                f"{samples['row_id'].values[0]} has one host alone. Choose view single, or larger shards."
            )
        row, _ = match_controls(bright, bright, samples["host_index"].values, softening)
        return row

    @property
    def lens_light(self) -> str:
        """Light of the lens that is taken off: ``export.lens_light``."""
        return self.settings.lens_light

    def with_light(self) -> RunPixels:
        """The same pixels before the lens's light is taken off."""
        return replace(self, settings=self.settings.model_copy(update={"lens_light": "kept"}))

    def less_light(self, x: Images, samples: xr.Dataset) -> Images:
        """Images as ``export.lens_light`` says; NaN stays NaN."""
        if self.settings.lens_light == "kept":
            return x
        at_x, at_y = (samples[n].values for n in ("x_center", "y_center"))
        return without_light(x, self.settings.lens_light, at_x, at_y, missing=np.nan)

    def _rounded(self, x: Images, samples: xr.Dataset, hosts: dict[str, NDArray[Any]]) -> Images:
        """Rounded as ``export.quantize`` says: both classes alike, with the row's key."""
        n = self.settings.steps_per_sigma
        if not n:
            return x
        step, _ = rounding_steps(hosts["invvar"], hosts["place"], StoreConfig(quantize=f"sky/{n}"))
        missing = ~np.isfinite(x)
        x = round_pixels(np.where(missing, np.float32(0), x), step, samples["row_id"].values, self.seed, "export")
        x[missing] = np.nan
        return x


def _blank(x: Images, at: NDArray[np.int64], hosts: dict[str, NDArray[Any]], place: NDArray[np.int64]) -> None:
    """Set pixels without data to NaN, in place: of the images ``at``, whose hosts are ``place``."""
    complete = np.asarray(hosts["valid"].all(axis=(1, 2, 3)))
    for k in np.flatnonzero(~complete[place]):
        x[at[k]][~hosts["valid"][place[k]]] = np.nan
