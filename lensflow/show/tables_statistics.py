"""Tables of what was measured: strata, pedestals, regressions, gates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from lensflow.measure.gate import GateResult
from lensflow.measure.gate.strata import MIXED_SOURCES
from lensflow.schema import SPLITS, PsfSource
from lensflow.show.numbers import (
    MISSING,
    common_exponent,
    count,
    fixed,
    interval,
    number,
    power_of_ten,
    probability,
    scaled,
)
from lensflow.show.tables import Table, stratum_label

_WORDS = {
    "theta_e_arcsec": "θE (arcsec)",
    "total_injected_flux_nmgy": "injected flux (nMgy)",
    "arc_snr": "arc SNR",
    "log10_src_flux_nmgy": "log₁₀ source flux (nMgy)",
    "src_reff_arcsec": "source half-light radius (arcsec)",
    "src_offset_arcsec": "source offset (arcsec)",
}


def _in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def strata(result: xr.Dataset) -> Table:
    """Core difference and leakage by theta_E and band."""
    out = []
    for b, s in itertools.product(range(result.sizes["band"]), range(result.sizes["stratum"])):
        part = result.isel(band=b, stratum=s)
        v = {str(k): float(x) for k, x in part.data_vars.items()}
        cells = [str(part["band"].values), stratum_label(float(part["theta_e_low"]), float(part["theta_e_high"]))]
        cells += [count(v["n_rows"]), count(v["n_hosts"])]
        for name in ("core_diff_pct", "leakage_pct"):
            cells += [
                number(v[f"{name}_pooled"]),
                interval(v[f"{name}_pooled_low"], v[f"{name}_pooled_high"]),
                number(v[f"{name}_row_mean"]),
            ]
        out.append((*cells, number(v["leakage_pct_expected"])))
    return Table(
        "Light in the core (r < 5 pixels) by Einstein radius. Core difference: 100 Σ(stamp − control) / Σ control over "
        "the core. Leakage: share of the added light that lies in the core. Pooled: ratio of sums over all rows, with "
        "its 95 % interval over hosts; mean of rows: each row's own ratio, averaged, so faint rows weigh as much as "
        "bright ones. Expected: the noiseless arcs of the same rows.",
        ("band", "θE (″)", "rows", "hosts", "core diff. (%)", "95 %", "mean of rows", "leakage (%)", "95 %",
         "mean of rows", "expected"),
        out,
        text_columns=2,
        groups=True,
    )  # fmt: skip


def brighter(result: xr.Dataset) -> Table:
    """Rows whose core is brighter than their control's, by theta_E and band."""
    places = [
        stratum_label(float(a), float(b)) for a, b in zip(result["theta_e_low"], result["theta_e_high"], strict=True)
    ]
    out = []
    for b in range(result.sizes["band"]):
        values = [result[f"brighter_pct{k}"].values[:, b] for k in ("", "_low", "_high")]
        cells = [
            f"{number(v)} ({interval(low, high)})" if v == v else MISSING for v, low, high in zip(*values, strict=True)
        ]
        out.append((str(result["band"].values[b]), *cells))
    return Table(
        "Rows whose core (r < 5 pixels) is brighter than that of their own control, in percent, by θE in arcsec, with "
        "95 % intervals over hosts. Shot noise alone would make it 50.",
        ("band", *places),
        out,
    )


def annulus(result: xr.Dataset) -> Table:
    """Pedestals in the outer annulus, beside the core."""
    names = [f"{r}{s}_mean" for r in ("annulus", "core") for s in ("", "_residual")]
    scale = common_exponent(float(v) for n in names[:2] for v in result[n].values)
    factor = 10.0**-scale
    out = []
    for b, (suffix, what) in itertools.product(
        range(result.sizes["band"]), (("", "stamp − control"), ("_residual", "stamp − control − arc"))
    ):
        part = result.isel(band=b)
        cells = [str(part["band"].values), what]
        for region in ("annulus", "core"):
            v = {k: factor * float(part[f"{region}{suffix}_{k}"]) for k in ("mean", "low", "high", "power")}
            cells += [scaled(v["mean"]), interval(v["low"], v["high"], write=scaled)]
            cells += [scaled(v["power"])] if region == "annulus" else []
        out.append((*cells, count(part["n_rows"]), count(part["n_hosts"])))
    return Table(
        f"Mean light per pixel where hardly any arc reaches (annulus, r ≥ 20 pixels), and in the core, in "
        f"{power_of_ten(scale)} nMgy/pixel, with 95 % intervals over hosts. Wings of arcs make a band’s first line "
        "positive; with the arc taken away, 0 should lie within the interval, or something else was added. Smallest "
        "seen: the least pedestal that this test would have found in four of five such runs.",
        ("band", "of", "annulus", "95 %", "smallest seen", "core", "95 %", "rows", "hosts"),
        out,
        text_columns=2,
        groups=True,
    )


