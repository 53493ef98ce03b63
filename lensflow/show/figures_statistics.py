"""Figures of statistics: profiles, strata, gates, PSF sizes and drawn parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.measure.gate import GateResult
from lensflow.schema import SPLITS
from lensflow.show.figures import (
    INK,
    MUTED,
    Picture,
    band_colour,
    error_reach,
    label,
    legend,
    log_axis,
    new_figure,
    picture,
    strata_colours,
)
from lensflow.show.numbers import number, power_of_ten
from lensflow.show.tables import STRATA_TITLES, stratum_label
from lensflow.show.verdict_style import verdict_style
from lensflow.units import mag_of_flux

# Columns of the rows whose histograms are drawn.
DRAWN = (
    "src_flux_nmgy",
    "theta_e_arcsec",
    "src_x_arcsec",
    "src_y_arcsec",
    "src_reff_arcsec",
    "magnification",
    "arc_snr",
)
_PER_PIXEL = "mean of stamp − control (nMgy/pixel)"


def radial_profile(
    result: xr.Dataset, reference_band: str, pixel_scale_arcsec: float, marks: Mapping[str, float]
) -> Picture:
    """Profile of stamp - ctrl per band, and by theta_E in the reference band.

    Parameters
    ----------
    result : Dataset
        Of the radial profile, in pixels.
    reference_band : str
    pixel_scale_arcsec : float
    marks : mapping
        Label -> radius in arcsec, marked in both panels.
    """
    figure, (left, right) = new_figure(3.6, 1, 2, sharey=True)
    radius = result["radius_pix"].values * pixel_scale_arcsec
    bands = [str(b) for b in result["band"].values]
    largest = 0.0
    for k, band in enumerate(bands):
        largest = max(largest, _profile(left, radius, result.isel(stratum=0, band=k), band_colour(band, k), band))
    strata = range(1, result.sizes["stratum"])
    for s, colour in zip(strata, strata_colours(len(strata)), strict=True):
        part = result.isel(stratum=s, band=bands.index(reference_band))
        if int(part["n_rows"]) == 0:
            continue
        name = stratum_label(float(part["theta_e_low"]), float(part["theta_e_high"])) + "″"
        largest = max(largest, _profile(right, radius, part, colour, f"{name}  (n = {int(part['n_rows']):,})"))
    linear = 10.0 ** (np.floor(np.log10(largest)) - 3) if largest > 0 else 1e-5
    end = radius[-1] + 0.5 * pixel_scale_arcsec
    core, annulus = (pixel_scale_arcsec * r for r in (geometry.CORE_RADIUS_PIX, geometry.ANNULUS_INNER_PIX))
    for a in (left, right):
        a.set_yscale("symlog", linthresh=linear, linscale=0.5)
        a.set_ylim(bottom=min(a.get_ylim()[0], -linear))
        a.axhline(0, color=MUTED, linewidth=0.8)
        a.axvspan(0, core, color="#f3d9a8", alpha=0.45, linewidth=0, zorder=0)
        a.axvspan(annulus, end, color="#cfdcea", alpha=0.45, linewidth=0, zorder=0)
        a.set_xlim(0, end)
        for x, text in ((0.1, "core"), (annulus + 0.1, "annulus")):
            a.text(x, 0.015, text, transform=a.get_xaxis_transform(), fontsize=8, color=MUTED, va="bottom")
        for k, (text, x) in enumerate(marks.items()):
            a.axvline(x, color=INK, linewidth=0.9, linestyle=((0, (1, 1.5)), (0, (5, 2)))[k % 2])
            inner = len(marks) > 1 and x <= min(marks.values())  # its label goes to the left
            a.annotate(
                text, (x, 0.12), xycoords=("data", "axes fraction"), xytext=(-2 if inner else 2, 0),
                textcoords="offset points", fontsize=7.5, color=INK, rotation=90, ha="right" if inner else "left",
                va="bottom",
            )  # fmt: skip
    label(left, "radius from the lens (arcsec)", _PER_PIXEL, "All injections, by band")
    label(right, "radius from the lens (arcsec)", "", f"{reference_band} band, by θ$_E$")
    right.tick_params(labelleft=True)
    legend(left, loc="upper right")
    legend(right, loc="upper right")
    return picture(
        figure,
        "radial-profile",
        "Mean of stamp minus control against radius, per band and per range of Einstein radius",
        "Is the added light where arcs are, and nowhere else? Lines with shaded bands: measured mean in rings of one "
        "pixel, with its 95 % interval over hosts. Dashed: the noiseless arcs of the same rows; the measured line "
        f"should coincide with it. Ochre: the core (r < {number(core)}″). Blue: the outer annulus (r ≥ "
        f"{number(annulus)}″), where a pedestal would show. The vertical axis is linear within "
        f"±{power_of_ten(round(np.log10(linear)))}.",
    )


def _profile(axes: Axes, radius: NDArray[Any], part: xr.Dataset, colour: Any, name: str) -> float:
    values = part["profile"].values
    axes.fill_between(
        radius, part["profile_low"].values, part["profile_high"].values, color=colour, alpha=0.2, linewidth=0
    )
    axes.plot(radius, values, color=colour, linewidth=1.6, label=name)
    axes.plot(radius, part["profile_expected"].values, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0))


def strata(result: xr.Dataset) -> Picture:
    """Pooled core difference and leakage by theta_E, per band."""
    figure, axes = new_figure(3.5, 1, 2)
    part = result.isel(stratum=slice(1, None))
    places = np.arange(part.sizes["stratum"])
    bands = [str(b) for b in part["band"].values]
    titles = ("Core difference", "Leakage")
    units = (
        "light added in the core\n(% of the host's core light)",
        "share of the arc's light that\nlies in the core (%)",
    )
    for a, name, title, unit in zip(axes, ("core_diff_pct", "leakage_pct"), titles, units, strict=True):
        for k, band in enumerate(bands):
            shift = 0.16 * (k - (len(bands) - 1) / 2)
            value = part[f"{name}_pooled"].values[:, k]
            reach = error_reach(
                value, part[f"{name}_pooled_low"].values[:, k], part[f"{name}_pooled_high"].values[:, k]
            )
            a.errorbar(
                places + shift, value, yerr=reach, fmt="o", markersize=5, color=band_colour(band, k), elinewidth=1.2,
                capsize=2.5, label=band,
            )  # fmt: skip
            if name == "leakage_pct":
                a.plot(
                    places + shift, part["leakage_pct_expected"].values[:, k], "_", color=INK, markersize=13, mew=1.2,
                    label="noiseless arcs" if k == len(bands) - 1 else None,
                )  # fmt: skip
        a.set_xticks(places, [stratum_label(x, y) for x, y in _edges(part)])
        values = part[f"{name}_pooled"].values
        known = values[np.isfinite(values)]
        if known.size and known.min() > 0 and known.max() > 20 * known.min():
            log_axis(a, "y")
        else:
            a.set_ylim(bottom=min(0.0, a.get_ylim()[0]))
            a.axhline(0, color=MUTED, linewidth=0.8)
        label(a, "Einstein radius θ$_E$ (arcsec)", unit, title)
        legend(a, loc="upper right")
    return picture(
        figure,
        "strata",
        "Core difference and leakage in percent against Einstein radius, per band",
        "Points: pooled over all rows of the stratum, with the 95 % interval over hosts. Left: how much brighter the "
        "core became. Right: how much of the added light fell into it; the dark dash is the noiseless rendering of the "
        "same rows.",
    )


def _edges(ds: xr.Dataset) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in zip(ds["theta_e_low"].values, ds["theta_e_high"].values, strict=True)]


def gate(result: GateResult) -> Picture | None:
    """ROC and the strata's areas of one gate; None if no area was measured."""
    if not np.isfinite(result.auc):
        return None
    shown = [s for s in result.strata if s["n_rows"]]
    kinds = [k for k in STRATA_TITLES if any(s["by"] == k for s in shown)]
    counts = [sum(s["by"] == k for s in shown) for k in kinds]
    figure, axes = new_figure(3.5, 1, 1 + len(kinds), width_ratios=[5.5, *(1.3 + 0.62 * c for c in counts)])
    colour = verdict_style(result.verdict).colour
    roc = np.asarray(result.roc)
    axes[0].plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    if roc.size:
        axes[0].plot(roc[:, 0], roc[:, 1], color=colour, linewidth=1.8)
        if result.roc_low:
            axes[0].fill_between(roc[:, 0], result.roc_low, result.roc_high, color=colour, alpha=0.25, linewidth=0)
    axes[0].set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
    text = f"AUC {result.auc:.3f}\n95 %: {result.auc_low:.3f} – {result.auc_high:.3f}"
    axes[0].text(0.97, 0.05, text, ha="right", fontsize=8.5, color=INK, linespacing=1.5)
    label(axes[0], "controls taken for stamps (share)", "stamps recognised (share)", "ROC")
    for a, kind in zip(axes[1:], kinds, strict=True):
        _gate_strata(a, [s for s in shown if s["by"] == kind], result, first=kind == kinds[0])
        label(a, STRATA_TITLES[kind][1], "AUC" if kind == kinds[0] else "", STRATA_TITLES[kind][0])
    return picture(
        figure,
        f"gate-{result.name}",
        f"ROC curve of gate {result.name}, and its area within ranges of Einstein radius, signal to noise and split",
        "Left: the ROC of out-of-fold scores, with the 95 % interval over hosts of the share recognised; the dashed "
        "diagonal is a coin. Then the AUC within strata, with 95 % "
        "intervals over hosts and the number of pairs; the dashed line is the threshold, the solid one 0.5. A stratum "
        "with too few pairs or hosts has no point, one without pairs is left out.",
    )


