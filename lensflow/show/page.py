"""The report's page: one self-contained HTML file, and the figures as files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import xarray as xr
from markupsafe import Markup

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
    relations,
    tables,
    tables_gates,
    tables_pixels,
)
from lensflow.show.collect import RunRecord
from lensflow.show.completeness_page import section
from lensflow.show.figures import VERDICT_COLOURS, VERDICT_SIGNS, Picture
from lensflow.show.from_dataset import from_elsewhere
from lensflow.show.gallery import Example
from lensflow.show.numbers import count, fixed, interval, number, seconds, share
from lensflow.show.pages import page_template
from lensflow.show.realism_page import section as realism_section
from lensflow.show.table import Table
from lensflow.show.training import section as training_section
from lensflow.store import paths
from lensflow.survey.psf_audit import psf_audit

MAX_MESSAGES = 20


@dataclass(frozen=True)
class GalleryItem:
    """A row of the gallery: its picture, a description, and anything unusual."""

    picture: Picture
    facts: tuple[tuple[str, str], ...]
    colours: str
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
    colour: str
    sign: str
    required: bool
    number: str
    figure: Picture | None
    coefficients: Picture | None
    strata: Table | None
    findings: Table | None
    said: tuple[tuple[str, str], ...]
    telling: list[GalleryItem]


def write_page(record: RunRecord, folder: str, now: datetime | None = None) -> str:
    """Write ``index.html`` with all figures inside, and the figures as PNG files below ``figures/``.

    Parameters
    ----------
    record : RunRecord
    folder : str
        Path or fsspec URL; what it holds of an earlier report is replaced.
    now : datetime, optional
        Printed as the time of writing.

    Returns
    -------
    str
        Path of the page.
    """
    shown: list[Picture] = []
    html = render(record, now or datetime.now(UTC), shown)
    for picture in shown:
        paths.write_bytes(paths.join(folder, "figures", f"{picture.name}.png"), picture.png)
    page = paths.join(folder, "index.html")
    paths.write_text(page, html)
    return page


def render(record: RunRecord, now: datetime, shown: list[Picture] | None = None) -> str:
    """HTML of the report; the pictures that it embeds are appended to ``shown``."""

    def embed(picture: Picture) -> Markup:
        if shown is not None:
            shown.append(picture)
        return Markup("data:image/png;base64,") + base64.b64encode(picture.png).decode()

    helpers = {"embed": embed, "number": number, "fixed": fixed, "count": count, "interval": interval, "share": share}
    return page_template("report.html.j2").render(
        **helpers,
        seconds=seconds,
        bar=auc_bar_position,
        record=record,
        now=now.strftime("%Y-%m-%d %H:%M UTC"),
        **_content(record),
    )


def auc_bar_position(value: float) -> float:
    """Place of an AUC on a gate's bar, percent of its width: 0.3 at the left, 1 at the right."""
    return round(100 * min(max((value - 0.3) / 0.7, 0.0), 1.0), 2)


def _content(record: RunRecord) -> dict[str, Any]:
    diagnostics, injections = record.diagnostics, record.injections
    counts = record.pairs_summary["counts"]
    skipped = record.manifest.attrs.get("hosts_skipped") if record.manifest is not None else None
    messages = [*record.cutouts_summary["messages"], *record.pairs_summary["messages"]]
    profile, strata = diagnostics.get("radial_profile"), diagnostics.get("stratified")
    if injections is not None and injections.sizes["sample"] == 0:
        injections = None
    planned = record.manifest
    if planned is not None and planned["is_control"].values.all():
        planned = None
    needed = record.config.must_pass
    cards = [_card(g, g.name in needed, record) for g in sorted(record.gates, key=lambda g: g.name not in needed)]
    of_plan = (record.bands, record.config.reference_band)
    audit = psf_audit(record.cutouts)
    core, attrs = record.core, record.cutouts.attrs
    return {
        "core": core,
        "core_figure": None if core is None else core_handling.cost_curve(core.reported_on, core.chosen_on),
        "core_tables": None if core is None else core_handling.tables(core),
        "target_table": None if attrs.get("n_read") is None else tables.targets(attrs),
        "cards": cards,
        "lights": lights(cards),
        "host_table": tables.hosts(record.cutouts_summary["counts"], skipped),
        "row_table": tables.rows(counts) if counts else None,
        "invariants": {k.removeprefix("invariant: "): v for k, v in counts.items() if k.startswith("invariant: ")},
        "stage_table": tables.stages(record.timings) if record.timings else None,
        "messages": messages[:MAX_MESSAGES],
        "n_messages": len(messages),
        "config_yaml": record.config.to_yaml(),
        "gallery": _gallery(record, record.gallery),
        "worst": _gallery(record, record.worst),
        "profile_figure": figures_statistics.radial_profile(profile, record.reference_band) if profile else None,
        "strata_figure": figures_statistics.strata(strata) if strata else None,
        "strata_table": tables_pixels.strata(strata) if strata else None,
        "brighter_table": tables_pixels.brighter(strata) if strata else None,
        "control_table": tables_gates.gate_controls(record.gates) if any(g.controls for g in record.gates) else None,
        **_findings(diagnostics, record.kinds),
        "completeness": [section(kept, k) for k, kept in enumerate(record.completeness, start=1)],
        "realism": [
            realism_section(shown, k, record.bands, float(attrs["pixel_scale_arcsec"]))
            for k, shown in enumerate(record.realism, start=1)
        ],
        "training": None if record.training is None else training_section(record.training),
        "scorer_table": tables_gates.scorers(record.scorers) if record.scorers else None,
        "zoo_figure": None if record.zoo is None else figures_findings.zoo(record.zoo),
        "shortcomings": [] if record.zoo is None else zoo.shortcomings(record.zoo),
        "n_faults": len(zoo.FAULTS),
        "region_figure": figures_findings.areas_on_the_stamp(record.gates, record.config.survey.stamp_size),
        "annulus": diagnostics.get("annulus"),
        "annulus_table": tables_pixels.annulus(diagnostics["annulus"]) if "annulus" in diagnostics else None,
        "regression_tables": [
            make(diagnostics["regression"]) for make in (tables_pixels.regression, tables_pixels.manifest_regression)
        ]
        if "regression" in diagnostics
        else [],
        "psf_figure": figures_statistics.psf_sizes(record.cutouts, tables.REFERENCE_PSF, tables.PERCENTILES),
        "psf_tables": [make(audit) for make in (tables.psf_percentiles, tables.psf_sources)],
        "prior_relations": None if planned is None else relations.relations(planned, *of_plan),
        "prior_figure": None if planned is None else prior.correlations(planned, *of_plan),
        "prior_table": None if planned is None else prior.declared_table(planned, *of_plan),
        "drawn_figure": None
        if injections is None
        else figures_statistics.drawn(injections, record.bands, record.config.reference_band),
        "drawn_table": None if injections is None else tables.drawn(injections, record.bands),
    }


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


