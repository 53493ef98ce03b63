"""The original investigation of core leakage: its published numbers, and which conclusions hold in a new measurement.

Every judgement is made from intervals: a conclusion HOLDS, DOES NOT HOLD, or is UNDECIDED if the interval spans the
threshold or a required number was not measured. A conclusion that two numbers are equal HOLDS only if the interval is
also narrow enough to have distinguished them: a wide one includes everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lensflow.stats.estimate import Estimate

GATE = "core_all"
# AUC of the core gate on 46 real luminous red galaxies with 8 correct arcs each (r >= 8: the box is blank).
PUBLISHED_AUC = {"none": 0.958, "mask_5": 0.957, "tanh_5": 0.937, "mask_7": 0.771, "mask_8": 0.5, "mask_10": 0.5}
FIRST_AUC, LATER_AUC = 0.90, 0.9497
# Difference of the two published AUCs: an interval this wide cannot decide between them.
RESOLUTION = LATER_AUC - FIRST_AUC
PUBLISHED_STRATA = (0.88, 0.85, 0.74)  # theta_E < 1, 1 to 2, >= 2 arcsec
PUBLISHED_REMOVED = 0.70  # by a mask of r = 5 pix from an arc of theta_E = 0.5 arcsec


class Judgement(StrEnum):
    """Whether a conclusion holds."""

    HOLDS = "HOLDS"
    DOES_NOT_HOLD = "DOES NOT HOLD"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True)
class Claim:
    """One conclusion beside what was measured."""

    text: str
    published: str
    measured: str
    judgement: Judgement


@dataclass(frozen=True)
class Box:
    """Return the core gate's AUC of its own box alone, as in the original."""

    area: Estimate
    verdict: str
    threshold: float
    controls: dict[str, Any]
    strata: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, handled: Any) -> Box:
        """Return a handling's AUC; with a mask the gate looks beyond the box too, and reports the worst region."""
        gate = handled.gate(GATE)
        looked_at = gate.controls.get("looked_at")
        if not looked_at:
            return cls(gate.area, str(gate.verdict), gate.threshold, gate.controls, gate.strata)
        area = Estimate.from_fields(looked_at[0], "auc")
        return cls(area, looked_at[0]["verdict"], gate.threshold, gate.controls, gate.strata)


def core_claims(results: Sequence[Any]) -> list[Claim]:
    """Compare the original conclusions with a measurement of (some of) their handlings.

    Parameters
    ----------
    results : sequence of HandlingResult
        From :func:`lensflow.measure_core`, with the gate ``core_all``, for ``none``, ``mask_5``, ``tanh_5``,
        ``mask_7``, ``mask_8``, ``mask_10``. A conclusion about a missing one is UNDECIDED.
    """
    by_name = {r.name: r for r in results if any(g.name == GATE for g in r.gates)}
    return [make(by_name) for make in _CLAIMS]


Results = Mapping[str, Any]


def _fails_anyway(name: str, text: str, published: str) -> Callable[[Results], Claim]:
    def claim(by_name: Results) -> Claim:
        gate = _gate(by_name, name)
        if gate is None:
            return Claim(text, published, "not measured", Judgement.UNDECIDED)
        return Claim(text, published, f"{gate.area:.3f}", _above(gate.area, gate.threshold))

    return claim


def _consistent(value: float, text: str) -> Callable[[Results], Claim]:
    def claim(by_name: Results) -> Claim:
        gate = _gate(by_name, "none")
        if gate is None:
            return Claim(text, f"{value:g}", "not measured", Judgement.UNDECIDED)
        return Claim(text, f"{value:g}", f"{gate.area:.3f}", _same(gate.area, value))

    return claim


def _arcs_explain_it(by_name: Results) -> Claim:
    text = "What the gate sees is the arcs' own light: noiseless arcs read the same"
    gate = _gate(by_name, "none")
    reference = gate.controls.get("reference") if gate else None
    if not reference:
        return Claim(text, "expected", "not measured", Judgement.UNDECIDED)
    excess = Estimate.from_fields(reference, "excess")
    return Claim(text, "expected", f"excess {excess:+z.3f}", _same(excess, 0.0))


def _falls_with_theta_e(by_name: Results) -> Claim:
    text = "Small arcs are told most easily: AUC falls from the smallest theta_E to the largest"
    published = " / ".join(f"{v:g}" for v in PUBLISHED_STRATA)
    gate = _gate(by_name, "none")
    strata = [s for s in gate.strata if s["by"] == "theta_e_arcsec" and math.isfinite(s["auc"])] if gate else []
    if len(strata) < 2:
        return Claim(text, published, "too few rows", Judgement.UNDECIDED)
    smallest, largest = (Estimate.from_fields(s, "auc") for s in (strata[0], strata[-1]))
    fall = smallest - largest
    measured = " / ".join(f"{s['auc']:.3f}" for s in strata) + f"; fall {fall:+z.3f}"
    return Claim(text, published, measured, _above(fall, 0.0))


