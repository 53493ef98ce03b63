"""One YAML file -> one typed, validated, frozen :class:`RunConfig`.

Unknown keys, wrong types and contradictions are errors that name the setting and the nearest known one.
Relative paths are relative to the folder that the command runs in; ``${NAME}`` is taken from the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lensflow.errors import ConfigError, did_you_mean

REFERENCE = "lensflow config reference: docs/config.md"

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SyntheticConfig(_Section):
    """A made-up survey in the real layout: see :mod:`lensflow.survey.synthetic`."""

    n_bricks: int = Field(4, ge=1, description="bricks to write")
    brick_size_pix: int = Field(1200, ge=200, le=3600, description="pixels on a brick's side")
    hosts_per_brick: int = Field(100, ge=1, description="LRG-like hosts in each brick")
    bricks_without_g: int = Field(1, ge=0, description="how many of the bricks have no g exposure")


class StampsConfig(_Section):
    """Hosts that come as stamps without WCS, weights or PSF."""

    files: dict[str, str] = Field(description="band -> FITS cube (host, y, x) in nMgy/pixel")
    hosts: str | None = Field(None, description="table with one row per stamp, in the cube's order")
    pixel_scale_arcsec: Positive = Field(description="pixel scale of the cubes")
    x_center: float | None = Field(None, description="target's pixel in the cube, x; default: the middle")
    y_center: float | None = Field(None, description="target's pixel in the cube, y; default: the middle")
    psfsize_arcsec: dict[str, Positive] = Field(description="assumed PSF size per band (flagged as assumed)")


class SurveyConfig(_Section):
    """Where the pixels come from: exactly one of ``root``, ``stamps`` and ``synthetic``."""

    root: str | None = Field(None, description="survey folder, any fsspec URL")
    layout: Literal["legacysurvey", "flat"] = Field("legacysurvey", description="file names below root")
    targets: str | None = Field(None, description="target table: CSV, ECSV, FITS or parquet")
    columns: dict[str, str] = Field(default_factory=dict, description="lensflow name -> column of the table")
    stamps: StampsConfig | None = Field(None, description="stamps without WCS instead of bricks")
    synthetic: SyntheticConfig | None = Field(None, description="write and use a synthetic survey")
    stamp_size: int = Field(64, ge=8, le=1024, description="stamp size in pixels")
    mask_bits: tuple[int, ...] | None = Field(
        None, description="bits that make a pixel bad; default NPRIMARY, BRIGHT, SATUR_b, ALLMASK_b, BAILOUT, MEDIUM"
    )
    min_coverage_frac: Fraction = Field(0.99, description="below this share of pixels with data a stamp is PARTIAL")
    psfsize_arcsec: dict[str, Positive] = Field(
        default_factory=dict, description="band -> PSF size assumed (and flagged) where the survey has no map at all"
    )
    failure_budget: Fraction = Field(0.01, description="share of hosts that may fail before the run stops")

    @model_validator(mode="after")
    def _one_source(self) -> SurveyConfig:
        given = [n for n in ("root", "stamps", "synthetic") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of root, stamps, synthetic (given: {', '.join(given) or 'none'})")
        if self.root is not None and self.targets is None:
            raise ValueError("targets is needed with root: a table with ra_deg, dec_deg and brickname")
        return self


class SplitsConfig(_Section):
    """Train / val / test by sky cell."""

    fractions: tuple[Fraction, Fraction, Fraction] = Field((0.7, 0.15, 0.15), description="train, val, test")
    nside: int = Field(1024, ge=1, description="HEALPix nside of the sky cells (power of two; 1024 is 3.4')")

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitsConfig:
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must sum to 1, not {sum(self.fractions):g}")
        if self.nside & (self.nside - 1):
            raise ValueError(f"nside must be a power of two, not {self.nside}")
        return self


class PlanConfig(_Section):
    """What is injected where: see spec/physics for the meaning of each parameter."""

    design: Literal["random", "grid"] = Field("random", description="one random configuration a row, or all of them")
    preset: Literal["small", "medium", "full", "sota"] = Field("sota", description="grid of parameter values")
    injections_per_host: int = Field(6, ge=1, description="rows per host (random design)")
    controls_per_host: int = Field(1, ge=0, description="control rows per host")
    lens_model: Literal["SIS", "SIE", "EPL"] = Field("SIE", description="SIS ignores the ellipticity of the grid")
    lens_gamma: tuple[Positive, Positive] = Field(
        (1.8, 2.2), description="range of slopes for lens_model: EPL, uniform"
    )
    lens_shape: Literal["random"] = Field("random", description="angle of the lens; its ellipticity is the grid's")
    theta_e_arcsec: tuple[Positive, ...] | None = Field(None, description="replaces the preset's values")
    src_reff_arcsec: tuple[Positive, ...] | None = Field(None, description="replaces the preset's values")
    src_n: Annotated[float, Field(ge=0.3, le=8)] = Field(1.0, description="Sersic index of the sources")
    src_q: tuple[Fraction, Fraction] = Field((0.5, 1.0), description="range of source axis ratios, uniform")
    src_offset: Literal["disc", "square"] = Field(
        "disc", description="source position: area-uniform in src_offset_max x theta_E, or a square of that many arcsec"
    )
    src_offset_max: Positive = Field(0.8, description="radius in theta_E (disc) or half side in arcsec (square)")
    src_mag: Literal["lens_plus_dmag", "apparent"] = Field(
        "lens_plus_dmag", description="r magnitude: the host's plus the grid's dmag, or drawn from src_mag_range"
    )
    src_mag_range: tuple[float, float] = Field((23.0, 26.0), description="r magnitudes for src_mag: apparent")
    colours: Literal["v3", "measured"] = Field("v3", description="prior of the source's g-r and r-z")
    psf_model: Literal["moffat", "gaussian"] = Field("moffat", description="profile given the host's psfsize")
    psf_beta: Annotated[float, Field(gt=1)] = Field(3.5, description="Moffat beta")
    include_partial: bool = Field(
        False, description="plan for hosts whose status is PARTIAL because pixels are missing"
    )
    max_rows: int = Field(2_000_000, ge=1, description="a larger plan is refused")

    @field_validator("src_q", "src_mag_range", "lens_gamma")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"the range must be in rising order, not {value}")
        return value


class InjectionConfig(_Section):
    """How an arc is rendered and added."""

    noise: bool = Field(True, description="add the arc's shot noise")
    gain: Literal["invvar", "exposure"] = Field("invvar", description="where electrons per nMgy come from")
    sky_mag_arcsec2: dict[str, float] = Field(
        default={"g": 22.04, "r": 20.91, "i": 20.0, "z": 18.46}, description="sky brightness for gain: invvar"
    )
    exptime_s: dict[str, Positive] = Field(
        default={"g": 90.0, "r": 90.0, "i": 90.0, "z": 90.0}, description="one exposure, for gain: exposure"
    )
    electrons_per_s_per_nmgy: dict[str, Positive] = Field(
        default={"g": 40.0, "r": 53.0, "i": 45.0, "z": 32.0}, description="throughput, for gain: exposure"
    )
    render_tolerance: Positive = Field(1e-3, description="rows with a larger render_err are flagged")


class StoreConfig(_Section):
    """Sizes of what one task reads and writes."""

    samples_per_region: int = Field(256, ge=1, description="samples in one shard: one task, about 50 MB at 512")
    hosts_per_region: int = Field(64, ge=1, description="hosts in one shard of the cutouts")
    inner_chunk: int = Field(16, ge=1, description="rows in one compressed chunk: what random access reads")

    @model_validator(mode="after")
    def _whole_chunks(self) -> StoreConfig:
        for name in ("samples_per_region", "hosts_per_region"):
            if getattr(self, name) % self.inner_chunk:
                raise ValueError(f"{name} must be a multiple of inner_chunk ({self.inner_chunk})")
        return self


class DiagnosticsConfig(_Section):
    """One pass over the pairs."""

    theta_e_edges: tuple[float, ...] = Field((0.0, 0.75, 1.0, 1.5, 2.0, 5.0), description="strata, arcsec")
    n_rings: int = Field(30, ge=5, description="1-pixel rings of the radial profile")
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for intervals")


class GateConfig(_Section):
    """The core logistic-regression gate."""

    bands: tuple[Literal["r", "all"], ...] = Field(("r", "all"), description="which bands' pixels are the features")
    core_box_pix: int = Field(10, ge=1, description="side of the core box")
    max_auc: Fraction = Field(0.65, description="the gate passes below this AUC")
    required: bool = Field(True, description="lensflow run exits with an error unless the gate passes")
    folds: int = Field(5, ge=2, description="cross-validation folds, by host")
    c: Positive = Field(1.0, description="inverse L2 strength of the logistic regression")
    bootstrap: int = Field(400, ge=50, description="host-bootstrap draws for the interval")
    max_pairs: int = Field(20_000, ge=10, description="pairs used; hosts are drawn whole")


class ClusterConfig(_Section):
    """Where the tasks run."""

    kind: Literal["local", "threads", "address"] = Field("local", description="processes, threads, a running scheduler")
    workers: int | None = Field(None, ge=1, description="processes; default one per core")
    memory_limit: str = Field("2GiB", description="per worker, for kind: local")
    address: str | None = Field(None, description="scheduler address, for kind: address")
    dashboard: str | None = Field(":0", description="dashboard address; :0 picks a free port; null turns it off")

    @model_validator(mode="after")
    def _has_address(self) -> ClusterConfig:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("address is needed with kind: address, and only there")
        return self


class RunConfig(_Section):
    """Everything that a run depends on."""

    name: str = Field("run", min_length=1, description="shown in the report and the run's attrs")
    out: str = Field(description="folder of the run, a path or any fsspec URL")
    seed: int = Field(1, ge=0, description="seed of every random number")
    bands: tuple[str, ...] = Field(("g", "r", "z"), min_length=1, description="bands, in the order they are stored")
    survey: SurveyConfig
    splits: SplitsConfig = SplitsConfig()
    plan: PlanConfig = PlanConfig()
    injection: InjectionConfig = InjectionConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    gate: GateConfig = GateConfig()
    store: StoreConfig = StoreConfig()
    cluster: ClusterConfig = ClusterConfig()

    @field_validator("bands")
    @classmethod
    def _bands_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"a band is named twice: {', '.join(value)}")
        return value

    @property
    def reference_band(self) -> int:
        """Index of the band that magnitudes refer to: r, or the first band where there is no r."""
        return self.bands.index("r") if "r" in self.bands else 0

    def effective(self) -> dict[str, Any]:
        """Every setting with the value in force, as plain JSON types."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the effective config as YAML."""
        return yaml.safe_dump(self.effective(), sort_keys=False)

    def settings_of(self, stage: str) -> dict[str, Any]:
        """Return the settings that the stored result of ``stage`` depends on, as flat ``a.b`` keys."""
        every = flatten(self.effective())
        sections = STAGE_SETTINGS[stage]
        return {k: v for k, v in every.items() if k.split(".")[0] in sections and k not in NOT_FINGERPRINTED}


