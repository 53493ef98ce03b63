"""A manifest's columns from a user's table: the rows of each host, and their given values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config.plan import TAG_PLAN
from lensflow.errors import ManifestError, TargetError, did_you_mean
from lensflow.lensing.components import BULGE, KNOTS, OF_KNOTS, check_components
from lensflow.lensing.rows import GAMMA_RULE, LENS_MODELS, RULES
from lensflow.targets.columns import HOST_ID, Column, Columns, as_text, choose
from lensflow.targets.files import TableFile, open_tables
from lensflow.targets.values import Missing

# Drawn, computed or taken from the host; a table cannot set them.
_NOT_GIVEN = ("row_id", "host_index", "replicate", "is_control", "src_tries", "mw_transmission", "psf_fwhm_arcsec",
              "x_center", "y_center", "split")  # fmt: skip
_POSITIVE = {name: ("> 0", lambda v: v > 0) for name in ("src_z", "lens_z", "lens_sigma_v_km_s")}
_PAIRS = (("src_x_arcsec", "src_y_arcsec"),)
_COMPONENTS = {v.name for v in schema.COMPONENTS}
_TEXT = ("lens_model", "src_id")


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
    host_ids : ndarray of str
        Name of each host, in the order of the table's first rows.
    """

    def __init__(self, host_id: NDArray, columns: dict[str, NDArray]):
        keys = rng.hash_ids(host_id)
        order = np.argsort(keys, kind="stable")
        self.columns = {k: v[order] for k, v in columns.items()}
        self.size = len(keys)
        self._keys, self._first, self._count = np.unique(keys[order], return_index=True, return_counts=True)
        self.host_ids = host_id[np.sort(np.unique(keys, return_index=True)[1])]
        self._seen = np.zeros(len(self._keys), bool)

    def count(self, host_key: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of each host."""
        place, found = self._find(host_key)
        return np.where(found, self._count[place], 0)

    def mark(self, host_key: NDArray[np.uint64]) -> None:
        """Note that these hosts exist, for :meth:`unseen`."""
        place, found = self._find(host_key)
        self._seen[place[found]] = True

    def unseen(self) -> tuple[NDArray[np.str_], int]:
        """Names of the hosts that were never marked, and the number of their rows."""
        place, _ = self._find(rng.hash_ids(self.host_ids))
        return self.host_ids[~self._seen[place]], int(self._count[~self._seen].sum())

    def given(self, host_key: NDArray[np.uint64], replicate: NDArray[np.int64]) -> dict[str, NDArray]:
        """Columns for rows (host, replicate); a replicate beyond the host's rows starts again with its first."""
        place, _ = self._find(host_key)
        rows = self._first[place] + replicate % self._count[place]
        return {k: v[rows] for k, v in self.columns.items()}

    def least(self, name: str, host_key: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Minimum of a column over the rows of each host; NaN for hosts without rows."""
        place, found = self._find(host_key)
        return np.where(found, np.minimum.reduceat(self.columns[name], self._first)[place], np.nan)

    def _find(self, host_key: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        place = np.minimum(np.searchsorted(self._keys, host_key), len(self._keys) - 1)
        return place, self._keys[place] == host_key


def read_injection_table(
    path: str, bands: Sequence[str], ignore: Sequence[str] = (), missing_values: Sequence[str | float] = ()
) -> InjectionTable:
    """Read and check a user's table, with the reader of target tables.

    Parameters
    ----------
    path : str
        A table as targets may be (CSV, ECSV, FITS, parquet, VOTable), any fsspec URL: ``host_id`` and any columns of
        the manifest that a person can set (``src_flux_nmgy_g`` and so on, for all bands or none). Units that the table
        states are converted.
    bands : sequence of str
    ignore : sequence of str
        Columns that are not for the manifest, even if their names match. That of a file of tags which says of which
        plan its rows are is always ignored: hosts are found by name, in any plan.
    missing_values : sequence of str or float, optional
        As ``survey.missing_values``.

    Raises
    ------
    ManifestError
        If the table cannot be read, a column is unknown or in another kind of unit, or a value is missing or cannot be
        rendered; names the first such row.
    """
    settable = [v for v in (*schema.MANIFEST, *schema.COMPONENTS) if v.name not in _NOT_GIVEN]
    wanted = [replace(HOST_ID, required=True)]
    for v in settable:
        for name in schema.packed_columns([v], bands):
            wanted.append(Column(name, is_text=v.name in _TEXT, unit="" if v.name in _TEXT else v.units))
    try:
        with open_tables(path, "plan.table") as tables:
            columns = choose(
                _without(tables, (*ignore, TAG_PLAN)), wanted, {}, Missing.of(missing_values), mapped_by=""
            )
            _refuse_unknown(columns, [c.name for c in wanted[1:]])
            _refuse_halves(columns, bands)
            arrays = _read(columns)
    except TargetError as error:
        raise ManifestError(str(error)) from error
    if len(arrays["host_id"]) == 0:
        raise ManifestError(f"{path}: the table has no rows; it needs host_id and one row per injection.")
    check = _Checked(path, as_text(arrays.pop("host_id"), path, "host_id"))
    plain = [v.name for v in settable if v.name not in _COMPONENTS]
    out = {name: check(name, arrays[name]) for name in plain if name in arrays}
    flux = [f"src_flux_nmgy_{b}" for b in bands]
    if flux[0] in arrays:
        out["src_flux_nmgy"] = np.stack([check(name, arrays[name]) for name in flux], axis=1)
    out |= check.components(arrays, bands, out.get("src_id"))
    return InjectionTable(check.host_id, out)


def _without(tables: Iterable[TableFile], ignore: Sequence[str]) -> Iterator[TableFile]:
    ignored = {name.lower() for name in ignore}
    for table in tables:
        yield replace(table, names=tuple(n for n in table.names if n.lower() not in ignored))


def _refuse_unknown(columns: Columns, known: Sequence[str]) -> None:
    used = set(columns.file_columns)
    unknown = [c for c in columns.table.names if c not in used]
    if unknown:
        raise TargetError(
            f"{columns.table.path}: no column {unknown[0]!r} can be set in a manifest."
            f"{did_you_mean(unknown[0], known)} Name it in plan.table_ignore if it is not for the manifest."
        )


def _refuse_halves(columns: Columns, bands: Sequence[str]) -> None:
    for group in (*_PAIRS, tuple(f"src_flux_nmgy_{b}" for b in bands), *_components_of(columns, bands)):
        missing = [c for c in group if c not in columns]
        if missing and len(missing) < len(group):
            raise TargetError(
                f"{columns.table.path}: {', '.join(group)} are given together or not at all; missing: {missing[0]}"
            )


def _components_of(columns: Columns, bands: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Columns that a bulge needs, and knots: all of the places that any of their columns has."""
    of_knots = schema.packed_columns([v for v in schema.COMPONENTS if v.name in OF_KNOTS], bands)
    places = [k for k in range(schema.N_KNOTS) if any(n.endswith(f"_{k}") and n in columns for n in of_knots)] or [0]
    for group in (BULGE, KNOTS):
        single = [v for v in schema.COMPONENTS if v.name in group and v.name not in OF_KNOTS]
        once = schema.packed_columns(single, bands)
        yield (*once, *(f"{name}_{k}" for name in group if name in OF_KNOTS for k in places))


def _read(columns: Columns) -> dict[str, NDArray]:
    parts: dict[str, list[NDArray]] = {name: [] for name in columns.where}
    first_row = 0
    for chunk in columns.table.read(columns.file_columns):
        for name, values in parts.items():
            if name in columns.text:
                values.append(columns.texts(chunk, name, first_row=first_row))
            else:
                values.append(columns.numbers(chunk, name, first_row))
        first_row += len(parts["host_id"][-1])
    return {name: np.concatenate(v) if v else np.empty(0, "S1") for name, v in parts.items()}


class _Checked:
    """Columns of a table, every value checked."""

    def __init__(self, path: str, host_id: NDArray[np.str_]):
        self.path, self.host_id = path, host_id
        self._refuse(host_id == "", host_id, "host_id", "the name of a host")

    def __call__(self, name: str, values: NDArray) -> NDArray:
        """Return a column if it can be rendered."""
        if name == "lens_model":
            models, allowed = as_text(values, self.path, name), [m for m in LENS_MODELS if m != "CONTROL"]
            self._refuse(~np.isin(models, allowed), models, name, f"one of {', '.join(allowed)}")
            return models.astype(schema.variable("manifest", name).dtype)
        if name == "src_id":
            return as_text(values, self.path, name)
        if name.startswith("src_flux_nmgy"):
            rule, holds = ">= 0", lambda v: v >= 0
        else:
            rule, holds = {**RULES, "lens_gamma": GAMMA_RULE, **_POSITIVE}[name]
        self._refuse(~(np.isfinite(values) & holds(values)), values, name, rule)
        return values

    def components(
        self, arrays: dict[str, NDArray], bands: Sequence[str], src_id: NDArray[np.str_] | None
    ) -> dict[str, NDArray]:
        """Return the columns of bulges and knots that the table has, if they can be rendered."""
        n, out, self._bands = len(self.host_id), {}, list(bands)
        for v in schema.COMPONENTS:
            names = schema.packed_columns([v], bands)
            if any(name in arrays for name in names):
                # A table with knots need not have columns for more places than it fills.
                values = [arrays.get(name, np.full(n, np.nan)).astype(np.float64) for name in names]
                out[v.name] = np.stack(values, axis=1) if len(v.dims) > 1 else values[0]
        images = np.zeros(n, bool) if src_id is None else src_id != ""
        check_components(out, np.ones(n, bool), images, self._refuse)
        return out

    def _refuse(self, bad: NDArray[np.bool_], values: NDArray, name: str, rule: str) -> None:
        if bad.any():
            row, *place = (int(v) for v in np.argwhere(bad)[0])
            if place:
                name = f"{name}_{place[0] if name in OF_KNOTS else self._bands[place[0]]}"
            value, bad = values[(row, *place)], np.any(bad.reshape(len(bad), -1), axis=1)
            what = f"is {value}" if str(value) else "has no value"
            raise ManifestError(
                f"{self.path}: row {row} (host {self.host_id[row]}): {name} {what}; it must be {rule}. "
                f"{int(np.sum(bad)) - 1} other row(s) alike. Correct them, or leave the column out: it is then drawn."
            )
