"""A user's table of galaxies: read, checked, every row that is left out counted with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lensflow.config import Range
from lensflow.config.source_table import SourceTableConfig
from lensflow.errors import ManifestError, TargetError, did_you_mean
from lensflow.manifest.population import WAVELENGTH_NM
from lensflow.manifest.source_table_rows import photometry, problems, refuse_other_quantities
from lensflow.targets.columns import Column, Columns, as_text, choose
from lensflow.targets.files import open_tables
from lensflow.targets.values import Missing
from lensflow.units import mag_of_flux

Floats = NDArray[np.float64]

_SETTING = "plan.source_table"


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Usable galaxies of a table, sorted by redshift and then by all else: their order in the file does not count.

    Attributes
    ----------
    path : str
    bands : tuple of str
        Bands of the table that are used.
    band_nm : tuple of float
        Their effective wavelengths, nm.
    row : ndarray of int64, shape (n,)
        Row of each galaxy in the file, from 0.
    name : ndarray of str, shape (n,)
        The table's ``id``; without one, the row.
    z : ndarray, shape (n,)
        Redshift; NaN in a table without redshifts.
    mag : ndarray, shape (n, band)
        AB magnitudes above the Galaxy's dust.
    reff_arcsec, weight : ndarray, shape (n,)
        Half-light radius along the major axis; relative number of such galaxies, 1 where the table has none.
    q, sersic_n : ndarray of shape (n,), or None
        Axis ratio and Sersic index, with ``shape: table``.
    n_read : int
    excluded : dict
        Reason -> rows; a row counts once, under its first reason.
    """

    path: str
    bands: tuple[str, ...]
    band_nm: tuple[float, ...]
    row: NDArray[np.int64]
    name: NDArray[np.str_]
    z: Floats
    mag: Floats
    reff_arcsec: Floats
    weight: Floats
    q: Floats | None = None
    sersic_n: Floats | None = None
    n_read: int = 0
    excluded: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.z)

    @property
    def has_redshifts(self) -> bool:
        """Whether the galaxies have redshifts."""
        return bool(np.isfinite(self.z).all())

    def about(self) -> dict[str, object]:
        """What a manifest says of its table, as plain JSON."""
        return {
            "table": str(self.path),
            "n_read": self.n_read,
            "n_galaxies": len(self),
            "excluded": dict(self.excluded),
            "bands": list(self.bands),
        }


def read_source_table(
    settings: SourceTableConfig,
    bands: Sequence[str],
    missing_values: Sequence[str | float] = (),
    mag_range: Range | None = None,
    needs_redshift: bool = True,
) -> SourceTable:
    """Read and check a table of galaxies.

    Parameters
    ----------
    settings : SourceTableConfig
    bands : sequence of str
        Bands of the run; each must be a band of the table or lie between two of them in wavelength.
    missing_values : sequence of str or float, optional
        As ``survey.missing_values``.
    mag_range : Range, optional
        Limits of the magnitude in r (the first band of a run without r): galaxies beyond them are left out.
    needs_redshift : bool
        Whether a table without redshifts is refused.

    Returns
    -------
    SourceTable

    Raises
    ------
    ManifestError
        If the table cannot be read, lacks a column or a band, states a unit that cannot be converted, has a column
        that cannot be what it is called, or has too few usable galaxies; the counts by reason are in the message.
    """
    known = _wavelengths(settings)
    wanted_nm = _wanted(bands, known)
    try:
        with open_tables(settings.table, f"{_SETTING}.table") as tables:
            wanted = _wanted_columns(known, needs_redshift, settings.shape == "table")
            columns = choose(
                tables, wanted, settings.columns, Missing.of(missing_values), mapped_by=f"{_SETTING}.columns"
            )
            used = _used_bands(columns, known, bands, wanted_nm, settings)
            arrays = _read(columns, used)
    except TargetError as error:
        raise ManifestError(str(error)) from error
    path = str(settings.table)
    refuse_other_quantities(path, columns, arrays, used)
    n = len(arrays["reff_arcsec"])
    excluded: dict[str, int] = {}
    keep = np.ones(n, bool)
    for reason, bad in problems(arrays, used, wanted_nm, known, bands, mag_range):
        hit = keep & bad
        if hit.any():
            excluded[reason] = int(hit.sum())
        keep &= ~bad
    shown = ", ".join(f"{k} {v:,}" for k, v in excluded.items()) or "none"
    unusable = n - int(keep.sum()) - excluded.get("OUTSIDE_SRC_MAG_RANGE", 0)
    if n and unusable > settings.max_excluded * n:
        raise ManifestError(
            f"{path}: {unusable:,} of {n:,} rows cannot be used ({shown}), more than {_SETTING}.max_excluded = "
            f"{settings.max_excluded:g}. Correct the columns ({_SETTING}.columns), or raise it."
        )
    if keep.sum() < settings.min_galaxies:
        raise ManifestError(
            f"{path}: {int(keep.sum()):,} usable galaxies of {n:,} rows (left out: {shown}); {settings.min_galaxies} "
            f"are needed ({_SETTING}.min_galaxies)."
        )
    return _sorted(path, arrays, used, known, np.flatnonzero(keep), n, excluded)


