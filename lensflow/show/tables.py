"""Tables of the report: what they say and how to read them; the template only lays them out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from lensflow.schema import FLAGS, PsfSource
from lensflow.show.numbers import (
    MISSING,
    count,
    fixed,
    number,
    share,
)

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
    wrapped : frozenset of int
        Columns that may break into lines where the page is too narrow; interval and number stay whole.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    groups: bool = False
    loud: frozenset[int] = field(default_factory=frozenset)
    wrapped: frozenset[int] = field(default_factory=frozenset)

    @property
    def has_missing(self) -> bool:
        """Whether any entry is an em dash, which the page then explains."""
        return any(MISSING in row for row in self.rows)

    def starts_group(self, row: int) -> bool:
        """Whether a rule stands above the row."""
        return self.groups and row > 0 and self.rows[row][0] != self.rows[row - 1][0]


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
        "measured PSF and no other flag. The last four are marks of implausible rows, which may be clean.",
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
