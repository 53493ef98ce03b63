"""A measured number with its interval and the hosts behind it, as one value."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr
from numpy.typing import ArrayLike

from lensflow.errors import GateError
from lensflow.stats.hostsums import named

BOOTSTRAP = "95 % host bootstrap"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its 95 % interval and the hosts behind it.

    Attributes
    ----------
    value, low, high : float
        NaN where not measured. The interval may be one of another level; what makes it says so.
    n_hosts : int
        0 where not known.
    sd : float
        Standard deviation of the value; NaN where it is not kept.

    Examples
    --------
    >>> auc = Estimate(0.753, 0.726, 0.781, 262)
    >>> print(auc)
    0.753 [0.726, 0.781]
    >>> f"{auc:.2f}"
    '0.75 [0.73, 0.78]'
    >>> auc.excludes(0.5)
    True
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n_hosts: int = 0
    sd: float = math.nan

    def __eq__(self, other: object) -> bool:
        """Whether all five are the same; what is not measured in either is."""
        return isinstance(other, Estimate) and self._plain() == other._plain()

    def __hash__(self) -> int:
        """Of the same as ``==``."""
        return hash(self._plain())

    def _plain(self) -> tuple[float | None, ...]:
        return tuple(None if math.isnan(v) else v for v in (self.value, self.low, self.high, self.n_hosts, self.sd))

    @classmethod
    def in_dataset(
        cls, dataset: xr.Dataset, name: str, at: Mapping[Any, Any] | None = None, value: str | None = None
    ) -> Estimate:
        """Read the variables ``name``, ``name_low``, ``name_high`` and ``n_hosts`` of a Dataset.

        Parameters
        ----------
        dataset : Dataset
        name : str
        at : mapping, optional
            Dimension -> place, for variables that have more than one.
        value : str, optional
            The value's variable, where it is not ``name``.

        Raises
        ------
        GateError
            If a variable is missing, or ``at`` leaves more than one value.
        """
        names = {"value": value or name, "low": f"{name}_low", "high": f"{name}_high"}
        missing = [n for n in names.values() if n not in dataset]
        if missing:
            raise GateError(f"no estimate {name}: {', '.join(missing)} is not in the Dataset")
        found = {k: _one(dataset[n], at or {}) for k, n in names.items()}
        return cls(**found, n_hosts=int(_one(dataset["n_hosts"], at or {})) if "n_hosts" in dataset else 0)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], name: str = "value", n_hosts: int = 0) -> Estimate:
        """Read what :meth:`fields` gave; None is NaN, and ``sd`` and ``n_hosts`` need not be there."""
        value, low, high = (math.nan if fields[k] is None else float(fields[k]) for k in _keys(name))
        sd = fields.get("sd")
        n_hosts = int(fields.get("n_hosts") or n_hosts)
        return cls(value, low, high, n_hosts, math.nan if sd is None else float(sd))

    def fields(self, name: str = "value") -> dict[str, float]:
        """The numbers as ``name``, ``name_low``, ``name_high``; of ``value``: ``low``, ``high``."""
        return dict(zip(_keys(name), (self.value, self.low, self.high), strict=True))

    @property
    def is_measured(self) -> bool:
        """Whether value and interval are known."""
        return all(math.isfinite(v) for v in (self.value, self.low, self.high))

    def __format__(self, spec: str) -> str:
        value, low, high = (format(v, spec or "z.3g") for v in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)

    def __rmul__(self, factor: float) -> Estimate:
        low, high = (self.low, self.high) if factor >= 0 else (self.high, self.low)
        return Estimate(factor * self.value, factor * low, factor * high, self.n_hosts, abs(factor) * self.sd)

    def __sub__(self, other: Estimate) -> Estimate:
        return self.less(other)

    def less(self, other: Estimate, correlation: float = 0.0) -> Estimate:
        """Subtract another estimate, with the interval of the difference.

        Parameters
        ----------
        other : Estimate
        correlation : float
            Of the two, -1 to 1. 0 (that of ``-``) is for independent estimates; for those on the same hosts, which
            rise and fall together, it gives an interval wider than it need be.

        Notes
        -----
        The method of variance estimates recovery (Zou & Donner 2008, Statistics in Medicine 27, 1693; for correlated
        estimates Zou 2007, Psychological Methods 12, 399).
        """
        value = self.value - other.value
        return Estimate(
            value,
            value - _joined(self.value - self.low, other.high - other.value, correlation),
            value + _joined(self.high - self.value, other.value - other.low, correlation),
            min(self.n_hosts, other.n_hosts),
        )

    def excludes(self, other: float | Estimate) -> bool:
        """Whether a number lies beyond the interval; of another estimate: whether their difference is not 0.

        Raises
        ------
        GateError
            If either has no interval: nobody can say.
        """
        apart, expected = (self - other, 0.0) if isinstance(other, Estimate) else (self, other)
        if not apart.is_measured or math.isnan(expected):
            raise GateError(f"{self} and {other}: without an interval nobody can say whether they differ")
        return not apart.low <= expected <= apart.high


NOT_MEASURED = Estimate(math.nan)


def with_interval(
    name: str,
    dims: Sequence[str],
    values: tuple[ArrayLike, tuple[ArrayLike, ArrayLike]],
    units: str,
    long_name: str,
    interval: str = BOOTSTRAP,
) -> dict[str, tuple[Any, ...]]:
    """Make the three variables ``name``, ``name_low``, ``name_high`` of a Dataset.

    Parameters
    ----------
    name : str
    dims : sequence of str
    values : (value, (low, high))
        Arrays over ``dims``.
    units, long_name : str
    interval : str
        What the interval is, in words.
    """
    value, (low, high) = values
    return {
        name: named(dims, value, units, long_name),
        f"{name}_low": named(dims, low, units, f"lower end of the {interval}"),
        f"{name}_high": named(dims, high, units, f"upper end of the {interval}"),
    }


def _keys(name: str) -> tuple[str, str, str]:
    return ("value", "low", "high") if name == "value" else (name, f"{name}_low", f"{name}_high")


def _one(values: xr.DataArray, at: Mapping[Hashable, Any]) -> float:
    found = values.sel({d: k for d, k in at.items() if d in values.dims})
    if found.size != 1:
        raise GateError(f"{values.name}: {found.size} values along {', '.join(map(str, found.dims))}; say which")
    return float(found.values.item())


def _joined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(0.0, a * a + b * b - 2 * correlation * a * b))