def wavelengths_of(bands: Sequence[str], settings: SourceTableConfig) -> list[float]:
    """Effective wavelengths of a run's bands, nm.

    Raises
    ------
    ManifestError
        If one is not known.
    """
    return _wanted(bands, _wavelengths(settings))


def _wavelengths(settings: SourceTableConfig) -> dict[str, float]:
    own = [b for b in settings.wavelengths_nm if b in WAVELENGTH_NM]
    if own:
        raise ManifestError(
            f"{_SETTING}.wavelengths_nm: {own[0]} is a band of DECam's here, at {WAVELENGTH_NM[own[0]]:g} nm. Call a "
            f"band of another camera by another name, and map it: {_SETTING}.columns."
        )
    # y is Y's other name, and columns are found in any case.
    known = {b: nm for b, nm in WAVELENGTH_NM.items() if b != "y"} | dict(settings.wavelengths_nm)
    for name in settings.columns:
        kind, _, band = name.removesuffix("_nmgy").partition("_")
        if kind in ("mag", "flux") and band not in known:
            raise ManifestError(
                f"{_SETTING}.columns.{name}: the wavelength of {band} is not known; say it, in nm: "
                f"{_SETTING}.wavelengths_nm: {{{band}: ...}}. Known are {', '.join(known)}."
            )
    return known


def _wanted(bands: Sequence[str], known: Mapping[str, float]) -> list[float]:
    lacking = [b for b in bands if b not in WAVELENGTH_NM and b not in known]
    if lacking:
        raise ManifestError(
            f"bands: the wavelength of {lacking[0]} is not known; say it in {_SETTING}.wavelengths_nm."
            f"{did_you_mean(lacking[0], known)}"
        )
    return [known[b] if b in known else WAVELENGTH_NM[b] for b in bands]


def _wanted_columns(known: Mapping[str, float], needs_redshift: bool, needs_shape: bool) -> list[Column]:
    photometry = [c for b in known for c in (Column(f"mag_{b}", unit="mag"),
                                             Column(f"flux_{b}_nmgy", (f"flux_{b}",), unit="nMgy"))]  # fmt: skip
    return [
        Column("id", ("ident", "objid"), is_text=True),
        Column("z", ("redshift", "zphot"), unit="1", required=needs_redshift),
        Column("reff_arcsec", ("reff",), unit="arcsec", required=True),
        *((Column("q", ("axis_ratio",), unit="1", required=True), Column("n", ("sersic",), unit="1", required=True))
          if needs_shape else ()),
        Column("weight", unit="1"),
        *photometry,
    ]  # fmt: skip


