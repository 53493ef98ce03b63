"""A few complete rows, chosen by hash, for the tests that render again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.injection.rounding import ARC, before_rounding
from lensflow.lensing.image_light import Sources
from lensflow.lensing.render import render
from lensflow.stats.hostsums import column

KEPT = 48
# Of an image's stand-in where the manifest leaves the image its own size.
_REFF_ARCSEC = 0.3
_PURPOSE = np.uint64(13)
_COLUMNS = tuple(v.name for v in schema.MANIFEST)


def injections(pairs: xr.Dataset, last_key: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Injection rows of a block, and the hashes by which rows are chosen; none beyond ``last_key``."""
    rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
    keys = keys_of(column(pairs, "row_id")[rows])
    if last_key is None:
        return rows, keys
    chosen = keys <= np.uint64(last_key)
    return rows[chosen], keys[chosen]


def keys_of(row_id: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash of row ids: the order in which rows are taken for tests, whatever their place in the run."""
    return np.asarray(rng.mix_ids(row_id.astype(np.uint64), _PURPOSE))


@dataclass(frozen=True, eq=False)
class Specimens:
    """At most ``KEPT`` injection rows, those with the smallest hash of their id.

    Attributes
    ----------
    keys : ndarray of uint64, shape (m,)
    columns : dict of ndarray, shape (m, ...)
        The manifest's columns that the block has; and ``psf_kernel`` (m, band, k, k), ``has_data`` (m, band, y, x) and
        ``arc_step_nmgy`` (m, band) where it has those.
    arc : ndarray of float32, shape (m, band, y, x)
    attrs : dict
        Of the pairs: ``psf_model``, ``psf_beta``, ``pixel_scale_arcsec``, ``seed``.
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
    def from_block(cls, pairs: xr.Dataset, last_key: int | None = None) -> Specimens:
        """Keep the rows of one block that come first by hash, none beyond ``last_key``, which keeps blocks small.

        Of all rows of a run at least ``KEPT`` must have a hash up to it.
        """
        rows, key = injections(pairs)
        order = np.argsort(key, kind="stable")[:KEPT]
        if last_key is not None:
            order = order[key[order] <= np.uint64(last_key)]
        of_image = column(pairs, "src_id")[rows] != "" if "src_id" in pairs else np.zeros(rows.size, bool)
        return cls.of_rows(pairs, rows[order], key[order], int(of_image.sum()))

    @classmethod
    def of_rows(
        cls, pairs: xr.Dataset, rows: NDArray[np.int64], key: NDArray[np.uint64], n_images: int = 0
    ) -> Specimens:
        """Take the given rows of a block."""
        names = [n for n in (*_COLUMNS, "psf_kernel", "has_data", "arc_step_nmgy") if n in pairs]
        wanted = ("psf_model", "psf_beta", "pixel_scale_arcsec", "seed")
        attrs = {k: pairs.attrs[k] for k in wanted if k in pairs.attrs}
        bands = tuple(str(b) for b in pairs["band"].values)
        return cls(bands, key, {n: column(pairs, n)[rows] for n in names}, column(pairs, "arc")[rows], attrs, n_images)

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
        if "arc_step_nmgy" in self.columns and np.isnan(self.columns["arc_step_nmgy"]).any():
            return "the steps that the arcs were rounded to need the hosts; `lensflow diagnose` has them"
        return ""

    @property
    def arc_ends(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Ends of what each pixel of the arcs was before it was rounded; the arcs themselves where they were not."""
        step = self.columns.get("arc_step_nmgy")
        if step is None or not step.any():
            return self.arc, self.arc
        return before_rounding(self.arc, step, self.columns["row_id"], int(self.attrs["seed"]), ARC)

    def psf(self) -> dict[str, Any]:
        """What the renderer is told of the PSF of these rows."""
        if self.attrs["psf_model"] == "kernel":
            return {"psf_model": self.columns["psf_kernel"].astype(np.float64)}
        return {"psf_model": str(self.attrs["psf_model"]), "psf_beta": float(self.attrs["psf_beta"])}


def render_again(
    specimens: Specimens, rows: NDArray[np.bool_], sources: Sources | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Render some of the rows: their arcs, without mask and rounding, and the estimated errors over the peaks."""
    not_of_renderer = ("psf_kernel", "has_data", "is_control", "arc_step_nmgy")
    columns = {k: v[rows] for k, v in specimens.columns.items() if k not in not_of_renderer}
    psf = specimens.psf()
    if specimens.attrs["psf_model"] == "kernel":
        psf = {"psf_model": psf["psf_model"][rows]}
    scale, size = float(specimens.attrs["pixel_scale_arcsec"]), specimens.arc.shape[-1]
    found = render(columns, stamp_size=size, pixel_scale_arcsec=scale, sources=sources, **psf)
    return found.arc, found.render_err
