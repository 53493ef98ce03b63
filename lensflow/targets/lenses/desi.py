"""The DESI strong-lensing catalogue: a row per spectrum, put together to systems of lens and source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lensflow.sky import close_pairs
from lensflow.targets.columns import Column, Columns
from lensflow.targets.files import TableFile
from lensflow.targets.lenses.columns import TRUE, UNKNOWN, LensNote
from lensflow.targets.lenses.redshifts import AGREE_WITHIN
from lensflow.targets.lenses.rows import RawTable, Rows, Settings, made

# Fibres on a lens and on its arcs: farther apart than any galaxy's arcs are two systems.
SAME_SYSTEM_ARCSEC = 10.0
_WANTED = (
    Column("lens_id", ("system_name", "system", "lens_name", "sl_name", "name"), True),
    Column("target_id", ("targetid",), True, required=True),
    Column("ra_deg", ("target_ra",), required=True),
    Column("dec_deg", ("target_dec",), required=True),
    Column("z", (), required=True),
    Column("zwarn", (), required=True),
)
BAD_REDSHIFT = "DESI: ZWARN is not 0"
SAME_SYSTEM = "spectra of one system"


def read_systems(table: TableFile, settings: Settings) -> tuple[Rows, dict[str, int], int]:
    """Put the spectra of each system together.

    Spectra with ZWARN other than 0 are left out. Those of one system (one name if the table has names, else within
    10" of each other, friends of friends) are its lens, at the lowest redshift, and its source, at the highest. A
    system with both is tier A; one whose secure redshifts all agree, or with only one, is tier B and says so.

    Returns
    -------
    rows : Rows
        One per system, at the position of the lens's spectrum.
    removed : dict
        Reason -> spectra left out.
    n_joined : int
        Spectra beyond the first of each system.
    """
    mapping = {k: v for k, v in settings.columns.items() if k in {c.name for c in _WANTED}}
    raw = RawTable(table, Columns(table, _WANTED, mapping, mapped_by="columns"))
    ra, dec = (raw.degrees(name, settings.units, "") for name in ("ra_deg", "dec_deg"))
    z, warned = np.asarray(raw.raw["z"], np.float64), np.asarray(raw.raw["zwarn"], np.float64) != 0
    good = np.flatnonzero(~warned & np.isfinite(z) & np.isfinite(ra) & np.isfinite(dec))
    names, ids = np.array(raw.texts("lens_id"), object), raw.texts("target_id")
    system = _systems(ra[good], dec[good], names[good])
    found = [_system(good[system == k], z) for k in range(system.max(initial=-1) + 1)]
    at = np.array([f[0] for f in found], np.int64)
    both = np.array([f[2] == f[2] for f in found], bool)
    rows = made(
        len(at),
        lens_id=np.array([names[k] or f"DESI {ids[k]}" for k in at.tolist()], object),
        ra_deg=ra[at],
        dec_deg=dec[at],
        z_lens=np.array([f[1] for f in found]),
        z_source=np.array([f[2] for f in found]),
        tier=np.where(both, "A", "B").astype(object),
        is_lens=np.where(both, TRUE, UNKNOWN).astype(np.int8),
        survey=np.full(len(at), settings.survey or "DESI DR1", object),
        note=np.array([f[3] for f in found], np.uint32),
    )
    removed = {
        BAD_REDSHIFT: int(warned.sum()),
        "DESI: no redshift or position": int(raw.n - warned.sum() - len(good)),
    }
    return rows, {k: n for k, n in removed.items() if n}, len(good) - len(at)


def _systems(ra: NDArray[np.float64], dec: NDArray[np.float64], names: NDArray[np.object_]) -> NDArray[np.int64]:
    links = close_pairs(ra, dec, SAME_SYSTEM_ARCSEC / 3600)
    if len(names) and (names != "").all():  # named: neighbours of another name are another system
        links = links[names[links[:, 0]] == names[links[:, 1]]]
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(len(ra), len(ra)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _system(spectra: NDArray[np.int64], z: NDArray[np.float64]) -> tuple[int, float, float, int]:
    """Spectrum of the lens, z of lens and source, note."""
    lens, source = spectra[np.argmin(z[spectra])], spectra[np.argmax(z[spectra])]
    if len(spectra) == 1:
        return int(lens), np.nan, np.nan, int(LensNote.ONE_REDSHIFT)
    if z[source] - z[lens] <= AGREE_WITHIN:
        return int(lens), float(z[lens]), np.nan, int(LensNote.SAME_REDSHIFT | LensNote.MERGED)
    return int(lens), float(z[lens]), float(z[source]), int(LensNote.MERGED)
