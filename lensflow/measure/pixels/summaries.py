"""All diagnostics of a run together: one pass over the pairs."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import xarray as xr

from lensflow.config import DiagnosticsConfig, InjectionConfig
from lensflow.lensing.render import render
from lensflow.measure.pixels.alignment import Alignment
from lensflow.measure.pixels.annulus import Annulus
from lensflow.measure.pixels.balance import Balance
from lensflow.measure.pixels.bits import Bits
from lensflow.measure.pixels.core_pixels import CorePixels
from lensflow.measure.pixels.deflection_check import deflection_check
from lensflow.measure.pixels.differences import Differences
from lensflow.measure.pixels.flux import Flux, frame_of
from lensflow.measure.pixels.noise import Noise
from lensflow.measure.pixels.origin import Origin, with_arc_steps
from lensflow.measure.pixels.psf_check import psf_check
from lensflow.measure.pixels.radial_profile import RadialProfile
from lensflow.measure.pixels.recompute import Recompute
from lensflow.measure.pixels.regression import Regression
from lensflow.measure.pixels.rendering import Rerendered
from lensflow.measure.pixels.sharpness import Sharpness
from lensflow.measure.pixels.specimens import Specimens
from lensflow.measure.pixels.stratified import Stratified
from lensflow.measure.pixels.visibility import Visibility

# Diagnostics that are sums over rows. recompute makes every stamp again, rendering the arcs of a sample of
# rows; psf and deflection make something anew.
ONE_PASS = (
    *("annulus", "regression", "stratified", "radial_profile", "alignment", "flux", "noise", "balance"),
    *("visibility", "core_pixels"),
)
DIAGNOSTICS = (*ONE_PASS, "recompute", "bits", "sharpness", "psf", "deflection", "rendering")


@dataclass(frozen=True, eq=False)
class Summaries:
    """Every diagnostic's summary of the same blocks."""

    annulus: Annulus
    regression: Regression
    stratified: Stratified
    radial_profile: RadialProfile
    alignment: Alignment
    flux: Flux
    noise: Noise
    balance: Balance
    visibility: Visibility
    core_pixels: CorePixels
    recompute: Recompute
    bits: Bits
    sharpness: Sharpness
    rerendered: Rerendered
    specimens: Specimens

    @classmethod
    def from_block(cls, pairs: xr.Dataset, config: DiagnosticsConfig, origin: Origin | None = None) -> Summaries:
        """Summarise one block of pairs, reading its pixels once.

        Parameters
        ----------
        pairs : Dataset
        config : DiagnosticsConfig
        origin : Origin, optional
            What the block was made from; without it no stamp is made again, and arcs are taken to have no core mask.
        """
        with_steps = with_arc_steps(pairs, origin)
        return cls(
            **_one_pass(pairs, config),
            recompute=Recompute.from_block(pairs, origin),
            bits=Bits.from_block(pairs, origin),
            sharpness=Sharpness.from_block(pairs, origin),
            rerendered=Rerendered.from_block(with_steps, origin),
            specimens=Specimens.from_block(with_steps, origin.last_key if origin else None),
        )

    @staticmethod
    def joined(parts: Sequence[Summaries]) -> Summaries:
        """Sum of the summaries of different blocks, in their order."""
        return functools.reduce(operator.add, parts)

    def __add__(self, other: Summaries) -> Summaries:
        return Summaries(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def one_pass(
        self, config: DiagnosticsConfig, seed: int, injection: InjectionConfig | None = None
    ) -> dict[str, xr.Dataset]:
        """Results of the diagnostics that are sums over rows: nothing is rendered."""
        return _results({name: getattr(self, name) for name in ONE_PASS}, config, seed, injection)

    def results(
        self,
        config: DiagnosticsConfig,
        seed: int,
        injection: InjectionConfig | None = None,
        renderer: Any = render,
    ) -> dict[str, xr.Dataset]:
        """Result of every diagnostic, by name.

        Parameters
        ----------
        config : DiagnosticsConfig
        seed : int
            Of the bootstraps.
        injection : InjectionConfig, optional
            What the noise is compared with; without, only what was measured is given.
        renderer : callable
            What the psf and deflection tests examine: :func:`lensflow.lensing.render.render`, or one with a fault.
        """
        out = self.one_pass(config, seed, injection)
        out["recompute"] = self.recompute.result()
        out["bits"] = self.bits.result()
        out["sharpness"] = self.sharpness.result()
        out["psf"] = psf_check(self.specimens, renderer)
        out["deflection"] = deflection_check(renderer)
        out["rendering"] = self.rerendered.result(self.specimens, Origin(injection=injection or InjectionConfig()))
        return {name: out[name] for name in DIAGNOSTICS}


def one_pass_of(
    pairs: xr.Dataset, config: DiagnosticsConfig, seed: int, injection: InjectionConfig | None = None
) -> dict[str, xr.Dataset]:
    """Results of the diagnostics that are sums over rows, of one block alone."""
    return _results(_one_pass(pairs, config), config, seed, injection)


def _one_pass(pairs: xr.Dataset, config: DiagnosticsConfig) -> dict[str, Any]:
    d = Differences.from_block(pairs, config)
    return {
        "annulus": Annulus.from_differences(d),
        "regression": Regression.from_differences(d),
        "stratified": Stratified.from_differences(d),
        "radial_profile": RadialProfile.from_differences(d, config),
        "alignment": Alignment.from_differences(d),
        "flux": Flux.from_differences(d, *frame_of(pairs)),
        "noise": Noise.from_differences(d, frame_of(pairs)[1]),
        "balance": Balance.from_block(pairs, config),
        "visibility": Visibility.from_differences(d),
        "core_pixels": CorePixels.from_differences(d),
    }


def _results(
    parts: Mapping[str, Any], config: DiagnosticsConfig, seed: int, injection: InjectionConfig | None
) -> dict[str, xr.Dataset]:
    out = {name: parts[name].result(config, seed) for name in ONE_PASS if name != "noise"}
    return {**out, "noise": parts["noise"].result(config, seed, injection)}
