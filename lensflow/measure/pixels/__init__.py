"""Measurements of pixels: each has ``from_block``, ``+`` and ``result``, and a judge for its result."""

from lensflow.measure.measurement import Kind, Measured, Settings
from lensflow.measure.pixels.alignment import Alignment
from lensflow.measure.pixels.annulus import Annulus
from lensflow.measure.pixels.balance import Balance
from lensflow.measure.pixels.bits import Bits
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.core_pixels import CorePixels
from lensflow.measure.pixels.flux import Flux
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.measure.pixels.lattice import Lattice
from lensflow.measure.pixels.noise import Noise
from lensflow.measure.pixels.origin import Origin
from lensflow.measure.pixels.radial_profile import RadialProfile
from lensflow.measure.pixels.recompute import Recompute
from lensflow.measure.pixels.registry import DIAGNOSTICS, KINDS, ONE_PASS, alarms, findings, measure
from lensflow.measure.pixels.regression import Regression
from lensflow.measure.pixels.sharpness import Sharpness
from lensflow.measure.pixels.stratified import Stratified
from lensflow.measure.pixels.visibility import Visibility
from lensflow.stats.hostsums import HostSums

__all__ = [
    "DIAGNOSTICS",
    "KINDS",
    "ONE_PASS",
    "Alignment",
    "Annulus",
    "Balance",
    "Bits",
    "Block",
    "CorePixels",
    "Finding",
    "Flux",
    "HostSums",
    "Kind",
    "Lattice",
    "Measured",
    "Noise",
    "Origin",
    "RadialProfile",
    "Recompute",
    "Regression",
    "Settings",
    "Sharpness",
    "Status",
    "Stratified",
    "Visibility",
    "alarms",
    "findings",
    "measure",
]
