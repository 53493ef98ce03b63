"""Points of a parameter space, from a mapping, a table or a Dataset, brought to one shape; none is dropped."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from lensflow.errors import CompletenessError, did_you_mean


@dataclass(frozen=True, eq=False)
class Points:
    """Values of the axes at some points.

    Attributes
    ----------
    arrays : tuple of array
        One per axis, all of one shape: numpy's, masked, or Dask's.
    dims : tuple of hashable
        Names of that shape's dimensions.
    coords : mapping
        Coordinates that go with them.
    """

    arrays: tuple[Any, ...]
    dims: tuple[Hashable, ...]
    coords: Mapping[Hashable, Any]

    @property
    def is_lazy(self) -> bool:
        """Whether they are Dask arrays."""
        return any(isinstance(a, da.Array) for a in self.arrays)


def points_of(points: Any, axes: Mapping[str, str]) -> Points:
    """Take points.

    Parameters
    ----------
    points : mapping of arrays, DataFrame, Dataset or astropy Table
        Name -> values; those of a mapping are broadcast as numpy does. Each must be an axis, and each axis must be
        there.
    axes : mapping
        Name of each axis -> its units.

    Returns
    -------
    Points
        Along ``point`` where the values are one-dimensional and have no named dimensions.

    Raises
    ------
    CompletenessError
        If a variable is missing or is no axis, is not a number, or has other units; lists the axes.
    """
    if isinstance(points, xr.Dataset):
        _check_names(points.data_vars, axes, points.variables)
        return _of_dataarrays({n: points[n] for n in axes}, axes)
    if isinstance(points, pd.DataFrame):
        _check_names(points.columns, axes)
        twice = [n for n in axes if (points.columns == n).sum() > 1]
        if twice:
            raise CompletenessError(f"points: {', '.join(twice)} stands twice in the table")
        many = isinstance(points.index, pd.MultiIndex)
        coords: dict[Hashable, Any] = {} if many else {"point": np.asarray(points.index)}
        arrays = [_numbers(n, _of_series(points[n]), axes) for n in axes]
        return Points(tuple(arrays), ("point",), coords)
    if hasattr(points, "colnames"):
        points = {name: points[name] for name in points.colnames}
    if not isinstance(points, Mapping):
        raise CompletenessError(
            f"points: a mapping of arrays, a DataFrame or a Dataset with {_listed(axes)}, not {type(points).__name__}"
        )
    _check_names(points, axes)
    if any(isinstance(points[n], xr.DataArray) for n in axes):
        return _of_dataarrays(
            {n: points[n] if isinstance(points[n], xr.DataArray) else xr.DataArray(points[n]) for n in axes}, axes
        )
    given = [_numbers(n, points[n], axes) for n in axes]
    shape = _shape(dict(zip(axes, given, strict=True)))
    dims = ("point",) if len(shape) == 1 else tuple(f"dim_{k}" for k in range(len(shape)))
    return Points(tuple(_broadcast(a, shape) for a in given), dims, {})


def _of_dataarrays(found: Mapping[str, xr.DataArray], axes: Mapping[str, str]) -> Points:
    for name, one in found.items():
        _check_units(name, one.attrs.get("units"), axes)
    together = xr.broadcast(*found.values())
    first = together[0]
    arrays = [_numbers(n, one.transpose(*first.dims).data, axes) for n, one in zip(axes, together, strict=True)]
    return Points(tuple(arrays), first.dims, {k: v for k, v in first.coords.items() if k not in axes})


def _check_names(given: Iterable[Hashable], axes: Mapping[str, str], known: Iterable[Hashable] | None = None) -> None:
    names = [*map(str, given)]
    missing = [n for n in axes if n not in (names if known is None else {*map(str, known)})]
    more = [n for n in names if n not in axes]
    if missing:
        near = did_you_mean(missing[0], more) if more else ""
        raise CompletenessError(f"points lack {', '.join(missing)}.{near} The axes are {_listed(axes)}")
    if more:
        raise CompletenessError(
            f"points: {', '.join(more[:5])}{' ...' if len(more) > 5 else ''} is no axis: the selection function "
            f"averages over it as the injections did. Leave it out; the axes are {_listed(axes)}"
        )


def _numbers(name: str, values: Any, axes: Mapping[str, str]) -> Any:
    _check_units(name, getattr(values, "unit", None), axes)
    array = values if isinstance(values, da.Array | np.ma.MaskedArray) else np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise CompletenessError(f"points: {name} are numbers, not {array.dtype}; the axes are {_listed(axes)}")
    return array


def _of_series(column: pd.Series) -> Any:
    # What pandas calls missing is NaN, which is refused where the value is needed.
    extension = isinstance(column.dtype, pd.api.extensions.ExtensionDtype)
    if extension and pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy()


def _check_units(name: str, units: Any, axes: Mapping[str, str]) -> None:
    given, wanted = str(units or ""), axes[name]
    if given and given != wanted and not {given, wanted} <= {"", "1", "dimensionless"}:
        raise CompletenessError(
            f"points: {name} is in {given}, the axis is in {wanted or 'no units'}: convert it first"
        )


def _shape(given: Mapping[str, Any]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(a.shape for a in given.values()))
    except ValueError:
        shapes = ", ".join(f"{n} {a.shape}" for n, a in given.items())
        raise CompletenessError(f"points: these shapes do not fit together: {shapes}") from None


def _broadcast(array: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(array, da.Array):
        return da.broadcast_to(array, shape)
    return np.broadcast_to(array, shape, subok=True)


def _listed(axes: Mapping[str, str]) -> str:
    return ", ".join(f"{n} [{u}]" if u and u != "1" else n for n, u in axes.items())
