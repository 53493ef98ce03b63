"""Tables of the report: what they say and how to read them; the template only lays them out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from lensflow.gates import GateResult
from lensflow.report.numbers import (
    MISSING,
    common_exponent,
    count,
    fixed,
    interval,
    number,
    power_of_ten,
    probability,
    scaled,
    share,
)
from lensflow.schema import FLAGS, SPLITS, PsfSource

PERCENTILES = (1, 5, 10, 50)
REFERENCE_PSF: dict[str, tuple[float, ...]] = {
    "g": (1.132, 1.247, 1.300, 1.517),
    "r": (1.049, 1.118, 1.148, 1.299),
    "z": (0.977, 1.046, 1.080, 1.250),
}
STRATA_TITLES = {
    "theta_e_arcsec": ("By θ$_E$", "θ$_E$ (arcsec)"),
    "arc_snr": ("By arc SNR", "peak SNR"),
    "split": ("By split", "split"),
}


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Attributes
    ----------
    caption : str
        What it is and how to read it.
    columns : sequence of str
    rows : sequence of sequences of str
    text_columns : int
        So many columns at the left hold words; the rest are numbers, set to the right.
    groups : bool
        Draw a rule where the first column's entry changes.
    loud : frozenset of int
        Rows that need attention.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    groups: bool = False
    loud: frozenset[int] = field(default_factory=frozenset)

    @property
    def has_missing(self) -> bool:
        """Whether any entry is an em dash, which the page then explains."""
        return any(MISSING in row for row in self.rows)

    def starts_group(self, row: int) -> bool:
        """Whether a rule stands above the row."""
        return self.groups and row > 0 and self.rows[row][0] != self.rows[row - 1][0]


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


def stratum_label(low: float, high: float) -> str:
    """Range of theta_E as ``0.75–1``; ``all`` without edges."""
    return f"{low:g}–{high:g}" if math.isfinite(low) and math.isfinite(high) else "all"


def hosts(counts: Mapping[str, int], skipped: Mapping[str, int] | None) -> Table:
    """Hosts by status and reason, and those left out of the plan."""
    total = counts.get("hosts", 0)
    rows = [("requested", "", count(total), "")]
    for prefix in ("status", "reason"):
        rows += [
            (prefix, k.removeprefix(f"{prefix}: "), count(v), share(v, total))
            for k, v in counts.items()
            if k.startswith(f"{prefix}: ")
        ]
    rows += [("left out of the plan", k, count(v), share(v, total)) for k, v in (skipped or {}).items()]
    return Table(
        "Hosts: every requested host has a row with a status. A host can have several reasons; a reason that ends in "
        "a band's name holds for that band alone.",
        ("", "", "hosts", "share"),
        rows,
        text_columns=2,
        groups=True,
    )


def rows(counts: Mapping[str, int]) -> Table:
    """Rows of the pairs and their flags."""
    total = counts.get("rows", 0)
    out = [("rows", k, count(counts.get(k, 0)), share(counts.get(k, 0), total)) for k in ("injections", "controls")]
    out += [
        ("flag", v.name.replace("_", " "), count(n), share(n, total))
        for v in FLAGS
        if (n := counts.get(f"flag: {v.name}")) is not None
    ]
    return Table(
        "Rows of the pairs. Only “is clean” is good news: covered in all bands, at most a fifth of bad pixels, a "
        "measured PSF and no other flag.",
        ("", "", "rows", "share"),
        out,
        text_columns=2,
        groups=True,
    )


def stages(timings: Mapping[str, Any]) -> Table:
    """Seconds, rates and memory by stage."""
    found = list(timings.get("stages", {}).values())
    peak = timings.get("worker_peak_rss_mb", {})
    memory = {"cut": peak.get("cutouts"), "inject": peak.get("pairs")}
    out = [
        (
            s["stage"],
            count(s["rows"]),
            number(s["seconds"]),
            number(s["rows_per_s"]),
            number(memory.get(s["stage"])),
        )
        for s in found
    ]
    out.append(("all", "", number(sum(s["seconds"] for s in found)), "", number(timings.get("driver_peak_rss_mb"))))
    return Table(
        "Stages, wall clock of the call that did the work. Rows are hosts for “cut”. Memory is the largest resident "
        "size of a worker process; in the last line, of the driver.",
        ("stage", "rows", "seconds", "rows / s", "peak memory (MB)"),
        out,
    )


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
        if null:
            good = null["holds_half"]
            out.append(
                (
                    g.name,
                    "null",
                    "labels swapped within pairs",
                    fixed(null["auc"]),
                    interval(null["auc_low"], null["auc_high"], 3),
                    "holds 0.5" if good else "DOES NOT HOLD 0.5",
                )
            )
            loud |= set() if good else {len(out) - 1}
        for t in (leak or {}).get("tried", ()):
            what = f"{t['leak_sigma']:g} sky σ added to every pixel of the box"
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
            out.append((g.name, "positive", "no sky noise to scale a leak by", MISSING, MISSING, "not testable"))
    return Table(
        "Controls, run by the same machinery where the answer is known. Null: nothing is left to learn, so the AUC "
        "must be 0.5 (judged at 99.9 %). Positive: a known leak on unlensed controls, of decreasing or increasing size; the "
        "smallest one found is the gate’s power at this number of hosts.",
        ("gate", "control", "what was done", "AUC", "95 %", "outcome"),
        out,
        text_columns=3,
        groups=True,
        loud=frozenset(loud),
    )  # fmt: skip


def gate_strata(gate: GateResult) -> Table:
    """Areas of one gate within strata."""
    out = []
    for s in gate.strata:
        if s["by"] == "split":
            place = SPLITS[int(s["low"])]
        else:
            place = f"{s['low']:g}–{s['high']:g}" if math.isfinite(s["high"]) else f"≥ {s['low']:g}"
        name = {"theta_e_arcsec": "θE (″)", "arc_snr": "arc SNR"}.get(s["by"], s["by"])
        verdict = s["verdict"].replace("_", " ").lower()
        out.append((name, place, verdict, count(s["n_rows"]), count(s["n_hosts"]), fixed(s["auc"]),
                    interval(s["auc_low"], s["auc_high"], 3)))  # fmt: skip
    return Table(
        f"{gate.name}: the same out-of-fold scores within strata, each against the threshold {gate.threshold:g}.",
        ("by", "range", "against the threshold", "pairs", "hosts", "AUC", "95 %"),
        out,
        text_columns=3,
        groups=True,
    )


def psf_percentiles(cutouts: xr.Dataset) -> Table:
    """Percentiles of the PSF size beside the reference run's."""
    out = []
    for k, band in enumerate(str(b) for b in cutouts["band"].values):
        values = cutouts["psfsize_arcsec"].values[:, k].astype(float)
        values = values[np.isfinite(values)]
        found = np.percentile(values, PERCENTILES) if values.size else [math.nan] * len(PERCENTILES)
        out.append((band, "this run", count(values.size), *(fixed(v) for v in found)))
        out.append((band, "reference", "10.6 M rows", *(fixed(v) for v in REFERENCE_PSF.get(band, [math.nan] * 4))))
    return Table(
        "PSF size (FWHM of the Gaussian with the PSF’s noise-equivalent area, arcsec). Reference: 10.6 M rows of DR10 "
        "South, for g, r and z.",
        ("band", "", "n", *(f"P{p}" for p in PERCENTILES)),
        out,
        text_columns=2,
        groups=True,
    )


