"""Figures of a scorer's completeness: funnel, curves, the plane of two axes, strata, ROC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lensflow.measure.completeness.table import interval_of
from lensflow.measure.completeness.thresholds import SURE_FROM
from lensflow.show.completeness import threshold_names
from lensflow.show.figures import INK, MUTED, Picture, error_reach, label, legend, log_axis, new_figure, picture
from lensflow.show.numbers import count, fixed

CURVE_COLOURS = {"all": INK, "clean": "#009e73", "no_psf_fallback": "#d55e00"}
_MARKS = {"all": "o", "clean": "s", "no_psf_fallback": "D"}
_HATCH = "////"
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
_PER_LINE = 3
RESOLUTIONS = {"resolution": "θ$_E$ / PSF size", "resolution_fwhm": "θ$_E$ / FWHM of the applied profile"}


_NAMES = {
    "theta_e_arcsec": "θ$_E$ (arcsec)",
    "src_reff_arcsec": "source R$_e$ (arcsec)",
    "host_colour": "host colour (mag)",
    "bad_pixel_frac": "bad pixels (share)",
    "wise_brightmask_frac": "WISE mask (share)",
}
_OF_A_BAND = {
    "src_mag": "source magnitude, {}",
    "host_mag": "host magnitude, {}",
    "psfsize": "PSF size in {} (arcsec)",
    "psfdepth": "point-source depth in {} (mag)",
}


def in_words(name: str) -> str:
    """Name of a variable, curve or reason as it is read: with its unit, and its band."""
    base, _, band = name.rpartition("_")
    if base in _OF_A_BAND:
        return _OF_A_BAND[base].format(band)
    return _NAMES.get(name) or name.replace("_", " ").replace("psf", "PSF")


def funnel(found: Mapping[str, xr.Dataset], name: str) -> Picture:
    """Rows planned, rendered, valid and recovered, one bar each, with what was lost between.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.
    name : str
        Beginning of the picture's name.
    """
    ds = found["funnel"]
    bars = [(k, int(ds[f"n_{k}"])) for k in ("planned", "rendered", "valid")]
    names = threshold_names(found) if "thresholds" in found else []
    every = zip(names, ds["n_recovered"].values, strict=True)
    bars += [(f"recovered, {k}", int(n)) for k, n in every]
    figure, (axes,) = new_figure(0.42 * len(bars) + 0.75, width=8.2)
    planned = max(bars[0][1], 1)
    for k, (what, n) in enumerate(bars):
        axes.barh(k, n, height=0.68, color=CURVE_COLOURS["clean"] if what.startswith("recovered") else "#7d8fa3")
        axes.text(n + 0.01 * planned, k, count(n), va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(bars)), [b[0] for b in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * planned)
    axes.grid(False, axis="y")
    label(axes, "injection rows", "")
    lost = [
        f"{in_words(str(r))} {count(n)}" for r, n in zip(ds["reason"].values, ds["n_lost"].values, strict=True) if n
    ]
    return picture(
        figure,
        f"{name}-funnel",
        "Bars: injection rows planned, rendered, valid, and recovered at each threshold",
        f"What became of the injection rows. Lost before they could be recovered or missed: "
        f"{', '.join(lost) if lost else 'none'}.",
    )


def curves(found: Mapping[str, xr.Dataset], name: str, threshold: int = 0) -> Picture:
    """The three curves over the resolution bins, both definitions, with intervals, and counts below.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.
    name : str
        Beginning of the picture's name.
    threshold : int
        Its number.
    """
    figure, axes = new_figure(4.3, 1, 2, sharey=True)
    for a, (kind, title) in zip(axes, RESOLUTIONS.items(), strict=True):
        part = _shown_bins(found[kind], kind).isel(threshold=threshold)
        names = [in_words(str(v)).replace(" ", "\n") for v in part[kind].values]
        for k, curve in enumerate(part["curve"].values):
            _curve(a, part.sel(curve=curve), str(curve), 0.17 * (k - 1))
        a.set_xticks(range(len(names)), names)
        _counts_below(a, part, named=a is axes[0])
        a.set_xlim(-0.6, len(names) - 0.4)
        label(a, "", "completeness", title)
        a.set_ylim(-0.03, 1.03)
    axes[1].set_ylabel("")
    legend(axes[0], loc="upper left", bbox_to_anchor=(0.0, 1.0))
    return picture(
        figure,
        f"{name}-curves-{threshold}",
        "Completeness of all, clean and no-PSF-fallback rows in five resolution bins, with intervals and counts",
        f"At {threshold_names(found)[threshold]}: bars are the {interval_of(found['resolution'])[1]}. Hollow: too "
        "few rows or hosts to be called tested. Below each bin: valid rows of each curve, and their hosts.",
    )


def plane(found: Mapping[str, xr.Dataset], name: str, threshold: int = 0) -> Picture | None:
    """Completeness of all rows over the first two axes; untested cells are hatched, never coloured.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.
    name : str
        Beginning of the picture's name.
    threshold : int
        Its number.

    Returns
    -------
    Picture or None
        None where the selection has one axis.
    """
    if "plane" not in found:
        return None
    ds = found["plane"].sel(curve="all").isel(threshold=threshold)
    x, y = (str(d) for d in found["plane"]["n_valid"].dims if d != "curve")
    ds = _shown_bins(_shown_bins(ds, x), y).transpose(y, x, ...)
    tested, n = ds["tested"].values.astype(bool), ds["n_valid"].values
    value = np.ma.masked_array(ds["completeness"].values, ~tested)
    figure, (axes,) = new_figure(0.42 * n.shape[0] + 1.6, width=min(9.4, 1.05 * n.shape[1] + 2.6))
    image = axes.pcolormesh(
        np.arange(n.shape[1] + 1), np.arange(n.shape[0] + 1), value, cmap=colormaps["viridis"], vmin=0, vmax=1
    )
    for i, j in np.ndindex(n.shape):
        if not tested[i, j]:
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor="none", edgecolor="#aeb6bf", hatch=_HATCH, linewidth=0))
            text, colour = (f"n {count(n[i, j])}", INK) if n[i, j] else ("", INK)
        else:
            text = f"{fixed(value[i, j], 2)}\nn {count(n[i, j])}"
            colour = "white" if value[i, j] < 0.6 else INK
        box: dict[str, Any] = (
            {} if tested[i, j] or not text else {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.2}}
        )
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=7.5, color=colour, **box)
    axes.set_xticks(np.arange(n.shape[1]) + 0.5, [str(v) for v in ds[x].values], rotation=30, ha="right")
    axes.set_yticks(np.arange(n.shape[0]) + 0.5, [str(v) for v in ds[y].values])
    axes.grid(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("completeness", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED, labelcolor=INK)
    bar.outline.set_visible(False)
    label(axes, in_words(x), in_words(y))
    return picture(
        figure,
        f"{name}-plane-{threshold}",
        f"Completeness over {in_words(x)} and {in_words(y)}; untested cells are hatched",
        f"All valid rows, at {threshold_names(found)[threshold]}. Hatched: not tested, because {_few_text(ds)}; "
        "nothing is known there, and nothing is interpolated. n: valid rows.",
    )


def strata(found: Mapping[str, xr.Dataset], name: str, threshold: int = 0) -> Picture | None:
    """Completeness of all rows by each stratum, as small multiples.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.
    name : str
        Beginning of the picture's name.
    threshold : int
        Its number.

    Returns
    -------
    Picture or None
        None where no stratum has a row with a known value.
    """
    of = strata_of(found)
    if not of:
        return None
    lines = -(-len(of) // _PER_LINE)
    height = 2.3 * lines + 0.25
    figure, axes = new_figure(height, lines, _PER_LINE, sharey=True)
    # A layout that measures every label takes a second and more for as many axes.
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.065, right=0.99, top=1 - 0.42 / height, bottom=0.68 / height, hspace=1.0, wspace=0.1)
    for a, (variable, ds) in zip(axes, of.items(), strict=False):
        part = _shown_bins(ds, variable).isel(threshold=threshold).sel(curve="all")
        _curve(a, part, "all", 0.0)
        names = [_short(str(v)) for v in part[variable].values]
        turned = sum(map(len, names)) > 34
        a.set_xticks(range(len(names)), names, rotation=32 if turned else 0, ha="right" if turned else "center",
                     fontsize=7.5)  # fmt: skip
        a.set_xlim(-0.6, len(names) - 0.4)
        label(a, "", "")
        a.set_title(in_words(variable), loc="left", fontsize=9.5, color=INK, fontweight="bold", pad=17)
        a.set_ylim(-0.03, 1.03)
        for k, n in enumerate(part["n_valid"].values):
            a.text(k, 1.015, count(n), ha="center", va="bottom", fontsize=6.8, color=MUTED,
                   transform=a.get_xaxis_transform())  # fmt: skip
    for a in axes[len(of) :]:
        a.axis("off")
    for a in axes[: len(of) : _PER_LINE]:
        a.set_ylabel("completeness", fontsize=9, color=INK)
    return picture(
        figure,
        f"{name}-strata-{threshold}",
        "Completeness with intervals by each stratum, one small plot each",
        f"All valid rows, at {threshold_names(found)[threshold]}: bars are the "
        f"{interval_of(next(iter(of.values())))[1]}. Hollow: too few rows or hosts to be "
        "called tested. Above each bin: its valid rows.",
    )


def roc(found: Mapping[str, xr.Dataset], name: str) -> Picture | None:
    """Recovered share against false-positive rate, on a log axis from one over the negatives to 1.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.
    name : str
        Beginning of the picture's name.

    Returns
    -------
    Picture or None
        None where there are no negatives.
    """
    if "roc" not in found:
        return None
    ds, n = found["roc"], int(found["roc"]["n_negatives"])
    figure, (axes,) = new_figure(4.0, width=7.4)
    rate = ds["curve_fpr"].values
    axes.fill_between(
        rate, ds["curve_tpr_low"].values, ds["curve_tpr_high"].values, step="post", color=INK, alpha=0.16, linewidth=0
    )
    axes.plot(rate, ds["curve_tpr"].values, drawstyle="steps-post", color=INK, linewidth=1.5)
    axes.plot(rate, rate, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    unsure = min(SURE_FROM / n, 1.0)
    axes.axvspan(1 / n, unsure, color="#f3d9a8", alpha=0.45, linewidth=0, zorder=0)
    side: dict[str, Any] = {"ha": "right", "va": "top", "transform": axes.get_xaxis_transform()}
    axes.text(unsure, 0.985, f"fewer than {SURE_FROM} false positives ", fontsize=7.5, color=MUTED, **side)
    recovered = found["curves"]["completeness"].sel(curve="all").values
    for fp, value in zip(found["thresholds"]["false_positives"].values, recovered, strict=True):
        if fp > 0:
            axes.plot(fp / n, value, "o", color="#d55e00", markersize=6, clip_on=False)
    log_axis(axes, "x")
    axes.set(xlim=(1 / n, 1.0), ylim=(-0.02, 1.02))
    label(axes, f"false-positive rate, from one of {count(n)} negatives to all", "completeness of all valid rows")
    return picture(
        figure,
        f"{name}-roc",
        "Recovered share of injections against false-positive rate on a logarithmic axis, with its 95 % band",
        "Band: 95 % over hosts, with the threshold drawn again in every draw. Dots: the thresholds. Dashed: a scorer "
        f"that knows nothing. Ochre: rates that fewer than {SURE_FROM} of these negatives set.",
    )


def strata_of(found: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Strata with a valid row in a bin that was asked for.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.

    Returns
    -------
    dict
        Variable -> table.
    """
    named = {k.removeprefix("stratum_"): v for k, v in found.items() if k.startswith("stratum_")}
    return {k: v for k, v in named.items() if v["n_valid"].sel(curve="all").values[v[f"{k}_is_inside"].values].any()}


