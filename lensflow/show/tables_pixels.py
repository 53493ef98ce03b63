"""Tables of the diagnostics of the pairs' pixels."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import xarray as xr

from lensflow.measure.pixels.alignment import ROW_SHIFT_PIX
from lensflow.show.numbers import MISSING, common_exponent, count, interval, number, power_of_ten, probability, scaled
from lensflow.show.table import Cell, Column, Table, words
from lensflow.show.tables import stratum_label
from lensflow.stats.estimate import Estimate

_WORDS = {
    "theta_e_arcsec": "θE (arcsec)",
    "total_injected_flux_nmgy": "injected flux (nMgy)",
    "arc_snr": "arc SNR",
    "log10_src_flux_nmgy": "log₁₀ source flux (nMgy)",
    "src_reff_arcsec": "source half-light radius (arcsec)",
    "src_offset_arcsec": "source offset (arcsec)",
}
# Of the diagnostics' counts along bands, which xarray keeps as they are.
_ROWS = Column("rows", write=count)
_HOSTS = Column("hosts", write=count)


def _in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _float(part: xr.Dataset, name: str) -> float:
    return float(part[name])


def strata(result: xr.Dataset) -> Table:
    """Core difference and leakage by theta_E and band."""
    rows = []
    for b, s in itertools.product(range(result.sizes["band"]), range(result.sizes["stratum"])):
        part = result.isel(band=b, stratum=s)
        of = partial(Estimate.in_dataset, part)
        value = partial(_float, part)
        rows.append(
            (str(part["band"].values), stratum_label(value("theta_e_low"), value("theta_e_high")), value("n_rows"),
             value("n_hosts"), of("core_diff_pct_pooled"), value("core_diff_pct_row_mean"), of("leakage_pct_pooled"),
             value("leakage_pct_row_mean"), value("leakage_pct_expected"))
        )  # fmt: skip
    mean = Column("mean of rows", optional=True)
    return Table(
        "Light in the core (r < 5 pixels) by Einstein radius",
        [words("band"), words("θE (″)"), _ROWS, _HOSTS, Column("core diff.", "%"), mean, Column("leakage", "%"), mean,
         "expected"],
        rows,
        "Core difference: 100 Σ(stamp − control) / Σ control over the core. Leakage: fraction of the added light in "
        "the core. Pooled: ratio of sums over all rows, with its 95 % interval over hosts; mean of rows: each "
        "row's own ratio, averaged, so faint rows weigh as much as bright ones. Expected: the noiseless arcs of the "
        "same rows.",
        groups=True,
    )  # fmt: skip


def brighter(result: xr.Dataset) -> Table:
    """Rows whose core is brighter than their control's, by theta_E and band."""
    places = [
        stratum_label(float(a), float(b)) for a, b in zip(result["theta_e_low"], result["theta_e_high"], strict=True)
    ]
    rows = [
        (str(band), *(Estimate.in_dataset(result.isel(band=b, stratum=s), "brighter_pct") for s in range(len(places))))
        for b, band in enumerate(result["band"].values)
    ]
    return Table(
        "Rows whose core is brighter than that of their own control, in percent", [words("band"), *places], rows,
        "r < 5 pixels, by θE in arcsec, with 95 % intervals over hosts. Shot noise alone would make it 50.",
    )  # fmt: skip


def annulus(result: xr.Dataset) -> Table:
    """Pedestals in the outer annulus, beside the core."""
    scale = common_exponent(float(v) for region in ("annulus", "core") for v in result[f"{region}_mean"].values)
    factor = 10.0**-scale
    rows = []
    for b, (suffix, what) in itertools.product(
        range(result.sizes["band"]), (("", "stamp − control"), ("_residual", "stamp − control − arc"))
    ):
        part = result.isel(band=b)
        far, core = (
            factor * Estimate.in_dataset(part, f"{region}{suffix}", value=f"{region}{suffix}_mean")
            for region in ("annulus", "core")
        )
        power = factor * _float(part, f"annulus{suffix}_power")
        rows.append((str(part["band"].values), what, far, power, core, _float(part, "n_rows"), _float(part, "n_hosts")))
    return Table(
        f"Mean light per pixel, in {power_of_ten(scale)} nMgy/pixel",
        [words("band"), words("of"), Column("annulus", write=scaled), Column("smallest seen", write=scaled),
         Column("core", write=scaled), _ROWS, _HOSTS],
        rows,
        "Where hardly any arc reaches (annulus, r ≥ 20 pixels), and in the core, with 95 % intervals over hosts. Wings "
        "of arcs make a band’s first line positive; with the arc subtracted, 0 should be within the interval, or "
        "something else was added. Smallest seen: the least pedestal that this test would have found in four of five "
        "such runs.",
        groups=True,
    )  # fmt: skip


