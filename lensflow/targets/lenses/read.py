"""Read tables of real lenses; every row is kept, merged or left out with a reason, and counted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import LensflowWarning, TargetError, did_you_mean
from lensflow.targets.columns import MissingColumn
from lensflow.targets.files import TableFile, expand, open_tables
from lensflow.targets.in_memory import Targets, table_of
from lensflow.targets.lenses import evidence
from lensflow.targets.lenses.columns import KINDS, LENSES, TIERS, LensNote
from lensflow.targets.lenses.desi import SAME_SYSTEM, read_systems
from lensflow.targets.lenses.formats import ANY, DESI, LensFormat, format_of
from lensflow.targets.lenses.merging import contradictory, merged, named, objects
from lensflow.targets.lenses.rows import Rows, Settings, find_columns, made, read_rows

# A table that lacks more of its positions is another table than the caller thinks.
MOST_WITHOUT_POSITION = 0.1
NO_POSITION, CONTRADICTORY = "no position", "lens and non-lens at the same position"
_SETTING = "the path given to read_lenses"

Table: TypeAlias = str | Targets


def read_lenses(
    path: Table | Sequence[Table],
    columns: Mapping[str, str] | None = None,
    *,
    units: Mapping[str, str] | None = None,
    tier: str | None = None,
    survey: str | None = None,
    exclude_references: Sequence[str] | None = None,
    exclude_kinds: Sequence[str] = ("group", "cluster"),
    exclude_quasars: bool = True,
) -> xr.Dataset:
    """Read tables of real lenses, candidates and known non-lenses.

    Tables of lenscat, the Legacy Surveys' candidates, DESI's strong-lensing catalogue (one row per spectrum: put
    together by system) and the Master Lens Database are recognised by their header; of others, columns are found by
    name or by ``columns``. Rows within 2" of each other, in one table or in several, are one object: its row of the
    best tier is kept. An object that one row calls a lens and another a non-lens is dropped and listed.

    Parameters
    ----------
    path : str, Dataset, Table or DataFrame, or a sequence of them
        Files (CSV, FITS, parquet, VOTable; any fsspec URL; globs), tables in memory, or what this function returned.
    columns : mapping, optional
        Our name -> column of the table, as ``survey.columns``: lens_id, ra_deg, dec_deg, z_lens, z_source,
        theta_e_arcsec, kind, tier, grade, is_lens, reference, survey, confuser.
    units : mapping, optional
        ``ra_deg`` or ``dec_deg`` -> unit of the coordinate, where the table states none: ``deg``, ``hourangle``.
    tier : str, optional
        Tier of the rows of tables that have neither a tier nor a grade; by default C.
    survey : str, optional
        Survey of the rows of tables that name none.
    exclude_references : sequence of str, optional
        Author and year (``Lopes 2004``), or any part of a reference (``10.1086/423038``). A row all of whose references
        are among these is left out. By default those of ``realism.exclude_references``: lists of clusters, proposals.
    exclude_kinds : sequence of str, optional
        Of galaxy, group, cluster, unknown. An object of which one row has such a kind is left out.
    exclude_quasars : bool, optional
        Leave lensed quasars out, by reference or kind.

    Returns
    -------
    Dataset with dim ``lens``
        ``lens_id``, ``ra_deg``, ``dec_deg``, ``z_lens``, ``z_source``, ``theta_e_arcsec``, ``kind``, ``tier``,
        ``is_lens``, ``reference``, ``survey``, ``confuser``, ``also_named``, ``note`` (bits of ``LensNote``). In the
        attrs, ``n_read`` = ``n_removed`` + ``n_duplicates`` + lenses; ``removed`` is reason -> rows; ``contradictory``
        lists objects that are lens and non-lens; ``notes`` says what was assumed.

    Raises
    ------
    TargetError
        If a table cannot be read, lacks more than a tenth of its positions, or has a coordinate out of range or
        sexagesimal without a unit, a grade, tier or truth that is none: with row and value. If nothing is left.
    """
    tables = list(path) if isinstance(path, list | tuple) else [path]
    settings = Settings(dict(columns or {}), dict(units or {}), tier, survey, _SETTING)
    _check(settings, exclude_kinds)
    counts = _Counts()
    parts = [rows for table in tables for rows in _read(table, settings, counts)]
    if not parts:
        raise TargetError("read_lenses: no table is given.")
    rows = parts[0]
    for part in parts[1:]:
        rows = rows + part
    rows = _judged(rows, exclude_references, exclude_kinds, exclude_quasars, counts)
    of = objects(rows)
    bad = contradictory(rows, of)
    counts.contradictory(rows.keep(bad))
    rows, of = rows.keep(~bad), of[~bad]
    n_before = len(rows)
    rows = named(merged(rows, of)) if n_before else rows
    counts.n_duplicates += n_before - len(rows)
    if len(rows) == 0:
        why = ", ".join(f"{k} {n:,}" for k, n in counts.removed.items()) or "no rows"
        raise TargetError(f"{counts.shown}: no lens is left of {counts.n_read:,} rows ({why}).")
    for note in counts.notes:
        warnings.warn(note, LensflowWarning, stacklevel=2)
    return _dataset(rows, counts)


class _Counts:
    """What became of every row."""

    def __init__(self) -> None:
        self.n_read = self.n_duplicates = 0
        self.removed: dict[str, int] = {}
        self.notes: list[str] = []
        self.sources: list[str] = []
        self.listed: list[str] = []

    def remove(self, reason: str, n: int) -> None:
        if n:
            self.removed[reason] = self.removed.get(reason, 0) + int(n)

    def contradictory(self, rows: Rows) -> None:
        self.remove(CONTRADICTORY, len(rows))
        self.listed += [
            f"{i} ({ra:.5f}, {dec:.5f}): tier {t} ({ref or survey or 'no reference'})"
            for i, ra, dec, t, ref, survey in zip(rows.lens_id, rows.ra_deg, rows.dec_deg, rows.tier, rows.reference,
                                                  rows.survey, strict=True)
        ]  # fmt: skip

    @property
    def shown(self) -> str:
        return self.sources[0] + (f" and {len(self.sources) - 1} more" if len(self.sources) > 1 else "")


def _check(settings: Settings, kinds: Sequence[str]) -> None:
    if settings.tier is not None and settings.tier not in TIERS:
        raise TargetError(f"tier {settings.tier!r}: none of {', '.join(TIERS)}.")
    for kind in kinds:
        if kind not in KINDS:
            raise TargetError(f"exclude_kinds: no such kind: {kind!r}.{did_you_mean(kind, KINDS)}")
    for name in settings.units:
        if name not in ("ra_deg", "dec_deg"):
            raise TargetError(f"units.{name}: units are given for ra_deg and dec_deg.")


def _read(table: Table, settings: Settings, counts: _Counts) -> list[Rows]:
    if isinstance(table, str):
        out = []
        for path in expand(table):
            with open_tables(path, settings.setting) as found:
                out.append(_read_one(*_choose(list(found), settings), settings, counts))
        return out
    own = _of_ours(table, counts) if isinstance(table, xr.Dataset) else None
    return [own if own is not None else _read_one(*_choose([table_of(table)], settings), settings, counts)]


def _of_ours(table: xr.Dataset, counts: _Counts) -> Rows | None:
    """Rows of a table that this function made, as they are; None if it is another."""
    if table.sizes.get("lens") is None or not {v.name for v in LENSES} <= set(table.variables):
        return None
    attrs = table.attrs
    counts.sources.append(str(attrs.get("source", "a table of lenses")))
    counts.n_read += int(attrs.get("n_read", table.sizes["lens"]))
    counts.n_duplicates += int(attrs.get("n_duplicates", 0))
    for reason, n in dict(attrs.get("removed", {})).items():
        counts.remove(reason, int(n))
    counts.listed += list(attrs.get("contradictory", ()))
    left = attrs.get("n_read", 0) - attrs.get("n_duplicates", 0) - attrs.get("n_removed", 0) - table.sizes["lens"]
    if "n_read" in attrs:  # a table of which the caller has selected rows
        counts.remove("not selected by the caller", int(left))
    return made(table.sizes["lens"], **{v.name: _of_table(table[v.name].values, v.dtype) for v in LENSES})


def _choose(tables: list[TableFile], settings: Settings) -> tuple[TableFile, LensFormat]:
    """Choose the first table of a file of a known format, else the first that has positions."""
    for table in tables:
        if (fmt := format_of(table.names)) is not ANY:
            return table, fmt
    refusal: MissingColumn | None = None
    for table in tables:
        try:
            find_columns(table, ANY, settings.columns)
            return table, ANY
        except MissingColumn as error:
            refusal = refusal or error
    raise refusal or TargetError("no table")


def _read_one(table: TableFile, fmt: LensFormat, settings: Settings, counts: _Counts) -> Rows:
    counts.sources.append(table.path)
    if fmt is DESI:
        rows, removed, n_joined = read_systems(table, settings)
        for reason, n in removed.items():
            counts.remove(reason, n)
        counts.n_duplicates += n_joined
        counts.n_read += len(rows) + n_joined + sum(removed.values())
        if not len(rows):
            raise TargetError(
                f"{table.path}: no spectrum has a secure redshift and a position ({removed or 'no rows'})."
            )
        counts.notes.append(f"{table.path}: {len(rows)} systems of {len(rows) + n_joined} spectra ({SAME_SYSTEM}).")
        return rows
    rows = read_rows(table, fmt, settings)
    counts.n_read += len(rows)
    if not len(rows):
        raise TargetError(f"{table.path}: the table of lenses is empty.")
    lost = np.isnan(rows.ra_deg)
    if lost.mean() > MOST_WITHOUT_POSITION:
        raise TargetError(
            f"{table.path}: {lost.sum():,} of {len(rows):,} rows have no position, the first in row "
            f"{int(np.argmax(lost))}; more than {MOST_WITHOUT_POSITION:.0%} is refused. Are these the right columns? "
            "Map them with columns={'ra_deg': COLUMN, 'dec_deg': COLUMN}, or leave these rows out."
        )
    counts.remove(NO_POSITION, int(lost.sum()))
    if not settings.tier and not {"tier", "grade", "is_lens"} & set(find_columns(table, fmt, settings.columns).where):
        counts.notes.append(
            f"{table.path}: no column of tiers or grades, so all {len(rows):,} rows are tier C, which no verdict uses. "
            "Map one with columns={'grade': COLUMN}, or give the tier of all: tier='A'."
        )
    return rows.keep(~lost)


def _judged(rows: Rows, references: Sequence[str] | None, kinds: Sequence[str], quasars: bool, counts: _Counts) -> Rows:
    """Leave out what is excluded: objects by what they are, rows by who lists them."""
    reason, note = rows.reason.copy(), rows.note.copy()
    if not quasars:
        reason[:] = ""
    for kind in kinds:
        reason[(rows.kind == kind) & (reason == "")] = f"kind {kind}"
    # What an object is, one row knows for all of it.
    of = objects(rows)
    of_object: dict[int, str] = {}
    for k in np.flatnonzero(reason != "").tolist():
        of_object.setdefault(int(of[k]), reason[k])
    reason = np.array([r or of_object.get(o, "") for r, o in zip(reason, of.tolist(), strict=True)], object)
    known = evidence.EXCLUDED_REFERENCES
    why = {r: f"{r}: {known[r]}" if r in known else r for r in (known if references is None else references)}
    used: set[str] = set()
    for k, text in enumerate(rows.reference.tolist()):
        cited = [evidence.cites(r, tuple(why)) for r in evidence.references_of(text)]
        used |= set(cited)
        if not reason[k] and cited and all(cited):
            reason[k] = f"reference: {why[cited[0]]}"
        elif any(cited):
            note[k] |= np.uint32(LensNote.EXCLUDED_REFERENCE_TOO)
    unused = [r for r in (references or ()) if r not in used]
    if unused:
        counts.notes.append(f"{counts.shown}: no row cites {', '.join(map(repr, unused))} (exclude_references).")
    out = reason != ""
    for name, n in zip(*np.unique(reason[out].astype(str), return_counts=True), strict=True):
        counts.remove(str(name), int(n))
    return replace(rows, note=note).keep(~out)


def _dataset(rows: Rows, counts: _Counts) -> xr.Dataset:
    arrays: dict[str, Any] = {v.name: ("lens", _typed(getattr(rows, v.name), v.dtype), v.attrs) for v in LENSES}
    removed = dict(sorted(counts.removed.items(), key=lambda item: -item[1]))
    return xr.Dataset(
        arrays,
        attrs={
            "source": counts.shown,
            "n_read": counts.n_read,
            "n_removed": sum(removed.values()),
            "removed": removed,
            "n_duplicates": counts.n_duplicates,
            "contradictory": counts.listed,
            "notes": counts.notes,
        },
    )


def _of_table(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    return values.astype(object if dtype == "U" else dtype)


def _typed(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    return values if dtype == "U" else values.astype(dtype)
