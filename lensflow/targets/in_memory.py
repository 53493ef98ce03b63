"""Target tables in memory, presented to the reader like files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import TargetError
from lensflow.targets.files import Chunk, TableFile

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table

    Targets: TypeAlias = xr.Dataset | Table | pd.DataFrame
else:
    Targets = Any

# Variables of lensflow's own targets with a value per band, and the columns that tables have instead.
_PER_BAND = {
    "flux_nmgy": "flux_{}_nmgy",
    "catalogue_psfsize_arcsec": "psfsize_{}_arcsec",
    "psfdepth_mag": "psfdepth_{}_mag",
}


def table_of(targets: Any) -> TableFile:
    """Wrap a table in memory for the reader; columns are checked when they are read.

    Parameters
    ----------
    targets : Dataset, Table or DataFrame
        An xarray Dataset with a variable or coordinate per column along one dim (``host``, if there are several);
        an astropy Table or QTable; a pandas DataFrame, whose named index counts as a column.

    Raises
    ------
    TargetError
        If it is none of these, or its columns are ambiguous.
    """
    if isinstance(targets, xr.Dataset):
        return _of_dataset(targets)
    import pandas as pd  # xarray's own
    from astropy.table import Table

    if isinstance(targets, Table):
        return _of_table(targets)
    if isinstance(targets, pd.DataFrame):
        return _of_frame(targets)
    raise TargetError(
        f"targets: a {type(targets).__module__}.{type(targets).__name__} is no table that lensflow reads. Give an "
        "xarray Dataset, an astropy Table or a pandas DataFrame; files are named in survey.targets."
    )


def _of_dataset(targets: xr.Dataset) -> TableFile:
    dims = {v.dims[0] for v in targets.variables.values() if v.ndim == 1}
    per_band = [n for n in _PER_BAND if n in targets and targets[n].ndim == 2]
    dim = "host" if "host" in dims else next(iter(dims), None)
    if dim is None or (dim != "host" and len(dims) > 1):
        raise TargetError(
            f"targets (xarray Dataset): columns are variables along one dim; this one has "
            f"{', '.join(sorted(map(str, dims))) or 'none'}. Rename the dim of the hosts to 'host', or select."
        )
    columns: dict[str, xr.DataArray] = {str(n): targets[n] for n, v in targets.variables.items() if v.dims == (dim,)}
    for name in per_band:
        if "band" not in targets.coords or set(targets[name].dims) != {dim, "band"}:
            raise TargetError(
                f"targets (xarray Dataset): {name} has dims {targets[name].dims}; it needs ({dim!r}, 'band') and a "
                "coordinate band."
            )
        for band in targets["band"].values.astype(str):
            column = _PER_BAND[name].format(band)
            if column in columns:
                raise TargetError(f"targets (xarray Dataset): both {column} and {name} are there. Drop one.")
            columns[column] = targets[name].sel(band=band)
    units = {n: str(c.attrs["units"]) for n, c in columns.items() if c.attrs.get("units")}
    return _table("xarray Dataset", targets.sizes[dim], tuple(columns), lambda n: np.asarray(columns[n].values), units)


def _of_table(targets: Table) -> TableFile:
    # Quantities and columns; others (SkyCoord, Time) are not numbers or text.
    columns = {n: targets[n] for n in targets.colnames if isinstance(targets[n], np.ndarray)}
    units = {n: str(c.unit) for n, c in columns.items() if getattr(c, "unit", None) is not None}

    def values(name: str) -> NDArray[Any]:
        column = columns[name]
        plain = np.asarray(getattr(column, "unmasked", getattr(column, "data", column)))
        if isinstance(column, np.ma.MaskedArray):
            plain = np.ma.getdata(column)
        plain = plain.view(np.ndarray)
        if plain.dtype.kind != "O":
            plain = plain.astype(plain.dtype.newbyteorder("="))
        mask = getattr(column, "mask", None)
        return plain if mask is None else np.ma.MaskedArray(plain, mask=np.asarray(mask))

    return _table("astropy Table", len(targets), tuple(columns), values, units)


def _of_frame(targets: pd.DataFrame) -> TableFile:
    what = "pandas DataFrame"
    odd = [c for c in targets.columns if not isinstance(c, str)]
    if odd:
        raise TargetError(
            f"targets ({what}): column {odd[0]!r} has no text for a name. Name it with df.columns = [...]."
        )
    levels = {
        level: targets.index.get_level_values(k) for k, level in enumerate(targets.index.names) if level is not None
    }
    nameless = [targets.index.get_level_values(k) for k, n in enumerate(targets.index.names) if n is None]
    if any(pa.types.is_string(t) or pa.types.is_large_string(t) for t in (pa.array(i[:1]).type for i in nameless)):
        raise TargetError(
            f"targets ({what}): its index has texts and no name. If they are ids: df.rename_axis('host_id'); if not: "
            "df.reset_index(drop=True)."
        )
    names = (*map(str, levels), *targets.columns)

    def values(name: str) -> Any:
        column = levels[name] if name in levels else targets[name]
        # Objects may be of several types; what reads columns of objects of other tables looks at each.
        return np.asarray(column, object) if column.dtype == object else pa.array(column, from_pandas=True)

    return _table(what, len(targets), names, values, {})


def _table(
    what: str, n: int, names: tuple[str, ...], values: Callable[[str], Any], units: Mapping[str, str]
) -> TableFile:
    path = f"targets ({what})"

    def read(wanted: Sequence[str]) -> Iterator[Chunk]:
        chunk = {}
        for name in wanted:
            try:
                with warnings.catch_warnings(action="ignore"):
                    chunk[name] = values(name)
            except Exception as error:  # objects of any type can stand in a column
                raise TargetError(f"{path}: {name} cannot be read ({type(error).__name__}: {error}).") from error
            if len(chunk[name]) != n:
                raise TargetError(f"{path}: {name} has {len(chunk[name])} rows, the table {n}.")
        if n and chunk:
            yield chunk

    return TableFile(path, names, read, units)