def regression(result: xr.Dataset) -> Table:
    """Core offset against one predictor at a time."""
    rows = []
    for p, b in itertools.product(range(result.sizes["predictor"]), range(result.sizes["band"])):
        part = result.isel(predictor=p, band=b)
        rows.append(
            (_in_words(str(part["predictor"].values)), str(part["band"].values),
             "yes" if bool(part["predictor_contains_response"]) else "no", Estimate.in_dataset(part, "slope"),
             *(_float(part, n) for n in ("r2", "p_value", "n_rows", "n_hosts")))
        )  # fmt: skip
    return Table(
        "What the light in the core depends on",
        [words("predictor"), words("band"), words("contains core"), "slope", "R²", Column("p", write=probability),
         _ROWS, _HOSTS],
        rows,
        "Least squares of the mean of stamp − control over r < 5 pixels on one predictor at a time (slope in "
        "nMgy/pixel per unit of the predictor, with its 95 % interval, errors robust to rows that share a host). A "
        "predictor that contains the core’s own pixels is related to them by construction: its slope proves nothing.",
        groups=True,
    )  # fmt: skip


def manifest_regression(result: xr.Dataset) -> Table:
    """Core offset against the manifest's parameters together."""
    rows = []
    for t, b in itertools.product(range(result.sizes["term"]), range(result.sizes["band"])):
        part = result.isel(term=t, band=b)
        fitted = (_float(part, f"manifest_{n}") for n in ("coefficient", "std_error", "p_value"))
        rows.append((_in_words(str(part["term"].values)), str(part["band"].values), *fitted))
    shares = zip(result["band"].values, result["manifest_r2"].values, strict=True)
    r2 = ", ".join(f"{b} {number(float(v))}" for b, v in shares)
    return Table(
        "The same offset on what the manifest asked for, all parameters together",
        [words("parameter"), words("band"), "coefficient", "std. error", Column("p", write=probability)],
        rows,
        f"None of these was measured on the stamp. Share of the variance explained (R²): {r2}.",
        groups=True,
    )


def alignment(ds: xr.Dataset) -> Table:
    """Shifts, and the shift that was put in."""
    rows = []
    for axis, b in itertools.product(ds["axis"].values, range(ds.sizes["band"])):
        part = ds.drop_dims("move").sel(axis=axis).isel(band=b)
        rows.append(
            (str(axis), str(part["band"].values), Estimate.in_dataset(part, "shift"),
             Estimate.in_dataset(part, "injected_found"), _float(part, "row_shift_mean"),
             _float(part, "row_shift_std"), 100 * _float(part, "rows_moved"), _float(part, "n_hosts"))
        )  # fmt: skip
    put = ds.attrs["injected_shift_pix"]
    return Table(
        "Alignment, in pixels",
        [words("axis"), words("band"), "shift", f"found of {put:g}", "mean of rows", "std. of rows",
         Column("moved", "%"), _HOSTS],
        rows,
        "Shift of stamp − arc against the control, r ≥ 16 pixels, with its 95 % interval; and what the same test "
        f"finds when {put:g} pixels are put in (its power). Single rows: mean and standard deviation of each row’s own "
        f"shift, and the share of rows that are moved by more than {ROW_SHIFT_PIX:g} pixels.",
        groups=True,
    )  # fmt: skip


