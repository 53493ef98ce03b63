"""The comparisons used by all judges: one number against its expected value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit  # not scipy.stats: half a second of every process

from lensflow.stats.estimate import NOT_MEASURED, Estimate

# An alarm, with many hosts: further from the expected value than this many half-widths of the 95 % interval.
ALARM = 2.0
# With fewer hosts only an alarm says something: that nothing is found there proves nothing.
LEAST_HOSTS = 5


class Status(StrEnum):
    """Status of one comparison."""

    OK = "OK"
    ALARM = "ALARM"
    NOT_TESTED = "NOT_TESTED"


@dataclass(frozen=True)
class Finding:
    """One number beside its expectation.

    Attributes
    ----------
    diagnostic, check, where : str
        Which diagnostic, what was compared, and in which band, stratum or case it is worst.
    status : Status
        OK, ALARM or NOT_TESTED.
    found : Estimate
        What was found, with its 95 % interval over hosts; without one where it is no sample's, NaN where there is none.
    expected : float
        What was expected; NaN where there is none.
    text : str
        Says it in words, or why it was not tested.
    units : str
        Of these numbers; "" for counts.
    limit : float
        That a deviation must stay below; NaN for what is judged by its interval or is exact.
    """

    diagnostic: str
    check: str
    status: Status
    where: str
    found: Estimate
    expected: float
    text: str
    units: str = ""
    limit: float = math.nan

    @property
    def value(self) -> float:
        """The number itself."""
        return self.found.value

    def to_dict(self) -> dict[str, Any]:
        """Plain types: the status as its name, the estimate as ``value``, ``low`` and ``high``."""
        tree = asdict(self)
        del tree["found"]
        return {**tree, "status": str(self.status), **self.found.fields()}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Finding:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        tree : mapping
            Plain JSON types.

        Returns
        -------
        Finding
            Equal to the one that was written.
        """
        rest = {k: v for k, v in tree.items() if k not in NOT_MEASURED.fields()}
        return cls(**{**rest, "status": Status(tree["status"]), "found": Estimate.from_fields(tree)})


def not_tested(diagnostic: str, check: str, why: str) -> Finding:
    """Return a finding that says why something was not compared."""
    return Finding(diagnostic, check, Status.NOT_TESTED, "", NOT_MEASURED, math.nan, why)


def alarm_widths(n_hosts: ArrayLike) -> NDArray[np.float64]:
    """Alarm threshold in half-widths of a 95 % interval over N hosts, with the same false-alarm probability for all N.

    ``ALARM`` of a normal distribution are 3.9 standard deviations, a chance of 9e-5. With few hosts the standard
    deviation itself is uncertain (Student's t): 2.2 half-widths at 40 hosts, 3.4 at 8, 9 at 4.
    """
    freedom = np.maximum(np.asarray(n_hosts, dtype=np.float64), 2) - 1
    return np.asarray(stdtrit(freedom, ndtr(ALARM * ndtri(0.025))) / stdtrit(freedom, 0.025))


def against(
    diagnostic: str, check: str, ds: xr.Dataset, name: str, expected: Any = 0.0, tolerance: Any = 0.0, text: str = ""
) -> Finding:
    """Judge ``name`` with its interval over ``n_hosts`` against its expected value; reports the worst position."""
    of = ds[name]
    value, low, high = (_like(of, ds[f"{name}{k}"]) for k in ("", "_low", "_high"))
    want, least = _like(of, expected), _like(of, tolerance)
    # An infinite value (no noise at all) has no interval, and is an alarm.
    reach = np.where(np.isinf(value), 0.0, np.maximum(high - value, value - low))
    beyond = np.maximum(_like(of, ds["n_hosts"].copy(data=alarm_widths(ds["n_hosts"]))) * reach, least)
    excess = np.where(np.isfinite(want), np.abs(value - want) - beyond, np.nan)
    if np.isnan(excess).all():
        why = "no value with an interval: too few rows or hosts, or no expectation"
        return not_tested(diagnostic, check, why)
    worst = int(np.nanargmax(excess))
    status = Status.ALARM if excess[worst] > 0 else Status.OK
    if status is Status.OK and int(ds["n_hosts"].max()) < LEAST_HOSTS:
        return not_tested(diagnostic, check, f"fewer than {LEAST_HOSTS} hosts: only a gross fault would be seen")
    number, lower, upper, wanted = (float(v[worst]) for v in (value, low, high, want))
    description = text or str(of.attrs["long_name"])
    units = str(of.attrs.get("units", ""))
    return Finding(
        diagnostic, check, status, place_of(of, worst), Estimate(number, lower, upper), wanted, description, units
    )


def _like(of: xr.DataArray, values: Any) -> NDArray[np.float64]:
    """Values in the places of ``of``, in one row."""
    if isinstance(values, xr.DataArray) and values.dims != of.dims:
        values = values.broadcast_like(of).transpose(*of.dims)
    return np.broadcast_to(np.asarray(values, dtype=np.float64), of.shape).ravel()


def exact(diagnostic: str, check: str, counts: xr.DataArray, tested: bool = True) -> Finding:
    """Judge a count that must be 0."""
    text = str(counts.attrs["long_name"])
    if not tested:
        return not_tested(diagnostic, check, f"nothing to count: {text}")
    flat = np.atleast_1d(counts.values).ravel()
    worst = int(flat.argmax())
    status = Status.ALARM if flat[worst] > 0 else Status.OK
    return Finding(diagnostic, check, status, place_of(counts, worst), Estimate(float(flat[worst])), 0.0, text)


def within(diagnostic: str, check: str, values: xr.DataArray, limit: float, expected: float = 0.0) -> Finding:
    """Judge deviations without sampling error: each must stay below its limit."""
    flat = np.abs(np.atleast_1d(values.values).ravel())
    text = f"{values.attrs['long_name']}; limit {limit:g}"
    if not np.isfinite(flat).any() and not np.isinf(flat).any():
        return not_tested(diagnostic, check, text)
    worst = int(np.nanargmax(flat))
    status = Status.ALARM if flat[worst] > limit else Status.OK
    units, place = str(values.attrs.get("units", "")), place_of(values, worst)
    return Finding(diagnostic, check, status, place, Estimate(float(flat[worst])), expected, text, units, limit)


def place_of(values: xr.DataArray, flat: int) -> str:
    """Name a place of an array by its coordinates."""
    if not values.dims:
        return ""
    at = np.unravel_index(flat, values.shape)
    words = []
    for dim, k in zip(values.dims, at, strict=True):
        label = values[dim].values[k] if dim in values.coords else k
        words.append(f"{dim} {label}" if dim in ("row", "ring", "q") else str(label))
    return ", ".join(words)


def untested(name: str, ds: xr.Dataset) -> Finding | None:
    """Return why a diagnostic tested nothing; None if it did."""
    why = str(ds.attrs.get("why", ""))
    return not_tested(name, "all", why) if why else None
