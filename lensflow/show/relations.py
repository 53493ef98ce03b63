"""Declared relations of the realistic population, with the drawn values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lensflow.manifest import population
from lensflow.show.figures import INK, MUTED, Picture, label, new_figure, picture
from lensflow.units import mag_of_flux

Floats = NDArray[np.float64]
_MAX_POINTS = 4000


def relations(manifest: xr.Dataset, bands: Sequence[str], reference_band: int) -> Picture | None:
    """Plot the declared relations over the drawn values; None if the plan declared none of them.

    Parameters
    ----------
    manifest : Dataset
        With ``declared`` in its attrs.
    bands : sequence of str
    reference_band : int
    """
    declared = manifest.attrs.get("declared", {})
    rows = manifest.isel(sample=np.flatnonzero(~manifest["is_control"].values))
    rows = rows.isel(sample=slice(None, None, max(1, rows.sizes["sample"] // _MAX_POINTS)))
    panels = [draw for name, draw in _PANELS if _is_relation(declared, name)]
    if not panels or not rows.sizes["sample"]:
        return None
    figure, axes = new_figure(2.9, 1, len(panels), width=min(3.2 * len(panels), 9.6))
    above_dust = rows["src_flux_nmgy"].values / rows["mw_transmission"].values
    magnitude = mag_of_flux(above_dust)
    for a, draw in zip(axes, panels, strict=True):
        draw(a, rows, above_dust, magnitude, list(bands), reference_band)
    return picture(
        figure,
        "prior-relations",
        "Drawn values of the injections over the relations that they were declared to follow",
        "Points: rows as drawn. Line: the declared median; dashed: one standard deviation of the declared scatter on "
        "either side. Numbers and sources: docs/population.md.",
    )


def _is_relation(declared: dict[str, object], name: str) -> bool:
    prior = declared.get(name)
    return isinstance(prior, dict) and bool(prior.get("relation"))


def _lines(axes: Axes, x: Floats, middle: Floats, low: Floats, high: Floats) -> None:
    axes.plot(x, middle, color=INK, lw=1.2)
    axes.plot(x, low, color=INK, lw=0.8, ls="--")
    axes.plot(x, high, color=INK, lw=0.8, ls="--")


def _points(axes: Axes, x: Floats, y: Floats) -> Floats:
    axes.plot(x, y, ".", ms=1.5, color=MUTED, alpha=0.35, rasterized=True)
    return np.linspace(np.nanmin(x), np.nanmax(x), 60)


def _size(axes: Axes, rows: xr.Dataset, flux: Floats, magnitude: Floats, bands: list[str], reference: int) -> None:
    x = _points(axes, population.i_magnitude(flux, bands, reference), rows["src_reff_arcsec"].values)
    middle, factor = population.median_radius(x), 10**population.SIZE_SCATTER_DEX
    _lines(axes, x, middle, middle / factor, middle * factor)
    axes.set_yscale("log")
    label(axes, "source, i mag", "half-light radius, arcsec")


def _colour(axes: Axes, rows: xr.Dataset, flux: Floats, magnitude: Floats, bands: list[str], reference: int) -> None:
    if len(bands) < 2:
        return
    pair = [bands[0], bands[1]]
    x = _points(axes, magnitude[:, reference], magnitude[:, 0] - magnitude[:, 1])
    ends = [population.uv_slope(x, np.full(x.shape, n)) for n in (0.0, -1.0, 1.0)]
    colour = [population.colours_of_slope(b, np.zeros((len(x), 2)), pair, "r") for b in ends]
    _lines(axes, x, *(c[:, 0] - c[:, 1] for c in colour))
    label(axes, f"source, {bands[reference]} mag", f"{pair[0]} - {pair[1]}")


def _shape(axes: Axes, rows: xr.Dataset, flux: Floats, magnitude: Floats, bands: list[str], reference: int) -> None:
    sigma = rows["lens_sigma_v_km_s"].values
    if not np.isfinite(sigma).any():
        return
    x = _points(axes, sigma, rows["lens_q"].values)
    _lines(axes, x, *(population.lens_axis_ratio(x, np.full(x.shape, u)) for u in (0.5, 0.8413, 0.1587)))
    label(axes, "lens, sigma_v, km/s", "axis ratio")


_Panel = Callable[[Axes, xr.Dataset, Floats, Floats, list[str], int], None]
_PANELS: tuple[tuple[str, _Panel], ...] = (("src_reff_arcsec", _size), ("g_r", _colour), ("lens_e", _shape))
