"""Catalogues of LensPop (Collett 2015) as target populations: text files whose head says what each column is."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np

from lensflow.errors import CompletenessError, did_you_mean
from lensflow.measure.completeness.population.target_population import TargetPopulation, lens_catalogue
from lensflow.store import paths

# Our parameter -> column, and words that the file's own head must have for that column.
_COLUMNS = {
    "src_z": (1, "source redshift"),
    "theta_e_arcsec": (2, "einstein radius (arcsec"),
    "lens_sigma_v_km_s": (3, "velocity dispersion"),
    "lens_q": (4, "lens flattening (1=circular"),
    "src_q": (11, "source flattening (1=circular"),
    "src_reff_arcsec": (13, "source half light radius (arcsec"),
    "src_mag_g": (14, "source g band magnitude"),
    "src_mag_r": (15, "source r band magnitude"),
    "src_mag_i": (16, "source i band magnitude"),
    "magnification": (17, "source magnification"),
}
_OFFSETS = ((9, "source x coordinate"), (10, "source y coordinate"))
_COLUMN = re.compile(r"^#\s*\[(\d+)\]\s*(.+)$")
NOTES = (
    "LensPop: lenses that it calls discoverable in its survey, not all lenses: the completeness is of these",
    "LensPop: elliptical isothermal lenses without shear, exponential sources, magnitudes of SDSS's filters; its "
    "Einstein radius is taken as ours",
)


def read_lenspop(path: str, parameters: Sequence[str] = ("theta_e_arcsec", "src_mag_r")) -> TargetPopulation:
    """Read a catalogue of LensPop's lenses (``lenses_LSSTa.txt``, ``lenses_DESc.txt``, ...) as a target population.

    Parameters
    ----------
    path : str
        Of the text file, any fsspec URL; github.com/tcollett/LensPop has them.
    parameters : sequence of str
        Those that the population stands for, of theta_e_arcsec, src_mag_g, src_mag_r, src_mag_i (unlensed), src_z,
        src_reff_arcsec, src_q, lens_q, lens_sigma_v_km_s, src_offset (in theta_E), magnification; they have to be axes
        of the selection function.

    Returns
    -------
    TargetPopulation
        A catalogue, which is weighed by cell. Its notes say what it is not.

    Raises
    ------
    CompletenessError
        If a parameter is not among its columns, the file's head names other columns, or a line has too few.

    References
    ----------
    Collett 2015, ApJ 811, 20 (arXiv:1507.02657).
    """
    known = (*_COLUMNS, "src_offset")
    for name in parameters:
        if name not in known:
            raise CompletenessError(f"LensPop's catalogues have no {name}.{did_you_mean(name, known)}")
    text = paths.read_text(path)
    head = {int(m[1]): m[2].lower() for line in text.splitlines() if (m := _COLUMN.match(line.strip()))}
    needed = [_COLUMNS[p] for p in parameters if p in _COLUMNS]
    needed += list(_OFFSETS) + [_COLUMNS["theta_e_arcsec"]] if "src_offset" in parameters else []
    for column, words in needed:
        if words not in head.get(column, ""):
            raise CompletenessError(
                f"{path}: column {column} is not LensPop's {words!r} by the file's own head "
                f"({head.get(column, 'no such column')!r}): no catalogue of LensPop"
            )
    try:
        table = np.loadtxt(io.StringIO(text), comments="#", ndmin=2)
    except ValueError as error:
        raise CompletenessError(f"{path}: {error}") from error
    if table.size == 0 or table.shape[1] <= max(c for c, _ in needed):
        raise CompletenessError(f"{path}: {table.shape[0]} lenses of {table.shape[1]} columns: no catalogue of LensPop")
    made = {p: table[:, _COLUMNS[p][0]] for p in parameters if p in _COLUMNS}
    if "src_offset" in parameters:
        made["src_offset"] = np.hypot(table[:, 9], table[:, 10]) / table[:, 2]
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return lens_catalogue(made, name, "LensPop, Collett 2015, ApJ 811, 20", notes=NOTES)
