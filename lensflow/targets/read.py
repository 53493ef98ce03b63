"""Target tables: read in chunks, select, merge duplicates, refuse invalid ones; every row is counted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import BrickCutsConfig
from lensflow.config.presets import Selection
from lensflow.errors import LensflowWarning, TargetError
from lensflow.targets.duplicates import first_of_each, repeated
from lensflow.targets.files import expand
from lensflow.targets.in_memory import Targets, table_of
from lensflow.targets.reader import Reader, as_dataset
from lensflow.targets.values import Missing


def read_targets(
    path: str | Sequence[str] | Targets,
    bands: Sequence[str] = ("g", "r", "z"),
    columns: Mapping[str, str] | None = None,
    selection: str | None = None,
    brick_cuts: BrickCutsConfig | None = None,
    missing_values: Sequence[str | float] = (),
) -> xr.Dataset:
    """Read target tables.

    Files are read in chunks of rows and the selection is applied to each chunk, so only one chunk and lensflow's
    columns of the selected rows are in memory.

    Parameters
    ----------
    path : str, sequence of str, Dataset, Table or DataFrame
        A table in memory (:mod:`lensflow.targets.in_memory`), or files: CSV (ECSV, TSV, blanks), FITS, parquet or
        VOTable, target tables or sweep and tractor catalogues; any fsspec URL, globs too. Units that a table states
        are converted. Without a host id or a brick name, both are made from the position
        (:mod:`lensflow.targets.brick_names`), and a :class:`LensflowWarning` says so.
    bands : sequence of str
        Bands whose fluxes, PSF sizes and depths are looked for (``flux_{band}_nmgy`` or ``flux_{band}``, ...).
    columns : mapping, optional
        lensflow name -> column of the table, for tables with other names.
    selection : str, optional
        Name of a preset: :class:`lensflow.config.presets.Selection`.
    brick_cuts : BrickCutsConfig, optional
        Cuts on extinction, seeing and depth.
    missing_values : sequence of str or float, optional
        Markers of a missing value besides the format's own null and the usual words (``survey.missing_values``).

    Returns
    -------
    Dataset with dim ``host`` (and ``band``)
        Variables of ``schema.TARGETS``; those of ``schema.CATALOGUE`` that a table has. Hosts are in the
        order of files and rows. In the attrs, ``n_read`` = ``n_removed`` + ``n_duplicates`` + hosts; ``removed`` is
        reason -> rows (a row counts once, under the first cut that it fails); ``notes`` lists what was computed,
        ``computed_bricks`` whether brick names were.

    Raises
    ------
    TargetError
        If a table cannot be read, there are no rows, none is left, a column is missing, a position is invalid, or one
        id has two positions.
    """
    if selection is not None:
        Selection.named(selection)  # known, before a file is read
    reader = Reader(tuple(bands), dict(columns or {}), Missing.of(missing_values), selection, brick_cuts)
    if isinstance(path, str) or (isinstance(path, list | tuple) and all(isinstance(p, str) for p in path)):
        paths = expand(path)
        for p in paths:
            reader.read(p)
        shown = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    else:
        table = table_of(path)
        reader.take(iter([table]))
        shown = table.path
    if reader.n_read == 0:
        raise TargetError(f"{shown}: the target table is empty. Give a table with at least one host.")
    n_kept = reader.n_read - sum(reader.removed.values())
    if n_kept == 0:
        why = ", ".join(f"{k} {n:,}" for k, n in reader.removed.items() if n)
        raise TargetError(f"{shown}: none of {reader.n_read:,} rows is selected ({why}). Check survey.selection.")
    values = reader.values()
    keep = first_of_each(values["host_id"], values["ra_deg"], values["dec_deg"])
    if not keep.all():
        values = {name: v[keep] for name, v in values.items()}
    _refuse_ambiguous_ids(shown, values)
    for note in reader.notes:
        warnings.warn(note, LensflowWarning, stacklevel=2)
    out = as_dataset(values, shown, bands)
    removed = {k: n for k, n in reader.removed.items() if n}
    out.attrs.update(
        source=shown,
        n_read=reader.n_read,
        n_removed=sum(removed.values()),
        removed=removed,
        n_duplicates=int((~keep).sum()),
        notes=reader.notes,
        computed_bricks=reader.computed_bricks,
    )
    return out


def _refuse_ambiguous_ids(path: str, values: Mapping[str, NDArray]) -> None:
    host_id = values["host_id"]
    again = repeated(host_id)
    if again.size:
        name = host_id[again[0]]
        rows = np.flatnonzero(host_id == name)
        first, second = (f"({values['ra_deg'][i]:.5f}, {values['dec_deg'][i]:.5f})" for i in rows[:2])
        raise TargetError(
            f"{path}: host_id {name.decode('utf-8', 'replace')!r} names {rows.size} different positions, {first} and "
            f"{second}. Ids must be unique over the whole table: map another column with survey.columns: {{host_id: "
            "COLUMN}."
        )
