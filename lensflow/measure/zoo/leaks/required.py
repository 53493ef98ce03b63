"""The required set on pairs in memory: which of its checks detect a leak.

For a store of lensflow's own it is the default of every run: the checks, the core gates, and ``mask_edge`` where arcs
are masked by the settings. For stamps from elsewhere what needs hosts, keys or settings is not there: the diagnostics
that remain must raise no alarm and the core gates must pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from lensflow.lensing.render import render
from lensflow.measure.gate import feature_rows
from lensflow.measure.gate.features import features_of, sources_of
from lensflow.measure.gate.mask_edge import Mask, mask_edge_gate, mask_rows
from lensflow.measure.gates import run_gate
from lensflow.measure.measurement import Settings
from lensflow.measure.metadata.checks import run_checks
from lensflow.measure.pixels import ONE_PASS, Bits, Block, Recompute, Sharpness, Status, findings, measure
from lensflow.measure.pixels.deflection_check import deflection_check
from lensflow.measure.pixels.psf_check import psf_check
from lensflow.measure.pixels.rendering import Rerendered
from lensflow.measure.zoo.leaks.base import Base, Setting
from lensflow.measure.zoo.leaks.kinds import Kind
from lensflow.measure.zoo.small_run import SmallRun

# Gates find leaks of 0.1 to 1 sky sigma. One that moves no feature further than this, in the mean over rows and in
# scatter, leaves them where the sound run has them, and they are not fitted again.
SMALL_SHIFT, SMALL_SCATTER = 0.01, 0.1


@dataclass(eq=False)
class Required:
    """Runs the required set on a base with leaks.

    Attributes
    ----------
    base : Base
    """

    base: Base
    _constant: dict[str, xr.Dataset] = field(default_factory=dict)
    _sound: dict[str, xr.Dataset] = field(default_factory=dict)

    def prepare(self) -> None:
        """Compute the shared inputs of all leaks before threads need them."""
        _ = self.base.view, self.base.priors, self._renderer()

    def noticed_by(self, setting: Setting, kind: Kind | None, amplitude: float, first_only: bool = False) -> list[str]:
        """Names of the diagnostics, checks and gates that do not pass.

        Parameters
        ----------
        setting : Setting
        kind : Kind or None
            None: the sound run.
        amplitude : float
        first_only : bool
            Stop at the first stage that notices. Gates with a fit are asked only where nothing else notices.
        """
        pairs, run = setting.pairs(self.base, kind, amplitude)
        results: dict[str, xr.Dataset] = {}
        # Whatever is likely to notice comes first.
        exact_first = setting.own or kind is None or kind.where == "frame"
        for stage in (self._exact, self._sampled) if exact_first else (self._sampled, self._exact):
            results |= stage(pairs, run, setting)
            found = list(dict.fromkeys(f.diagnostic for f in findings(results) if f.status is Status.ALARM))
            if found and first_only:
                return found
        if not found:
            found = self._gates(pairs, run, setting, kind)
        if not found and setting.own:
            found = self._checks(results, run)
        return found

    def _exact(self, pairs: xr.Dataset, run: SmallRun, setting: Setting) -> dict[str, xr.Dataset]:
        injection = run.injection if setting.own else None
        config, seed = self.base.config.diagnostics, self.base.config.seed
        out = measure(Block(pairs, config), ONE_PASS).results(Settings(config, seed, injection))
        if setting.own:
            out["recompute"] = Recompute.from_block(Block(pairs, config, run.origin)).result()
        return out

    def _sampled(self, pairs: xr.Dataset, run: SmallRun, setting: Setting) -> dict[str, xr.Dataset]:
        origin = run.origin if setting.own else None
        block = Block(pairs, origin=origin)
        out = {"bits": Bits.from_block(block).result(), "sharpness": Sharpness.from_block(block).result()}
        if setting.own:
            # The slow reference and the renderer's own checks do not use the pairs: once is enough.
            none = block.complete_rows(np.zeros(0, np.int64))
            out["rendering"] = Rerendered.from_block(block).result(none, origin)
            out |= self._renderer()
        return out

    def _renderer(self) -> dict[str, xr.Dataset]:
        if not self._constant:
            # For all rows, not only the run's own sample of rows to render again.
            every = Block(self.base.pairs, origin=replace(self.base.run.origin, last_key=None))
            specimens = every.specimens.rows
            self._constant = {"psf": psf_check(specimens, render), "deflection": deflection_check(render)}
        return self._constant

    def _checks(self, results: dict[str, xr.Dataset], run: SmallRun) -> list[str]:
        """Checks that do not pass though no diagnostic alarms; not ``splits``, as no leak changes hosts."""
        names = [name for name in self.base.gate.checks if name != "splits"]
        judged = run_checks(names, results, run.hosts, run.manifest, 0.0, self.base.priors)
        return [g.name for g in judged if g.verdict != "PASS"]

    def _gates(self, pairs: xr.Dataset, run: SmallRun, setting: Setting, kind: Kind | None) -> list[str]:
        config, gate = run.config, self.base.gate
        mask = Mask(*config.injection.core_mask) if setting.own else Mask(0.0, "hard", 1.0)
        out: list[str] = []
        if mask.radius_pix > 0:
            block = mask_rows(pairs, self.base.pairs["arc"].values, mask)
            if mask_edge_gate(block, mask, gate, config.bands, config.seed).verdict != "PASS":
                return ["mask_edge"]
        block = feature_rows(pairs, gate.every, gate.core_box_pix, mask.radius_pix)
        if kind is None:
            self._sound[setting.name] = block
        elif mask.radius_pix == 0 and not self._moves(block, self._sound_of(setting)):
            return out
        for name in gate.recipes:
            verdict = run_gate(block, name, gate, config.bands, config.seed, self.base.edges).verdict
            if verdict != "PASS":
                out.append(name)
        return out

    def _sound_of(self, setting: Setting) -> xr.Dataset:
        if setting.name not in self._sound:
            pairs, _ = setting.pairs(self.base, None, 0.0)
            self._sound[setting.name] = feature_rows(pairs, self.base.gate.every, self.base.gate.core_box_pix)
        return self._sound[setting.name]

    def _moves(self, block: xr.Dataset, sound: xr.Dataset) -> bool:
        """Whether a leak moves the gates' features so far that they could read anything else than in the sound run."""
        for source in sources_of(block):
            stamp = features_of(block, source).stamp.astype(np.float64)
            apart = (stamp - features_of(sound, source).stamp) / self.base.sky[:, None]
            apart = apart[np.isfinite(apart).all(axis=(1, 2))]
            scatter = np.sqrt((apart**2).mean(axis=0)).max()
            if np.abs(apart.mean(axis=0)).max() > SMALL_SHIFT or scatter > SMALL_SCATTER:
                return True
        return False
