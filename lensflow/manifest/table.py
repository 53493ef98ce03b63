"""A manifest's columns from a table of the user's: which rows a host has, and what is given for them."""

from __future__ import annotations

from collections.abc import Sequence

import fsspec
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.errors import ManifestError, did_you_mean
from lensflow.lensing.rows import GAMMA_RULE, LENS_MODELS, RULES

# Drawn, computed or taken from the host; a table cannot set them.
_NOT_GIVEN = ("row_id", "host_index", "replicate", "is_control", "src_tries", "psf_fwhm_arcsec", "x_center",
              "y_center", "split")  # fmt: skip
_POSITIVE = {name: ("> 0", lambda v: v > 0) for name in ("src_z", "lens_z", "lens_sigma_v_km_s")}
_PAIRS = (("src_x_arcsec", "src_y_arcsec"),)


class InjectionTable:
    """The rows of a user's table by host.

    A row's replicate is its place among the rows of its host: rows of *different* hosts may be re-ordered, added and
    removed without changing the others' random numbers.

    Attributes
    ----------
    columns : dict
        Column of the manifest -> values, shape (n,) or (n, band), rows sorted by host and then as in the table.
    size : int
        Number of rows.
    """

    def __init__(self, host_id: NDArray, columns: dict[str, NDArray]):
        keys = rng.hash_ids(host_id)
        order = np.argsort(keys, kind="stable")
        self.columns = {k: v[order] for k, v in columns.items()}
        self.size = len(keys)
        self._keys, self._first, self._count = np.unique(keys[order], return_index=True, return_counts=True)

    def count(self, host_key: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of each host."""
        place, found = self._find(host_key)
        return np.where(found, self._count[place], 0)

    def given(self, host_key: NDArray[np.uint64], replicate: NDArray[np.int64]) -> dict[str, NDArray]:
        """Columns for rows (host, replicate); a replicate beyond the host's rows starts again with its first."""
        place, _ = self._find(host_key)
        rows = self._first[place] + replicate % self._count[place]
        return {k: v[rows] for k, v in self.columns.items()}

    def _find(self, host_key: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        place = np.minimum(np.searchsorted(self._keys, host_key), len(self._keys) - 1)
        return place, self._keys[place] == host_key


def read_injection_table(path: str, bands: Sequence[str], ignore: Sequence[str] = ()) -> InjectionTable:
    """Read and check a user's table.

    Parameters
    ----------
    path : str
        CSV, ECSV, FITS or parquet, any fsspec URL: ``host_id`` and any columns of the manifest that a person can set
        (``src_flux_nmgy_g`` and so on, for all bands or none).
    bands : sequence of str
    ignore : sequence of str
        Columns that are not for the manifest.

    Raises
    ------
    ManifestError
        If the table cannot be read, a column is unknown, or a value cannot be rendered; names the first such row.
    """
    table = _read(path)
    settable = [v for v in schema.MANIFEST if v.name not in _NOT_GIVEN]
    known = schema.packed_columns(settable, bands)
    unknown = [c for c in table.colnames if c not in (*known, "host_id", *ignore)]
    if unknown:
        raise ManifestError(
            f"{path}: no column {unknown[0]!r} can be set in a manifest.{did_you_mean(unknown[0], known)} Name it "
            "in plan.table_ignore if it is not for the manifest."
        )
    if "host_id" not in table.colnames or len(table) == 0:
        what = "has no rows" if "host_id" in table.colnames else "has no column 'host_id'"
        raise ManifestError(f"{path}: the table {what}; it needs host_id and one row per injection.")
    flux = [c for c in known if c.startswith("src_flux_nmgy_") and c in table.colnames]
    groups = (*_PAIRS, tuple(f"src_flux_nmgy_{b}" for b in bands) if flux else ())
    for group in groups:
        missing = [c for c in group if c not in table.colnames]
        if missing and len(missing) < len(group):
            raise ManifestError(f"{path}: {', '.join(group)} are given together or not at all; missing: {missing[0]}")
    take = _Checked(path, table)
    names = [v.name for v in settable if "band" not in v.dims and v.name in table.colnames]
    columns = {name: take.model() if name == "lens_model" else take(name) for name in names}
    if flux:
        columns["src_flux_nmgy"] = np.stack([take(f"src_flux_nmgy_{b}") for b in bands], axis=1)
    return InjectionTable(take.host_id, columns)


class _Checked:
    """Columns of a table, every value checked."""

    def __init__(self, path: str, table: Table):
        self.path, self.table = path, table
        self.host_id = self._text("host_id")

    def __call__(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers."""
        try:
            values = np.asarray(np.ma.filled(self.table[name], np.nan), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{self.path}: {name} holds something that is not a number ({error}).") from error
        if name.startswith("src_flux_nmgy"):
            rule, holds = ">= 0", lambda v: v >= 0
        else:
            rule, holds = {**RULES, "lens_gamma": GAMMA_RULE, **_POSITIVE}[name]
        self._refuse(~(np.isfinite(values) & holds(values)), name, values, rule)
        return values

    def model(self) -> NDArray[np.str_]:
        """Return the lens models."""
        values, allowed = self._text("lens_model"), [m for m in LENS_MODELS if m != "CONTROL"]
        self._refuse(~np.isin(values, allowed), "lens_model", values, f"one of {', '.join(allowed)}")
        return values.astype(schema.variable("manifest", "lens_model").dtype)

    def _refuse(self, bad: NDArray[np.bool_], name: str, values: NDArray, rule: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise ManifestError(
                f"{self.path}: row {row} (host {self.host_id[row]}): {name} is {values[row]}; it must be {rule}. "
                f"{int(bad.sum()) - 1} other row(s) alike. Correct them, or leave the column out: it is then drawn."
            )

    def _text(self, name: str) -> NDArray[np.str_]:
        column = self.table[name]
        mask = np.ma.getmaskarray(np.ma.asarray(column))
        if mask.any():
            raise ManifestError(f"{self.path}: {name} has no value in row {int(np.argmax(mask))}. Fill or remove it.")
        values = np.asarray(column)
        return np.char.strip(np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values.astype(str))


def _read(path: str) -> Table:
    name = path.lower()
    try:
        with fsspec.open(path, "rb") as file:
            if name.endswith((".parquet", ".parq")):
                import pyarrow.parquet

                return Table.from_pandas(pyarrow.parquet.read_table(file).to_pandas())
            if name.endswith((".fits", ".fits.gz", ".fit")):
                return Table.read(file, format="fits")
            if name.endswith((".csv", ".ecsv")):
                return Table.read(file.read().decode(), format="ascii.ecsv" if name.endswith("ecsv") else "ascii.csv")
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: no such table. Check plan.table.") from error
    except Exception as error:
        raise ManifestError(f"{path}: cannot read the table ({type(error).__name__}: {error}).") from error
    raise ManifestError(f"{path}: unknown kind of table; known endings: .csv, .ecsv, .fits, .parquet")