def _lowered_by_7(by_name: Results) -> Claim:
    text = "A hard mask of r = 7 pix lowers the AUC, but not enough"
    published = f"{PUBLISHED_AUC['none']:g} to {PUBLISHED_AUC['mask_7']:g}"
    none, mask = _gate(by_name, "none"), _gate(by_name, "mask_7")
    if none is None or mask is None:
        return Claim(text, published, "not measured", Judgement.UNDECIDED)
    fall = none.area - mask.area
    both = {_above(fall, 0.0), _above(mask.area, mask.threshold)}
    judgement = next(j for j in (Judgement.DOES_NOT_HOLD, Judgement.UNDECIDED, Judgement.HOLDS) if j in both)
    return Claim(text, published, f"{mask.area:.3f}; fall {fall:+z.3f}", judgement)


def _blank_from_8(by_name: Results) -> Claim:
    text = "From r = 8 pix on, 0.5 says nothing: the gate's box is blank and cannot be tested"
    masks = [by_name[n] for n in ("mask_8", "mask_10") if n in by_name]
    if not masks:
        return Claim(text, "0.500", "not measured", Judgement.UNDECIDED)
    verdicts = [Box.of(r).verdict for r in masks]
    blank = [r.open_share == 0 and v == "NOT_TESTABLE" for r, v in zip(masks, verdicts, strict=True)]
    said = ", ".join(
        f"{r.name}: {100 * r.open_share:.0f} % open, {v.replace('_', ' ')}"
        for r, v in zip(masks, verdicts, strict=True)
    )
    return Claim(text, "0.500", said, Judgement.HOLDS if all(blank) else Judgement.DOES_NOT_HOLD)


def _left_open_by_5(by_name: Results) -> Claim:
    text = "A hard mask of r = 5 pix leaves part of the gate's 100 pixels open"
    if "mask_5" not in by_name:
        return Claim(text, "31", "not measured", Judgement.UNDECIDED)
    share = by_name["mask_5"].open_share
    return Claim(text, "31", f"{100 * share:.0f}", Judgement.HOLDS if share > 0 else Judgement.DOES_NOT_HOLD)


def _deleted_by_5(by_name: Results) -> Claim:
    text = "A hard mask of r = 5 pix deletes most of a small arc's light"
    published = f"{100 * PUBLISHED_REMOVED:.0f} % at theta_E = 0.5 arcsec"
    known = [c for c in by_name["mask_5"].cost if math.isfinite(c["removed_low"])] if "mask_5" in by_name else []
    if not known:
        return Claim(text, published, "not measured", Judgement.UNDECIDED)
    c = known[0]
    percent = 100 * Estimate.from_fields(c, "removed")
    return Claim(text, published, f"{percent:.0f} % at theta_E {c['low']:g} to {c['high']:g}", _above(percent, 50.0))


_CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    _fails_anyway("none", "Correct injections fail the bare core gate", f"{PUBLISHED_AUC['none']:g}"),
    _arcs_explain_it,
    _consistent(FIRST_AUC, "The first core gate's AUC is what correct arcs give here"),
    _consistent(LATER_AUC, "The later core gate's AUC is what correct arcs give here"),
    _falls_with_theta_e,
    _left_open_by_5,
    _deleted_by_5,
    _fails_anyway("mask_5", "A hard mask of r = 5 pix does not mend it", f"{PUBLISHED_AUC['mask_5']:g}"),
    _fails_anyway("tanh_5", "Nor does the tapered mask", f"{PUBLISHED_AUC['tanh_5']:g}"),
    _lowered_by_7,
    _blank_from_8,
)


def _gate(by_name: Results, name: str) -> Box | None:
    box = Box.of(by_name[name]) if name in by_name else None
    return box if box is not None and box.area.is_measured else None


def _above(found: Estimate, line: float) -> Judgement:
    if found.low >= line:
        return Judgement.HOLDS
    return Judgement.DOES_NOT_HOLD if found.high < line else Judgement.UNDECIDED


def _same(found: Estimate, value: float) -> Judgement:
    if found.excludes(value):
        return Judgement.DOES_NOT_HOLD
    return Judgement.HOLDS if found.high - found.low < RESOLUTION else Judgement.UNDECIDED
