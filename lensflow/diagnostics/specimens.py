"""A few complete rows, chosen by hash, for the tests that render again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.diagnostics.hostsums import column

KEPT = 48
# Of an image's stand-in where the manifest leaves the image its own size.
_REFF_ARCSEC = 0.3
_COLUMNS = tuple(v.name for v in schema.MANIFEST)


@dataclass(frozen=True, eq=False)
class Specimens:
    """At most ``KEPT`` injection rows, those with the smallest hash of their id.

    Attributes
    ----------
    keys : ndarray of uint64, shape (m,)
    columns : dict of ndarray, shape (m, ...)
        The manifest's columns that the block has; and ``psf_kernel`` (m, band, k, k) and ``has_data`` (m, band, y, x)
        where it has those.
    arc : ndarray of float32, shape (m, band, y, x)
    attrs : dict
        Of the pairs: ``psf_model``, ``psf_beta``, ``pixel_scale_arcsec``.
    n_images : int
        Injection rows, of all, whose source is an image.
    """

    bands: tuple[str, ...]
    keys: NDArray[np.uint64]
    columns: dict[str, NDArray[Any]]
    arc: NDArray[np.float32]
    attrs: dict[str, Any]
    n_images: int

    @classmethod
    def from_block(cls, pairs: xr.Dataset) -> Specimens:
        """Keep the rows of one block that come first by hash."""
        rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
        of_image = column(pairs, "src_id")[rows] != "" if "src_id" in pairs else np.zeros(rows.size, bool)
        key = rng.mix_ids(column(pairs, "row_id")[rows].astype(np.uint64), np.uint64(13))
        order = np.argsort(key, kind="stable")[:KEPT]
        rows = rows[order]
        names = [n for n in (*_COLUMNS, "psf_kernel", "has_data") if n in pairs]
        attrs = {k: pairs.attrs[k] for k in ("psf_model", "psf_beta", "pixel_scale_arcsec") if k in pairs.attrs}
        bands = tuple(str(b) for b in pairs["band"].values)
        columns = {n: column(pairs, n)[rows] for n in names}
        return cls(bands, key[order], columns, column(pairs, "arc")[rows], attrs, int(of_image.sum()))

    def __add__(self, other: Specimens) -> Specimens:
        keys = np.concatenate([self.keys, other.keys])
        order = np.argsort(keys, kind="stable")[:KEPT]
        columns = {k: np.concatenate([v, other.columns[k]])[order] for k, v in self.columns.items()}
        arc = np.concatenate([self.arc, other.arc])[order]
        return Specimens(
            self.bands, keys[order], columns, arc, self.attrs | other.attrs, self.n_images + other.n_images
        )

    @property
    def of_image(self) -> NDArray[np.bool_]:
        """Which of the kept rows have an image as their source, shape (m,)."""
        return self.columns["src_id"] != "" if "src_id" in self.columns else np.zeros(self.keys.size, bool)

    def without_images(self) -> Specimens:
        """The same rows with a round exponential disc in the place of each image, to be rendered and not compared."""
        image = self.of_image
        if not image.any():
            return self
        reff = self.columns["src_reff_arcsec"]
        stand_in = {
            "src_id": np.full(image.size, ""),
            "src_n": np.where(image, 1.0, self.columns["src_n"]),
            "src_q": np.where(image, 1.0, self.columns["src_q"]),
            "src_reff_arcsec": np.where(image & ~np.isfinite(reff), _REFF_ARCSEC, reff),
        }
        return replace(self, columns={**self.columns, **stand_in})

    def why_not(self) -> str:
        """Why these rows cannot be rendered again; empty if they can."""
        missing = [k for k in ("psf_model", "psf_beta", "pixel_scale_arcsec") if k not in self.attrs]
        missing += [k for k in ("lens_q", "src_q", "src_n", "shear") if k not in self.columns]
        if missing:
            return f"the pairs do not say {', '.join(missing)}"
        if self.keys.size == 0:
            return "no injection"
        if self.attrs["psf_model"] == "kernel" and "psf_kernel" not in self.columns:
            return "the PSF images are not among these pairs; `lensflow diagnose` has them"
        return ""

    def psf(self) -> dict[str, Any]:
        """What the renderer is told of the PSF of these rows."""
        if self.attrs["psf_model"] == "kernel":
            return {"psf_model": self.columns["psf_kernel"].astype(np.float64)}
        return {"psf_model": str(self.attrs["psf_model"]), "psf_beta": float(self.attrs["psf_beta"])}