# Settings whose change makes a stage's stored result stale; each stage depends on those before it.
_CUT = ("bands", "survey", "splits", "seed", "store")
STAGE_SETTINGS: dict[str, tuple[str, ...]] = {
    "cutouts": _CUT,
    "manifest": (*_CUT, "plan"),
    "pairs": (*_CUT, "plan", "injection"),
    "diagnostics": (*_CUT, "plan", "injection", "diagnostics"),
    "gates": (*_CUT, "plan", "injection", "gate"),
}
NOT_FINGERPRINTED = ("survey.failure_budget", "gate.required")


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


def load_config(source: str | os.PathLike[str] | Mapping[str, Any], **overrides: Any) -> RunConfig:
    """Read and validate a config.

    Parameters
    ----------
    source : path or mapping
        YAML file, or its content as a mapping.
    **overrides
        Top-level settings that replace the file's (``out="runs/other"``); None leaves the file's value.

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        Naming the file and every wrong setting, with the nearest known name for unknown ones.
    """
    where = "config"
    if isinstance(source, Mapping):
        tree: Any = dict(source)
    else:
        where = str(source)
        try:
            text = Path(source).read_text()
        except OSError as error:
            raise ConfigError(f"{where}: cannot read the config ({error.strerror}).") from error
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where}: not valid YAML: {error}") from error
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: a config is a mapping of settings, not {type(tree).__name__} ({REFERENCE})")
    tree = {**_expand(tree, where), **{k: v for k, v in overrides.items() if v is not None}}
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise ConfigError(f"{where}: {len(lines)} wrong setting(s) ({REFERENCE})\n  " + "\n  ".join(lines)) from None


