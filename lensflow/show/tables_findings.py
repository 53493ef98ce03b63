"""Tables of the diagnostics: every number beside what it should be."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from lensflow.measure.gate import GateResult
from lensflow.measure.metadata.checks import findings_of
from lensflow.measure.pixels import Finding, Status
from lensflow.measure.pixels.alignment import ROW_SHIFT_PIX
from lensflow.show.numbers import MISSING, common_exponent, count, fixed, interval, number, power_of_ten, scaled
from lensflow.show.tables import Table

_UNITS = {
    "1": "",
    "percent": "%",
    "mag/arcsec^2": "mag/arcsec²",
    "nMgy/pixel per unit of the predictor": "nMgy/pixel per unit",
}
_STATUS = {Status.OK: "ok", Status.ALARM: "ALARM", Status.NOT_TESTED: "not tested"}


def findings(found: Sequence[Finding]) -> Table:
    """The worst place of every comparison."""
    rows = [
        (
            f.diagnostic.replace("_", " "),
            f.check,
            _STATUS[f.status],
            f.where or MISSING,
            number(f.value),
            number(f.expected),
            interval(f.low, f.high) if np.isfinite(f.low) else MISSING,
            _UNITS.get(f.units, f.units),
        )
        for f in found
    ]
    return Table(
        "What the diagnostics measured beside what was to be expected, each at its worst place. An alarm: the "
        "expectation lies beyond twice the half-width of the 95 % interval over hosts (more with few hosts) "
        "and beyond a tolerance that matters, or something exact is not.",
        ("diagnostic", "compared", "outcome", "where", "value", "expected", "95 %", "unit"),
        rows,
        text_columns=4,
        groups=True,
        loud=frozenset(k for k, f in enumerate(found) if f.status is Status.ALARM),
        wrapped=frozenset({1, 3, 7}),
    )


def gate(result: GateResult) -> Table:
    """What a gate without a fit compared."""
    found = findings_of(result)
    tested = sum(f.status is not Status.NOT_TESTED for f in found)
    made = f"{count(tested)} of {count(len(found))} comparisons were made."
    return replace(findings(found), caption=f"{result.name}: {result.recipe['check']}. {made}")


def as_expected(result: GateResult) -> str:
    """Say how many comparisons of a gate without a fit are as expected."""
    found = findings_of(result)
    good = sum(f.status is Status.OK for f in found)
    return f"{count(good)} of {count(len(found))} as expected" if found else MISSING


def alignment(ds: xr.Dataset) -> Table:
    """Shifts, and the shift that was put in."""
    rows = []
    for axis, b in itertools.product(ds["axis"].values, range(ds.sizes["band"])):
        part = ds.drop_dims("move").sel(axis=axis).isel(band=b)
        v = {str(k): float(x) for k, x in part.data_vars.items()}
        rows.append(
            (str(axis), str(part["band"].values), number(v["shift"]), interval(v["shift_low"], v["shift_high"]),
             number(v["injected_found"]), interval(v["injected_found_low"], v["injected_found_high"]),
             number(v["row_shift_mean"]), number(v["row_shift_std"]), number(100 * v["rows_moved"]),
             count(v["n_hosts"]))
        )  # fmt: skip
    put = ds.attrs["injected_shift_pix"]
    return Table(
        f"Alignment, in pixels: shift of stamp − arc against the control, r ≥ 16 pixels; and what the same test finds "
        f"when {put:g} pixels are put in (its power). Single rows: mean and standard deviation of each row’s own "
        f"shift, and the share of rows that are moved by more than {ROW_SHIFT_PIX:g} pixels.",
        (
            "axis",
            "band",
            "shift",
            "95 %",
            f"found of {put:g}",
            "95 %",
            "mean of rows",
            "std. of rows",
            "moved (%)",
            "hosts",
        ),
        rows,
        text_columns=2,
        groups=True,
    )


def core_pixels(ds: xr.Dataset, moved: xr.Dataset | None = None) -> Table:
    """Light added to the 3 x 3 pixels about the lens; and what is left there when the control is moved by a pixel."""
    scale = common_exponent(float(v) for v in ds["difference"].values.ravel())
    factor = 10.0**-scale
    rows = []
    for b, dy in itertools.product(range(ds.sizes["band"]), (1, 0, -1)):
        part = ds.isel(band=b).sel(dy=dy)
        cells = [str(part["band"].values), {1: "y +1", 0: "y", -1: "y −1"}[dy]]
        cells += [scaled(factor * float(v)) for v in part["difference"].values]
        for v, low, high in zip(*(part[f"residual{k}"].values for k in ("", "_low", "_high")), strict=True):
            cells.append(f"{scaled(factor * float(v))} ({interval(factor * low, factor * high, write=scaled)})")
        rows.append((*cells, count(part["n_rows"])))
    text = (
        f"The middle pixel by pixel, in {power_of_ten(scale)} nMgy/pixel: mean of stamp − control over all rows in the "
        "3 × 3 pixels about the lens, top row first; and the same less the noiseless arc, with its 95 % interval over "
        "hosts, where 0 is expected."
    )
    if moved is not None:
        worst = ", ".join(
            f"{band} " + " / ".join(number(float(v), 3) for v in moved["core_rms_moved"].sel(band=band).values)
            for band in moved["band"].values
        )
        text += (
            " What is left of the core (r < 5 pixels) without the arc, when the control is moved by one pixel to the "
            f"right / left / up / down, over unmoved (above 1 where stamps sit on their controls): {worst}."
        )
    return Table(
        text,
        ("band", "", "x −1", "x", "x +1", "without arc, x −1", "x", "x +1", "rows"),
        rows,
        text_columns=2,
        groups=True,
    )


def flux(ds: xr.Dataset) -> Table:
    """Closure and slopes."""
    rows = []
    for b in range(ds.sizes["band"]):
        v = {str(k): float(x) for k, x in ds.isel(band=b).data_vars.items()}
        cells = [str(ds["band"].values[b])]
        for name in ("closure", "magnified"):
            cells += [fixed(v[name], 4), interval(v[f"{name}_low"], v[f"{name}_high"], 4)]
        for name in ("slope_added", "slope_expected", "slope_prior"):
            cells.append(fixed(v[name], 3))
            if name == "slope_added":
                cells.append(interval(v[f"{name}_low"], v[f"{name}_high"], 3))
        rows.append((*cells, count(v["n_rows"])))
    return Table(
        "Flux: light added over light declared (unlensed flux × magnification × share on the stamp), over all rows, "
        "and without the share over rows whose arc lies on the stamp (0.97 to 1). Slopes of log₁₀ flux on log₁₀ θE: of "
        "the light added, of the light declared, and of the manifest’s own prior (a point behind an SIS, nothing "
        "rendered; ellipticity, shear and source size make it differ a little).",
        ("band", "added / declared", "95 %", "added / magnified", "95 %", "slope", "95 %", "declared", "prior",
         "rows"),
        rows,
    )  # fmt: skip


def balance(ds: xr.Dataset) -> Table:
    """Everything but the arc, between the classes, largest difference first."""
    every = ds.sel(place="all")
    order = np.argsort(-np.abs(np.nan_to_num(every["difference"].values)), kind="stable")
    rows = []
    for k in order:
        part = every.isel(column=int(k))
        v = {name: float(part[name]) for name in ("difference", "difference_low", "difference_high", "ks", "ks_p")}
        missing = [number(100 * float(part["missing"].isel({"class": c}))) for c in (0, 1)]
        rows.append(
            (str(part["column"].values).replace("_", " "), number(v["difference"]),
             interval(v["difference_low"], v["difference_high"]), number(v["ks"]), number(v["ks_p"]), *missing)
        )  # fmt: skip
    return Table(
        "Class balance: what differs between injections and controls besides the arc. Standardised difference of the "
        "means with its 95 % interval over hosts; Kolmogorov–Smirnov distance with its p-value (hosts count once); "
        "share of rows without a value. “outer” is stamp − arc at r ≥ 20 pixels.",
        ("column", "difference", "95 %", "KS", "p", "missing, injections (%)", "missing, controls (%)"),
        rows,
    )


def psf(ds: xr.Dataset) -> Table:
    """Largest deviation of the impulses, per band."""
    names = ("image_error", "flux", "centroid_pix", "width", "linearity", "wrap_round", "clipped")
    rows = []
    for b in range(ds.sizes["band"]):
        part = ds.isel(band=b)
        worst = [float(np.nanmax(np.abs(part[n].values), initial=0.0)) for n in names]
        widths = part["fwhm_arcsec"].values
        known = widths[np.isfinite(widths)]
        ends = interval(known.min(), known.max(), 2) if known.size else MISSING
        rows.append((str(part["band"].values), ends, *(number(w) for w in worst)))
    rows.append(("limit", "", *(number(float(ds.attrs[f"limit_{n}"])) for n in names)))
    return Table(
        "PSF: impulses rendered with the run’s own PSFs, the narrowest to the widest, against their analytic images. "
        "Largest deviations: of the image over its peak, of the flux, of the centroid (pixel), of the width (root of "
        "the noise-equivalent area), from linearity in flux, by light that wraps round; and the share of a PSF "
        "image’s flux beyond its edge.",
        ("band", "FWHM (″)", "image", "flux", "centroid", "width", "linearity", "wrap-round", "clipped"),
        rows,
    )


def deflection(ds: xr.Dataset) -> Table:
    """Images on a lens's axis."""
    rows = [
        (
            str(name),
            *(number(float(ds[k][i]), 5) for k in ("place", "place_expected", "flux", "flux_expected")),
        )
        for i, name in enumerate(ds["case"].values)
    ]
    pairs = zip(ds["q"].values, ds["area"].values, strict=True)
    areas = ", ".join(f"{number(float(a), 6)} (q = {q:g})" for q, a in pairs)
    return Table(
        "Deflection: a compact source on an axis (last letter) of a lens, rendered by the installed code: its image’s "
        "distance from the lens and magnification, beside the lens equation. "
        f"Area inside the critical curve over πθE²: {areas}.",
        ("lens", "distance (″)", "expected", "magnification", "expected"),
        rows,
    )
