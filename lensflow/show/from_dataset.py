"""Tables of a measurement that has none of its own: every number of its Dataset, with its interval where it has one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from lensflow.measure.pixels import DIAGNOSTICS
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


def from_elsewhere(results: Mapping[str, xr.Dataset]) -> list[Table]:
    """Tables of the diagnostics that are not lensflow's own (``diagnostics.also``)."""
    return [
        table
        for name, ds in results.items()
        if name not in DIAGNOSTICS
        for table in from_dataset(ds, str(ds.attrs.get("title") or name.replace("_", " ")))
    ]


def _names(ds: xr.Dataset) -> list[str]:
    """Variables without the ends of their intervals."""
    every = [str(n) for n in ds.data_vars]
    ends = {f"{n}{end}" for n in every if _has_interval(ds, n) for end in ("_low", "_high")}
    return [n for n in every if n not in ends]


def _has_interval(ds: xr.Dataset, name: str) -> bool:
    return all(e in ds and ds[e].dims == ds[name].dims for e in (f"{name}_low", f"{name}_high"))


def _scalars(ds: xr.Dataset, title: str, names: list[str]) -> Table:
    rows = [(_in_words(n), _values(ds, n, ())[()], unit(ds[n].attrs.get("units", ""))) for n in names]
    return Table(title, [words("quantity"), "value", words("unit")], rows, _notes(ds, names))


def _table(ds: xr.Dataset, title: str, dims: Dims, names: list[str]) -> Table:
    labels = [[_label(v) for v in ds[d].values] for d in dims]
    values = [_values(ds, n, dims) for n in names]
    rows = [
        (*(label[k] for label, k in zip(labels, at, strict=True)), *(v[at] for v in values))
        for at in np.ndindex(*(ds.sizes[d] for d in dims))
    ]
    columns = [words(_in_words(str(d))) for d in dims]
    columns += [
        Column(_in_words(n), unit(ds[n].attrs.get("units", "")), words=ds[n].dtype.kind in "USO") for n in names
    ]
    return Table(title, columns, rows, _notes(ds, names), groups=len(dims) > 1)


def _values(ds: xr.Dataset, name: str, dims: Dims) -> np.ndarray:
    """Cells over ``dims``."""
    parts = []
    for n in (name, f"{name}_low", f"{name}_high") if _has_interval(ds, name) else (name,):
        own = [d for d in dims if d in ds[n].dims]
        found = ds[n].transpose(*own).values
        spread = found.reshape([ds.sizes[d] if d in own else 1 for d in dims])
        parts.append(np.broadcast_to(spread, [ds.sizes[d] for d in dims]))
    cells = np.empty(parts[0].shape, dtype=object)
    for at in np.ndindex(cells.shape):
        if len(parts) > 1:
            value, low, high = (float(p[at]) for p in parts)
            cells[at] = Estimate(value, low, high)
        else:
            cells[at] = parts[0][at] if parts[0].dtype.kind in "biuf" else str(parts[0][at])
    return cells


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _notes(ds: xr.Dataset, names: list[str]) -> str:
    notes = [f"{_in_words(n)}: {ds[n].attrs['long_name']}" for n in names if ds[n].attrs.get("long_name")]
    return "; ".join(notes) + "." if notes else ""
