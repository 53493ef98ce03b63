"""Check computed brick names against the survey's own table of bricks."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lensflow.config.place import join, parent
from lensflow.errors import TargetError
from lensflow.targets.columns import Column, choose
from lensflow.targets.files import open_tables

_NAMES = ("survey-bricks.fits.gz", "survey-bricks.fits")
_EDGES = (Column("ra1", unit="deg", required=True), Column("ra2", unit="deg", required=True),
          Column("dec1", unit="deg", required=True), Column("dec2", unit="deg", required=True))  # fmt: skip


def brick_tables(root: str) -> list[str]:
    """Possible locations of a survey's table of bricks: its folder or the one above (``dr9/south``)."""
    folders = (root, parent(root)) if "/" in root.rstrip("/") else (root,)
    return [join(folder, name) for folder in folders for name in _NAMES]


def check_computed_bricks(targets: xr.Dataset, table: str) -> None:
    """Compare brick names that were computed from positions with the survey's table.

    Parameters
    ----------
    targets : Dataset
        As read; names from a column are not checked.
    table : str
        One of :func:`brick_tables` that exists.

    Raises
    ------
    TargetError
        If the table has another brick at a target's position; names the first such host.
    """
    names, inverse = np.unique(targets["brickname"].values.astype("S8"), return_inverse=True)
    inside = np.full((len(names), 4), np.nan)
    with open_tables(table, "survey.root") as tables:
        columns = choose(tables, [Column("brickname", is_text=True, required=True), *_EDGES], {})
        for chunk in columns.table.read(columns.file_columns):
            of_survey = columns.texts(chunk, "brickname")
            place = np.minimum(np.searchsorted(names, of_survey), len(names) - 1)
            ours = names[place] == of_survey
            inside[place[ours]] = np.stack([columns.numbers(chunk, c.name) for c in _EDGES], axis=1)[ours]
    ra1, ra2, dec1, dec2 = inside[inverse].T
    ra, dec = targets["ra_deg"].values % 360, targets["dec_deg"].values
    tolerance = 1e-6  # the table's edges are rounded
    held = (ra >= ra1 - tolerance) & (ra <= ra2 + tolerance) & (dec >= dec1 - tolerance) & (dec <= dec2 + tolerance)
    if not held.all():
        row = int(np.argmin(held))
        brick = targets["brickname"].values[row]
        raise TargetError(
            f"{table}: has no brick {brick!s} at ({ra[row]:.5f}, {dec[row]:.5f}), where host "
            f"{targets['host_id'].values[row]!s} lies ({int((~held).sum()) - 1} other(s) alike). The bricks of this "
            "survey are not the Legacy Surveys': give the targets a column of brick names, survey.columns: "
            "{brickname: COLUMN}."
        )
