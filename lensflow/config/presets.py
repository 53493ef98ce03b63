"""Presets: settings that a config selects by name, one YAML file each in ``lensflow/presets``.

The comment at the head of a file gives the origin of its numbers. A config stores the name; the code's digest includes
the numbers (:mod:`lensflow.store.code_identity`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ValidationError

from lensflow.config.base import Axis, Range, Section
from lensflow.config.yaml_text import parse_yaml
from lensflow.errors import ConfigError, did_you_mean

ROOT = Path(__file__).parents[1] / "presets"


class Preset(Section):
    """Named settings, all required; a subclass for each folder of ``lensflow/presets``."""

    FOLDER: ClassVar[str]
    # Names without a file: rules that need more than numbers.
    RULES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the files."""
        return tuple(sorted(path.stem for path in (ROOT / cls.FOLDER).glob("*.yaml")))

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the preset of a name.

        Raises
        ------
        ConfigError
            If there is none; the message has the nearest name and all others.
        """
        try:
            cls.check(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return _read(cls, name)

    @classmethod
    def check(cls, name: Any) -> Any:
        """Return a setting after checking that it is a known name, if it is a name; for validators.

        Raises
        ------
        ValueError
            If the name is unknown.
        """
        known = (*cls.RULES, *cls.names())
        if isinstance(name, str) and name not in known:
            raise ValueError(f"no {cls.FOLDER} preset {name!r}.{did_you_mean(name, known)} One of {', '.join(known)}")
        return name

    @classmethod
    def comment(cls, name: str) -> str:
        """Return the origin of a preset's numbers: the comment at the head of its file."""
        lines = (ROOT / cls.FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        return " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


@cache
def _read(kind: type[Any], name: str) -> Any:
    path = ROOT / kind.FOLDER / f"{name}.yaml"
    try:
        return kind.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigError(f"{path}: cannot be read as a preset: {error}. Install lensflow again.") from error


class Priors(Preset):
    """Priors of a plan for its settings that are null; null here: from a relation, or not at all.

    The relations are those of :mod:`lensflow.manifest.population`.
    """

    FOLDER = "plan"
    # Parameters that design: grid crosses, in this order.
    CROSSED: ClassVar[tuple[str, ...]] = ("theta_e_arcsec", "dmag", "src_reff_arcsec", "lens_e", "shear")

    theta_e_from: Literal["prior", "sigma_v", "host"]
    theta_e_arcsec: Axis
    src_mag: Literal["lens_plus_dmag", "apparent"]
    src_mag_range: Range
    src_mag_slope: float
    colours: str
    src_z: Axis | None
    dmag: Axis | None
    src_reff_arcsec: Axis | None
    lens_e: Axis | None
    shear: Axis | None
    source_table: str | None

    @property
    def axes(self) -> dict[str, tuple[float, ...] | Range | None]:
        """The prior of each parameter of a grid, by its name."""
        return {name: getattr(self, name) for name in self.CROSSED}

    def not_listed(self) -> list[str]:
        """Parameters of a grid that are a range or follow from a relation, and cannot be crossed."""
        return [name for name, prior in self.axes.items() if not isinstance(prior, tuple)]


class Colours(Preset):
    """Normal priors (mean, standard deviation) of the sources' g-r and r-z; values beyond ``clip`` move to its ends."""

    FOLDER = "colours"
    RULES = ("uv_slope",)

    g_r: tuple[float, float]
    r_z: tuple[float, float]
    clip: tuple[float, float] | None


class Selection(Preset):
    """Limits of a selection of luminous red galaxies, raw magnitudes: z below, r-z and z-W1 above."""

    FOLDER = "selection"

    max_z: float
    min_r_z: float
    min_z_w1: float


class MaskBits(Preset):
    """Bits of ``maskbits`` that make a pixel bad."""

    FOLDER = "mask_bits"
    RULES = ("default",)

    bits: tuple[int, ...]


class SplitRule(Preset):
    """A plain hash of the sky cell, xxhash64 with a seed, modulo ``parts``, compared with the cumulative fractions."""

    FOLDER = "rule"
    RULES = ("balanced",)

    seed: int
    parts: int


KINDS: dict[str, type[Preset]] = {
    "plan.preset": Priors,
    "plan.colours": Colours,
    "survey.selection": Selection,
    "survey.mask_bits": MaskBits,
    "splits.rule": SplitRule,
}
