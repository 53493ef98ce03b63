"""The report's page: one self-contained HTML file, and the figures as files beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup

from lensflow.errors import StoreError
from lensflow.measure.gate import GateResult, Verdict
from lensflow.measure.metadata.checks import findings_of
from lensflow.measure.pixels import Finding, Kind, Status, findings
from lensflow.measure.zoo import faults as zoo
from lensflow.show import (
    core_handling,
    figures_findings,
    figures_images,
    figures_statistics,
    prior,
    tables,
    tables_gates,
    tables_pixels,
)
from lensflow.show.begin import Start, here
from lensflow.show.collect import RunRecord
from lensflow.show.completeness_page import KeptCompleteness, Section, section
from lensflow.show.composite import colour_note
from lensflow.show.figures import Picture
from lensflow.show.first_screen import first_screen
from lensflow.show.folds import folds, missing
from lensflow.show.from_dataset import from_elsewhere
from lensflow.show.gallery import Example
from lensflow.show.numbers import count, fixed, interval, number, seconds, share
from lensflow.show.pages import page_template
from lensflow.show.realism_page import section as realism_section
from lensflow.show.table import Table
from lensflow.show.training import section as training_section
from lensflow.show.verdict_style import VerdictStyle, css_class, verdict_style
from lensflow.store import paths
from lensflow.survey.psf_audit import psf_audit

MAX_MESSAGES = 20
# Stamps shown of a gate that is explained: enough to see that they are arcs.
EXPLAINED_ROWS = 4


@dataclass(frozen=True)
class GalleryItem:
    """A row of the gallery: its picture, a description, and anything unusual."""

    picture: Picture
    facts: tuple[tuple[str, str], ...]
    note: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateCard:
    """A gate in the banner and in its details.

    Attributes
    ----------
    number : str
        What stands beside the verdict: an area, or how many comparisons are as expected.
    findings : Table or None
        Of a gate without a fit, in place of figures.
    said : tuple of (str, str)
        Its comparisons that are not as expected or were not made, and why.
    telling : list of GalleryItem
        Stamps that drive a failing or explained gate.
    """

    gate: GateResult
    style: VerdictStyle
    css: str
    required: bool
    number: str
    figure: Picture | None
    coefficients: Picture | None
    strata: Table | None
    findings: Table | None
    said: tuple[tuple[str, str], ...]
    telling: list[GalleryItem]


# Figures of tables with more rows are drawn here: what is sent to a worker is small.
MOST_SENT = 100_000
# In the folder of figures: which files are ours.
WRITTEN = "written.json"


def write_page(record: RunRecord, folder: str, now: datetime | None = None, start: Start = here) -> str:
    """Write ``index.html`` with all figures inside, and the figures as SVG or PNG files below ``figures/``.

    ``figures/written.json`` lists them: those that an earlier report listed and this one does not write are deleted,
    other files stay.

    Parameters
    ----------
    record : RunRecord
    folder : str
        Path or fsspec URL; what it holds of an earlier report is replaced.
    now : datetime, optional
        Printed as the time of writing.
    start : callable, optional
        Begins to make parts of the page elsewhere: those with figures of small results. By default all is made here.

    Returns
    -------
    str
        Path of the page.
    """
    shown: list[Picture] = []
    html = render(record, now or datetime.now(UTC), shown, start)
    figures, page = paths.join(folder, "figures"), paths.join(folder, "index.html")
    files = dict(p.file for p in shown)
    earlier = _written(figures)
    paths.write_json(paths.join(figures, WRITTEN), sorted({*earlier, *files}))  # true wherever this is stopped
    for name, content in files.items():
        paths.write_bytes(paths.join(figures, name), content)
    paths.write_text(page, html)
    for name in sorted(earlier - {*files}):
        paths.remove(paths.join(figures, name))
    paths.write_json(paths.join(figures, WRITTEN), sorted(files))
    return page


def _written(figures: str) -> set[str]:
    """Names of the figures that earlier reports wrote; none where no list says so, or it is none."""
    if WRITTEN not in paths.list_names(figures):
        return set()
    try:
        found = paths.read_json(paths.join(figures, WRITTEN))
    except StoreError:
        return set()
    named = found if isinstance(found, list) else []
    return {n for n in named if isinstance(n, str) and n.endswith((".svg", ".png")) and not {"/", "\\"} & {*n}}


def render(record: RunRecord, now: datetime, shown: list[Picture] | None = None, start: Start = here) -> str:
    """HTML of the report; the pictures that it embeds are appended to ``shown``."""

    def embed(picture: Picture) -> Markup:
        if shown is not None:
            shown.append(picture)
        return picture.html

    content = _content(record, start)
    made = folds(record, content)
    helpers = {"embed": embed, "number": number, "fixed": fixed, "count": count, "interval": interval, "share": share}
    return page_template("report.html.j2").render(
        **helpers,
        seconds=seconds,
        bar=auc_bar_position,
        record=record,
        now=now.strftime("%Y-%m-%d %H:%M UTC"),
        folds=made,
        first=first_screen(record, made),
        missing=missing(record, content),
        **content,
    )


def auc_bar_position(value: float) -> float:
    """Place of an AUC on a gate's bar, percent of its width: 0.3 at the left, 1 at the right."""
    return round(100 * min(max((value - 0.3) / 0.7, 0.0), 1.0), 2)


