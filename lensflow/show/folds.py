"""The folded parts of a report: what each one's summary line says, and what of them must not stay folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lensflow.measure.gate import GateResult
from lensflow.show.collect import RunRecord
from lensflow.show.completeness import threshold_names
from lensflow.show.completeness_page import KeptCompleteness
from lensflow.show.numbers import count, fixed, interval, number
from lensflow.show.table import Cell, Table
from lensflow.show.verdict_style import VERDICT_STYLES, VerdictStyle, css_class, verdict_style
from lensflow.stats.estimate import Estimate

# What nobody may overlook: such a fold is open, red, and named on the first screen.
BAD = ("FAIL", "ERROR")


@dataclass(frozen=True)
class Fold:
    """A part of the page that is closed at first.

    Attributes
    ----------
    anchor, title : str
    state : str
        The worst verdict inside; "" where nothing is judged.
    line : str
        What the part says, in one sentence: it stands on the summary.
    """

    anchor: str
    title: str
    state: str
    line: str

    @property
    def style(self) -> VerdictStyle:
        """Colour and sign."""
        return verdict_style(self.state)

    @property
    def css(self) -> str:
        """Class of its colour."""
        return css_class(self.state)

    @property
    def is_bad(self) -> bool:
        """Whether it is open from the start and named on the first screen."""
        return self.state in BAD


@dataclass(frozen=True)
class Missing:
    """A part that was not measured, and the command that measures it."""

    title: str
    what: str
    command: str


def worst(verdicts: Iterable[object]) -> str:
    """Name of the worst of some verdicts; "" if there are none."""
    return max((str(v) for v in verdicts), key=lambda v: VERDICT_STYLES[v].rank, default="")


def tally(gates: Sequence[GateResult], what: str) -> str:
    """How many gates passed, and the verdicts of the others by name."""
    passed = sum(str(g.verdict) == "PASS" for g in gates)
    rest = [
        f"{style.words}: {', '.join(g.name for g in found)}"
        for name, style in sorted(VERDICT_STYLES.items(), key=lambda s: -s[1].rank)
        if name != "PASS" and (found := [g for g in gates if str(g.verdict) == name])
    ]
    return f"{count(passed)} of {count(len(gates))} {what} passed{'; ' if rest else ''}{'; '.join(rest)}."


def alarms_in(tables: Iterable[Table | None]) -> int:
    """Rows that are marked as an alarm."""
    rows = [row for t in tables if t is not None for row in t.rows]
    return sum(any(isinstance(cell, Cell) and cell.style == "alarm" for cell in row) for row in rows)


def folds(record: RunRecord, content: Mapping[str, Any]) -> dict[str, Fold]:
    """Folds of a page by anchor.

    Parameters
    ----------
    record : RunRecord
    content : mapping
        What the page shows, by the names of its template.
    """
    made = [
        _gates(record, content), _diagnostics(content), _ran(record, content), _annulus(content), _zoo(content),
        _drawn(content), _core(record),
        *(_judged(s.anchor, s.title, f"{_recovered(k)}{s.sentence}", [k.gate] if k.gate else [])
          for s, k in zip(content["completeness"], record.completeness, strict=True)),
        *(_judged(s.anchor, s.title, s.sentence, k.kept.gates)
          for s, k in zip(content["realism"], record.realism, strict=True)),
    ]  # fmt: skip
    if record.scorers:
        names = sorted({str(g.recipe["scorer"]) for g in record.scorers})
        made.append(_judged("scorers", "Lens finders", f"{', '.join(names)}.", record.scorers))
    if record.training is not None:
        made.append(_judged("training", "Reference training", content["training"].sentence, record.training.gates))
    if record.worst:
        line = f"{count(len(record.worst))} rows chosen by number: surest of gates, largest errors, least light."
        made.append(Fold("worst", "Rows that stand out", "", line))
    if record.gallery:
        line = f"{count(len(record.gallery))} more, spread over θE and SNR, the faint ones too."
        made.append(Fold("gallery", "More stamps", "", line))
    if content["strata_table"] is not None:
        line = "How much brighter the core became, and how much of the arcs’ light fell into it, by θE."
        made.append(Fold("strata", "Light in the core", "", line))
    made.append(Fold("psf", "PSF sizes", "", _psf_line(record)))
    return {f.anchor: f for f in made if f is not None}


def missing(record: RunRecord, content: Mapping[str, Any]) -> list[Missing]:
    """What was not measured on this run, each with its command."""
    run = str(record.config.out)
    every = [
        (not record.gates, Missing("Gates", "can anything but the arc be told?", f"lensflow gate {run}")),
        (not record.diagnostics,
         Missing("Diagnostics", "are the pixels what they should be?", f"lensflow diagnose {run}")),
        (not record.completeness,
         Missing("Completeness", "which arcs does a finder recover?", f"lensflow completeness {run} SCORER")),
        (not record.realism,
         Missing("Real lenses", "can injections be told from real lenses?", f"lensflow realism {run} --real TABLE")),
        (not record.scorers,
         Missing("Lens finders", "does a finder use the arc, or the core?", f"lensflow score {run} SCORER")),
        (record.training is None, Missing("Training", "what does a network learn from it?", f"lensflow train {run}")),
        (record.core is None,
         Missing("Core handling", "does masking the core help?", f"lensflow tune-core {run}")),
        (content["zoo_figure"] is None,
         Missing("Known faults", "would the diagnostics have noticed?", f"lensflow zoo {run}")),
    ]  # fmt: skip
    out = [m for absent, m in every if absent]
    # An export is a folder of its own, and its check lies there.
    return [*out, Missing("Exports", "their checks lie beside them", "lensflow check-export EXPORT")]


def _judged(anchor: str, title: str, line: str, gates: Sequence[GateResult]) -> Fold:
    """A part with verdicts of its own; they come first on its line."""
    said = "; ".join(f"{g.name.replace('_', ' ')} {str(g.verdict).replace('_', ' ')}" for g in gates)
    return Fold(anchor, title, worst(g.verdict for g in gates), f"{said}. {line}" if said else line)


def _recovered(kept: KeptCompleteness) -> str:
    """The recovered share of all arcs at each threshold."""
    if not {"curves", "thresholds"} <= set(kept.tables):
        return ""
    curves = kept.tables["curves"].sel(curve="all")
    said = []
    for k, name in enumerate(threshold_names(kept.tables)):
        found = Estimate.in_dataset(curves.isel(threshold=k), "completeness")
        if found.is_measured:
            ends = interval(100 * found.low, 100 * found.high, 0)
            said.append(f"{fixed(100 * found.value, 0)} % ({ends}) at {name}")
    return f"Recovers {', '.join(said)}. " if said else ""


def _gates(record: RunRecord, content: Mapping[str, Any]) -> Fold | None:
    if not record.gates:
        return None
    needed = [c.gate for c in content["cards"] if c.required]
    other = [c.gate for c in content["cards"] if not c.required]
    lines = [tally(g, what) for g, what in ((needed, "required gates"), (other, "advisory gates")) if g]
    # An advisory gate counts here where it fails; what it leaves open is said.
    judged = [*(g.verdict for g in needed), *(g.verdict for g in other if not needed or str(g.verdict) in BAD)]
    state, broken = worst(judged), alarms_in([content["control_table"]])
    if broken:
        lines.append(f"{count(broken)} null controls do not hold 0.5.")
    return Fold("gates", "Gates", "FAIL" if broken else state, " ".join(lines))


def _diagnostics(content: Mapping[str, Any]) -> Fold | None:
    if content["findings_table"] is None:
        return None
    n, alarms = content["n_findings"], content["alarms"]
    untested = f"; {count(n['NOT_TESTED'])} could not be tested" if n["NOT_TESTED"] else ""
    if alarms:
        names = ", ".join(dict.fromkeys(f"{f.diagnostic.replace('_', ' ')} ({f.check})" for f in alarms))
        line = f"{count(len(alarms))} of {count(sum(n.values()))} comparisons are alarms: {names}{untested}."
        return Fold("diagnostics", "Diagnostics", "FAIL", line)
    line = f"{count(n['OK'])} of {count(sum(n.values()))} comparisons are as expected, no alarm{untested}."
    return Fold("diagnostics", "Diagnostics", "PASS" if n["OK"] else "NOT_TESTED", line)


def _ran(record: RunRecord, content: Mapping[str, Any]) -> Fold:
    counts, hosts = record.pairs_summary["counts"], record.cutouts_summary["counts"]
    broken = sum(content["invariants"].values())
    failed = hosts.get("status: FAILED", hosts.get("FAILED", 0))
    parts = [f"{count(record.cutouts.sizes['host'])} hosts"]
    parts += [f"{count(failed)} of them without a usable cutout"] if failed else []
    parts += [f"{count(counts['rows'])} rows"] if counts else []
    if content["invariants"]:
        one = "invariant" if broken == 1 else "invariants"
        parts.append(f"{count(broken)} broken {one}")
    if content["n_messages"]:
        parts.append(f"{count(content['n_messages'])} message{'s' * (content['n_messages'] > 1)} about the input")
    state = "" if not content["invariants"] else "FAIL" if broken else "PASS"
    return Fold("ran", "What ran", state, f"{', '.join(parts)}.")


def _annulus(content: Mapping[str, Any]) -> Fold | None:
    annulus = content["annulus"]
    if annulus is None:
        return None
    n, changed = int(annulus["n_controls"]), int(annulus["n_controls_changed"])
    if changed:
        line = f"{count(changed)} of {count(n)} control rows are not their host."
        return Fold("annulus", "Controls, annulus and regression", "FAIL", line)
    line = f"All {count(n)} control rows equal their host, bit for bit." if n else "There are no control rows."
    return Fold("annulus", "Controls, annulus and regression", "PASS" if n else "NOT_TESTED", line)


def _zoo(content: Mapping[str, Any]) -> Fold | None:
    if content["zoo_figure"] is None:
        return None
    n = count(content["n_faults"])
    if found := content["shortcomings"]:
        line = f"The diagnostics of this installation are not to be trusted: {'; '.join(found)}."
        return Fold("zoo", "Known faults", "FAIL", line)
    return Fold("zoo", "Known faults", "PASS", f"Each of {n} known faults is noticed by every diagnostic that must.")


def _drawn(content: Mapping[str, Any]) -> Fold | None:
    if content["prior_table"] is None and content["drawn_table"] is None:
        return None
    outside = alarms_in([content["prior_table"]])
    if outside:
        return Fold("drawn", "What was drawn", "FAIL", f"{count(outside)} parameters lie outside of what was declared.")
    return Fold("drawn", "What was drawn", "PASS", "All parameters lie within what the config declares.")


def _core(record: RunRecord) -> Fold | None:
    if record.core is None:
        return None
    what = f"Recommended: {record.core.recommended}." if record.core.recommended else "Nothing is recommended."
    return Fold("core", "Core handling", "", f"{what} {record.core.reason}")


def _psf_line(record: RunRecord) -> str:
    sizes = record.cutouts["psfsize_arcsec"].median("host", skipna=True)
    said = (f"{b} {number(v)}″" for b, v in zip(sizes["band"].values, sizes.values, strict=True))
    return f"Median FWHM: {', '.join(said)}."
