"""Another population of lenses: independent densities of named parameters, or a catalogue of simulated lenses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lensflow.config.population import TargetPopulationConfig
from lensflow.config.yaml_text import parse_yaml
from lensflow.errors import CompletenessError, ConfigError, did_you_mean
from lensflow.measure.completeness.population.target_density import TargetDensity, target_density
from lensflow.store import paths
from lensflow.targets.columns import Column, choose
from lensflow.targets.files import open_tables

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TargetPopulation:
    """A population that completeness is asked for.

    Attributes
    ----------
    name, source : str
        What it is, and where it comes from.
    densities : mapping
        Parameter -> density; independent of each other. Empty for a catalogue.
    catalogue : mapping
        Parameter -> value of each lens, shape (n,); empty for densities.
    weight : ndarray, shape (n,)
        Of each lens of the catalogue.
    notes : tuple of str
        What its numbers are not.
    """

    name: str
    source: str = ""
    densities: Mapping[str, TargetDensity] = field(default_factory=dict)
    catalogue: Mapping[str, Floats] = field(default_factory=dict)
    weight: Floats = field(default_factory=lambda: np.empty(0))
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters; all others keep the injected prior."""
        return (*self.densities, *self.catalogue)

    @property
    def words(self) -> str:
        """The population in a line."""
        of = {k: d.words for k, d in self.densities.items()}
        of |= dict.fromkeys(self.catalogue, f"catalogue of {len(self.weight):,} lenses")
        return f"{self.name}: {'; '.join(f'{k} ({w})' for k, w in of.items())}"

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Notes of the population and of its densities."""
        return (*self.notes, *(n for d in self.densities.values() for n in d.notes))


def target_population(
    parameters: Mapping[str, Any], name: str = "target", source: str = "", notes: Sequence[str] = ()
) -> TargetPopulation:
    """Make a target population of densities.

    Parameters
    ----------
    parameters : mapping
        Parameter (``theta_e_arcsec``, ``src_mag_r``, ...) -> :class:`TargetDensity`, or what :func:`target_density`
        takes as a density of the parameter itself.
    name, source : str
        What it is, and where it comes from.
    notes : sequence of str
        What its numbers are not.

    Returns
    -------
    TargetPopulation

    Raises
    ------
    ConfigError
        If there is no parameter, or a density is none.
    """
    if not parameters:
        raise ConfigError(f"{name}: a target population names at least one parameter")
    made = {k: v if isinstance(v, TargetDensity) else target_density(v, name=k) for k, v in parameters.items()}
    return TargetPopulation(name, source, made, notes=tuple(notes))


def lens_catalogue(
    lenses: Mapping[str, Any], name: str = "catalogue", source: str = "", weight: Any = None, notes: Sequence[str] = ()
) -> TargetPopulation:
    """Make a target population of a catalogue of lenses, which keeps how its parameters go together.

    Parameters
    ----------
    lenses : mapping
        Parameter -> values, shape (n,): arrays, a pandas DataFrame or an xarray Dataset.
    name, source : str
        What it is, and where it comes from.
    weight : array_like, shape (n,), optional
        Of each lens; equal by default.
    notes : sequence of str
        What its numbers are not.

    Returns
    -------
    TargetPopulation

    Raises
    ------
    CompletenessError
        If there is no lens, a value is not finite, or weights are negative or all 0; names the first row.
    """
    columns = {str(k): np.asarray(lenses[k], dtype=np.float64) for k in lenses}
    sizes = {v.shape for v in columns.values()}
    if len(sizes) != 1 or len(shape := next(iter(sizes))) != 1 or shape[0] == 0:
        raise CompletenessError(f"{name}: a catalogue has columns of one length, and at least one lens")
    w = np.ones(shape) if weight is None else np.asarray(weight, dtype=np.float64)
    for column, values, wrong in (*((k, v, ~np.isfinite(v)) for k, v in columns.items()),
                                  ("weight", w, ~(np.isfinite(w) & (w >= 0)))):  # fmt: skip
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CompletenessError(
                f"{name}: row {row}: {column} is {values[row]:g}; {int(wrong.sum()) - 1} other row(s) alike. Leave "
                "such lenses out, or the column"
            )
    if w.shape != shape or w.sum() <= 0:
        raise CompletenessError(f"{name}: one weight for each lens, and not all of them 0")
    return TargetPopulation(name, source, {}, columns, w, tuple(notes))


def as_target(target: TargetPopulation | Mapping[str, Any] | str) -> TargetPopulation:
    """Return a target population: itself, one of a mapping of densities, or that of a YAML file.

    Parameters
    ----------
    target : TargetPopulation, mapping or str

    Returns
    -------
    TargetPopulation
    """
    if isinstance(target, TargetPopulation):
        return target
    return read_target(str(target)) if not isinstance(target, Mapping) else target_population(target)


def read_target(path: str) -> TargetPopulation:
    """Read a target population from YAML.

    Parameters
    ----------
    path : str
        Any fsspec URL; docs/another-population.md has the settings.

    Returns
    -------
    TargetPopulation

    Raises
    ------
    ConfigError
        If a setting is unknown or wrong, or scipy has no such distribution.
    """
    try:
        config = TargetPopulationConfig.model_validate(parse_yaml(paths.read_text(path), path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if config.catalogue is not None:
        return _read_catalogue(config, path)
    made = {}
    for name, of in config.parameters.items():
        given: Any = of.masses if of.masses is not None else (of.values, of.density)
        if of.distribution is not None:
            given = _distribution(of.distribution, of.arguments, f"{path}: parameters.{name}")
        made[name] = target_density(given, of.support, of.of, name)
    return TargetPopulation(config.name, config.source, made)


def _distribution(name: str, arguments: Mapping[str, float], where: str) -> Any:
    from scipy import stats  # it takes half a second

    known = [n for n in dir(stats) if isinstance(getattr(stats, n), stats.rv_continuous)]
    if name not in known:
        raise ConfigError(f"{where}: scipy.stats has no continuous distribution {name!r}.{did_you_mean(name, known)}")
    try:
        frozen = getattr(stats, name)(**arguments)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not np.isfinite(frozen.cdf(np.float64(0.0))):
        raise ConfigError(f"{where}: {name} is not defined for {dict(arguments)}")
    return frozen


def _read_catalogue(config: TargetPopulationConfig, path: str) -> TargetPopulation:
    assert config.catalogue is not None
    names = config.columns or {}
    if not names:
        raise ConfigError(f"{path}: columns: name the parameters that the catalogue stands for, and their columns")
    mapping = {**names, **({"weight": config.weight} if config.weight else {})}
    with open_tables(config.catalogue, f"{path}: catalogue") as tables:
        wanted = [Column(name, required=True, unit=_unit_of(name)) for name in mapping]
        columns = choose(tables, wanted, mapping, mapped_by=f"{path}: columns")
        parts: dict[str, list[Floats]] = {name: [] for name in mapping}
        first = 0
        for chunk in columns.table.read(columns.file_columns):
            for name, values in parts.items():
                values.append(columns.numbers(chunk, name, first))
            first += len(parts[next(iter(names))][-1])
    lenses = {name: np.concatenate(v) if v else np.empty(0) for name, v in parts.items()}
    weight = lenses.pop("weight", None)
    return lens_catalogue(lenses, config.name, config.source or config.catalogue, weight)


def _unit_of(name: str) -> str:
    ends = {"_arcsec": "arcsec", "_rad": "rad", "_km_s": "km/s"}
    return next((unit for end, unit in ends.items() if name.endswith(end)), "mag" if "mag" in name else "1")
