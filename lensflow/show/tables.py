"""Tables of a run, for the page and the terminal: targets, hosts, rows, stages, PSF sizes, drawn parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lensflow.manifest.estimate import PlanCost
from lensflow.manifest.hosts import PlanSize
from lensflow.schema import FLAGS, PsfSource
from lensflow.show.numbers import amount, count, seconds, share
from lensflow.show.table import Cell, Column, Table, words

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


def stratum_label(low: float, high: float) -> str:
    """Range of theta_E as ``0.75–1``; ``all`` without edges."""
    return f"{low:g}–{high:g}" if math.isfinite(low) and math.isfinite(high) else "all"


def counts(title: str, found: Mapping[str, Any], notes: str = "") -> Table:
    """Names and counts; lines with nothing to count are left out."""
    return Table(title, [words(""), ""], [(k, v) for k, v in found.items() if v], notes)


def targets(attrs: Mapping[str, Any]) -> Table:
    """Counts of the target tables' rows by outcome, and of hosts by split, from attrs of targets or cutouts."""
    removed = {f"removed: {k}": int(v) for k, v in (attrs.get("removed") or {}).items()}
    splits = {f"split: {k}": int(v) for k, v in (attrs.get("hosts_by_split") or {}).items()}
    found = {"rows read": int(attrs["n_read"]), "duplicates merged": int(attrs["n_duplicates"]), **removed, **splits}
    return counts("Targets", found)


def hosts(found: Mapping[str, int], skipped: Mapping[str, int] | None = None) -> Table:
    """Hosts by status, reason and shape, and those left out of the plan."""
    total = found.get("hosts", 0)
    rows: list[tuple[Any, ...]] = [("requested", "", total, "")]
    for kind in ("status", "reason", "shape"):
        rows += [
            (kind, k.removeprefix(f"{kind}: "), v, share(v, total))
            for k, v in found.items()
            if k.startswith(f"{kind}: ")
        ]
    rows += [("left out of the plan", k, v, share(v, total)) for k, v in (skipped or {}).items()]
    return Table(
        "Hosts", [words(""), words(""), "hosts", "share"], rows,
        "Every requested host has a row with a status. A host can have several reasons; a reason that ends in a band's "
        "name holds for that band alone.",
        groups=True,
    )  # fmt: skip


def rows(found: Mapping[str, int]) -> Table:
    """Rows of the pairs and their flags."""
    total = found.get("rows", 0)
    out = [("rows", k, n, share(n, total)) for k in ("injections", "controls") for n in (found.get(k, 0),)]
    out += [
        ("flag", v.name.replace("_", " "), n, share(n, total))
        for v in FLAGS
        if (n := found.get(f"flag: {v.name}")) is not None
    ]
    return Table(
        "Rows of the pairs", [words(""), words(""), "rows", "share"], out,
        "Only “is clean” is good news: covered in all bands, at most a fifth of bad pixels, a measured PSF and no "
        "other flag. The last four are marks of implausible rows, which may be clean.",
        groups=True,
    )  # fmt: skip


def stages(timings: Mapping[str, Any]) -> Table:
    """Seconds, rates and memory by stage."""
    found = list(timings.get("stages", {}).values())
    peak = timings.get("worker_peak_rss_mb", {})
    memory = {"cut": peak.get("cutouts"), "inject": peak.get("pairs")}
    out: list[tuple[Any, ...]] = [
        (
            Cell(s["stage"], note="" if s.get("worked", True) else "(found done)"),
            s["rows"], float(s["seconds"]), s["rows_per_s"], memory.get(s["stage"]),
        )
        for s in found
    ]  # fmt: skip
    out.append(("all", "", float(sum(s["seconds"] for s in found)), "", timings.get("driver_peak_rss_mb")))
    columns: list[Column | str] = [words("stage"), "rows", "seconds", "rows / s", Column("peak memory", "MB")]
    known = 5 if any(row[-1] is not None for row in out) else 4
    return Table(
        "Stages", columns[:known], [row[:known] for row in out],
        "Wall clock of the call that did the work. Rows are hosts for “cut”. Memory is the largest resident size of a "
        "worker process; in the last line, of the driver.",
    )  # fmt: skip


