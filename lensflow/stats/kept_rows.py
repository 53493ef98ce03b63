"""Rows that are kept as they are: a Dataset, joined with the rows of other pairs and never summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import GateError

Tidy = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows kept of some pairs; a measurement whose sum is the rows of both.

    Attributes
    ----------
    rows : Dataset
        In memory.
    along : tuple of str
        Dimensions that rows are joined along, say one of injections and one of hosts. Every variable has one of them.
    tidy : callable, optional
        A function of a module that orders joined rows and drops or merges those that several parts have.
    """

    rows: xr.Dataset
    along: tuple[str, ...] = ("sample",)
    tidy: Tidy | None = None

    def __post_init__(self) -> None:
        odd = [str(n) for n, v in self.rows.data_vars.items() if len({*v.dims} & {*self.along}) != 1]
        if odd:
            raise ValueError(f"kept rows: {', '.join(odd)}: must run along one of {', '.join(self.along)}")

    def __add__(self, other: KeptRows) -> KeptRows:
        return self.concat([self, other])

    def __reduce__(self) -> tuple[Any, ...]:
        # Next to nothing beside the arrays; xarray's own pickle adds 70 bytes a column.
        columns = {n: (v.dims, v.values, v.attrs or None) for n, v in self.rows.variables.items()}
        return _restored, (columns, [*self.rows.coords], self.rows.attrs, self.along, self.tidy)

    @staticmethod
    def concat(parts: Iterable[KeptRows]) -> KeptRows:
        """Join the rows of several parts, in their order unless ``tidy`` has another.

        Raises
        ------
        GateError
            If there are none, or if they differ in columns, units or what the columns run over: xarray would fill
            columns that some lack, and widen their types.
        """
        every = list(parts)
        if not every:
            raise GateError("no rows to join")
        first, layout = every[0], _layout(every[0])
        for part in every[1:]:
            if (found := _layout(part)) != layout:
                odd = sorted(k for k in layout.keys() | found.keys() if layout.get(k) != found.get(k))
                raise GateError(
                    f"rows of different layout cannot be joined: {', '.join(odd)}. Measure all pairs with the same "
                    "settings"
                )
        try:
            joined, *others = (
                _joined([p.rows.drop_dims({*first.along} - {dim}) for p in every], dim) for dim in first.along
            )
            for other in others:
                joined = joined.merge(other, compat="identical", join="exact")
        except ValueError as error:  # coordinates or attributes differ
            raise GateError(f"rows of different pairs cannot be joined: {error}") from error
        return KeptRows(joined if first.tidy is None else first.tidy(joined), first.along, first.tidy)


def _joined(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    # As xr.concat does of parts with one layout, which looks at every column of every part several times.
    if len(parts) == 1:
        return parts[0]
    first, columns = parts[0], {}
    if not all(_same_attrs(first.attrs, p.attrs) for p in parts[1:]):
        raise ValueError("their attributes differ")
    for name, v in first.variables.items():
        each = [p.variables[name] for p in parts]
        if dim not in v.dims:
            if not all(v.identical(other) for other in each[1:]):
                raise ValueError(f"{name} differs")
            columns[name] = v
            continue
        if not all(_same_attrs(v.attrs, other.attrs) for other in each[1:]):
            raise ValueError(f"{name} has other attributes ({', '.join(map(str, v.attrs))})")
        values = np.concatenate([other.values for other in each], axis=v.dims.index(dim))
        columns[name] = xr.Variable(v.dims, values, v.attrs)
    coords = {n: columns.pop(n) for n in first.coords}
    return xr.Dataset(columns, coords=coords, attrs=first.attrs)


def _same_attrs(a: dict[Any, Any], b: dict[Any, Any]) -> bool:
    return a.keys() == b.keys() and all(a[k] is b[k] or np.array_equal(a[k], b[k]) for k in a)


def _layout(part: KeptRows) -> dict[str, Any]:
    """Dimensions and type of every column; strings may differ in length."""
    columns = {
        str(n): (v.dims, v.dtype.kind if v.dtype.kind == "U" else v.dtype) for n, v in part.rows.variables.items()
    }
    return columns | {f"size of {d}": n for d, n in part.rows.sizes.items() if d not in part.along}


def _restored(
    columns: dict[Any, Any], coords: list[Any], attrs: dict[Any, Any], along: tuple[str, ...], tidy: Tidy | None
) -> KeptRows:
    return KeptRows(xr.Dataset(columns, attrs=attrs).set_coords(coords), along, tidy)


def first_of_host(host_index: NDArray[Any], row_id: NDArray[Any]) -> NDArray[np.int64]:
    """Row with the lowest id of each host, hosts sorted: the same one whatever block the host's rows came in."""
    order = np.lexsort((row_id, host_index))
    return order[np.unique(host_index[order], return_index=True)[1]]
