"""The complete config of a run, and the settings on which each stored result depends."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from html import escape
from typing import Any

import yaml
from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Section
from lensflow.config.checks import HOST_GATES, MASK_EDGE, DiagnosticsConfig, GateConfig, ScorerConfig, parse_recipe
from lensflow.config.completeness import CompletenessConfig
from lensflow.config.core import CoreConfig
from lensflow.config.estimate import EstimateConfig
from lensflow.config.export import ExportConfig
from lensflow.config.injection import InjectionConfig
from lensflow.config.place import Place, of_inputs, with_places
from lensflow.config.plan import PlanConfig
from lensflow.config.realism import RealismConfig
from lensflow.config.survey import SYNTHETIC_BANDS, SplitsConfig, SurveyConfig
from lensflow.config.training import TrainingConfig
from lensflow.config.work import ClusterConfig, StorageConfig, StoreConfig

_BAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class RunConfig(Section):
    """Everything that a run depends on."""

    name: str = Field("run", min_length=1, description="shown in the report and the run's attrs")
    out: str = Field(description="folder of the run, a path or any fsspec URL")
    seed: int = Field(1, ge=0, description="seed of all random numbers")
    bands: tuple[str, ...] = Field(("g", "r", "z"), min_length=1, description="bands, in the order they are stored")
    survey: SurveyConfig
    splits: SplitsConfig = SplitsConfig()
    plan: PlanConfig = PlanConfig()
    injection: InjectionConfig = InjectionConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    gate: GateConfig = GateConfig()
    core: CoreConfig = CoreConfig()
    scorer: ScorerConfig = ScorerConfig()
    completeness: CompletenessConfig = CompletenessConfig()
    realism: RealismConfig = RealismConfig()
    export: ExportConfig = ExportConfig()
    training: TrainingConfig = TrainingConfig()
    store: StoreConfig = StoreConfig()
    storage: StorageConfig = StorageConfig()
    cluster: ClusterConfig = ClusterConfig()
    estimate: EstimateConfig = EstimateConfig()

    @field_validator("bands")
    @classmethod
    def _bands_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"a band is named twice: {', '.join(value)}")
        for band in value:
            if not _BAND.fullmatch(band) or band == "all":
                raise ValueError(
                    f"{band!r} is no name of a band: letters, digits, -, _, + and . (all means every band)"
                )
        return value

    @field_validator("out")
    @classmethod
    def _out_is_a_place(cls, value: str) -> str:
        if not value.strip() or any(ord(c) < 32 for c in value):
            raise ValueError("must be a folder: not empty, no control characters")
        return value

    @model_validator(mode="after")
    def _places_know_how_they_are_reached(self) -> RunConfig:
        object.__setattr__(self, "out", Place(self.out, self.storage))
        for name in ("survey", "plan", "completeness", "realism", "training"):
            object.__setattr__(self, name, with_places(getattr(self, name), of_inputs(self.storage)))
        return self

    @model_validator(mode="after")
    def _bands_are_there(self) -> RunConfig:
        stamps = self.survey.stamps
        known: dict[str, Collection[str]]
        known = {"survey.synthetic": SYNTHETIC_BANDS} if self.survey.synthetic is not None else {}
        if stamps is not None:
            known = {"survey.stamps.files": stamps.files, "survey.stamps.psfsize_arcsec": stamps.psfsize_arcsec}
        for place, there in known.items():
            missing = [b for b in self.bands if b not in there]
            if missing:
                raise ValueError(f"bands: {place} has no {', '.join(missing)}; it has {', '.join(there) or 'none'}")
        return self

    @model_validator(mode="after")
    def _band_names_are_of_bands(self) -> RunConfig:
        for band in self.survey.band_names:
            if band not in self.bands:
                raise ValueError(f"survey.band_names: {band!r} is none of the bands, {', '.join(self.bands)}")
        return self

    @model_validator(mode="after")
    def _hosts_of_their_own_are_gated(self) -> RunConfig:
        missing = tuple(n for n in HOST_GATES if n not in self.gate.every)
        if self.plan.controls == "disjoint" and missing:
            gate = self.gate.model_copy(update={"recipes": (*self.gate.recipes, *missing)})
            object.__setattr__(self, "gate", gate)
        return self

    @model_validator(mode="after")
    def _gates_have_their_bands(self) -> RunConfig:
        for name in (*self.gate.every, *self.core.gates):
            kind, band = parse_recipe(name)[:2]
            if band not in (*self.bands, "all", "r"):
                raise ValueError(f"gate {name!r}: no band {band!r} among {', '.join(self.bands)}")
            if kind == "colour" and (band != "all" or len(self.bands) < 2):
                raise ValueError(f"gate {name!r}: a colour needs all of at least two bands")
        return self

    @model_validator(mode="after")
    def _completeness_has_its_bands(self) -> RunConfig:
        self.completeness.check_bands(self.bands)
        return self

    @property
    def reference_band(self) -> int:
        """Index of the band that magnitudes refer to: r, or the first band if there is no r."""
        return self.bands.index("r") if "r" in self.bands else 0

    @property
    def must_pass(self) -> tuple[str, ...]:
        """Names of the gates that must pass, with and without a fit; ``mask_edge`` if the arcs are masked."""
        edge = (MASK_EDGE,) if self.injection.core_mask_radius_pix > 0 else ()
        return (*self.gate.recipes, *edge, *self.gate.checks)

    def effective(self) -> dict[str, Any]:
        """Every setting with its current value, as plain JSON types."""
        return self.model_dump(mode="json")

    def changed(self) -> dict[str, Any]:
        """Settings that differ from the defaults, as flat ``a.b`` keys."""
        every = flatten(self.effective())
        plain = flatten(RunConfig(out="-", survey=SurveyConfig(root="-", targets="-")).effective())
        return {k: v for k, v in every.items() if plain.get(k) != v and not (v is None and plain.get(k, "-") == "-")}

    def __repr__(self) -> str:
        """Settings that are not the defaults; all of them: :meth:`to_yaml`."""
        lines = "".join(f"\n  {k}: {v!r}" for k, v in self.changed().items())
        return f"<RunConfig, all other settings as in docs/config.md>{lines}"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        rows = "".join(
            f'<tr><th>{escape(k)}</th><td style="text-align: left">{escape(repr(v))}</td></tr>'
            for k, v in self.changed().items()
        )
        return f"<table><caption>RunConfig: settings that are not the defaults</caption>{rows}</table>"

    def to_yaml(self) -> str:
        """Return the effective config as YAML."""
        return yaml.safe_dump(self.effective(), sort_keys=False)

    def settings_of(self, stage: str) -> dict[str, Any]:
        """Return the settings that the stored result of a stage depends on.

        Parameters
        ----------
        stage : str
            A key of ``STAGE_SETTINGS``: "cutouts", "manifest", "pairs", "diagnostics", "gates", "core", "scorer".

        Returns
        -------
        dict
            Flat ``a.b`` keys to plain values.
        """
        every = flatten(self.effective())
        wanted = STAGE_SETTINGS[stage]
        return {k: v for k, v in every.items() if _is_of(k, wanted) and k not in NOT_FINGERPRINTED}


# Settings whose change makes a stage's stored result stale; each stage also depends on the earlier ones. A name
# includes all settings below it.
_CUT = ("bands", "survey", "splits", "seed", *(f"store.{k}" for k in ("shard_mb", "hosts_per_region", "inner_chunk")))
_PAIRS = (*_CUT, "plan", "injection", "store")
STAGE_SETTINGS: dict[str, tuple[str, ...]] = {
    "cutouts": (*_CUT, "store.codec"),
    "manifest": (*_CUT, "plan"),
    "pairs": _PAIRS,
    "diagnostics": (*_PAIRS, "diagnostics"),
    "gates": (*_PAIRS, "diagnostics", "gate"),
    "core": (*_PAIRS, "gate", "diagnostics.theta_e_edges", "core"),
    "scorer": (*_PAIRS, "diagnostics.theta_e_edges", "scorer"),
    "completeness": (*_PAIRS, "completeness", "scorer.lens_light"),
    "realism": (*_PAIRS, "realism"),
    "training": (*_PAIRS, "export", "training", "scorer", "diagnostics.theta_e_edges"),
}
NOT_FINGERPRINTED = (
    "survey.failure_budget", "gate.required", "plan.max_rows", "scorer.required", "realism.required", "store.pixels"
)  # fmt: skip


def _is_of(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            out.update(flatten(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


def fingerprint(*parts: Any) -> str:
    """Return 16 hex digits that change when anything in ``parts`` (JSON-like) changes."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
