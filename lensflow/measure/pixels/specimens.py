"""A few complete rows, chosen by hash, for the tests that render again."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.injection.rounding import ARC, before_rounding
from lensflow.lensing.image_light import Sources
from lensflow.lensing.render import render
from lensflow.stats.hostsums import column
from lensflow.stats.kept_rows import KeptRows

KEPT = 48
# For an image's substitute if the manifest keeps the image's own size.
_REFF_ARCSEC = 0.3
_PURPOSE = np.uint64(13)
_COLUMNS = tuple(v.name for v in (*schema.MANIFEST, *schema.COMPONENTS))
_NOT_OF_RENDERER = ("is_control", "psf_kernel", "has_data", "arc_step_nmgy", "arc")
_ATTRS = ("psf_model", "psf_beta", "pixel_scale_arcsec", "seed")


def injections(pairs: xr.Dataset, last_key: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Injection rows of a block, and the hashes by which rows are chosen; none beyond ``last_key``."""
    rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
    keys = keys_of(column(pairs, "row_id")[rows])
    if last_key is None:
        return rows, keys
    chosen = keys <= np.uint64(last_key)
    return rows[chosen], keys[chosen]


def keys_of(row_id: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash of row ids: the order in which rows are taken for tests, independent of their position in the run."""
    return np.asarray(rng.mix_ids(row_id.astype(np.uint64), _PURPOSE))


def specimen_key(row_id: NDArray[np.uint64], is_control: NDArray[np.bool_]) -> int | None:
    """Largest hash among the rows of a run that are kept complete; None where these are all.

    Parameters
    ----------
    row_id, is_control : ndarray, shape (n,)
        Of all rows of a run.
    """
    return key_of_first(row_id, is_control, KEPT)


def key_of_first(row_id: NDArray[np.uint64], is_control: NDArray[np.bool_], count: int) -> int | None:
    """Largest hash among the first so many injection rows, by their hash; None where these are all."""
    keys = keys_of(row_id[~is_control.astype(bool)])
    return int(np.partition(keys, count - 1)[count - 1]) if keys.size > count else None


def specimens_of(
    pairs: xr.Dataset, last_key: int | None = None, arc_step_nmgy: NDArray[np.float32] | None = None
) -> KeptRows:
    """Keep at most ``KEPT`` injection rows of a block, those with the smallest hash of their id.

    None is kept with a hash beyond ``last_key``, which keeps blocks small: at least ``KEPT`` rows of all rows of a run
    must have a hash up to it. Rows as of :func:`complete_rows`.
    """
    rows, key = injections(pairs, last_key)
    kept = rows[np.argsort(key, kind="stable")[:KEPT]]
    return KeptRows(complete_rows(pairs, kept, arc_step_nmgy), tidy=_first_by_hash)


def _first_by_hash(rows: xr.Dataset) -> xr.Dataset:
    return rows.isel(sample=np.argsort(keys_of(rows["row_id"].values), kind="stable")[:KEPT])


def complete_rows(
    pairs: xr.Dataset, rows: NDArray[np.int64], arc_step_nmgy: NDArray[np.float32] | None = None
) -> xr.Dataset:
    """Take the given rows of a block.

    Parameters
    ----------
    pairs : Dataset
    rows : ndarray of int64, shape (m,)
    arc_step_nmgy : ndarray, shape (sample, band), optional
        Steps that the arcs were rounded to; by default those that the block has.

    Returns
    -------
    Dataset
        ``arc``, the manifest's columns that the block has, and ``psf_kernel`` (sample, band, k, k), ``has_data``
        (sample, band, y, x) and ``arc_step_nmgy`` (sample, band) where it has those. Of the attrs ``psf_model``,
        ``psf_beta``, ``pixel_scale_arcsec`` and ``seed``.
    """
    names = [*(n for n in (*_COLUMNS, *_NOT_OF_RENDERER[:-1]) if n in pairs), "arc"]
    taken: dict[str, Any] = {n: (pairs.variables[n].dims, column(pairs, n)[rows]) for n in dict.fromkeys(names)}
    if arc_step_nmgy is not None:
        taken["arc_step_nmgy"] = (("sample", "band"), arc_step_nmgy[rows])
    return xr.Dataset(
        taken,
        coords={"band": column(pairs, "band").astype(str)},
        attrs={k: pairs.attrs[k] for k in _ATTRS if k in pairs.attrs},
    )


def of_image(rows: xr.Dataset) -> NDArray[np.bool_]:
    """Which of the rows have an image as their source, shape (sample,)."""
    return rows["src_id"].values != "" if "src_id" in rows else np.zeros(rows.sizes["sample"], bool)


def without_images(rows: xr.Dataset) -> xr.Dataset:
    """The same rows with a round exponential disc in the place of each image, to be rendered and not compared."""
    image = of_image(rows)
    if not image.any():
        return rows
    reff = rows["src_reff_arcsec"].values
    stand_in = {
        "src_id": np.full(image.size, ""),
        "src_n": np.where(image, 1.0, rows["src_n"].values),
        "src_q": np.where(image, 1.0, rows["src_q"].values),
        "src_reff_arcsec": np.where(image & ~np.isfinite(reff), _REFF_ARCSEC, reff),
    }
    return rows.assign({k: ("sample", v) for k, v in stand_in.items()})


def why_not(rows: xr.Dataset) -> str:
    """Why these rows cannot be rendered again; empty if they can."""
    missing = [k for k in ("psf_model", "psf_beta", "pixel_scale_arcsec") if k not in rows.attrs]
    missing += [k for k in ("lens_q", "src_q", "src_n", "shear") if k not in rows]
    if missing:
        return f"the pairs do not say {', '.join(missing)}"
    if not rows.sizes["sample"]:
        return "no injection"
    if rows.attrs["psf_model"] == "kernel" and "psf_kernel" not in rows:
        return "the PSF images are not among these pairs; `lensflow diagnose` has them"
    if "arc_step_nmgy" in rows and np.isnan(rows["arc_step_nmgy"].values).any():
        return "the steps that the arcs were rounded to need the hosts; `lensflow diagnose` has them"
    return ""


def arc_ends(rows: xr.Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Range of each arc pixel before rounding; the arcs themselves if not rounded."""
    arc = rows["arc"].values
    if "arc_step_nmgy" not in rows or not rows["arc_step_nmgy"].values.any():
        return arc, arc
    return before_rounding(arc, rows["arc_step_nmgy"].values, rows["row_id"].values, int(rows.attrs["seed"]), ARC)


def psf_of(rows: xr.Dataset) -> dict[str, Any]:
    """PSF of these rows for the renderer."""
    if rows.attrs["psf_model"] == "kernel":
        return {"psf_model": rows["psf_kernel"].values.astype(np.float64)}
    return {"psf_model": str(rows.attrs["psf_model"]), "psf_beta": float(rows.attrs["psf_beta"])}


def render_again(rows: xr.Dataset, sources: Sources | None) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Render rows: their arcs, without mask and rounding, and the estimated errors over the peaks."""
    columns = {str(k): v.values for k, v in rows.data_vars.items() if k not in _NOT_OF_RENDERER}
    scale, size = float(rows.attrs["pixel_scale_arcsec"]), rows.sizes["x"]
    found = render(columns, stamp_size=size, pixel_scale_arcsec=scale, sources=sources, **psf_of(rows))
    return found.arc, found.render_err
