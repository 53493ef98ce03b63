"""The N-d selection function as one Dataset that explains itself, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.selection.lookup import Grid

# Names in the file -> in the tables of a measurement.
_NAMES = {"low": "completeness_low", "high": "completeness_high"}
THRESHOLDS = ("tau", "rate_wanted", "false_positives", "true_rate", "true_rate_low", "true_rate_high", "unsure")
# Attributes that are the table's own.
_OF_TABLE = ("interval", "interval_is", "derived")
# Parts of the file beside the table; their variables carry the name in front.
PARTS = ("smooth",)
BINS = (
    "lower edges belong to their bin (upper_included: upper edges, and the lowest edge is a bin of its own); below, "
    "above and unknown are bins too, so that counts add up to all rows. Counts add over cells; hosts, rates and "
    "intervals do not"
)


def to_file(found: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Put the selection function, its thresholds and its smooth model into one Dataset.

    Parameters
    ----------
    found : mapping
        As :func:`lensflow.measure.completeness.summary.completeness` gives.
    attrs : mapping
        Plain JSON: whose it is, of what run.

    Returns
    -------
    Dataset
        ``n_planned``, ``n_valid``, ``n_recovered``, ``n_hosts``, ``completeness``, ``low``, ``high``, ``deff``,
        ``tested`` and more over threshold, curve and the axes; ``<variable>_edges``; ``tau`` and its rates over
        threshold.
    """
    table = found["selection"].rename({v: k for k, v in _NAMES.items()})
    table["completeness"].attrs["ancillary_variables"] = "low high n_valid n_recovered n_hosts tested"
    thresholds = found["thresholds"]
    table = table.assign_coords({n: thresholds[n].variable for n in THRESHOLDS})
    for part in PARTS:
        if part in found:
            own = found[part]
            table = table.assign({f"{part}_{n}": own[n].variable for n in own.data_vars})
            attrs = {**attrs, **{f"{part}_{k}": v for k, v in own.attrs.items()}}
    return table.assign_attrs({**attrs, "bins": BINS})


def from_file(table: xr.Dataset) -> dict[str, xr.Dataset]:
    """Take the tables out of what :func:`to_file` made.

    Parameters
    ----------
    table : Dataset

    Returns
    -------
    dict of Dataset
        ``selection``, and ``smooth`` where there is one.
    """
    out = {}
    rest = table
    for part in PARTS:
        names = [str(n) for n in table.variables if str(n).startswith(f"{part}_")]
        if names:
            start = len(part) + 1
            own = xr.Dataset({n[start:]: table[n].variable for n in names}, {"curve": table["curve"].variable})
            out[part] = own.assign_attrs({k[start:]: v for k, v in table.attrs.items() if k.startswith(f"{part}_")})
            rest = rest.drop_vars(names)
    selection = rest.drop_vars(list(THRESHOLDS)).rename(_NAMES)
    selection["completeness"].attrs.pop("ancillary_variables", None)
    selection.attrs = {k: v for k, v in table.attrs.items() if k in _OF_TABLE}
    return {"selection": selection, **out}


def axes_of(table: xr.Dataset) -> dict[str, Ranges]:
    """Bins of each axis, in the order of the dimensions.

    Parameters
    ----------
    table : Dataset
        As :func:`to_file` gives.

    Returns
    -------
    dict
        Variable -> bins.
    """
    found = {}
    for dim in table["n_valid"].dims:
        if dim != "curve":
            edges = table[f"{dim}_edges"]
            found[str(dim)] = Ranges(str(dim), tuple(map(float, edges.values)), bool(edges.attrs["upper_included"]))
    return found


def grid_of(table: xr.Dataset, threshold: int, curve: str) -> Grid:
    """Arrays of one curve at one threshold.

    Parameters
    ----------
    table : Dataset
        As :func:`to_file` gives.
    threshold : int
        Its number.
    curve : str

    Returns
    -------
    Grid

    Raises
    ------
    CompletenessError
        If there is no such threshold or curve.
    """
    curves = [str(c) for c in table["curve"].values]
    if curve not in curves:
        raise CompletenessError(f"curve {curve!r}: there is none; the curves are {', '.join(curves)}")
    if not 0 <= threshold < table.sizes["threshold"]:
        raise CompletenessError(f"threshold {threshold}: there are {table.sizes['threshold']}, counted from 0")
    axes = axes_of(table)
    one = table.isel(threshold=threshold, curve=curves.index(curve))
    values = {
        n: one[n].transpose(*axes).values for n in ("completeness", "low", "high", "tested", "n_valid", "n_hosts")
    }
    return Grid(
        tuple(axes.values()), values["completeness"], values["low"], values["high"], values["tested"],
        values["n_valid"], values["n_hosts"], str(table["tested"].attrs["long_name"]),
    )  # fmt: skip
