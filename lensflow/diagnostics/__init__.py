"""Mergeable one-pass summaries of pairs: each has ``from_block``, ``+`` and ``result``."""

from lensflow.diagnostics.annulus import Annulus
from lensflow.diagnostics.hostsums import HostSums
from lensflow.diagnostics.radial_profile import RadialProfile
from lensflow.diagnostics.regression import Regression
from lensflow.diagnostics.stratified import Stratified
from lensflow.diagnostics.summaries import Summaries
from lensflow.diagnostics.summaries import from_json as results_from_json
from lensflow.diagnostics.summaries import to_json as results_to_json

__all__ = [
    "Annulus",
    "HostSums",
    "RadialProfile",
    "Regression",
    "Stratified",
    "Summaries",
    "results_from_json",
    "results_to_json",
]