def _content(record: RunRecord, start: Start = here) -> dict[str, Any]:
    of_scorers = sections(record.completeness, start)
    begun = begin(record, start)
    diagnostics, injections = record.diagnostics, _arcs(record)
    counts = record.pairs_summary["counts"]
    skipped = record.manifest.attrs.get("hosts_skipped") if record.manifest is not None else None
    messages = [*record.cutouts_summary["messages"], *record.pairs_summary["messages"]]
    strata = diagnostics.get("stratified")
    planned = record.manifest
    if planned is not None and planned["is_control"].values.all():
        planned = None
    needed = record.config.must_pass
    cards = [_card(g, g.name in needed, record) for g in sorted(record.gates, key=lambda g: g.name not in needed)]
    of_plan = (record.bands, record.config.reference_band)
    audit = psf_audit(record.cutouts)
    core, attrs = record.core, record.cutouts.attrs
    content = {
        "core": core,
        "core_figure": None if core is None else core_handling.cost_curve(core.reported_on, core.chosen_on),
        "core_tables": None if core is None else core_handling.tables(core),
        "target_table": None if attrs.get("n_read") is None else tables.targets(attrs),
        "host_table": tables.hosts(record.cutouts_summary["counts"], skipped),
        "row_table": tables.rows(counts) if counts else None,
        "invariants": {k.removeprefix("invariant: "): v for k, v in counts.items() if k.startswith("invariant: ")},
        "stage_table": tables.stages(record.timings) if record.timings else None,
        "messages": messages[:MAX_MESSAGES],
        "n_messages": len(messages),
        "config_yaml": record.config.to_yaml(),
        "six": _gallery(record, record.first, kind="first"),
        "gallery": _gallery(record, record.gallery),
        "worst": _gallery(record, record.worst, kind="worst"),
        "colours": colour_note(record.bands, ()),
        "strata_table": tables_pixels.strata(strata) if strata else None,
        "brighter_table": tables_pixels.brighter(strata) if strata else None,
        "control_table": tables_gates.gate_controls(record.gates) if any(g.controls for g in record.gates) else None,
        **_findings(diagnostics, record.kinds),
        "realism": [
            realism_section(shown, k, record.bands, float(attrs["pixel_scale_arcsec"]))
            for k, shown in enumerate(record.realism, start=1)
        ],
        "training": None if record.training is None else training_section(record.training),
        "scorer_table": tables_gates.scorers(record.scorers) if record.scorers else None,
        "zoo_figure": None if record.zoo is None else figures_findings.zoo(record.zoo),
        "shortcomings": [] if record.zoo is None else zoo.shortcomings(record.zoo),
        "n_faults": len(zoo.FAULTS),
        "annulus": diagnostics.get("annulus"),
        "annulus_table": tables_pixels.annulus(diagnostics["annulus"]) if "annulus" in diagnostics else None,
        "regression_tables": [
            make(diagnostics["regression"]) for make in (tables_pixels.regression, tables_pixels.manifest_regression)
        ]
        if "regression" in diagnostics
        else [],
        "psf_tables": [make(audit) for make in (tables.psf_percentiles, tables.psf_sources)],
        "prior_table": None if planned is None else prior.declared_table(planned, *of_plan),
        "drawn_table": None if injections is None else tables.drawn(injections, record.bands),
    }
    figures = begun.gates
    return content | {
        "cards": [replace(c, figure=figures[c.gate.name]()) if c.gate.name in figures else c for c in cards],
        "profile_figure": begun.profile(),
        "strata_figure": begun.strata(),
        "psf_figure": begun.psf(),
        "drawn_figure": begun.drawn(),
        "completeness": [wait() for wait in of_scorers],
    }


def sections(kept: Sequence[KeptCompleteness], start: Start) -> list[Callable[[], Section]]:
    """Begin the section of each scorer; what is given waits for it."""
    return [section(one, k, start) for k, one in enumerate(kept, start=1)]


@dataclass(frozen=True)
class _Begun:
    """Figures that are being made; each is called for its result."""

    drawn: Callable[[], Picture | None]
    profile: Callable[[], Picture | None]
    gates: dict[str, Callable[[], Picture | None]]
    strata: Callable[[], Picture | None]
    psf: Callable[[], Picture]


