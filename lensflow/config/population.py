"""A target population as YAML: densities of named parameters, or a catalogue of lenses."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lensflow.config.base import Section


class TargetDensityConfig(Section):
    """Density of one parameter: exactly one of distribution, table, masses."""

    distribution: str | None = Field(None, description="name of a continuous distribution of scipy.stats: norm, expon")
    arguments: dict[str, float] = Field({}, description="its arguments: loc, scale and its shapes")
    values: tuple[float, ...] | None = Field(None, description="table: rising values of the parameter")
    density: tuple[float, ...] | None = Field(None, description="table: density at each value, straight in between")
    masses: dict[float, float] | None = Field(None, description="value -> probability, for a list in the plan")
    of: Literal["value", "log", "log10"] = Field(
        "value", description="what it is a density of: the parameter, its natural or its decadic logarithm"
    )
    support: tuple[float, float] | None = Field(None, description="ends, in the parameter itself; nothing beyond")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.values is None) != (self.density is None):
            raise ValueError("a table has values and density, as many of each")
        if sum(v is not None for v in (self.distribution, self.values, self.masses)) != 1:
            raise ValueError("give exactly one of distribution, values (with density) and masses")
        if self.arguments and self.distribution is None:
            raise ValueError("arguments are those of a distribution")
        return self


class TargetPopulationConfig(Section):
    """A target population; parameters that it does not name keep the injected prior."""

    name: str = Field(min_length=1, description="what it is called in results")
    source: str = Field("", description="where it comes from")
    parameters: dict[str, TargetDensityConfig] = Field(
        {}, description="parameter -> density, independent of each other"
    )
    catalogue: str | None = Field(None, description="or a table of lenses (parquet, CSV, FITS, LensPop's text files)")
    columns: dict[str, str] = Field({}, description="parameter -> column of the catalogue; default: its own name")
    weight: str | None = Field(None, description="column of the catalogue with the weight of each lens; default: equal")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.parameters) == (self.catalogue is not None):
            raise ValueError("give exactly one of parameters and catalogue")
        if self.catalogue is None and (self.columns or self.weight):
            raise ValueError("columns and weight are those of a catalogue")
        return self
