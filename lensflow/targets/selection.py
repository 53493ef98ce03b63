"""Selection of hosts from a catalogue: named LRG selections, and cuts on the brick's observing conditions.

Magnitudes are raw: 22.5 - 2.5 log10(flux in nMgy), not corrected for extinction. Inequalities of the selections are
strict; brick cuts include their limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from lensflow.config import BrickCutsConfig
from lensflow.config.presets import Selection
from lensflow.errors import TargetError
from lensflow.targets.columns import Column, choose
from lensflow.targets.files import open_tables
from lensflow.units import mag_of_flux

SELECTION_BANDS = ("r", "z", "w1")
SELECTION_COLUMNS = ("type", *(f"flux_{b}_nmgy" for b in SELECTION_BANDS))

Cuts = Iterator[tuple[str, NDArray[np.bool_]]]


def selection_cuts(name: str, type_: NDArray[np.bytes_], flux_nmgy: Mapping[str, NDArray[np.float64]]) -> Cuts:
    """Cuts of a named selection, in the order in which rows are counted.

    Parameters
    ----------
    name : str
        Of a preset: :class:`lensflow.config.presets.Selection`.
    type_ : ndarray of bytes, shape (n,)
        Tractor's morphological type.
    flux_nmgy : mapping
        Band (r, z, w1) -> ndarray, shape (n,).

    Yields
    ------
    reason, fails : str, ndarray of bool
        The reason, and the rows that fail this cut.
    """
    limits = Selection.named(name)
    yield "TYPE is PSF", type_ == b"PSF"
    mag = {}
    for band in SELECTION_BANDS:
        flux = flux_nmgy[band]
        good = np.isfinite(flux) & (flux > 0)
        yield f"no flux > 0 in {band}", ~good
        mag[band] = mag_of_flux(np.where(good, flux, 1.0))
    yield f"not z < {limits.max_z:g}", ~(mag["z"] < limits.max_z)
    yield f"not r-z > {limits.min_r_z:g}", ~(mag["r"] - mag["z"] > limits.min_r_z)
    yield f"not z-W1 > {limits.min_z_w1:g}", ~(mag["z"] - mag["w1"] > limits.min_z_w1)


def brick_cuts(cuts: BrickCutsConfig, values: Mapping[str, NDArray[np.float64]]) -> Cuts:
    """Cuts on extinction, seeing and depth; ``values`` as :func:`brick_quantities` names them."""
    for name, (limit, sign) in brick_quantities(cuts).items():
        unknown = ~np.isfinite(values[name])
        yield f"{name} unknown", unknown
        yield f"{name} {'>' if sign > 0 else '<'} {limit:g}", ~unknown & (sign * values[name] > sign * limit)


def brick_quantities(cuts: BrickCutsConfig) -> dict[str, tuple[float, int]]:
    """Return the quantities with a cut: limit, and 1 for an upper or -1 for a lower one."""
    every = {
        "ebv": (cuts.max_ebv, 1),
        "psfsize_r_arcsec": (cuts.max_psfsize_r_arcsec, 1),
        "psfdepth_r_mag": (cuts.min_psfdepth_r_mag, -1),
    }
    return {name: (limit, sign) for name, (limit, sign) in every.items() if limit is not None}


class BrickTable:
    """A survey-bricks table: one row a brick, with ebv, and psfsize and psfdepth per band.

    Parameters
    ----------
    path : str
        FITS, parquet or CSV with ``brickname``, and ``ebv``, ``psfsize_{b}`` (arcsec), ``psfdepth_{b}`` (AB
        magnitudes, as in the survey's own bricks tables), if there is a cut on them.
    cuts : BrickCutsConfig
    bands : sequence of str
        Bands whose PSF size and depth are read if the table has them.

    Raises
    ------
    TargetError
        If a column is missing, the table is empty, or a brick has two rows.
    """

    def __init__(self, path: str, cuts: BrickCutsConfig, bands: tuple[str, ...]):
        needed = brick_quantities(cuts)
        wanted = [Column("brickname", is_text=True, required=True), Column("ebv", required="ebv" in needed, unit="mag")]
        for b in dict.fromkeys((*bands, "r")):
            for name, short, unit in ((f"psfsize_{b}_arcsec", f"psfsize_{b}", "arcsec"),
                                      (f"psfdepth_{b}_mag", f"psfdepth_{b}", "mag")):  # fmt: skip
                wanted.append(Column(name, (short,), required=name in needed, unit=unit))
        parts: dict[str, list[NDArray]] = {c.name: [] for c in wanted}
        with open_tables(path, "survey.brick_cuts.table") as tables:
            columns = choose(tables, wanted, {})
            for chunk in columns.table.read(columns.file_columns):
                parts["brickname"].append(columns.texts(chunk, "brickname"))
                for c in wanted[1:]:
                    if c.name in columns:
                        parts[c.name].append(columns.numbers(chunk, c.name))
        if not parts["brickname"]:
            raise TargetError(f"{path}: the bricks table is empty. Check survey.brick_cuts.table.")
        names = np.concatenate(parts.pop("brickname"))
        order = np.argsort(names, kind="stable")
        self.names = names[order]
        twice = np.flatnonzero(self.names[1:] == self.names[:-1])
        if twice.size:
            brick = self.names[twice[0]].decode()
            raise TargetError(f"{path}: brick {brick} has more than one row. Give one survey region's bricks table.")
        self.values = {k: np.concatenate(v)[order] for k, v in parts.items() if v}

    def rows(self, brickname: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Row of each brick, -1 for bricks not in the table."""
        at = np.minimum(np.searchsorted(self.names, brickname), len(self.names) - 1)
        return np.where(self.names[at] == brickname, at, -1)

    def look_up(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return a quantity of the bricks in ``rows`` of the table; NaN for -1 and for what the table lacks."""
        if name not in self.values:
            return np.full(len(rows), np.nan)
        return np.where(rows >= 0, self.values[name][rows], np.nan)