def begin(record: RunRecord, start: Start) -> _Begun:
    """Begin with the figures of what was measured, what takes longest first.

    Parameters
    ----------
    record : RunRecord
        Stamps and completeness are not looked at.
    start : callable
        What it was given once may be given again: the same parts.
    """
    profile, strata, rows = (
        record.diagnostics.get("radial_profile"),
        record.diagnostics.get("stratified"),
        _arcs(record),
    )
    n_rows = max(record.cutouts.sizes["host"], 0 if rows is None else rows.sizes["sample"])
    of_rows = start if n_rows <= MOST_SENT else here
    named = () if rows is None else (rows[[*figures_statistics.DRAWN]], record.bands, record.config.reference_band)
    return _Begun(
        of_rows(figures_statistics.drawn, *named) if named else _nothing,
        start(figures_statistics.radial_profile, *_of_profile(record, profile)) if profile else _nothing,
        # A curve of a gate that passes decides nothing: its area and interval stand beside the threshold.
        {g.name: start(figures_statistics.gate, g) for g in record.gates if g.verdict is not Verdict.PASS},
        start(figures_statistics.strata, strata) if strata else _nothing,
        of_rows(figures_statistics.psf_sizes, record.cutouts[["psfsize_arcsec"]]),
    )


def _arcs(record: RunRecord) -> xr.Dataset | None:
    """Finished rows with an arc; None where there is none."""
    rows = record.injections
    return rows if rows is not None and rows.sizes["sample"] else None


def _nothing() -> None:
    """Wait for no figure."""


def _findings(diagnostics: Mapping[str, xr.Dataset], kinds: Sequence[Kind[Finding]]) -> dict[str, Any]:
    """Results of the diagnostics: counts by status, the table of all, and the table of each."""
    found: list[Finding] = findings(diagnostics, kinds)
    makers = {
        "psf": tables_pixels.psf, "alignment": tables_pixels.alignment, "deflection": tables_pixels.deflection,
        "core_pixels": lambda ds: tables_pixels.core_pixels(ds, diagnostics.get("alignment")),
        "flux": tables_pixels.flux, "balance": tables_pixels.balance,
    }  # fmt: skip
    return {
        "findings_table": tables_gates.findings(found) if found else None,
        "n_findings": {str(s): sum(f.status is s for f in found) for s in Status},
        "alarms": [f for f in found if f.status is Status.ALARM],
        "finding_tables": [
            *(make(diagnostics[k]) for k, make in makers.items() if k in diagnostics),
            *from_elsewhere(diagnostics),
        ],
    }


def _of_profile(record: RunRecord, profile: xr.Dataset) -> tuple[xr.Dataset, str, float, dict[str, float]]:
    """What the radial profile's figure takes: in arcsec, with the run's median theta_E and PSF."""
    marks: dict[str, float] = {}
    if (rows := _arcs(record)) is not None:
        fwhm = rows["psf_fwhm_arcsec"].values[:, record.config.reference_band]
        marks["median θ$_E$"] = float(np.median(rows["theta_e_arcsec"].values))
        if np.isfinite(fwhm).any():
            marks[f"median FWHM, {record.reference_band}"] = float(np.nanmedian(fwhm))
    return profile, record.reference_band, float(record.cutouts.attrs["pixel_scale_arcsec"]), marks


def _card(gate: GateResult, required: bool, record: RunRecord) -> GateCard:
    found = () if gate.fitted else findings_of(gate)
    telling = record.telling.get(gate.name, ())
    return GateCard(
        gate,
        verdict_style(gate.verdict),
        css_class(gate.verdict),
        required,
        fixed(gate.auc) if gate.fitted else tables_gates.as_expected(gate),
        None,  # the figure, when it is drawn
        figures_images.coefficient_map(gate) if gate.verdict is Verdict.FAIL else None,
        tables_gates.gate_strata(gate) if gate.strata else None,
        tables_gates.compared(gate) if found else None,
        tuple((f"{f.diagnostic}, {f.check}", f.text) for f in found if f.status is not Status.OK),
        _gallery(record, telling[:EXPLAINED_ROWS] if gate.verdict is Verdict.EXPLAINED else telling, gate.name),
    )


def _gallery(
    record: RunRecord, examples: Sequence[Example], gate: str = "", kind: str = "gallery"
) -> list[GalleryItem]:
    """Pictures of rows: host, arc and stamp, or, of a gate, stamp, control and their difference."""
    scale = float(record.cutouts.attrs["pixel_scale_arcsec"])
    return [_gallery_item(e, record, scale, gate, kind) for e in examples]


def _gallery_item(example: Example, record: RunRecord, scale: float, gate: str, kind: str) -> GalleryItem:
    band = record.reference_band
    facts = (
        ("row", f"{example.row}"),
        ("host", example.name),
        *([("RA, Dec", f"{example.place}°")] if example.place else []),
        ("θE", f"{example.theta_e_arcsec:.2f}″"),
        (f"SNR {band}", f"{number(example.matched_snr, 2)}, peak {number(example.arc_snr, 2)}"),
        (f"source {band}", f"{number(example.src_mag, 4)} mag"),
        ("magnified", f"{number(example.magnification, 2)}×"),
        ("split", example.split),
    )
    note = ""
    if example.absent:
        shown = colour_note(record.bands, example.absent)
        note = f"No exposure in {', '.join(example.absent)}: no arc was put there. Shown in {shown}."
    drawn = (example, record.bands, scale)
    picture = figures_images.difference(gate, *drawn) if gate else figures_images.triptych(*drawn, kind)
    return GalleryItem(picture, facts, note, example.why)
