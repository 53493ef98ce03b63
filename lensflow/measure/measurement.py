"""Measurements of pairs, and how several of them share one read.

A measurement is a small, additive value computed from pairs: values of separate sets add up to that of all. So any
measurement runs over a store of any size: one task a region, values added on the workers, one value at the end. What
its result means is said by a judge, a function from the result to findings.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import xarray as xr

from lensflow.config import DiagnosticsConfig, InjectionConfig
from lensflow.lensing.render import render

FindingT = TypeVar("FindingT")


@dataclass(frozen=True)
class Settings:
    """Settings that a result depends on besides the pairs.

    Attributes
    ----------
    diagnostics : DiagnosticsConfig
        Strata, rings, number of bootstrap draws.
    seed : int
        Of the bootstraps.
    injection : InjectionConfig, optional
        What the pairs are held against; without, only what was measured is given.
    renderer : callable
        What tests of the renderer examine: :func:`lensflow.lensing.render.render`, or one with a fault.
    """

    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    seed: int = 0
    injection: InjectionConfig | None = None
    renderer: Any = render

    @property
    def bootstrap(self) -> int:
        """Draws of the bootstraps."""
        return self.diagnostics.bootstrap


class Measurement(Protocol):
    """A small value of some pairs; values of different pairs add up to the value of all of them.

    One may have a static ``concat(parts)``, which joins many at once, as that of rows which are kept as they are has
    (:class:`lensflow.stats.kept_rows.KeptRows`).
    """

    def __add__(self, other: Self, /) -> Self:
        """Value of both; the order may matter to rounding, and to nothing else."""
        ...


class Diagnostic(Measurement, Protocol):
    """A measurement with a result."""

    def result(self, settings: Settings, /) -> xr.Dataset:
        """Numbers with units and long names in their attrs; ``x_low`` and ``x_high`` where ``x`` has an interval."""
        ...


@dataclass(frozen=True)
class Kind(Generic[FindingT]):
    """A measurement as it is registered.

    Attributes
    ----------
    name : str
        Of its result, everywhere.
    measure : callable
        A block of pairs (:class:`lensflow.measure.pixels.Block`) to a :class:`Diagnostic`.
    judge : callable
        The result to findings (:mod:`lensflow.measure.pixels.judging`).
    one_pass : bool
        Whether it is a sum over rows: nothing is rendered.
    """

    name: str
    measure: Callable[[Any], Diagnostic]
    judge: Callable[[xr.Dataset], Iterable[FindingT]]
    one_pass: bool = False


@dataclass(frozen=True, eq=False)
class Measured(Mapping[str, Any]):
    """Values of several measurements of the same pairs, by name."""

    values_by_name: Mapping[str, Measurement]

    @staticmethod
    def joined(parts: Sequence[Measured]) -> Measured:
        """Add up those of different blocks, in their order."""
        for part in parts:
            if part.keys() != parts[0].keys():
                raise ValueError(f"measured: {', '.join(parts[0])} and {', '.join(part)} do not add up")
        return Measured({name: _joined([part[name] for part in parts]) for name in parts[0]})

    def __add__(self, other: Measured) -> Measured:
        return self.joined([self, other])

    def __or__(self, other: Measured) -> Measured:
        return Measured({**self, **other})

    def only(self, names: Iterable[str]) -> Measured:
        """Those of these names."""
        return Measured({name: self[name] for name in names})

    def __getitem__(self, name: str) -> Any:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def results(self, settings: Settings) -> dict[str, xr.Dataset]:
        """Result of every measurement, by name."""
        return {name: value.result(settings) for name, value in self.items()}


def _joined(values: Sequence[Any]) -> Any:
    concat = getattr(type(values[0]), "concat", None)
    return functools.reduce(operator.add, values) if concat is None else concat(values)