def _shown_bins(ds: xr.Dataset, variable: str) -> xr.Dataset:
    """Without bins below, above or unknown that have no row."""
    over = [d for d in ds["n_planned"].dims if d != variable]
    planned = ds["n_planned"].sum(over).values
    return ds.isel({variable: np.flatnonzero(ds[f"{variable}_is_inside"].values | (planned > 0))})


def _curve(axes: Axes, part: xr.Dataset, curve: str, shift: float) -> None:
    colour, (low_name, _) = CURVE_COLOURS[curve], interval_of(part)
    value, few = part["completeness"].values, part["few"].values.astype(bool)
    low, high = (part[f"{low_name}_{end}"].values for end in ("low", "high"))
    places = np.arange(len(value)) + shift
    reach = error_reach(value, low, high)
    for which, face in ((~few, colour), (few, "white")):
        some = which & np.isfinite(value)
        axes.errorbar(
            places[some], value[some], yerr=reach[:, some], fmt=_MARKS[curve], markersize=4.6, color=colour,
            markerfacecolor=face, elinewidth=1.2, capsize=2.2, markeredgewidth=1.1,
        )  # fmt: skip
    axes.plot([], [], _MARKS[curve], color=colour, markersize=4.6, label=in_words(curve))


def _counts_below(axes: Axes, part: xr.Dataset, named: bool) -> None:
    """Lines of counts below the names of the bins, in the colours of the curves."""
    valid = part["n_valid"]
    lines = [(in_words(str(c)), valid.sel(curve=c).values, CURVE_COLOURS[str(c)]) for c in part["curve"].values]
    lines.append(("hosts", part["n_hosts"].sel(curve="all").values, MUTED))
    for k, (what, values, colour) in enumerate(lines):
        below: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.8, "color": colour}
        if named:
            axes.annotate(what, (0, 0), (-6, -34 - 11 * k), xycoords="axes fraction", ha="right", **below)
        for j, n in enumerate(values):
            axes.annotate(count(n), (j, 0), (0, -34 - 11 * k), xycoords=("data", "axes fraction"), ha="center", **below)


def _few_text(ds: xr.Dataset) -> str:
    """Say what a cell needs to be tested, in the table's own words."""
    return f"it needs {ds['tested'].attrs['long_name']}"


def _short(text: str) -> str:
    """A bin's label with four digits at most: ``[0.6038, 1.092)``."""
    return _NUMBER.sub(lambda m: f"{float(m[0]):.4g}", text)
