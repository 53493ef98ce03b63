"""Sky area of a survey by seeing and depth, from its table of bricks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import TargetError
from lensflow.targets.brick_names import BRICK_DEG, brick_names
from lensflow.targets.columns import Column, choose, looks_like_magnitudes
from lensflow.targets.files import open_tables

Floats = NDArray[np.float64]

_EDGES = ("ra1", "ra2", "dec1", "dec2")


@dataclass(frozen=True, eq=False)
class BrickAreas:
    """Bricks of a survey that were observed in a band.

    Attributes
    ----------
    path : str
    names : ndarray of bytes, shape (n,)
        Sorted.
    area_deg2 : ndarray, shape (n,)
        Of the whole brick; what is masked in it is not taken off.
    psfsize_arcsec, psfdepth_mag : ndarray, shape (n,)
    unobserved_deg2 : float
        Area of bricks of the table without an exposure in the band (PSF size or depth not above 0).
    """

    path: str
    names: NDArray[np.bytes_]
    area_deg2: Floats
    psfsize_arcsec: Floats
    psfdepth_mag: Floats
    unobserved_deg2: float

    def rows(self, brickname: NDArray) -> NDArray[np.int64]:
        """Row of each brick, -1 for those that the table lacks."""
        # At its own width: a longer name cut to the table's would be another brick's.
        wanted = np.asarray(brickname).astype("S")
        at = np.minimum(np.searchsorted(self.names, wanted), len(self.names) - 1)
        return np.where(self.names[at] == wanted, at, -1)


def read_brick_areas(path: str, band: str, setting: str = "completeness.brick_table") -> BrickAreas:
    """Read the area, PSF size and depth of every brick of a survey.

    Parameters
    ----------
    path : str
        FITS, parquet or CSV: ``brickname``, ``psfsize_{band}`` (arcsec), ``psfdepth_{band}`` (AB magnitudes), and
        ``area_deg2``, or ``ra1, ra2, dec1, dec2`` (deg), or ``ra, dec`` of the Legacy Surveys' bricks.
    band : str
    setting : str
        For messages.

    Returns
    -------
    BrickAreas

    Raises
    ------
    TargetError
        If a column is missing, a brick has two rows or no area, depths are no magnitudes, or no brick was observed.
    """
    optional = [Column("area_deg2", unit="deg2"), *(Column(n, unit="deg") for n in (*_EDGES, "ra", "dec"))]
    needed = [
        Column("brickname", is_text=True, required=True),
        Column("psfsize", (f"psfsize_{band}",), required=True, unit="arcsec"),
        Column("psfdepth", (f"psfdepth_{band}",), required=True, unit="mag"),
    ]
    with open_tables(path, setting) as tables:
        columns = choose(tables, [*needed, *optional], {}, mapped_by=setting)
        numbers = [c.name for c in (*needed[1:], *optional) if c.name in columns]
        parts: dict[str, list[NDArray]] = {n: [] for n in ("brickname", *numbers)}
        for chunk in columns.table.read(columns.file_columns):
            parts["brickname"].append(columns.texts(chunk, "brickname"))
            for name in numbers:
                parts[name].append(columns.numbers(chunk, name))
    if not parts["brickname"] or not sum(map(len, parts["brickname"])):
        raise TargetError(f"{path}: the table of bricks is empty. Check {setting}.")
    table = {k: np.concatenate(v) for k, v in parts.items()}
    order = np.argsort(table["brickname"], kind="stable")
    table = {k: v[order] for k, v in table.items()}
    names = table["brickname"]
    twice = np.flatnonzero(names[1:] == names[:-1])
    if twice.size:
        raise TargetError(f"{path}: brick {names[twice[0]].decode()} has more than one row: its area would count twice")
    area = _areas(table, path)
    size, depth = table["psfsize"], table["psfdepth"]
    observed = (size > 0) & (depth > 0)
    if not observed.any():
        raise TargetError(f"{path}: no brick has a PSF size and a depth in {band} above 0")
    if not looks_like_magnitudes(depth[observed]):
        raise TargetError(
            f"{path}: psfdepth_{band} is {np.median(depth[observed]):g} in the median: no magnitude. Give the 5-sigma "
            "depth of point sources in AB magnitudes, as the survey's tables of bricks have it"
        )
    return BrickAreas(
        path, names[observed], area[observed], size[observed], depth[observed], float(area[~observed].sum())
    )


def _areas(table: dict[str, NDArray], path: str) -> Floats:
    """Area of each brick in square degrees: as given, from its edges, or of the Legacy Surveys' brick at its centre."""
    if "area_deg2" in table:
        area = table["area_deg2"]
    elif set(_EDGES) <= set(table):
        area = _between(*(table[n] for n in _EDGES))
    elif {"ra", "dec"} <= set(table):
        other = brick_names(table["ra"] % 360, table["dec"]) != table["brickname"]
        if other.any():
            row = int(np.argmax(other))
            raise TargetError(
                f"{path}: brick {table['brickname'][row].decode()} at ({table['ra'][row]:.5f}, "
                f"{table['dec'][row]:.5f}) is none of the Legacy Surveys': give ra1, ra2, dec1, dec2 or area_deg2"
            )
        area = legacy_area_deg2(table["dec"])
    else:
        raise TargetError(f"{path}: the area of a brick needs area_deg2, or ra1, ra2, dec1, dec2, or ra and dec")
    wrong = ~(np.isfinite(area) & (area > 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TargetError(f"{path}: brick {table['brickname'][row].decode()} has an area of {area[row]:g} deg^2")
    return np.asarray(area, dtype=np.float64)


def legacy_area_deg2(dec_deg: Floats) -> Floats:
    """Area of the Legacy Surveys' brick that contains each position: a row of 0.25 deg, divided evenly in RA.

    Parameters
    ----------
    dec_deg : ndarray, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n,)
        Square degrees. The division is that of :func:`lensflow.targets.brick_names.brick_names`.
    """
    half = BRICK_DEG / 2
    row = np.floor((dec_deg + 90 + half) / BRICK_DEG)
    centre = -90 + BRICK_DEG * row
    columns = 2 * np.ceil(360 / BRICK_DEG * np.cos(np.deg2rad(np.abs(centre) - half)) / 2)
    columns = np.where(np.abs(centre) > 90 - half, 1, columns)
    low, high = np.maximum(centre - half, -90), np.minimum(centre + half, 90)
    return _between(np.zeros_like(centre), 360 / columns, low, high)


def _between(ra1: Floats, ra2: Floats, dec1: Floats, dec2: Floats) -> Floats:
    sines = np.sin(np.deg2rad(dec2)) - np.sin(np.deg2rad(dec1))
    return np.asarray(np.rad2deg(sines) * (ra2 - ra1))