def _expand(tree: Any, where: str) -> Any:
    if isinstance(tree, Mapping):
        return {k: _expand(v, where) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_expand(v, where) for v in tree]
    if isinstance(tree, str):

        def value(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise ConfigError(f"{where}: ${{{match[1]}}} is not set in the environment")
            return os.environ[match[1]]

        return re.sub(r"\$\{(\w+)\}", value, tree)
    return tree


def _explain(error: Mapping[str, Any]) -> str:
    location = [str(p) for p in error["loc"]]
    name = ".".join(location) or "config"
    if error["type"] == "extra_forbidden":
        return f"{name}: no such setting.{did_you_mean(location[-1], _known_keys(location[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = (
        ""
        if isinstance(error.get("input"), Mapping | BaseModel) or error["type"] == "missing"
        else (f" (given: {error['input']!r})")
    )
    return f"{name}: {message}{given}"


def _known_keys(path: Iterable[str]) -> list[str]:
    model: Any = RunConfig
    for part in path:
        field = model.model_fields.get(part)
        model = _section_of(field.annotation) if field else None
        if model is None:
            return []
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def markdown() -> str:
    """Return the text of docs/config.md: every setting with type, default and meaning."""
    lines = ["# Settings", "", "One YAML file configures a run. Made from `lensflow/config.py` by `make docs`.", ""]
    _describe(RunConfig, "", lines)
    return "\n".join(lines) + "\n"


def _describe(model: type[BaseModel], prefix: str, lines: list[str]) -> None:
    sections: list[tuple[str, type[BaseModel]]] = []
    lines += [f"## {prefix or 'top level'}", "", (model.__doc__ or "").strip(), ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section:
            sections.append((f"{prefix}.{name}".lstrip("."), section))
            continue
        kind = re.sub(r"\b(typing|annotated_types)\.", "", str(field.annotation).replace("|", "or"))
        kind = re.sub(r"<class '(\w+)'>", r"\1", kind)
        kind = re.sub(r"Annotated\[(\w+), [^\]]*\]", r"\1", kind)
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        lines.append(f"| `{name}` | {kind} | {default} | {field.description or ''} |")
    lines.append("")
    for name, section in sections:
        _describe(section, name, lines)
