"""Judge class balance: differences of the classes compared with chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr

from lensflow.measure.pixels.exchange import LEAST_HOSTS
from lensflow.measure.pixels.judging import Finding, Status, exact, not_tested, place_of
from lensflow.stats.estimate import Estimate

# Beyond these, in standard deviations and in shares of rows, a difference matters.
BALANCE, MISSING_SHARE = 0.2, 0.02
# A difference of the classes of this many standard deviations must be an alarm, or balance was not tested.
BALANCE_POWER = 1.0
KS_P = 1e-4
# Sums of the same rows in another order differ by less, in units of themselves.
_ROUNDING = 1e-9


def balance_findings(ds: xr.Dataset) -> Iterator[Finding]:
    """Judge the result of :class:`lensflow.measure.pixels.Balance`."""
    if float(ds["n_rows"].min("class").sel(place="all")) == 0:
        why = "one of the classes has no rows"
        yield not_tested("balance", "means of the classes", why)
        return
    means = _by_chance(ds, "means of the classes", "difference", BALANCE)
    # The largest difference in units of the scatter that would pass over all splits.
    seen = ds["difference_limit"].sel(place="all").fillna(0)
    if means.status is Status.OK and float(seen.max()) > BALANCE_POWER:
        column = str(seen["column"].values[int(seen.values.argmax())])
        why = f"less than {float(seen.max()):.2g} standard deviations of {column} would pass unseen: too few hosts"
        means = replace(means, status=Status.NOT_TESTED, text=f"{why}; {means.text}")
    yield means
    p, worst = ds["ks_p"], int(np.nanargmin(ds["ks_p"].fillna(1).values))
    value = float(p[worst])
    status = Status.NOT_TESTED if np.isnan(value) else Status.ALARM if value < KS_P else Status.OK
    yield Finding(
        "balance", "distributions of the classes", status, place_of(p, worst), Estimate(float(ds["ks"][worst])),
        0.0, f"Kolmogorov-Smirnov distance, p = {value:.2g} (alarm below {KS_P:g})",
    )  # fmt: skip
    yield _by_chance(ds, "missing values", "missing_difference", MISSING_SHARE)
    bits = exact("balance", "metadata of a host is the same bits in both classes", ds["n_hosts_of_other_bits"])
    if bits.status is Status.ALARM:
        bits = replace(bits, where=f"host {ds.attrs['first_host_of_other_bits']}")
    yield bits
    yield exact("balance", "no clean row carries a flag", ds["n_contradicted"])
    few = ds["place"].values[ds["fewest_hosts"].values < LEAST_HOSTS]
    if few.size and means.status is not Status.NOT_TESTED:
        yield Finding(
            "balance", "places not tested by themselves", Status.OK, ", ".join(map(str, few)), Estimate(few.size),
            np.nan, f"places with fewer than {LEAST_HOSTS} hosts of a class",
        )  # fmt: skip


def _by_chance(ds: xr.Dataset, check: str, name: str, tolerance: float) -> Finding:
    """Judge differences of the classes against exchanges between hosts."""
    value, limit = ds[name], ds[f"{name}_limit"]
    n = int(ds["fewest_hosts"].sel(place="all"))
    if n < LEAST_HOSTS:
        return not_tested("balance", check, f"{n} hosts of a class: at least {LEAST_HOSTS} of each are needed")
    # Both classes constant, and different ones, of enough hosts each: infinite, and no chance.
    # Of few hosts the limit may be what this very arrangement gives, to rounding: that is no more than chance.
    size = np.abs(value) * (1 - _ROUNDING)
    excess = np.where(np.isinf(value), np.inf, size - np.maximum(limit.fillna(np.inf), tolerance))
    if not np.isfinite(limit).any() and not np.isinf(excess).any():
        return not_tested("balance", check, "no column with a value in both classes")
    flat = np.where(np.isnan(excess), -np.inf, excess).ravel()
    worst = int(flat.argmax())
    number, low, high = (float(ds[f"{name}{k}"].values.ravel()[worst]) for k in ("", "_low", "_high"))
    status = Status.ALARM if flat[worst] > 0 else Status.OK
    text = str(value.attrs["long_name"])
    return Finding("balance", check, status, place_of(value, worst), Estimate(number, low, high), 0.0, text, "1")
