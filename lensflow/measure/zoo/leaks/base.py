"""The run into which leaks are injected: sound, small, in memory, with a required set that passes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import GateConfig, RunConfig, StoreConfig
from lensflow.injection.rounding import as_stored
from lensflow.manifest.build import build_manifest
from lensflow.measure.metadata.priors import OTHER_SEED, prior_findings
from lensflow.measure.pixels import Finding
from lensflow.measure.zoo.leaks.kinds import Kind, View
from lensflow.measure.zoo.small_run import SKY_SIGMA, SmallRun, small_run

HOSTS, PER_HOST, SEED = 120, 3, 5
ROUNDED = "sky/16"
# What is taken away from stamps that come from elsewhere: how their arcs were made.
_UNKNOWN = ("psf_model", "psf_beta", "seed", "declared")
_MASKED = ("core_mask_radius_pix",)


def leak_config(seed: int = SEED, gate: dict[str, Any] | None = None) -> RunConfig:
    """Config of a run with faint arcs far from the core, whose core gates pass without a mask."""
    return RunConfig.model_validate(
        {
            "out": "-",
            "seed": seed,
            "survey": {"root": "-", "targets": "-"},
            "plan": {
                "preset": "historic",
                "injections_per_host": PER_HOST,
                "theta_e_arcsec": [2.5, 2.75, 3.0],
                "src_offset_max": 0.5,
                "src_reff_arcsec": [0.1, 0.15],
                "dmag": [5.5, 6.0],
            },
            "gate": {"bootstrap": 100, **(gate or {})},
            "diagnostics": {"bootstrap": 200},
        }
    )


@dataclass(frozen=True, eq=False)
class Base:
    """A sound run and its pairs.

    Attributes
    ----------
    run : SmallRun
        All hosts in one split: the suite is not about splits.
    """

    run: SmallRun

    @classmethod
    def make(cls, hosts: int = HOSTS, seed: int = SEED, gate: dict[str, Any] | None = None) -> Base:
        """Draw hosts and manifest."""
        config = leak_config(seed, gate)
        run = small_run(hosts, PER_HOST, seed, config, light=(0.05, 0.2), survey_sky=True)
        run.hosts["split"].values[:] = 0
        return cls(SmallRun(run.hosts, build_manifest(run.hosts, config), config))

    @property
    def config(self) -> RunConfig:
        """Settings of the run."""
        return self.run.config

    @property
    def gate(self) -> GateConfig:
        """Settings of its gates."""
        return self.config.gate

    @property
    def edges(self) -> tuple[float, ...]:
        """Strata of theta_E, arcsec."""
        return self.config.diagnostics.theta_e_edges

    @cached_property
    def pairs(self) -> xr.Dataset:
        """The sound pairs."""
        return self.run.pairs()

    @cached_property
    def lit(self) -> NDArray[np.int64]:
        """Injection rows."""
        return np.flatnonzero(~self.pairs["is_control"].values)

    @property
    def sky(self) -> NDArray[np.float64]:
        """Sky sigma by band, nMgy/pixel."""
        return np.array([SKY_SIGMA[str(b)] for b in self.pairs["band"].values])

    @cached_property
    def priors(self) -> list[Finding]:
        """The manifest beside a second draw of its plan."""
        other = self.config.model_copy(update={"seed": self.config.seed + OTHER_SEED})
        redrawn = build_manifest(self.run.hosts, other)
        flux = self.run.hosts["aperture_flux_nmgy"].values[:, self.config.reference_band]
        return prior_findings(
            self.run.manifest, redrawn, flux, self.config.bands, self.config.reference_band, (), 0
        )  # fmt: skip

    @cached_property
    def view(self) -> View:
        """Pixels of the injections."""
        stamp, ctrl, arc = (self.pairs[k].values[self.lit].astype(np.float64) for k in ("stamp", "ctrl", "arc"))
        return View(stamp, ctrl, arc, self.sky[:, None, None])

    @property
    def bare(self) -> View:
        """Pixels of their controls, with the arcs' places."""
        return replace(self.view, stamp=self.view.ctrl)

    def masked(self, kind: Kind, amplitude: float) -> SmallRun:
        """The run with the settings that a leak is made by; itself for leaks in pixels."""
        update = kind.injection(amplitude)
        if not update:
            return self.run
        injection = self.config.injection.model_copy(update=update)
        return replace(self.run, config=self.config.model_copy(update={"injection": injection}))


@dataclass(frozen=True)
class Setting:
    """Where stamps come from, and how they are stored.

    Attributes
    ----------
    name : str
    own : bool
        lensflow made the store: hosts, keys and settings are known. Else only pixels, metadata and the step that pixels
        were rounded to.
    quantize : str
        ``store.quantize``; leaks are put in before it.
    """

    name: str
    own: bool
    quantize: str

    @property
    def store(self) -> StoreConfig:
        """Settings of the rounding."""
        return StoreConfig(quantize=self.quantize)

    def pairs(self, base: Base, kind: Kind | None, amplitude: float) -> tuple[xr.Dataset, SmallRun]:
        """Pairs with a leak, as stored or imported; and the run with their origin."""
        run, pairs = base.run, base.pairs
        if kind is not None and kind.where == "mask":
            run = base.masked(kind, amplitude)
            pairs = run.pairs()
        elif kind is not None:
            new = kind.put(base.view, amplitude)
            changed = {}
            for name, values in zip(("stamp", "arc"), new, strict=True):
                every = pairs[name].values.copy()
                every[base.lit] = values
                changed[name] = (pairs[name].dims, every)
            pairs = pairs.assign(changed)
        if self.quantize != "none":
            stored = as_stored(pairs, run.hosts, run.manifest, self.store)
            pairs = pairs.assign({k: stored[k] for k in ("stamp", "ctrl", "arc", "quantize_step_nmgy")})
            run = replace(run, config=run.config.model_copy(update={"store": self.store}))
        if self.own:
            return pairs, run
        gone = [k for k in _MASKED if k in pairs]
        attrs = {k: v for k, v in pairs.attrs.items() if k not in _UNKNOWN}
        return pairs.drop_vars(gone).drop_attrs(deep=False).assign_attrs(attrs), run


OWN, ELSEWHERE = Setting("lensflow's store", True, "none"), Setting("from elsewhere", False, "none")
OWN_ROUNDED = Setting(f"lensflow's store, {ROUNDED}", True, ROUNDED)
ELSEWHERE_ROUNDED = Setting(f"from elsewhere, {ROUNDED}", False, ROUNDED)
SETTINGS = (OWN, ELSEWHERE, OWN_ROUNDED, ELSEWHERE_ROUNDED)