def regression(result: xr.Dataset) -> Table:
    """Core offset against one predictor at a time."""
    out = []
    for p, b in itertools.product(range(result.sizes["predictor"]), range(result.sizes["band"])):
        part = result.isel(predictor=p, band=b)
        out.append(
            (
                _in_words(str(part["predictor"].values)),
                str(part["band"].values),
                "yes" if bool(part["predictor_contains_response"]) else "no",
                number(float(part["slope"])),
                interval(float(part["slope_low"]), float(part["slope_high"])),
                number(float(part["r2"])),
                probability(float(part["p_value"])),
                count(part["n_rows"]),
                count(part["n_hosts"]),
            )
        )
    return Table(
        "What the light in the core depends on: least squares of the mean of stamp − control over r < 5 pixels on one "
        "predictor at a time (slope in nMgy/pixel per unit of the predictor, errors robust to rows that share a host). "
        "A predictor that contains the core’s own pixels is related to them by construction: its slope proves nothing.",
        ("predictor", "band", "contains core", "slope", "95 %", "R²", "p", "rows", "hosts"),
        out,
        text_columns=3,
        groups=True,
    )


def manifest_regression(result: xr.Dataset) -> Table:
    """Core offset against the manifest's parameters together."""
    out = []
    for t, b in itertools.product(range(result.sizes["term"]), range(result.sizes["band"])):
        part = result.isel(term=t, band=b)
        out.append(
            (
                _in_words(str(part["term"].values)),
                str(part["band"].values),
                number(float(part["manifest_coefficient"])),
                number(float(part["manifest_std_error"])),
                probability(float(part["manifest_p_value"])),
            )
        )
    shares = zip(result["band"].values, result["manifest_r2"].values, strict=True)
    r2 = ", ".join(f"{b} {number(float(v))}" for b, v in shares)
    return Table(
        "The same offset on what the manifest asked for, all parameters together: none of these was measured on the "
        f"stamp. Share of the variance explained (R²): {r2}.",
        ("parameter", "band", "coefficient", "std. error", "p"),
        out,
        text_columns=2,
        groups=True,
    )


def gate_controls(gates: Iterable[GateResult]) -> Table:
    """Null and positive controls of the gates."""
    out, loud = [], set()
    for g in gates:
        null, leak = g.controls.get("null"), g.controls.get("positive")
        told = "columns" in g.recipe  # of metadata: no pixels, and no pairs
        if null:
            good = null["holds_half"]
            out.append(
                (
                    g.name,
                    "null",
                    "metadata moved between hosts" if told else "labels swapped within pairs",
                    fixed(null["auc"]),
                    interval(null["auc_low"], null["auc_high"], 3),
                    "holds 0.5" if good else "DOES NOT HOLD 0.5",
                )
            )
            loud |= set() if good else {len(out) - 1}
        for t in (leak or {}).get("tried", ()):
            what = f"{t['leak_sigma']:g} σ added to every column" if told else f"a leak of {t['leak_sigma']:g} σ"
            out.append(
                (
                    g.name,
                    "positive",
                    what,
                    fixed(t["auc"]),
                    interval(t["auc_low"], t["auc_high"], 3),
                    "found" if t["found"] else "would pass unseen",
                )
            )
        if leak and not leak.get("testable", True):
            out.append((g.name, "positive", "no noise to scale a leak by", MISSING, MISSING, "not testable"))
    return Table(
        "Controls, run by the same machinery where the answer is known. Null: nothing is left to learn, so the AUC "
        "must be 0.5 (judged at 99.9 %). Positive: a known leak on unlensed controls, of decreasing or increasing size "
        "in σ, of the sky or of the feature (each gate’s recipe says what is added); the smallest one found is the "
        "gate’s power at this number of hosts.",
        ("gate", "control", "what was done", "AUC", "95 %", "outcome"),
        out,
        text_columns=3,
        groups=True,
        loud=frozenset(loud),
    )  # fmt: skip


# What gates are cut by, in words.
_CUT_BY = {
    "theta_e_arcsec": "θE (″)",
    "arc_snr": "arc SNR",
    "theta_e_original": "θE (″), the original study’s",
    "psf_fwhm_arcsec": "PSF FWHM (″)",
    "sky_sigma_nmgy": "sky noise (nMgy/pixel)",
    "bad_pixel_frac": "bad pixels (share)",
    "psf_source": "PSF size from",
}


def _stratum_place(s: Mapping[str, Any]) -> str:
    if s["by"] == "split":
        return SPLITS[int(s["low"])]
    if s["by"] == "psf_source":
        code = int(s["low"])
        return PsfSource(code).name.lower().replace("_", " ") if code != MIXED_SOURCES else "differs between bands"
    if s["by"] == "bad_pixel_frac" and s["low"] < 1e-9:
        return "none" if s["high"] < 1e-9 else f"up to {s['high']:g}"
    return f"{s['low']:.3g}–{s['high']:.3g}" if math.isfinite(s["high"]) else f"≥ {s['low']:.3g}"


def gate_strata(gate: GateResult) -> Table:
    """Areas of one gate within strata."""
    out = []
    for s in gate.strata:
        verdict = s["verdict"].replace("_", " ").lower()
        out.append((_CUT_BY.get(s["by"], s["by"]), _stratum_place(s), verdict, count(s["n_rows"]), count(s["n_hosts"]),
                    fixed(s["auc"]), interval(s["auc_low"], s["auc_high"], 3)))  # fmt: skip
    return Table(
        f"{gate.name}: the same out-of-fold scores within strata, each against the threshold {gate.threshold:g}. PSF "
        "and sky noise are means over the gate’s bands, cut into thirds of the pairs.",
        ("by", "range", "against the threshold", "pairs", "hosts", "AUC", "95 %"),
        out,
        text_columns=3,
        groups=True,
    )
