"""Base classes of all sections of the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Frozen; unknown settings and non-finite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(Section):
    """A continuous range: values are uniform between the ends, in the value or in its logarithm."""

    min: float
    max: float
    distribution: Literal["uniform", "log"] = "uniform"

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.min > self.max:
            raise ValueError(f"a range must be in rising order, not {self.min:g} to {self.max:g}")
        if self.distribution == "log" and self.min <= 0:
            raise ValueError(f"distribution: log needs min > 0, not {self.min:g}")
        return self


Values = Annotated[tuple[float, ...], Field(min_length=1)]


def refuse_outside(
    value: tuple[float, ...] | Range | None, low: float, high: float, with_low: bool = True, with_high: bool = True
) -> None:
    """Refuse a setting of which a value, or an end of a range, lies outside an interval.

    Parameters
    ----------
    value : tuple of float, Range or None
        None is not set.
    low, high : float
    with_low, with_high : bool
        Whether the ends belong to it.

    Raises
    ------
    ValueError
        Naming the interval and the first such value.
    """
    for v in (value.min, value.max) if isinstance(value, Range) else value or ():
        if not (low < v < high or (with_low and v == low) or (with_high and v == high)):
            interval = f"{'[' if with_low else '('}{low:g}, {high:g}{']' if with_high else ')'}"
            raise ValueError(f"must be in {interval}, not {v:g}")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _kind(value: Any) -> str:
    return "<range>" if isinstance(value, Mapping | Range) else "<values>"


# One number, a list of values (equally likely), or {min, max, distribution}. The tags appear in pydantic's error
# locations; no setting has such a name, so that messages can omit them.
Axis = Annotated[
    Annotated[Values, Tag("<values>")] | Annotated[Range, Tag("<range>")],
    Discriminator(_kind),
    BeforeValidator(_listed),
]


def first_problem(error: ValidationError) -> str:
    """Setting and reason of pydantic's first complaint, as in ``threshold: a rate lies between 0 and 1``."""
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, "))))