def _card(gate: GateResult, required: bool, record: RunRecord) -> GateCard:
    found = () if gate.fitted else findings_of(gate)
    return GateCard(
        gate,
        VERDICT_COLOURS[str(gate.verdict)],
        VERDICT_SIGNS[str(gate.verdict)],
        required,
        fixed(gate.auc) if gate.fitted else tables_gates.as_expected(gate),
        figures_statistics.gate(gate),
        figures_images.coefficient_map(gate),
        tables_gates.gate_strata(gate) if gate.strata else None,
        tables_gates.compared(gate) if found else None,
        tuple((f"{f.diagnostic}, {f.check}", f.text) for f in found if f.status is not Status.OK),
        _gallery(record, record.telling.get(gate.name, ()), gate.name),
    )


def lights(cards: Sequence[GateCard]) -> str:
    """Summarise in one sentence how many required gates pass, and the others' verdicts."""
    needed = [c.gate.verdict for c in cards if c.required]
    if not needed:
        return "No gate is required; those below are advisory."
    words = {
        Verdict.EXPLAINED: "{} explained by the arcs",
        Verdict.FAIL: "{} failed", Verdict.INCONCLUSIVE: "{} inconclusive", Verdict.NOT_TESTABLE: "{} not testable",
        Verdict.ERROR: "{} broken",
    }  # fmt: skip
    rest = [text.format(count(n)) for verdict, text in words.items() if (n := needed.count(verdict))]
    passed = f"{count(needed.count(Verdict.PASS))} of {count(len(needed))} required gates passed"
    return f"{passed}: {', '.join(rest)}." if rest else f"{passed}."


def _gallery(record: RunRecord, examples: Sequence[Example], gate: str = "") -> list[GalleryItem]:
    """Pictures of rows: host, arc and stamp, or, of a gate, stamp, control and their difference."""
    if not examples:
        return []
    # One stretch for all galleries, so that their images compare.
    sky = figures_images.sky_level(record.gallery or examples, record.bands)
    scale = float(record.cutouts.attrs["pixel_scale_arcsec"])
    return [_gallery_item(e, record, sky, scale, gate) for e in examples]


def _gallery_item(example: Example, record: RunRecord, sky: float, scale: float, gate: str) -> GalleryItem:
    facts = (
        ("row", f"{example.row}"),
        ("host:replicate", example.name),
        *([("RA, Dec", example.place)] if example.place else []),
        ("split", example.split),
        ("θE", f"{example.theta_e_arcsec:.3g}″"),
        (f"source {record.reference_band}", number(example.src_mag, 4)),
        ("magnification", number(example.magnification)),
        ("arc SNR", number(example.arc_snr)),
    )
    colours = figures_images.colour_note(record.bands, example.absent)
    note = ""
    if example.absent:
        note = f"No exposure in {', '.join(example.absent)}: no arc was put there. Shown in {colours}."
    drawn = (example, record.bands, sky, scale)
    picture = figures_images.difference(gate, *drawn) if gate else figures_images.triptych(*drawn)
    return GalleryItem(picture, facts, colours, note, example.why)
