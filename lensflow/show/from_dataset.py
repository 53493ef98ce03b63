"""Tables of a measurement that has none of its own: every number of its Dataset, with its interval where it has one."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from lensflow.show.numbers import unit
from lensflow.show.table import Column, Table, words
from lensflow.stats.estimate import Estimate

Dims = tuple[Hashable, ...]


def from_dataset(ds: xr.Dataset, title: str = "") -> tuple[Table, ...]:
    """Show a Dataset: a row for each place, a column for each variable.

    Parameters
    ----------
    ds : Dataset
        Variables ``x``, ``x_low``, ``x_high`` over the same dims become one column of values with intervals; others
        stay as they are. Attrs ``units`` stand in the heads, ``long_name`` in the notes.
    title : str
        ``ds.attrs["title"]`` without.

    Returns
    -------
    tuple of Table
        One for the numbers without dims, and one for each set of dims that is not part of another; a variable with
        fewer dims is repeated along the others. Empty for a Dataset without variables.
    """
    title = title or str(ds.attrs.get("title", ""))
    names = _names(ds)
    every = list(dict.fromkeys(ds[n].dims for n in names if ds[n].dims))
    largest = [d for k, d in enumerate(every) if not any(set(d) < set(e) for e in every)
               and not any(set(d) == set(e) for e in every[:k])]  # fmt: skip
    of: dict[Dims, list[str]] = {(): [], **{d: [] for d in largest}}
    for n in names:
        dims = ds[n].dims
        of[next((d for d in largest if set(dims) <= set(d)), ()) if dims else ()].append(n)
    return tuple(_scalars(ds, title, of[d]) if not d else _table(ds, title, d, of[d]) for d in of if of[d])


def _names(ds: xr.Dataset) -> list[str]:
    """Variables without the ends of their intervals."""
    every = [str(n) for n in ds.data_vars]
    ends = {f"{n}{end}" for n in every if _has_interval(ds, n) for end in ("_low", "_high")}
    return [n for n in every if n not in ends]


def _has_interval(ds: xr.Dataset, name: str) -> bool:
    return all(e in ds and ds[e].dims == ds[name].dims for e in (f"{name}_low", f"{name}_high"))


def _scalars(ds: xr.Dataset, title: str, names: list[str]) -> Table:
    rows = [(_in_words(n), _value(ds, n, {}), unit(ds[n].attrs.get("units", ""))) for n in names]
    return Table(title, [words("quantity"), "value", words("unit")], rows, _notes(ds, names))


def _table(ds: xr.Dataset, title: str, dims: Dims, names: list[str]) -> Table:
    rows = []
    for at in itertools.product(*(range(ds.sizes[d]) for d in dims)):
        place = dict(zip(dims, at, strict=True))
        labels = [_label(ds[d].values[k]) if d in ds.coords else str(k) for d, k in place.items()]
        rows.append((*labels, *(_value(ds, n, place) for n in names)))
    columns = [words(_in_words(str(d))) for d in dims]
    columns += [
        Column(_in_words(n), unit(ds[n].attrs.get("units", "")), words=ds[n].dtype.kind in "USO") for n in names
    ]
    return Table(title, columns, rows, _notes(ds, names), groups=len(dims) > 1)


def _value(ds: xr.Dataset, name: str, place: dict[Hashable, int]) -> Any:
    def one(n: str) -> Any:
        found = ds[n].isel({d: k for d, k in place.items() if d in ds[n].dims}).values[()]
        return found if isinstance(found, np.number | np.bool_) else str(found)

    if not _has_interval(ds, name):
        return one(name)
    return Estimate(float(one(name)), float(one(f"{name}_low")), float(one(f"{name}_high")))


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _notes(ds: xr.Dataset, names: list[str]) -> str:
    said = [f"{_in_words(n)}: {ds[n].attrs['long_name']}" for n in names if ds[n].attrs.get("long_name")]
    return "; ".join(said) + "." if said else ""
