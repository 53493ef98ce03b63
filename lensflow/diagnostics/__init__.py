"""Mergeable one-pass summaries of pairs: each has ``from_block``, ``+`` and ``result``."""

from lensflow.diagnostics.alignment import Alignment
from lensflow.diagnostics.annulus import Annulus
from lensflow.diagnostics.balance import Balance
from lensflow.diagnostics.bits import Bits
from lensflow.diagnostics.core_pixels import CorePixels
from lensflow.diagnostics.findings import alarms, findings
from lensflow.diagnostics.flux import Flux
from lensflow.diagnostics.hostsums import HostSums
from lensflow.diagnostics.judging import Finding, Status
from lensflow.diagnostics.noise import Noise
from lensflow.diagnostics.origin import Origin
from lensflow.diagnostics.radial_profile import RadialProfile
from lensflow.diagnostics.recompute import Recompute
from lensflow.diagnostics.regression import Regression
from lensflow.diagnostics.sharpness import Sharpness
from lensflow.diagnostics.stratified import Stratified
from lensflow.diagnostics.summaries import DIAGNOSTICS, ONE_PASS, Summaries
from lensflow.diagnostics.summaries import from_json as results_from_json
from lensflow.diagnostics.summaries import to_json as results_to_json
from lensflow.diagnostics.visibility import Visibility

__all__ = [
    "DIAGNOSTICS",
    "ONE_PASS",
    "Alignment",
    "Annulus",
    "Balance",
    "Bits",
    "CorePixels",
    "Finding",
    "Flux",
    "HostSums",
    "Noise",
    "Origin",
    "RadialProfile",
    "Recompute",
    "Regression",
    "Sharpness",
    "Status",
    "Stratified",
    "Summaries",
    "Visibility",
    "alarms",
    "findings",
    "results_from_json",
    "results_to_json",
]