def core_pixels(ds: xr.Dataset, moved: xr.Dataset | None = None) -> Table:
    """Light added to the 3 x 3 pixels about the lens; and what is left there when the control is moved by a pixel."""
    scale = common_exponent(float(v) for v in ds["difference"].values.ravel())
    factor = 10.0**-scale
    rows = []
    for b, dy in itertools.product(range(ds.sizes["band"]), (1, 0, -1)):
        part = ds.isel(band=b).sel(dy=dy)
        added = [factor * float(v) for v in part["difference"].values]
        left = [factor * Estimate.in_dataset(part, "residual", {"dx": dx}) for dx in part["dx"].values]
        place = {1: "y +1", 0: "y", -1: "y −1"}[dy]
        rows.append((str(part["band"].values), place, *added, *left, _float(part, "n_rows")))
    text = (
        "Mean of stamp − control over all rows in the 3 × 3 pixels about the lens, top row first; and the same minus "
        "the noiseless arc, with its 95 % interval over hosts, where 0 is expected."
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
    places = ("x −1", "x", "x +1", "without arc, x −1", "x", "x +1")
    return Table(
        f"The middle pixel by pixel, in {power_of_ten(scale)} nMgy/pixel",
        [words("band"), words(""), *(Column(name, write=scaled) for name in places), _ROWS],
        rows,
        text,
        groups=True,
    )


def flux(ds: xr.Dataset) -> Table:
    """Closure and slopes."""
    rows = []
    for b in range(ds.sizes["band"]):
        part = ds.isel(band=b)
        found = [Estimate.in_dataset(part, n) for n in ("closure", "magnified", "slope_added")]
        declared = [_float(part, n) for n in ("slope_expected", "slope_prior", "n_rows")]
        rows.append((str(part["band"].values), *found, *declared))
    return Table(
        "Flux",
        [words("band"), Column("added / declared", write=4), Column("added / magnified", write=4),
         Column("slope", write=3), Column("declared", write=3), Column("prior", write=3), _ROWS],
        rows,
        "Light added over light declared (unlensed flux × magnification × share on the stamp), over all rows, and "
        "without the share over rows whose arc lies on the stamp (0.97 to 1), with 95 % intervals. Slopes of log₁₀ "
        "flux on log₁₀ θE: of the light added, of the light declared, and of the manifest’s own prior (a point behind "
        "an SIS, nothing rendered; ellipticity, shear and source size make it differ a little).",
    )  # fmt: skip


def balance(ds: xr.Dataset) -> Table:
    """Everything but the arc, between the classes, largest difference first."""
    every = ds.sel(place="all")
    order = np.argsort(-np.abs(np.nan_to_num(every["difference"].values)), kind="stable")
    rows = []
    for k in order:
        part = every.isel(column=int(k))
        missing = (100 * float(part["missing"].isel({"class": c})) for c in (0, 1))
        rows.append(
            (str(part["column"].values).replace("_", " "), Estimate.in_dataset(part, "difference"),
             _float(part, "ks"), _float(part, "ks_p"), *missing)
        )  # fmt: skip
    return Table(
        "Class balance: what differs between injections and controls besides the arc",
        [words("column"), "difference", "KS", "p", *(Column(f"missing, {n}", "%") for n in ("injections", "controls"))],
        rows,
        "Standardised difference of the means with its 95 % interval over hosts; Kolmogorov–Smirnov distance with its "
        "p-value (hosts count once); share of rows without a value. “outer” is stamp − arc at r ≥ 20 pixels.",
    )


def psf(ds: xr.Dataset) -> Table:
    """Largest deviation of the impulses, per band."""
    names = ("image_error", "flux", "centroid_pix", "width", "linearity", "wrap_round", "clipped")
    rows = []
    for b in range(ds.sizes["band"]):
        part = ds.isel(band=b)
        worst = [float(np.nanmax(np.abs(part[n].values), initial=0.0)) for n in names]
        known = part["fwhm_arcsec"].values
        known = known[np.isfinite(known)]
        ends = interval(known.min(), known.max(), 2) if known.size else MISSING
        rows.append((str(part["band"].values), ends, *worst))
    rows.append((Cell("limit", "faint"), "", *(float(ds.attrs[f"limit_{n}"]) for n in names)))
    return Table(
        "PSF: impulses rendered with the run’s own PSFs against their analytic images",
        [
            words("band"),
            Column("FWHM", "″"),
            "image",
            "flux",
            "centroid",
            "width",
            "linearity",
            "wrap-round",
            "clipped",
        ],
        rows,
        "The narrowest to the widest. Largest deviations: of the image over its peak, of the flux, of the centroid "
        "(pixel), of the width (root of the noise-equivalent area), from linearity in flux, by light that wraps round; "
        "and the share of a PSF image’s flux beyond its edge.",
    )


def deflection(ds: xr.Dataset) -> Table:
    """Images on a lens's axis."""
    found = ("place", "place_expected", "flux", "flux_expected")
    rows = [(str(name), *(float(ds[k][i]) for k in found)) for i, name in enumerate(ds["case"].values)]
    pairs = zip(ds["q"].values, ds["area"].values, strict=True)
    areas = ", ".join(f"{number(float(a), 6)} (q = {q:g})" for q, a in pairs)
    exact = partial(number, digits=5)
    return Table(
        "Deflection: a compact source on an axis of a lens, rendered by the installed code",
        [words("lens"), Column("distance", "″", exact), Column("expected", write=exact),
         Column("magnification", write=exact), Column("expected", write=exact)],
        rows,
        "The axis is the last letter. The image’s distance from the lens and magnification, beside the lens equation. "
        f"Area inside the critical curve over πθE²: {areas}.",
    )  # fmt: skip