def psf_sources(cutouts: xr.Dataset) -> Table:
    """Hosts by provenance of the PSF size."""
    source = cutouts["psf_source"].values
    words = {
        PsfSource.MAP: "map at the stamp’s centre",
        PsfSource.MANIFEST: "target table or config",
        PsfSource.FALLBACK_R: "r band, scaled",
        PsfSource.COADD_PSF: "coadd PSF image",
        PsfSource.NONE: "none: the band is absent",
    }
    return Table(
        "Where each host’s PSF size comes from. A band without any is absent: no arc is put there.",
        ("code", "source", *(str(b) for b in cutouts["band"].values)),
        [(str(int(c)), text, *(count(n) for n in (source == c).sum(axis=0))) for c, text in words.items()],
        text_columns=2,
    )


def drawn(injections: xr.Dataset, bands: Sequence[str]) -> Table:
    """Ranges of what was drawn, from the data."""
    out = []
    for name, text in (
        ("theta_e_arcsec", "Einstein radius (″)"),
        ("lens_q", "lens axis ratio"),
        ("shear", "shear"),
        ("src_reff_arcsec", "source half-light radius (″)"),
        ("src_q", "source axis ratio"),
        ("src_n", "source Sérsic index"),
        ("src_flux_nmgy", "source flux (nMgy)"),
        ("psf_fwhm_arcsec", "applied PSF FWHM (″)"),
        ("magnification", "magnification"),
        ("arc_snr", "arc SNR"),
    ):
        values = injections[name].values.astype(float)
        split = [(f"{text}, {b}", values[:, k]) for k, b in enumerate(bands)] if values.ndim == 2 else [(text, values)]
        for label, column in split:
            good = column[np.isfinite(column)]
            found = np.percentile(good, (0, 5, 50, 95, 100)) if good.size else [math.nan] * 5
            out.append((label, count(good.size), *(number(v) for v in found)))
    return Table(
        "What was drawn and what came of it, from the rows themselves; n counts the rows that have a value.",
        ("", "n", "min", "P5", "median", "P95", "max"),
        out,
    )