def psf_percentiles(audit: xr.Dataset, reference: bool = True) -> Table:
    """Percentiles of the PSF size, of :func:`lensflow.survey.psf_audit.psf_audit`, beside the reference run's."""
    out: list[tuple[Any, ...]] = []
    known = audit["hosts"].sel(source=audit["source"] != PsfSource.NONE.name.lower()).sum("source")
    for band in (str(b) for b in audit["band"].values):
        out.append((band, "this run", int(known.sel(band=band)), *audit["psfsize_arcsec"].sel(band=band).values))
        if reference:
            found = dict(zip(PERCENTILES, REFERENCE_PSF.get(band, ()), strict=False))
            out.append((band, "reference", "10.6 M rows", *(found.get(int(p)) for p in audit["percentile"].values)))
    columns: list[Column | str] = [words("band"), words(""), "n"]
    columns += [Column(f"P{p}", write=3) for p in audit["percentile"].values]
    return Table(
        "PSF size (FWHM, arcsec)", columns, out,
        "Of the Gaussian with the PSF’s noise-equivalent area. Reference: 10.6 M rows of DR10 South, for g, r and z.",
        groups=reference,
    )  # fmt: skip


def psf_sources(audit: xr.Dataset) -> Table:
    """Hosts by provenance of the PSF size."""
    meanings = {
        PsfSource.MAP: "map at the stamp’s centre",
        PsfSource.MANIFEST: "target table or config",
        PsfSource.FALLBACK_R: "r band, scaled",
        PsfSource.COADD_PSF: "coadd PSF image",
        PsfSource.NONE: "none: the band is absent",
    }
    return Table(
        "Where the PSF sizes come from", [words("code"), words("source"), *(str(b) for b in audit["band"].values)],
        [(str(int(c)), text, *audit["hosts"].sel(source=c.name.lower()).values) for c, text in meanings.items()],
        "Hosts by provenance. A band without any size is absent: no arc is put there.",
    )  # fmt: skip


def drawn(injections: xr.Dataset, bands: Sequence[str]) -> Table:
    """Ranges of drawn parameters, from the rows of a manifest or of pairs."""
    out: list[tuple[Any, ...]] = []
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
        if name not in injections:  # of a manifest: nothing is rendered yet
            continue
        values = injections[name].values.astype(float)
        split = [(f"{text}, {b}", values[:, k]) for k, b in enumerate(bands)] if values.ndim == 2 else [(text, values)]
        for label, column in split:
            good = column[np.isfinite(column)]
            out.append((label, good.size, *(np.percentile(good, (0, 5, 50, 95, 100)) if good.size else [None] * 5)))
    return Table(
        "What was drawn and what came of it",
        [words(""), "n", "min", Column("P5", optional=True), "median", Column("P95", optional=True), "max"],
        out,
        "From the rows themselves; n counts the rows that have a value.",
    )


def plan_cost(size: PlanSize, cost: PlanCost, usd_per_vcpu_hour: float) -> Table:
    """Estimated cost of a plan."""
    lacking = {f"{k} (lacking)": v for k, v in size.lacking.items()}
    out = [
        ("rows", count(size.rows)),
        ("injections, controls", f"{size.injections:,}, {size.controls:,}"),
        ("hosts used, considered", f"{size.n_used:,}, {size.n_hosts:,}"),
        *((f"hosts {name}", count(n)) for name, n in {**size.skipped, **lacking}.items()),
        ("cutouts on disk, at most", amount(cost.bytes_cutouts)),
        ("pairs on disk", amount(cost.bytes_pairs)),
        ("manifest on disk, at most", amount(cost.bytes_manifest)),
        *((f"{step}, one core", seconds(t)) for step, t in cost.core_seconds.items()),
        (f"all steps, {cost.workers} worker(s)", seconds(cost.wall_seconds)),
        ("price", f"{cost.usd:,.2f} USD at {usd_per_vcpu_hour:g} USD per core and hour"),
    ]
    return Table("Estimate", [words(""), ""], out)
