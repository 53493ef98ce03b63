"""Read and check the rows of a manifest: the one place that decides whether a row can be rendered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError, RenderError, did_you_mean
from lensflow.lensing.components import (
    BULGE,
    KNOTS,
    OF_BANDS,
    OF_KNOTS,
    Components,
    check_components,
    read_components,
)
from lensflow.lensing.engine.kernel_set import KernelSet, PackedKernels, no_kernels
from lensflow.lensing.image_light import Images, Sources, fetch_images, no_images
from lensflow.lensing.sources import N_RANGE

LENS_MODELS = ("SIS", "SIE", "EPL", "CONTROL")
Floats = NDArray[np.float64]

# Column -> what an injection's value must satisfy, in words and in numpy.
RULES: dict[str, tuple[str, Callable[[Floats], NDArray[np.bool_]]]] = {
    "theta_e_arcsec": ("> 0", lambda v: v > 0),
    "lens_q": ("in (0, 1]", lambda v: (v > 0) & (v <= 1)),
    "lens_phi_rad": ("finite", np.isfinite),
    "shear": ("in [0, 1)", lambda v: (v >= 0) & (v < 1)),
    "shear_phi_rad": ("finite", np.isfinite),
    "src_x_arcsec": ("finite", np.isfinite),
    "src_y_arcsec": ("finite", np.isfinite),
    "src_reff_arcsec": ("> 0", lambda v: v > 0),
    "src_n": (f"in [{N_RANGE[0]}, {N_RANGE[1]}]", lambda v: (v >= N_RANGE[0]) & (v <= N_RANGE[1])),
    "src_q": ("in (0, 1]", lambda v: (v > 0) & (v <= 1)),
    "src_phi_rad": ("finite", np.isfinite),
}
# An EPL's slope; the column may be absent, which means isothermal.
GAMMA_RULE: tuple[str, Callable[[Floats], NDArray[np.bool_]]] = ("in (1, 3)", lambda v: (v > 1) & (v < 3))
# A lens of two minds would be rendered round without a word.
SIS_RULE = "1 with lens_model SIS, which is round (SIE is the elliptical one)"
# A narrower PSF is undersampled beyond any survey's, and would ask for grids without end.
LEAST_FWHM_PIX = 0.5


@dataclass(frozen=True)
class Rows:
    """Checked rows; columns of shape (sample,) by name, flux, FWHM and presence of shape (sample, band).

    ``gamma`` is the density's slope: 2 for everything but an EPL. ``fwhm`` is not to be looked at where a kernel is
    used. A row with an image has an ``src_n`` and ``src_q`` of 1, and the image's own ``src_reff_arcsec`` where the
    manifest has NaN.
    """

    is_control: NDArray[np.bool_]
    is_sis: NDArray[np.bool_]
    column: Mapping[str, Floats]
    x_center: Floats
    y_center: Floats
    flux: Floats
    fwhm: Floats
    present: NDArray[np.bool_]
    gamma: Floats
    images: Images
    kernels: PackedKernels
    components: Components


def count_rows(manifest: Mapping[str, ArrayLike]) -> int:
    """Rows of a manifest; raises ManifestError where there is no ``lens_model`` to count."""
    return int(np.atleast_1d(_get(manifest, "lens_model")).size)


def read_rows(
    manifest: Mapping[str, ArrayLike],
    stamp_size: int,
    pixel_scale_arcsec: float,
    kernels: KernelSet | None = None,
    sources: Sources | None = None,
) -> Rows:
    """Read the columns that rendering needs and check every injection.

    Parameters
    ----------
    manifest : mapping of arrays
        Columns of ``lensflow.schema.MANIFEST``; ``is_control``, ``row_id``, ``lens_gamma`` and those of
        ``lensflow.schema.COMPONENTS`` are optional.
    stamp_size : int
        Pixels; the lens must lie on the stamp.
    pixel_scale_arcsec : float
        A PSF must be at least half a pixel wide.
    kernels : KernelSet, optional
        Measured PSFs. Of ``psf_fwhm_arcsec`` only the NaNs count then, and it may be absent.
    sources : Sources, optional
        Where the images of ``src_id`` come from.

    Raises
    ------
    ManifestError
        If a column is missing or of the wrong shape, or an injection's value is impossible (first such row named).
    RenderError
        If a PSF's FWHM is 0, negative, infinite, or below half a pixel, or a kernel is missing or cannot serve.

    Notes
    -----
    A control's other columns are not looked at; nor is the flux of a band that is absent.
    """
    model = np.atleast_1d(_get(manifest, "lens_model")).astype(str)
    n = model.size
    row_id = _column(manifest, "row_id", n, np.uint64) if "row_id" in manifest else None

    def name(i: int) -> str:
        return f"manifest row {i}" + (f" (row_id {row_id[i]})" if row_id is not None else "")

    def refuse(bad: NDArray[np.bool_], values: NDArray, column: str, rule: str, error: type[Exception]) -> None:
        if bad.any():
            where = tuple(int(v) for v in np.argwhere(bad)[0])
            band = f", {'knot' if column in OF_KNOTS else 'band'} {where[1]}" if len(where) > 1 else ""
            more = f" ({int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
            raise error(f"{name(where[0])}{band}: {column} must be {rule}, not {values[where]}{more}.")

    unknown = ~np.isin(model, LENS_MODELS)
    if unknown.any():
        i = int(np.argmax(unknown))
        hint = did_you_mean(str(model[i]), LENS_MODELS)
        raise ManifestError(
            f"{name(i)}: lens_model must be one of {', '.join(LENS_MODELS)}, not {str(model[i])!r}.{hint}"
        )
    control = model == "CONTROL"
    if "is_control" in manifest:
        flag = _column(manifest, "is_control", n, bool)
        refuse(flag != control, model, "lens_model", "CONTROL exactly where is_control is set", ManifestError)
    images = no_images(n)
    if "src_id" in manifest:
        images = fetch_images(_column(manifest, "src_id", n, str), ~control, sources, name)
    column = {}
    for key, (rule, holds) in RULES.items():
        value = column[key] = images.stand_in(key, _column(manifest, key, n))
        refuse(~control & ~(np.isfinite(value) & holds(value)), value, key, rule, ManifestError)
    refuse((model == "SIS") & (column["lens_q"] != 1), column["lens_q"], "lens_q", SIS_RULE, ManifestError)
    centers = []
    for key in ("x_center", "y_center"):
        value = _column(manifest, key, n)
        on_stamp = (value >= -0.5) & (value <= stamp_size - 0.5)
        rule = f"on the stamp, in [-0.5, {stamp_size - 0.5}] pixels"
        refuse(~control & ~on_stamp, value, key, rule, ManifestError)
        centers.append(value)
    flux = _bands(manifest, "src_flux_nmgy", n)
    bands = int(flux.shape[1])
    fwhm = np.zeros(flux.shape)
    if kernels is None or "psf_fwhm_arcsec" in manifest:
        fwhm = _bands(manifest, "psf_fwhm_arcsec", n)
    if fwhm.shape != flux.shape:
        raise ManifestError(f"psf_fwhm_arcsec has the shape {fwhm.shape}, src_flux_nmgy {flux.shape}: bands differ")
    used = ~control[:, None] & ~np.isnan(fwhm)
    if kernels is None:
        good = np.isfinite(fwhm) & (fwhm > 0)
        refuse(used & ~good, fwhm, "psf_fwhm_arcsec", "positive, or NaN = absent", RenderError)
        least = LEAST_FWHM_PIX * pixel_scale_arcsec
        rule = f">= {least:.4g} arcsec, {LEAST_FWHM_PIX} pixel"
        refuse(used & (fwhm < least), fwhm, "psf_fwhm_arcsec", rule, RenderError)
        packed = no_kernels(n, bands)
    else:
        given = kernels.given(control, bands, name)
        if "psf_fwhm_arcsec" in manifest:
            rule = "NaN (band absent) where the band has no PSF kernel"
            refuse(used & ~given, fwhm, "psf_fwhm_arcsec", rule, RenderError)
        used &= given
        packed = kernels.pack(used, name)
    refuse(used & ~(np.isfinite(flux) & (flux >= 0)), flux, "src_flux_nmgy", "finite and >= 0", ManifestError)
    gamma = np.full(n, 2.0)
    if "lens_gamma" in manifest:
        slope, epl = _column(manifest, "lens_gamma", n), model == "EPL"
        refuse(epl & ~(np.isfinite(slope) & GAMMA_RULE[1](slope)), slope, "lens_gamma", GAMMA_RULE[0], ManifestError)
        gamma[epl] = slope[epl]
    several = _components(manifest, n, bands)

    def refuse_component(bad: NDArray[np.bool_], values: NDArray, column: str, rule: str) -> None:
        refuse(bad, values, column, rule, ManifestError)

    check_components(several, ~control, ~control & (images.of >= 0), refuse_component)
    components = read_components(several, column, ~control, bands)
    return Rows(
        control, model == "SIS", column, centers[0], centers[1], flux, fwhm, used, gamma, images, packed, components
    )  # fmt: skip


def _get(manifest: Mapping[str, ArrayLike], key: str) -> NDArray:
    if key not in manifest:
        raise ManifestError(f"manifest: no column {key!r}.{did_you_mean(key, [str(k) for k in manifest])}")
    return np.asarray(manifest[key])


def _components(manifest: Mapping[str, ArrayLike], n: int, bands: int) -> dict[str, NDArray]:
    """Columns of bulges and knots, as far as the manifest has them."""
    found: dict[str, NDArray] = {}
    for key in (k for k in (*BULGE, *KNOTS) if k in manifest):
        found[key] = _bands(manifest, key, n) if key in (*OF_BANDS, *OF_KNOTS) else _column(manifest, key, n)
        if key in OF_BANDS and found[key].shape[1] != bands:
            raise ManifestError(f"{key} has the shape {found[key].shape}, src_flux_nmgy ({n}, {bands}): bands differ")
    slots = {k: v.shape[1] for k, v in found.items() if k in OF_KNOTS}
    if len(set(slots.values())) > 1:
        raise ManifestError(f"manifest: columns of knots have different numbers of places: {slots}")
    return found


def _column(manifest: Mapping[str, ArrayLike], key: str, n: int, dtype: type = np.float64) -> NDArray:
    value: NDArray = np.atleast_1d(_get(manifest, key)).astype(dtype)
    if value.shape != (n,):
        raise ManifestError(f"manifest: {key} must have the shape ({n},), not {value.shape}")
    return value


def _bands(manifest: Mapping[str, ArrayLike], key: str, n: int) -> Floats:
    value = _get(manifest, key).astype(np.float64)
    if value.ndim != 2 or value.shape[0] != n:
        axis = "knot" if key in OF_KNOTS else "band"
        raise ManifestError(f"manifest: {key} must have the shape ({n}, {axis}), not {value.shape}")
    return value