def _used_bands(
    columns: Columns, known: Mapping[str, float], bands: Sequence[str], wanted_nm: Sequence[float],
    settings: SourceTableConfig,
) -> tuple[str, ...]:  # fmt: skip
    """Bands of the table that are needed: all where galaxies are moved, else those at and around the run's bands."""
    there = sorted((b for b in known if f"mag_{b}" in columns or f"flux_{b}_nmgy" in columns), key=known.__getitem__)
    if not there:
        raise columns.missing(f"mag_{bands[0]}", f"mag_{bands[0]}", " (or flux_BAND_nmgy), nor any other band")
    nm = np.array([known[b] for b in there])
    beyond = [b for b, w in zip(bands, wanted_nm, strict=True) if not nm[0] <= w <= nm[-1]]
    if beyond and settings.redshift == "own":
        raise TargetError(
            f"{columns.table.path}: its bands {', '.join(there)} span {nm[0]:g} to {nm[-1]:g} nm, and the run's "
            f"{beyond[0]} is at {wanted_nm[list(bands).index(beyond[0])]:g} nm: nothing is extrapolated. Add a column "
            f"mag_{beyond[0]} (or a bluer and a redder band), or take the band out of bands."
        )
    if settings.redshift == "plan":
        return tuple(there)
    used = set()
    for w in wanted_nm:
        right = int(np.searchsorted(nm, w))
        used |= {there[right]} if nm[right] == w else {there[right - 1], there[right]}
    return tuple(b for b in there if b in used)


def _read(columns: Columns, used: Sequence[str]) -> dict[str, NDArray]:
    taken = [name for name in ("id", "z", "reff_arcsec", "q", "n", "weight") if name in columns]
    taken += [photometry(columns, b) for b in used]
    parts: dict[str, list[NDArray]] = {name: [] for name in taken}
    first_row = 0
    for chunk in columns.table.read(columns.file_columns):
        for name, values in parts.items():
            read = columns.texts if name == "id" else columns.numbers
            values.append(read(chunk, name, first_row=first_row))
        first_row += len(parts["reff_arcsec"][-1])
    out: dict[str, NDArray] = {name: np.concatenate(v) if v else np.empty(0) for name, v in parts.items()}
    n = len(out["reff_arcsec"])
    out["has_id"] = np.array("id" in out)
    names: NDArray[np.bytes_] | None = out.pop("id", None) if n else None
    out["id"] = np.arange(n).astype(str) if names is None else as_text(names, columns.table.path, "id")
    mag = np.full((n, len(used)), np.nan)
    out["not_detected"] = np.zeros((n, len(used)), bool)
    for k, b in enumerate(used):
        measured = out.pop(photometry(columns, b))
        if f"mag_{b}" in columns:
            mag[:, k] = measured
        else:
            out["not_detected"][:, k] = measured <= 0
            mag[:, k] = mag_of_flux(measured)
    out["mag"] = mag
    return out


def _sorted(
    path: str, arrays: Mapping[str, NDArray], used: Sequence[str], known: Mapping[str, float],
    rows: NDArray[np.int64], n_read: int, excluded: dict[str, int],
) -> SourceTable:  # fmt: skip
    n = len(arrays["reff_arcsec"])
    z = arrays.get("z", np.full(n, np.nan))
    weight = arrays.get("weight", np.ones(n))
    keys = [arrays["id"], weight, *(arrays[k] for k in ("n", "q") if k in arrays), arrays["reff_arcsec"],
            *arrays["mag"].T, z]  # fmt: skip
    rows = rows[np.lexsort([k[rows] for k in keys])]
    return SourceTable(
        path=path,
        bands=tuple(used),
        band_nm=tuple(known[b] for b in used),
        row=rows,
        name=arrays["id"][rows],
        z=z[rows],
        mag=arrays["mag"][rows],
        reff_arcsec=arrays["reff_arcsec"][rows],
        weight=weight[rows],
        q=arrays["q"][rows] if "q" in arrays else None,
        sersic_n=arrays["n"][rows] if "n" in arrays else None,
        n_read=n_read,
        excluded=excluded,
    )