def _gate_strata(axes: Axes, strata: Sequence[dict[str, Any]], gate: GateResult, first: bool) -> None:
    # What explains the gate explains its parts above the threshold: they are no failures of their own.
    explained = {"FAIL": "EXPLAINED"} if gate.verdict == "EXPLAINED" else {}
    for k, s in enumerate(strata):
        axes.text(k, 1.015, f"{s['n_rows']:,}", ha="center", va="bottom", fontsize=7, color=MUTED)
        if not np.isfinite(s["auc"]):
            axes.text(k, 0.575, "too few", ha="center", va="center", fontsize=7, color=MUTED, rotation=90)
            continue
        reach = error_reach([s["auc"]], [s["auc_low"]], [s["auc_high"]])
        axes.errorbar(
            [k], [s["auc"]], yerr=reach, fmt="o", markersize=5, elinewidth=1.3, capsize=2.5,
            color=verdict_style(explained.get(s["verdict"], s["verdict"])).colour,
        )  # fmt: skip
    axes.axhline(0.5, color=MUTED, linewidth=0.8)
    axes.axhline(gate.threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    ends = [s["auc_low"] for s in strata if np.isfinite(s["auc_low"])]
    axes.set_ylim(min([0.4, *(v - 0.03 for v in ends)]), 1.07)
    axes.set_yticks([t for t in np.arange(0, 1.01, 0.1) if t >= axes.get_ylim()[0]])
    axes.set_xlim(-0.6, len(strata) - 0.4)
    axes.set_xticks(range(len(strata)), [_stratum_tick(s) for s in strata], fontsize=7.5)
    axes.grid(False, axis="x")
    if not first:
        axes.tick_params(labelleft=False)


def _stratum_tick(stratum: dict[str, Any]) -> str:
    if stratum["by"] == "split":
        return SPLITS[int(stratum["low"])]
    if not np.isfinite(stratum["high"]):
        return f"≥{stratum['low']:g}"
    return f"{stratum['low']:g}–\n{stratum['high']:g}"


def psf_sizes(cutouts: xr.Dataset) -> Picture:
    """Histogram of the PSF size per band, with its median and 5 to 95 %."""
    bands = [str(b) for b in cutouts["band"].values]
    figure, axes = new_figure(2.6, 1, max(len(bands), 2), sharex=True)
    values = cutouts["psfsize_arcsec"].values.astype(float)
    finite = values[np.isfinite(values)]
    ends = np.percentile(finite, (0, 99.8)) if finite.size else np.array([0.8, 2.0])
    edges = np.linspace(ends[0] - 0.05, ends[1] + 0.05, 41)
    for k, a in enumerate(axes):
        if k >= len(bands):
            a.set_visible(False)
            continue
        here = values[:, k][np.isfinite(values[:, k])]
        a.hist(np.clip(here, edges[0], edges[-1]), bins=edges.tolist(), color=band_colour(bands[k], k), alpha=0.6)
        if here.size:
            low, middle, high = np.percentile(here, (5, 50, 95))
            a.axvspan(low, high, color=MUTED, alpha=0.12, linewidth=0, zorder=0)
            a.axvline(middle, color=INK, linewidth=1.2, ymax=0.86)
            a.annotate(
                f"{middle:.2f}″", (middle, 0.87), xycoords=("data", "axes fraction"), xytext=(3, 0),
                textcoords="offset points", fontsize=8, color=INK,
            )  # fmt: skip
        a.margins(y=0.2)
        label(a, "PSF size (FWHM, arcsec)", "hosts" if k == 0 else "", f"{bands[k]} band  (n = {here.size:,})")
        a.grid(False, axis="x")
    return picture(
        figure,
        "psf-sizes",
        f"Histograms of the PSF size of the hosts in {', '.join(bands)}, with the median of each",
        "Is this the seeing that the survey should have? Hosts per bin; line: median, shaded: 5 to 95 %. Hosts without "
        "a PSF are left out.",
    )


def drawn(injections: xr.Dataset, bands: Sequence[str], reference_band: int) -> Picture:
    """Small histograms of drawn parameters and resulting quantities, from the data."""
    panels = _drawn_columns(injections, bands, reference_band)
    columns = 4
    figure, axes = new_figure(2.2 * -(-len(panels) // columns), -(-len(panels) // columns), columns)
    for k, a in enumerate(axes):
        if k >= len(panels):
            a.set_visible(False)
            continue
        title, unit, values, logarithmic = panels[k]
        good = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
        a.grid(False, axis="x")
        label(a, unit, "injections" if k % columns == 0 else "", title)
        if good.size == 0:
            a.text(0.5, 0.5, "no values", ha="center", transform=a.transAxes, fontsize=8.5, color=MUTED)
            continue
        levels, n = np.unique(good, return_counts=True)
        if levels.size <= 12:
            width = 0.6 * float(np.diff(levels).min()) if levels.size > 1 else 0.1
            a.bar(levels, n, width=width, color="#5b7f9e")
        elif logarithmic:
            a.hist(good, bins=np.geomspace(good.min(), good.max(), 31).tolist(), color="#5b7f9e")
            log_axis(a, "x")
        else:
            a.hist(good, bins=30, color="#5b7f9e")
        median = float(np.median(good))
        a.axvline(median, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
        a.annotate(
            number(median), (median, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
            textcoords="offset points", fontsize=7.5, color=INK, va="top",
        )  # fmt: skip
        a.margins(y=0.18)
    return picture(
        figure,
        "manifest",
        f"Histograms over injections of {', '.join(p[0] for p in panels)}",
        "Injections per bin; the dashed line is the median. The first panels are what the manifest asks for, "
        "magnification and SNR are what came of it.",
    )


def _drawn_columns(
    rows: xr.Dataset, bands: Sequence[str], reference_band: int
) -> list[tuple[str, str, NDArray[np.float64], bool]]:
    flux = rows["src_flux_nmgy"].values
    magnitude = mag_of_flux(flux)
    theta_e = rows["theta_e_arcsec"].values
    offset = np.hypot(rows["src_x_arcsec"].values, rows["src_y_arcsec"].values)
    offset = np.divide(offset, theta_e, out=np.full(offset.shape, np.nan), where=theta_e > 0)
    out = [
        ("Einstein radius", "θ$_E$ (arcsec)", theta_e, False),
        ("Source magnitude", f"{bands[reference_band]}, unlensed (AB mag)", magnitude[:, reference_band], False),
    ]
    for a, b in zip(range(len(bands) - 1), range(1, len(bands)), strict=True):
        name = f"{bands[a]} − {bands[b]}"
        out.append(("Source colour", f"{name} (mag)", magnitude[:, a] - magnitude[:, b], False))
    return [
        *out[:4],
        ("Source size", "half-light radius (arcsec)", rows["src_reff_arcsec"].values, False),
        ("Source offset", "offset / θ$_E$", offset, False),
        ("Magnification", "magnification", rows["magnification"].values.astype(float), True),
        ("Arc SNR", f"peak SNR in {bands[reference_band]}", rows["arc_snr"].values.astype(float), True),
    ]
