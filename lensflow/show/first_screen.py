"""The first screen of a report: what was made, whether it can be trusted, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lensflow.measure.gate import GateResult
from lensflow.show.collect import RunRecord
from lensflow.show.folds import BAD, Fold, tally, worst
from lensflow.show.numbers import count, number
from lensflow.show.verdict_style import NO_VERDICT, VerdictStyle, css_class, verdict_style
from lensflow.units import mag_of_flux

_MEANING = {
    "PASS": "Nothing that was tried tells a stamp from its control, beyond what is allowed.",
    "EXPLAINED": "The arcs’ own light tells stamps from controls, and nothing else that was tried does. This is the "
    "expected result where arcs reach the core; it is no fault of the pixels.",
    "NOT_TESTABLE": "A required gate could not be tested: nobody knows yet.",
    "INCONCLUSIVE": "The data do not decide a required gate: nobody knows yet.",
    "ERROR": "A required gate could not be run. Nothing is known of what it looks for.",
    "FAIL": "Something besides the arcs may tell stamps from controls. Do not train on them before you know what.",
    "": "No gate is required and has run: nothing here says whether these stamps are fit for training.",
}


@dataclass(frozen=True)
class FirstScreen:
    """What stands above all figures.

    Attributes
    ----------
    state : str
        The worst verdict of the required gates; FAIL also where a measurement is an alarm; "" without any.
    made, meaning, gates : str
        What was made; what the verdict means; the gates by verdict.
    next : tuple of (str, str, str)
        What to do, in words; a command or setting, and words after it (or "").
    attention : tuple of Fold
        Parts in which something is wrong.
    """

    state: str
    made: str
    meaning: str
    gates: str
    next: tuple[tuple[str, str, str], ...]
    attention: tuple[Fold, ...]

    @property
    def style(self) -> VerdictStyle:
        """Colour, sign and headline."""
        return verdict_style(self.state) if self.state else NO_VERDICT

    @property
    def css(self) -> str:
        """Class of its colour."""
        return css_class(self.state)


# Parts whose alarms are about the pixels themselves, whatever gates were asked for.
_OF_THE_PIXELS = ("diagnostics", "ran", "annulus", "drawn")


def first_screen(record: RunRecord, folds: Mapping[str, Fold]) -> FirstScreen:
    """Say what was made, whether it can be trusted, and what to do next.

    Parameters
    ----------
    record : RunRecord
    folds : mapping
        As :func:`lensflow.show.folds.folds`.
    """
    needed = [g for g in record.gates if g.name in record.config.must_pass]
    pixels = [f.state for f in folds.values() if f.anchor in _OF_THE_PIXELS and f.is_bad]
    state = worst([*(g.verdict for g in needed), *pixels])
    attention = tuple(f for f in folds.values() if f.is_bad)
    gates = tally(needed, "required gates") if needed else "There is no verdict." if not record.gates else ""
    meaning = _MEANING[state]
    if state == "FAIL" and not any(str(g.verdict) in BAD for g in needed):
        meaning = "The pixels are not what they should be. Do not use these stamps before you know why."
    return FirstScreen(state, _made(record), meaning, gates, _next(record, state, needed), attention)


def _made(record: RunRecord) -> str:
    counts = record.pairs_summary["counts"]
    if not counts:
        return f"{count(record.cutouts.sizes['host'])} host galaxies were cut out; nothing was injected yet."
    said = [
        f"{count(counts['injections'])} simulated lensed arcs in images of {_hosts(record)} galaxies "
        f"({', '.join(record.bands)}), each beside the same image without the arc"
    ]
    rows = record.injections
    if rows is not None and rows.sizes["sample"]:
        theta_e = np.percentile(rows["theta_e_arcsec"].values, (5, 95))
        magnitudes = mag_of_flux(rows["src_flux_nmgy"].values[:, record.config.reference_band])
        magnitudes = magnitudes[np.isfinite(magnitudes)]
        said.append(f"Einstein radii {number(theta_e[0], 2)}″ to {number(theta_e[1], 2)}″")
        if magnitudes.size:
            low, high = np.percentile(magnitudes, (5, 95))
            said.append(f"sources of {record.reference_band} = {low:.1f} to {high:.1f} mag before lensing")
    return f"{said[0]}. {'; '.join(said[1:])} (5 to 95 %)." if said[1:] else f"{said[0]}."


def _hosts(record: RunRecord) -> str:
    rows = record.injections
    return count(record.cutouts.sizes["host"] if rows is None else np.unique(rows["host_index"].values).size)


def _next(record: RunRecord, state: str, needed: list[GateResult]) -> tuple[tuple[str, str, str], ...]:
    run, gate = str(record.config.out), record.config.gate
    use = ("Certify it, then export it for training:", f"lensflow certify {run}", ".")
    if state == "PASS":
        return (use, ("Ask what a finder recovers of it:", f"lensflow completeness {run} SCORER", "."))
    if state == "EXPLAINED" and gate.accept_explained:
        return (
            ("gate.accept_explained is set, so this counts as passed. Certify it:", f"lensflow certify {run}", "."),
        )
    if state == "EXPLAINED":
        strict = " (until then lensflow run ends with exit code 3)" if gate.required else ""
        return (
            ("If a network may use the arcs’ light in the core, set", "gate.accept_explained: true", f"{strict}."),
            ("If it may not, see what masking the core costs:", f"lensflow tune-core {run}", "."),
        )
    if state in ("FAIL", "ERROR"):
        return (
            (
                "Read what is open and red below. What each fault looks like: docs/gates.md.",
                "",
                "",
            ),
        )
    if state in ("INCONCLUSIVE", "NOT_TESTABLE", "NOT_TESTED"):
        asked = next((g for g in needed if str(g.verdict) == state), None)
        reason = f"{asked.name}: {asked.reason.rstrip('.')}." if asked else ""
        return ((f"{reason} More hosts or injections narrow the intervals.".strip(), "plan.injections_per_host", "."),)
    if not record.pairs_summary["counts"]:
        return (("Go on where it stopped:", f"lensflow run {run}/config.yaml", "."),)
    return (("Let the gates judge it:", f"lensflow gate {run}", "."),)
