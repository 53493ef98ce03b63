"""The measurements of pixels, one line each: name, measurement, judge.

All of these are computed in one pass over a run's pairs, kept with its results, judged, and shown by the
command, the report, the comparison of two runs and, through its alarms, the certificate. ``diagnostics.also`` in a
config adds others from outside of lensflow (docs/add-a-measurement.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from lensflow.measure.measurement import Kind, Measured
from lensflow.measure.pixels import judges, judges_exact
from lensflow.measure.pixels.alignment import Alignment
from lensflow.measure.pixels.annulus import Annulus
from lensflow.measure.pixels.balance import Balance
from lensflow.measure.pixels.balance_judge import balance_findings
from lensflow.measure.pixels.bits import Bits
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.core_pixels import CorePixels
from lensflow.measure.pixels.deflection_check import Deflections
from lensflow.measure.pixels.flux import Flux
from lensflow.measure.pixels.judging import Finding, Status, not_tested
from lensflow.measure.pixels.lattice import Lattice
from lensflow.measure.pixels.noise import Noise
from lensflow.measure.pixels.psf_check import Impulses
from lensflow.measure.pixels.radial_profile import RadialProfile
from lensflow.measure.pixels.recompute import Recompute
from lensflow.measure.pixels.regression import Regression
from lensflow.measure.pixels.rendering import Rendering
from lensflow.measure.pixels.sharpness import Sharpness
from lensflow.measure.pixels.stratified import Stratified
from lensflow.measure.pixels.visibility import Visibility

KINDS: tuple[Kind[Finding], ...] = (
    Kind("annulus", Annulus.from_block, judges.annulus, one_pass=True),
    Kind("regression", Regression.from_block, judges.regression, one_pass=True),
    Kind("stratified", Stratified.from_block, judges.stratified, one_pass=True),
    Kind("radial_profile", RadialProfile.from_block, judges.radial_profile, one_pass=True),
    Kind("alignment", Alignment.from_block, judges.alignment, one_pass=True),
    Kind("flux", Flux.from_block, judges.flux, one_pass=True),
    Kind("noise", Noise.from_block, judges.noise, one_pass=True),
    Kind("balance", Balance.from_block, balance_findings, one_pass=True),
    Kind("visibility", Visibility.from_block, judges.visibility, one_pass=True),
    Kind("core_pixels", CorePixels.from_block, judges.core_pixels, one_pass=True),
    Kind("recompute", Recompute.from_block, judges_exact.recompute),
    Kind("bits", Bits.from_block, judges_exact.bits),
    Kind("lattice", Lattice.from_block, judges_exact.lattice),
    Kind("sharpness", Sharpness.from_block, judges_exact.sharpness),
    Kind("psf", Impulses.from_block, judges.psf),
    Kind("deflection", Deflections.from_block, judges.deflection),
    Kind("rendering", Rendering.from_block, judges_exact.rendering),
)
DIAGNOSTICS = tuple(k.name for k in KINDS)
ONE_PASS = tuple(k for k in KINDS if k.one_pass)


def measure(block: Block, kinds: Sequence[Kind[Finding]] = KINDS) -> Measured:
    """Measure one block of pairs, reading its pixels once."""
    return Measured({k.name: k.measure(block) for k in kinds})


def findings(results: Mapping[str, xr.Dataset], kinds: Sequence[Kind[Finding]] = KINDS) -> list[Finding]:
    """Compare every diagnostic's numbers with their expected values; the worst position of each comparison.

    Parameters
    ----------
    results : mapping of Dataset
        By name of the measurement. One that none of ``kinds`` made is told as not tested.
    kinds : sequence of Kind, optional
        With :func:`lensflow.measure.pixels.kinds_of` those that a config adds.
    """
    out: list[Finding] = []
    for kind in kinds:
        if kind.name in results:
            out += kind.judge(results[kind.name])
    unknown = [name for name in results if name not in {k.name for k in kinds}]
    return out + [not_tested(name, "all", "nobody here knows how to judge it") for name in unknown]


def alarms(found: list[Finding]) -> dict[str, list[Finding]]:
    """Alarms by diagnostic; those without are left out."""
    out: dict[str, list[Finding]] = {}
    for f in found:
        if f.status is Status.ALARM:
            out.setdefault(f.diagnostic, []).append(f)
    return out
